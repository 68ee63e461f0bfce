package main

import (
	"errors"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
)

func policyApplyCommand() *cobra.Command {
	var out output
	var conn connection
	var host, match string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a policy document in force",
		Long: `Load a policy document with the keys that it names, print what changes, and put it in
force. It replaces exactly the policy that it was compared with: where somebody else has
replaced that one meanwhile, nothing changes and the command fails. A document that is in
force already is left as it is.`,
		Example: "  sluice policy apply policies/stable.yaml --registry 127.0.0.1:5000",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			if match != "" && digest.Digest(match).Validate() != nil {
				return wrongUse(cmd, "--if-match %q: want the digest of the policy in force, as sluice policy list -o json shows it", match)
			}
			c, err := newClient(cmd, conn, host)
			if err != nil {
				return err
			}
			pol, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			change, err := c.policyChange(cmd.Context(), pol)
			if err != nil {
				return err
			}
			if match != "" {
				change.InForce = digest.Digest(match) // the registry says whether it is
			}
			if (change.Changed || match != "") && !dryRun {
				if _, err := c.setPolicy(cmd.Context(), pol.Name(), pol.Canonical(), change.InForce); err != nil {
					return changedMeanwhile(err)
				}
				change.Applied = true
			}
			return out.print(cmd, change, func(p *printer) { p.policyChange(change) })
		},
	}
	registryFlag(cmd, &host)
	cmd.Flags().StringVar(&match, "if-match", "", "the digest of the policy to replace (default: the one in force now)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would change")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// changedMeanwhile says what to do about a policy that is not the expected one.
func changedMeanwhile(err error) error {
	var failed *apiError
	if errors.As(err, &failed) && (failed.code == "PRECONDITION_FAILED" || failed.code == "CONFLICT") {
		failed.message += "; nothing was changed: look at sluice policy diff and apply again"
	}
	return err
}

func (p *printer) policyChange(c policyChange) {
	p.diff(c.Diff)
	switch {
	case c.Applied:
		p.line("%s policy %s is in force for what rises from %s to %s.", p.style(green, "✓"), c.Name, c.From, c.To)
	case c.Changed:
		p.line("%s policy %s would be put in force for what rises from %s to %s.", p.style(amber, "!"), c.Name, c.From, c.To)
	default:
		p.line("%s policy %s is in force already.", p.style(green, "✓"), c.Name)
	}
	p.line("%s", p.style(dim, "  "+c.Digest.String()))
	for _, warning := range c.Warnings {
		p.line("  %s %s", p.style(amber, "!"), printable(warning))
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

func policyTestCommand() *cobra.Command {
	var out output
	var conn connection
	var reference string
	cmd := &cobra.Command{
		Use:   "test FILE --ref REF",
		Short: "Try a policy document on an artifact, without putting it in force",
		Long: `Fetch what is attached to an artifact, verify it here, and say what the policy document
would decide. Nothing is sent to the registry and nothing changes. Exits with 3 where the
policy says no.`,
		Example: "  sluice policy test policies/stable.yaml --ref 127.0.0.1:5000/dev/acme/app:1.0",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "ref")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, reference)
			if err != nil {
				return err
			}
			pol, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			c, err := newInspector(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			facts, err := c.facts(cmd.Context(), ref, pol.Authorities(), time.Now().UTC())
			if err != nil {
				return err
			}
			if err := c.surroundings(cmd.Context(), pol, &facts); err != nil {
				return err
			}
			verdict, err := pol.EvaluateContext(cmd.Context(), facts)
			if err != nil {
				return err
			}
			if err := out.print(cmd, verdict, func(p *printer) { p.trial(pol, ref, verdict) }); err != nil {
				return err
			}
			if !verdict.Allowed {
				return errRefused
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reference, "ref", "", "the artifact to try the policy on (required)")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// facts collects over the registry protocol what the gate would collect from its stores.
func (c *client) facts(ctx context.Context, ref oci.Reference, authorities []attest.Authority, now time.Time) (policy.Facts, error) {
	desc, err := c.resolve(ctx, ref)
	if err != nil {
		return policy.Facts{}, err
	}
	repo, err := c.repository(ref.Name())
	if err != nil {
		return policy.Facts{}, err
	}
	platforms, evidence, err := promote.Facts(ctx, &source{repo: repo}, desc, authorities, now)
	if err != nil {
		return policy.Facts{}, fmt.Errorf("%s: %w", ref, c.unreachable(err))
	}
	ref.Digest = desc.Digest
	return policy.Facts{Repository: ref.Repository, Digest: desc.Digest, MediaType: desc.MediaType, Now: now,
		Platforms: platforms, Evidence: evidence, Reference: ref.String()}, nil
}

func (p *printer) trial(pol *policy.Policy, ref oci.Reference, v policy.Verdict) {
	if v.Allowed {
		p.line("%s policy %s would let %s rise from %s to %s.", p.style(green, "✓"), pol.Name(), ref, pol.From(), pol.To())
	} else {
		p.line("%s policy %s would not let %s rise from %s to %s.", p.style(red, "✗"), pol.Name(), ref, pol.From(), pol.To())
	}
	if ref.Tier != pol.From() {
		p.line("%s the artifact is in %s, the policy is about what rises from %s", p.style(amber, "!"), ref.Tier, pol.From())
	}
	if !pol.Matches(ref.Repository) {
		p.line("%s the policy's repositories leave %s out", p.style(amber, "!"), ref.Repository)
	}
	p.line("")
	p.verdict(v, "")
}

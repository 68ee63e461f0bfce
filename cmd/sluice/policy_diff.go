package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote/policy"
)

// policyChange is a document beside the policy in force.
type policyChange struct {
	Name    string        `json:"name"`
	From    string        `json:"from"`
	To      string        `json:"to"`
	InForce digest.Digest `json:"inForce,omitempty"` // empty: there is none
	Digest  digest.Digest `json:"digest"`            // of the document
	Changed bool          `json:"changed"`
	// Applied says that the document is in force now.
	Applied  bool     `json:"applied"`
	Diff     string   `json:"diff,omitempty"` // unified
	Warnings []string `json:"warnings"`
}

func policyDiffCommand() *cobra.Command {
	var out output
	var conn connection
	var host string
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Compare a policy document with the policy in force",
		Long: `Load a policy document with the keys that it names, and print what would change if it were
applied. Both are compared with their defaults filled in and their keys inlined, so that
comments and the order of keys make no difference. Exits with 1 where they differ, as diff
does.`,
		Example: "  sluice policy diff policies/stable.yaml",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
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
			if err := out.print(cmd, change, func(p *printer) { p.diff(change.Diff) }); err != nil {
				return err
			}
			if change.Changed {
				return errPrinted
			}
			return nil
		},
	}
	registryFlag(cmd, &host)
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// policyChange compares a policy with the one in force.
func (c *client) policyChange(ctx context.Context, pol *policy.Policy) (policyChange, error) {
	info, _, err := c.policy(ctx, pol.Name())
	if err != nil {
		return policyChange{}, err
	}
	change := policyChange{Name: pol.Name(), From: pol.From(), To: pol.To(), InForce: info.Digest, Digest: pol.Digest(),
		Changed: info.Digest != pol.Digest(), Warnings: append([]string{}, pol.Warnings()...)}
	if !change.Changed {
		return change, nil
	}
	before, err := readable(info.Document)
	if err != nil {
		return policyChange{}, err
	}
	if info.Document == "" {
		before = ""
	}
	after, err := readable(string(pol.Canonical()))
	if err != nil {
		return policyChange{}, err
	}
	change.Diff = udiff.Unified(fmt.Sprintf("%s in force at %s", change.Name, c.host), change.Name, before, after)
	return change, nil
}

// diff prints a unified diff.
func (p *printer) diff(text string) {
	for line := range strings.Lines(text) {
		style := ""
		switch line[0] {
		case '+':
			style = green
		case '-':
			style = red
		case '@':
			style = blue
		}
		p.line("%s", p.style(style, printable(strings.TrimSuffix(line, "\n"))))
	}
}

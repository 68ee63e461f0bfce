package main

import (
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
)

// policyRow is a policy in a list.
type policyRow struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	From   string        `json:"from"`
	To     string        `json:"to"`
	SetBy  string        `json:"setBy"`
	SetAt  time.Time     `json:"setAt"`
}

func policyListCommand() *cobra.Command {
	var out output
	var conn connection
	var host string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the policies in force",
		Example: "  sluice policy list --registry 127.0.0.1:5000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := newClient(cmd, conn, host)
			if err != nil {
				return err
			}
			policies, err := list[policyRow](cmd.Context(), c, pathPolicies, "policies", nil)
			if err != nil {
				return err
			}
			return out.print(cmd, policies, func(p *printer) { p.policies(policies) })
		},
	}
	registryFlag(cmd, &host)
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

func (p *printer) policies(policies []policyRow) {
	rows := make([][]cell, len(policies))
	for i, one := range policies {
		rows[i] = []cell{plain("%s", printable(one.Name)), plain("%s → %s", one.From, one.To), plain("%s", short(one.Digest)),
			plain("%s by %s", one.SetAt.Local().Format("2006-01-02 15:04"), printable(one.SetBy))}
	}
	p.table("", []string{"NAME", "TIERS", "DIGEST", "SINCE"}, rows)
}

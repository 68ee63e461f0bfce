package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func policyGetCommand() *cobra.Command {
	var out output
	var conn connection
	var host string
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a policy in force",
		Long: `Print the document of a policy in force, as YAML with its defaults filled in and its keys
inlined: what its digest is of. It can be edited and applied again. -o json adds who put it
in force and when.`,
		Example: "  sluice policy get dev-to-stable > policies/stable.yaml",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			c, err := newClient(cmd, conn, host)
			if err != nil {
				return err
			}
			info, known, err := c.policy(cmd.Context(), args[0])
			switch {
			case err != nil:
				return err
			case !known:
				return fmt.Errorf("%s has no policy %s; sluice policy list --registry %s names those that there are", host, args[0], host)
			}
			text, err := readable(info.Document)
			if err != nil {
				return err
			}
			return out.print(cmd, info, func(p *printer) { fmt.Fprint(p, text) })
		},
	}
	registryFlag(cmd, &host)
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

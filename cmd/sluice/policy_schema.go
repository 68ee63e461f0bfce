package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote/policy"
)

func policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Print the JSON Schema of policy documents, for editors",
		Long: "Print a JSON Schema: of policy documents, or of one of the predicates that are Sluice's own.\nNAME is one of " +
			strings.Join(policy.SchemaNames(), ", ") + "; policy by default.\n\n" +
			"With the YAML language server a document begins with\n\n  # yaml-language-server: $schema=policy.schema.json",
		Example: "  sluice policy schema > policy.schema.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wrongUse(cmd, "%q is one argument too many: %s", args[1], cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "policy"
			if len(args) == 1 {
				name = args[0]
			}
			schema, err := policy.Schema(name)
			if err != nil {
				return wrongUse(cmd, "%w", err)
			}
			if _, err := cmd.OutOrStdout().Write(schema); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		},
	}
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"sluice.dev/sluice/promote"
)

const (
	pathPolicies    = "/api/v1/policies"
	defaultRegistry = "127.0.0.1:5000" // where sluice serve listens
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check policies before they bite, and put them in force",
		Args:  cobra.ArbitraryArgs,
		RunE:  needVerb,
	}
	cmd.AddCommand(policyLintCommand(), policyTestCommand(), policyListCommand(), policyGetCommand(),
		policyDiffCommand(), policyApplyCommand(), policyBacktestCommand(), policySchemaCommand())
	return cmd
}

// registryFlag is how a verb that is about no artifact names the registry.
func registryFlag(cmd *cobra.Command, host *string) {
	cmd.Flags().StringVar(host, "registry", defaultRegistry, "HOST of the registry")
}

// policy asks for the policy in force under a name; none is no error.
func (c *client) policy(ctx context.Context, name string) (info promote.PolicyInfo, known bool, err error) {
	err = c.get(ctx, pathPolicies+"/"+url.PathEscape(name), nil, &info)
	var failed *apiError
	if errors.As(err, &failed) && failed.code == "POLICY_UNKNOWN" {
		return promote.PolicyInfo{}, false, nil
	}
	return info, err == nil, err
}

// setPolicy puts a document in force in place of the policy with the digest replaces; none
// where that is empty.
func (c *client) setPolicy(ctx context.Context, name string, document []byte, replaces digest.Digest) (promote.PolicyInfo, error) {
	header := http.Header{"If-None-Match": {"*"}}
	if replaces != "" {
		header = http.Header{"If-Match": {fmt.Sprintf("%q", replaces)}}
	}
	var info promote.PolicyInfo
	_, err := c.do(ctx, http.MethodPut, pathPolicies+"/"+url.PathEscape(name), header, rawJSON(document), &info)
	return info, err
}

// rawJSON is a JSON document that is sent as it is.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// readable renders a canonical document as YAML of one key a line. Loading it gives the
// same policy.
func readable(document string) (string, error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(document), &root); err != nil {
		return "", fmt.Errorf("policy document: %w", err)
	}
	block(&root)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := cmp.Or(enc.Encode(&root), enc.Close()); err != nil {
		return "", fmt.Errorf("policy document: %w", err)
	}
	return out.String(), nil
}

// block takes away how JSON was written: braces and quotes.
func block(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		block(child)
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote/policy"
)

// predicateAlias is a short name for a predicate type; those that cosign has are cosign's.
type predicateAlias struct{ name, uri string }

func predicateAliases() []predicateAlias {
	return []predicateAlias{
		{"slsaprovenance1", typeProvenance},
		{"slsaprovenance", "https://slsa.dev/provenance/v0.2"},
		{"slsaprovenance02", "https://slsa.dev/provenance/v0.2"},
		{"spdxjson", typeSPDX},
		{"cyclonedx", "https://cyclonedx.org/bom"},
		{"vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"},
		{"openvex", "https://openvex.dev/ns"},
		{"link", "https://in-toto.io/Link/v1"},
		{"testresult", typeTestResult},
		{"vsa", typeSummary},
		{"approval", policy.ApprovalType},
		{"exception", policy.ExceptionType},
	}
}

// Predicate types that the commands themselves speak of.
const (
	typeProvenance = "https://slsa.dev/provenance/v1"
	typeSPDX       = "https://spdx.dev/Document"
	typeTestResult = "https://in-toto.io/attestation/test-result/v0.1"
	typeSummary    = "https://slsa.dev/verification_summary/v1"
)

// predicateType reads --type: an alias, or a URI as it stands.
func predicateType(cmd *cobra.Command, text string) (string, error) {
	aliases := predicateAliases()
	if i := slices.IndexFunc(aliases, func(a predicateAlias) bool { return a.name == text }); i >= 0 {
		return aliases[i].uri, nil
	}
	if strings.Contains(text, ":") {
		return text, nil
	}
	return "", wrongUse(cmd, "--type %q: want a predicate type as a URI, %s say, or one of %s", text, typeProvenance, aliasNames())
}

func aliasNames() string {
	var names []string
	for _, a := range predicateAliases() {
		names = append(names, a.name)
	}
	return strings.Join(names, ", ")
}

func aliasHelp() string {
	var b strings.Builder
	for _, a := range predicateAliases() {
		fmt.Fprintf(&b, "  %-17s %s\n", a.name, a.uri)
	}
	return b.String()
}

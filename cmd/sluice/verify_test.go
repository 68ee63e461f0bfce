package main

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// vsa is a verified summary with fields replaced.
func vsa(changes map[string]any) attest.Evidence {
	predicate := map[string]any{
		"verifier":           map[string]any{"id": "https://r/tiers/release"},
		"timeVerified":       "2026-01-01T12:00:00Z",
		"resourceUri":        "https://r/release/acme/app",
		"policy":             map[string]any{"uri": "https://r/p", "digest": map[string]any{"sha256": "aa"}},
		"verificationResult": "PASSED",
		"verifiedLevels":     []any{"SLSA_BUILD_LEVEL_2"},
	}
	for name, value := range changes {
		predicate[name] = value
	}
	return attest.Evidence{
		Manifest: digest.FromString("m"), PredicateType: typeSummary,
		Statement: map[string]any{"predicate": predicate}, Signers: []attest.Signer{{Authority: "release.pub"}},
	}
}

func unsigned(e attest.Evidence, problem string) attest.Evidence {
	e.Signers, e.Problem = nil, problem
	return e
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	other := vsa(nil)
	other.PredicateType = typeProvenance
	for name, tc := range map[string]struct {
		evidence []attest.Evidence
		expect   expectation
		problem  string // empty: it verifies
	}{
		"passed":                 {evidence: []attest.Evidence{vsa(nil)}},
		"with a digest":          {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r/release/acme/app@sha256:aa"})}},
		"with a tag":             {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r:5000/release/acme/app:1.0"})}},
		"without a scheme":       {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "r:5000/release/acme/app"})}},
		"nothing":                {problem: "no verification summary is attached"},
		"only provenance":        {evidence: []attest.Evidence{other}, problem: "no verification summary is attached"},
		"failed":                 {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": "FAILED"})}, problem: `"FAILED", not PASSED`},
		"no result":              {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": nil})}, problem: "not PASSED"},
		"result of another kind": {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": []any{"PASSED"}})}, problem: "not PASSED"},
		"lower case":             {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": "passed"})}, problem: "not PASSED"},
		"later failed": {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": "FAILED", "timeVerified": "2026-01-01T13:00:00Z"}), vsa(nil)},
			problem: "not PASSED"},
		"earlier failed":  {evidence: []attest.Evidence{vsa(map[string]any{"verificationResult": "FAILED", "timeVerified": "2026-01-01T11:00:00Z"}), vsa(nil)}},
		"bad beside good": {evidence: []attest.Evidence{unsigned(vsa(nil), "not strict JSON"), vsa(nil)}},
		"another's key":   {evidence: []attest.Evidence{unsigned(vsa(nil), "no authority signed it")}, problem: "no authority signed it"},
		"another tier":    {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r/stable/acme/app"})}, problem: "not about release/acme/app"},
		"another repository": {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r/release/acme/app2"})},
			problem: "not about release/acme/app"},
		"a longer name":      {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r/prerelease/acme/app"})}, problem: "not about"},
		"no resource":        {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": nil})}, problem: "not about"},
		"name in the digest": {evidence: []attest.Evidence{vsa(map[string]any{"resourceUri": "https://r/dev/x@/release/acme/app"})}, problem: "not about"},
		"no verifier":        {evidence: []attest.Evidence{vsa(map[string]any{"verifier": nil})}, problem: "names no verifier"},
		"no time":            {evidence: []attest.Evidence{vsa(map[string]any{"timeVerified": "yesterday"})}, problem: "is no time"},
		"future":             {evidence: []attest.Evidence{vsa(map[string]any{"timeVerified": "2027-01-01T12:00:00Z"})}, problem: "in the future"},
		"young enough":       {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{maxAge: 25 * time.Hour}},
		"too old":            {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{maxAge: 23 * time.Hour}, problem: "--max-age"},
		"verifier asked":     {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{verifier: "https://r/tiers/release"}},
		"another verifier":   {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{verifier: "https://q/tiers/release"}, problem: `not "https://q/tiers/release"`},
		"resource asked":     {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{resource: "https://r/release/acme/app"}},
		"another resource":   {evidence: []attest.Evidence{vsa(nil)}, expect: expectation{resource: "https://q/release/acme/app"}, problem: "not about"},
	} {
		t.Run(name, func(t *testing.T) {
			ref := oci.Reference{Host: "h", Tier: "release", Repository: "acme/app"}
			s := judge(tc.evidence, ref, tc.expect, now)
			if s.Verified != (tc.problem == "") || !strings.Contains(strings.Join(s.Problems, "\n"), tc.problem) {
				t.Errorf("verified %v, problems %q; want %q", s.Verified, s.Problems, tc.problem)
			}
		})
	}
}

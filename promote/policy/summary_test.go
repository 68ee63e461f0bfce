package policy

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const (
	verifierStable = "https://registry.example.com/tiers/stable"
	policyDigest   = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// summaryOf is a summary with some fields replaced; nil takes one away.
func summaryOf(changes map[string]any) map[string]any {
	predicate := map[string]any{
		"verifier": map[string]any{"id": verifierStable}, "timeVerified": noon.Add(-time.Hour).Format(time.RFC3339),
		"resourceUri":        "https://registry.example.com/stable/acme/app",
		"policy":             map[string]any{"uri": "https://registry.example.com/api/v1/policies/dev-to-stable", "digest": map[string]any{"sha256": policyDigest[7:]}},
		"verificationResult": "PASSED", "verifiedLevels": []any{"SLSA_BUILD_LEVEL_2", "SLUICE_TIER_STABLE"},
	}
	for name, value := range changes {
		predicate[name] = value
		if value == nil {
			delete(predicate, name)
		}
	}
	return predicate
}

// below is a document that asks for the summary of stable, signed by a.
func below(spec string) string {
	text := strings.NewReplacer("from: dev", "from: stable", "to: stable", "to: release").Replace(document(""))
	return text + "    - name: below\n      from: {authorities: [a]}\n      summary: {verifier: \"" + verifierStable + "\"" + spec + "}\n"
}

// TestSummary holds CASES 15.
func TestSummary(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	vsa := func(name string, changes map[string]any) attest.Evidence {
		return s.signed(name, summaryV1, summaryOf(changes), "a")
	}
	at := func(ago time.Duration) string { return noon.Add(-ago).Format(time.RFC3339) }
	all := func(evidence ...attest.Evidence) []attest.Evidence { return evidence }
	good := vsa("good", nil)
	for _, tt := range []struct {
		name, spec string
		evidence   []attest.Evidence
		allowed    bool
		message    string
	}{
		{"good", "", all(good), true, "by a"},
		{"with a digest", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/stable/acme/app@" + root.String()})), true, "by a"},
		{"with a tag", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/stable/acme/app:1.0"})), true, "by a"},
		{"none", "", nil, false, "no attestation " + summaryV1},
		{"of another key", "", all(s.signed("x", summaryV1, summaryOf(nil), "b")), false, "signed by b, who is not asked here"},
		{"unsigned", "", all(s.signed("x", summaryV1, summaryOf(nil))), false, "signed by nobody whom the policy knows"},
		{"of another verifier", "", all(vsa("x", map[string]any{"verifier": map[string]any{"id": "https://evil.example/tiers/stable"}})), false, `it is of the verifier "https://evil.example/tiers/stable", want ` + verifierStable},
		{"of another tier's verifier", "", all(vsa("x", map[string]any{"verifier": map[string]any{"id": "https://registry.example.com/tiers/release"}})), false, `it is of the verifier "https://registry.example.com/tiers/release"`},
		{"of no verifier", "", all(vsa("x", map[string]any{"verifier": nil})), false, `it is of the verifier ""`},
		{"of another tier", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/dev/acme/app"})), false, "it is about \"https://registry.example.com/dev/acme/app\", want stable/acme/app"},
		{"of the tier above", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/release/acme/app"})), false, "want stable/acme/app"},
		{"of another repository", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/stable/acme/app2"})), false, "want stable/acme/app"},
		{"of a longer name", "", all(vsa("x", map[string]any{"resourceUri": "https://registry.example.com/x/stable/acme/app"})), false, "want stable/acme/app"},
		{"of another registry", "", all(vsa("x", map[string]any{"resourceUri": "https://evil.example/stable/acme/app"})), false, "want stable/acme/app"},
		{"of no resource", "", all(vsa("x", map[string]any{"resourceUri": nil})), false, `it is about ""`},
		{"about another digest", "", all(on(good, amd64.Digest)), false, "is about"},
		{"failed", "", all(vsa("x", map[string]any{"verificationResult": "FAILED"})), false, `its verificationResult is "FAILED", want PASSED`},
		{"no result", "", all(vsa("x", map[string]any{"verificationResult": nil})), false, "want PASSED"},
		{"lower-case result", "", all(vsa("x", map[string]any{"verificationResult": "passed"})), false, "want PASSED"},
		{"later failed", "", all(good, vsa("x", map[string]any{"verificationResult": "FAILED", "timeVerified": at(time.Minute)})), false, `"FAILED"`},
		{"earlier failed", "", all(good, vsa("x", map[string]any{"verificationResult": "FAILED", "timeVerified": at(2 * time.Hour)})), true, "by a"},
		{"later failed, elsewhere", "", all(good, vsa("x", map[string]any{"verificationResult": "FAILED", "timeVerified": at(time.Minute), "resourceUri": "https://registry.example.com/stable/acme/other"})), true, "by a"},
		{"failed without a time", "", all(good, vsa("x", map[string]any{"verificationResult": "FAILED", "timeVerified": nil})), false, `"FAILED"`},
		{"no time", "", all(vsa("x", map[string]any{"timeVerified": nil})), false, `its timeVerified "" is no time`},
		{"no date", "", all(vsa("x", map[string]any{"timeVerified": "yesterday"})), false, "its timeVerified \"yesterday\" is no time"},
		{"future", "", all(vsa("x", map[string]any{"timeVerified": at(-time.Hour)})), false, "in the future"},

		{"policy by digest", ", policies: [\"" + policyDigest + "\"]", all(good), true, "by a"},
		{"policy by name", ", policies: [dev-to-stable]", all(good), true, "by a"},
		{"policy by URI", ", policies: [\"https://registry.example.com/api/v1/policies/dev-to-stable\"]", all(good), true, "by a"},
		{"old policy", ", policies: [\"" + policyDigest + "\"]", all(vsa("x", map[string]any{"policy": map[string]any{"uri": "https://registry.example.com/api/v1/policies/dev-to-stable", "digest": map[string]any{"sha256": strings.Repeat("0", 64)}}})), false, "it was verified under policy \"https://registry.example.com/api/v1/policies/dev-to-stable\" (sha256:000"},
		{"another policy", ", policies: [stable]", all(good), false, "it was verified under policy"},
		{"no policy", ", policies: [dev-to-stable]", all(vsa("x", map[string]any{"policy": nil})), false, "it was verified under policy \"\" ()"},
		{"policy without digest", ", policies: [\"" + policyDigest + "\"]", all(vsa("x", map[string]any{"policy": map[string]any{"uri": "https://registry.example.com/api/v1/policies/dev-to-stable"}})), false, "it was verified under policy"},
		{"late enough", ", notBefore: 2026-11-22T00:00:00Z", all(good), true, "by a"},
		{"policy too old by time", ", notBefore: 2026-11-22T11:30:00Z", all(good), false, "it was verified at 2026-11-22T11:00:00Z, want 2026-11-22T11:30:00Z or later"},
		{"level", ", levels: [SLSA_BUILD_LEVEL_2]", all(good), true, "by a"},
		{"lower level", ", levels: [SLSA_BUILD_LEVEL_1, SLUICE_TIER_STABLE]", all(good), true, "by a"},
		{"higher level", ", levels: [SLSA_BUILD_LEVEL_3]", all(good), false, "it verified the levels SLSA_BUILD_LEVEL_2, SLUICE_TIER_STABLE, want SLSA_BUILD_LEVEL_3"},
		{"another track", ", levels: [SLSA_SOURCE_LEVEL_1]", all(good), false, "want SLSA_SOURCE_LEVEL_1"},
		{"another word", ", levels: [SLUICE_TIER_RELEASE]", all(good), false, "want SLUICE_TIER_RELEASE"},
		{"no levels", ", levels: [SLSA_BUILD_LEVEL_1]", all(vsa("x", map[string]any{"verifiedLevels": nil})), false, "want SLSA_BUILD_LEVEL_1"},
		{"levels of another kind", ", levels: [SLSA_BUILD_LEVEL_1]", all(vsa("x", map[string]any{"verifiedLevels": "SLSA_BUILD_LEVEL_1"})), false, "want SLSA_BUILD_LEVEL_1"},
		{"bad beside good", "", all(broken(vsa("x", nil), "not strict JSON"), good), true, "by a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, below(tt.spec))
			decided(t, p.Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
	aged := load(t, keys, below("")+"      maxAge: 30m\n")
	decided(t, aged.Evaluate(s.facts(good)), false, "it is 1h0m0s old, maxAge is 30m0s")
}

// TestSummaryOfOthers: a verifier that is no Sluice registry names its resources as it likes.
func TestSummaryOfOthers(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, strings.Replace(below(", tier: ingested"), verifierStable, "https://verifier.example", 1))
	for resource, want := range map[string]bool{"pkg.example/ingested/acme/app": true, "oci://h:5000/x/ingested/acme/app:1@sha256:aa": true, "https://h/stable/acme/app": false, "https://h/preingested/acme/app": false, "ingested/acme/app": false} {
		e := s.signed("x", summaryV1, summaryOf(map[string]any{"verifier": map[string]any{"id": "https://verifier.example"}, "resourceUri": resource}), "a")
		if got := p.Evaluate(s.facts(e)); got.Allowed != want {
			t.Errorf("%s: %v %s", resource, got.Allowed, got.Rules[0].Message)
		}
	}
}

func TestLoadRefusesSummary(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for spec, want := range map[string]string{
		`, tier: "a/b"`:                        "want the name of a tier",
		", policies: []":                       "policies: is empty",
		", policies: [x, x]":                   "stands there twice",
		`, policies: ["sha256:abc"]`:           "want a digest as sha256:",
		`, policies: ["../x"]`:                 "want at most 63 letters",
		", notBefore: yesterday":               "want a time as",
		", levels: []":                         "levels: is empty",
		", levels: [slsa3]":                    "want a level as SLSA_BUILD_LEVEL_2",
		", minVersion: 1.0":                    `unknown key "minVersion"`,
		"}\n      predicateTypes: [\"x:y\"] #": "cannot be read by summary, which reads " + summaryV1,
	} {
		_, err := Load([]byte(below(spec)), keys.read)
		if problem := wants(err, oci.ErrPolicyInvalid, want); problem != nil {
			t.Errorf("%s: %v", spec, problem)
		}
	}
	_, err := Load([]byte(strings.Replace(below(", tier: x"), "verifier: \""+verifierStable+"\", ", "", 1)), keys.read)
	if problem := wants(err, oci.ErrPolicyInvalid, "verifier: is missing"); problem != nil {
		t.Error(problem)
	}
}

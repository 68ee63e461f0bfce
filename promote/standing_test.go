package promote_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

const (
	summaryType = promote.SummaryType
	ciBuilder   = "https://ci.example.com/builder"
	commit      = "d37a7f740ee7404914456f24dcd90e865a0509e8"
)

// rules puts a policy with rules of its own in force. authorities are names with their
// public keys; the rest of a line, builders say, follows a semicolon.
func (g *gate) rules(from, to, require string, authorities map[string]string) error {
	g.Helper()
	text := fmt.Sprintf("apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: %s-to-%s}\nspec:\n  from: %s\n  to: %s\n  authorities:\n", from, to, from, to)
	for name, key := range authorities {
		pem, rest, _ := strings.Cut(key, ";")
		encoded, err := json.Marshal(pem)
		g.must(err)
		text += fmt.Sprintf("    - {name: %s, key: {pem: %s}%s}\n", name, encoded, rest)
	}
	_, err := g.engine.SetPolicy(g.Context(), "admin", from+"-to-"+to, []byte(text+"  require:\n"+require), "")
	return err
}

// built is a provenance of a builder that used some images.
func (g *gate) built(subject ocispec.Descriptor, signer crypto.Signer, builder string, uses ...string) ocispec.Descriptor {
	g.Helper()
	dependencies := `{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"gitCommit":"` + commit + `"}}`
	for _, uri := range uses {
		dependencies += fmt.Sprintf(`,{"uri":%q}`, uri)
	}
	return g.attest(subject, provenanceType, `{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1",
		"externalParameters":{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/heads/main"}},"resolvedDependencies":[`+dependencies+`]},
		"runDetails":{"builder":{"id":"`+builder+`"}}}`, signer)
}

// refused promotes and expects the policy to say no, with a message.
func (g *gate) refused(r promote.Request, message string) {
	g.Helper()
	p, _, err := g.engine.Promote(g.Context(), "manager", r)
	if err != nil || p.State != promote.Failed {
		g.Fatalf("got %s, %v; want it to be refused", p.State, err)
	}
	said := ""
	for _, rule := range p.Verdict.Rules {
		said += rule.Message + "\n"
	}
	if !strings.Contains(said, message) {
		g.Errorf("message lacks %q:\n%s", message, said)
	}
}

// TestDependencies: release builds use stable artifacts only.
func TestDependencies(t *testing.T) {
	g := newGate(t, nil)
	tied := map[string]string{"ci": g.ciPEM + `;, builders: [{id: "` + ciBuilder + `", maxBuildLevel: 2}]`}
	rule := "    - {name: built, from: {authorities: [ci]}, provenance: {minLevel: 2, dependencies: {tier: %s}}}\n"
	g.must(g.rules("stable", "release", fmt.Sprintf(rule, "stable"), tied))
	for tier, want := range map[string]string{"dev": "tier dev is pushed to", "gold": "there is no tier gold"} {
		if err := g.rules("stable", "release", fmt.Sprintf(rule, tier), tied); !errors.Is(err, oci.ErrPolicyInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("tier %s: %v", tier, err)
		}
	}
	base := g.image("base", "base", nil)
	g.provenance(base)
	for name, uri := range map[string]string{
		"by-name":    "registry.example.com/dev/" + repository + ":base@" + base.Digest.String(),
		"by-mirror":  "mirror.example/" + repository + "@" + base.Digest.String(),
		"by-package": "pkg:docker/registry.example.com/dev/" + repository + "@base?digest=" + base.Digest.String(),
	} {
		g.built(g.image(name, name, nil), g.ci, ciBuilder, uri)
		g.promoteOK(request(name, "stable"))
		g.refused(request(name, "release"), repository+"@"+base.Digest.String()[:19]+"… stands in dev only, want stable or above: promote it first")
	}
	nowhere := "registry.example.com/stable/" + repository + "@sha256:" + strings.Repeat("0", 64)
	g.built(g.image("nowhere", "nowhere", nil), g.ci, ciBuilder, nowhere)
	g.promoteOK(request("nowhere", "stable"))
	g.refused(request("nowhere", "release"), "stands in no tier of this registry")

	g.promoteOK(request("base", "stable"))
	for _, name := range []string{"by-name", "by-mirror", "by-package"} {
		p := g.promoteOK(request(name, "release"))
		if got := g.levels("release", p); got != "SLSA_BUILD_LEVEL_2 SLUICE_TIER_RELEASE" {
			t.Errorf("%s: levels %s", name, got)
		}
	}
	// A tier whose policy asks for no level claims none.
	if p := g.promoteOK(request("nowhere", "stable")); g.levels("stable", p) != "SLUICE_TIER_STABLE" {
		t.Errorf("levels %s", g.levels("stable", p))
	}
}

// levels are what the summary of a promotion says was verified.
func (g *gate) levels(tier string, p promote.Promotion) string {
	g.Helper()
	for _, k := range g.engine.Keys() {
		if k.Tier != tier {
			continue
		}
		var levels []string
		all, _ := g.summary(tier, p.Digest, p.Summary, k.PublicKey).Predicate()["verifiedLevels"].([]any)
		for _, level := range all {
			levels = append(levels, fmt.Sprint(level))
		}
		return strings.Join(levels, " ")
	}
	return ""
}

// TestIndependentBuilds holds CASES 6 and 7 with real signatures.
func TestIndependentBuilds(t *testing.T) {
	g := bareGate(t, nil)
	other, otherPEM := newKey(t)
	g.must(g.rules("dev", "stable", "    - {name: rebuilt, from: {authorities: [ci, lab]}, reproducible: {}}\n"+
		"    - {name: two, from: {authorities: [ci, lab], threshold: 2, distinct: [principal, builder]}}\n", map[string]string{
		"ci":  g.ciPEM + `;, builders: [{id: "` + ciBuilder + `", maxBuildLevel: 2}, {id: "https://shared.example/b", maxBuildLevel: 1}]`,
		"lab": otherPEM + `;, builders: [{idRegExp: "^https://lab\\.example/[0-9]+$", maxBuildLevel: 1}, {id: "https://shared.example/b", maxBuildLevel: 1}]`,
	}))
	for name, tt := range map[string]struct{ first, second, message string }{
		"one-builder":       {"https://shared.example/b", "https://shared.example/b", "want 2 builds by distinct builders and principals"},
		"anothers-builder":  {ciBuilder, ciBuilder, "authority lab may not sign for builder"},
		"anothers-builder2": {"https://lab.example/1", "https://lab.example/2", "authority ci may not sign for builder"},
		"two-builders":      {ciBuilder, "https://lab.example/1", ""},
	} {
		image := g.image(name, name, nil)
		g.built(image, g.ci, tt.first)
		g.built(image, other, tt.second)
		if tt.message == "" {
			g.promoteOK(request(name, "stable"))
			continue
		}
		g.refused(request(name, "stable"), tt.message)
	}
}

// TestSummaryBelow holds CASES 15 with the registry's own summaries.
func TestSummaryBelow(t *testing.T) {
	g := newGate(t, nil)
	keys := map[string]string{}
	for _, k := range g.engine.Keys() {
		keys[k.Tier] = k.PublicKey
	}
	rule := `    - {name: below, from: {authorities: [stable]}, summary: {verifier: "https://registry.example.com/tiers/stable", policies: [%s]}}` + "\n"
	stable := g.policyOf("stable")
	g.must(g.rules("stable", "release", fmt.Sprintf(rule, `"`+stable.Digest.String()+`"`), map[string]string{"stable": keys["stable"]}))
	image := g.image("1.0", "1.0", nil)
	g.provenance(image)
	g.promoteOK(request("1.0", "stable"))
	g.promoteOK(request("1.0", "release"))

	second := g.image("2.0", "2.0", nil)
	g.provenance(second)
	g.promoteOK(request("2.0", "stable"))
	g.must(g.rules("stable", "release", fmt.Sprintf(rule, `"`+stable.Digest.String()+`"`), map[string]string{"stable": keys["release"]}))
	g.refused(request("2.0", "release"), "no attestation "+summaryType+" by stable")
	g.must(g.rules("stable", "release", fmt.Sprintf(rule, `"sha256:`+strings.Repeat("0", 64)+`"`), map[string]string{"stable": keys["stable"]}))
	g.refused(request("2.0", "release"), "it was verified under policy")

	// The key of stable says later, about the same bytes, that they failed; about another
	// repository that matters to nobody.
	g.must(g.rules("stable", "release", fmt.Sprintf(rule, "dev-to-stable"), map[string]string{"stable": keys["stable"]}))
	failed := func(name string) string {
		return fmt.Sprintf(`{"verifier":{"id":"https://registry.example.com/tiers/stable"},"timeVerified":%q,"resourceUri":"https://registry.example.com/stable/%s","verificationResult":"FAILED"}`,
			time.Now().Add(time.Minute).UTC().Format(time.RFC3339), name)
	}
	g.attest(second, summaryType, failed("acme/other"), g.signers["stable"])
	g.promoteOK(request("2.0", "stable", "2.0", "2"))
	g.promoteOK(request("2.0", "release"))
	third := g.image("3.0", "3.0", nil)
	g.provenance(third)
	g.attest(third, summaryType, failed(repository), g.signers["stable"])
	g.promoteOK(request("3.0", "stable"))
	g.refused(request("3.0", "release"), `its verificationResult is "FAILED", want PASSED`)
}

// TestEnvelope: what is taken out of a bundle verifies by itself.
func TestEnvelope(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "1.0", nil)
	g.provenance(image)
	found, err := attest.Find(t.Context(), g.repo("dev"), image.Digest, attest.Limits{})
	g.must(err)
	envelope, err := attest.Envelope(found[0])
	g.must(err)
	key, err := attest.ParsePublicKey([]byte(g.ciPEM))
	g.must(err)
	ev := attest.Verify(attest.Attachment{Format: attest.FormatDSSE, Content: envelope}, image.Digest, []attest.Authority{{Name: "ci", Keys: []attest.Key{key}}}, time.Now())
	if !ev.Verified() || strings.Contains(string(envelope), key.ID) {
		t.Errorf("%s: %s", ev.Problem, envelope)
	}
	if _, err := attest.Envelope(attest.Attachment{Format: attest.FormatBundle, Content: []byte("{}")}); err == nil {
		t.Error("an envelope out of nothing")
	}
}

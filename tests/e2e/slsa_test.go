package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/apispec"
	"sluice.dev/sluice/tests/clients"
)

// leveled is a policy that asks for a build level and, of the dependencies, for stable.
const leveled = `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: %s}
spec:
  from: dev
  to: stable
  authorities:
    - name: ci
      key: {pem: %q}
      builders: [{id: "https://example.com/builder", maxBuildLevel: 3}]
  require:
    - name: built
      from: {authorities: [ci]}
      provenance:
        minLevel: 2
        source: {repositories: ["https://github.com/acme/*"], refs: [refs/heads/main]}
        dependencies: {tier: stable}
`

// builtFrom is a provenance of a build that used one image.
const builtFrom = `{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1",
"externalParameters":{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/heads/main"}},
"resolvedDependencies":[{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"gitCommit":"d37a7f740ee7404914456f24dcd90e865a0509e8"}},{"uri":"oci://%s"}]},
"runDetails":{"builder":{"id":"https://example.com/builder"}}}`

// TestSLSA: a policy that asks for a build level and stable dependencies, and the way out,
// the registry's summary in the hands of slsa-verifier and cosign.
func TestSLSA(t *testing.T) {
	s := serveEmbedded(t)
	api := &http.Client{Transport: apispec.New(t).Wrap(t, nil)}
	h := clients.New(t)
	public, err := os.ReadFile(strings.TrimSuffix(s.key(), ".key") + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	base := craneImage(t, h, s.host, "slsa/base", "1.0")
	digest := craneImage(t, h, s.host, "slsa/app", "1.0")
	dev, stable := s.host+"/dev/slsa/app@"+digest, s.host+"/stable/slsa/app@"+digest
	s.attest(h, s.host+"/dev/slsa/base@"+base)
	policy := h.File("leveled.yaml", fmt.Appendf(nil, leveled, s.policyOf(api, "stable"), public))
	s.run(0, "attest", dev, "--type", "slsaprovenance1", "--key", s.key(),
		"--predicate", h.File("built.json", fmt.Appendf(nil, builtFrom, s.host+"/dev/slsa/base:1.0@"+base)))

	// The gate and whoever tries the policy from outside find the same.
	has(t, s.run(3, "policy", "test", policy, "--ref", dev), "slsa/base@"+base[:19], "stands in dev only, want stable or above")
	s.run(0, "promote", s.host+"/dev/slsa/base:1.0", "--to", "stable")
	has(t, s.run(0, "policy", "test", policy, "--ref", dev), "would let")
	s.run(0, "policy", "apply", policy, "--registry", s.host)
	s.run(0, "promote", s.host+"/dev/slsa/app:1.0", "--to", "stable")

	key := s.summaryKey(h, api, "stable")
	file := filepath.Join(t.TempDir(), "summary.json")
	var found struct{ Verifier, ResourceURI string }
	out := s.run(0, "verify", stable, "--key", key, "--export-dsse", file, "-o", "json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := clients.VSA{Digest: digest, Verifier: found.Verifier, Resource: found.ResourceURI, Level: "SLSA_BUILD_LEVEL_2", PublicKey: key}
	h.VerifyVSA(file, want)
	want.Level = "SLUICE_TIER_STABLE"
	h.VerifyVSA(file, want)
	for name, edit := range map[string]func(*clients.VSA){
		"another digest":   func(v *clients.VSA) { v.Digest = base },
		"another verifier": func(v *clients.VSA) { v.Verifier = strings.Replace(v.Verifier, "stable", "release", 1) },
		"another tier":     func(v *clients.VSA) { v.Resource = strings.Replace(v.Resource, "stable", "release", 1) },
		"another level":    func(v *clients.VSA) { v.Level = "SLUICE_TIER_RELEASE" },
		"another key":      func(v *clients.VSA) { v.PublicKey = s.summaryKey(h, api, "release") },
	} {
		other := want
		edit(&other)
		if said := h.VerifyVSARefused(file, other); !strings.Contains(said, "FAILED") {
			t.Errorf("%s: %s", name, said)
		}
	}
	has(t, h.CosignWith("", key).VerifyAttestation(stable, "https://slsa.dev/verification_summary/v1"), "payload")

	// Nothing is handed out that was not verified.
	none := filepath.Join(t.TempDir(), "none.json")
	s.run(1, "verify", stable, "--key", s.summaryKey(h, api, "release"), "--export-dsse", none)
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("a summary that does not verify is exported: %v", err)
	}
}

// policyOf is the name of the policy that guards a tier.
func (s *server) policyOf(api *http.Client, tier string) string {
	s.Helper()
	var answer struct {
		Policies []struct{ Name, To string }
	}
	s.call(api, "GET", "/api/v1/policies", nil, 200, &answer)
	for _, p := range answer.Policies {
		if p.To == tier {
			return p.Name
		}
	}
	s.Fatalf("no policy for %s in %+v", tier, answer)
	return ""
}

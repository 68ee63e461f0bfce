package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// policyJob leads a policy from a file into force and back, and last puts back what it
// found.
func policyJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	registry := []string{"--registry", s.host}
	run := func(code int, args ...string) string {
		t.Helper()
		return s.run(code, append(append([]string{"policy"}, args...), registry...)...)
	}
	has(t, run(0, "list"), "dev-to-stable", "stable-to-release", "dev → stable")
	before := run(0, "get", "dev-to-stable")
	has(t, before, "kind: TierPolicy", "BEGIN PUBLIC KEY")
	has(t, run(1, "get", "other"), "has no policy other")

	found := h.File("found.yaml", []byte(before))
	if diff := run(0, "diff", found); diff != "" {
		t.Errorf("what was got differs:\n%s", diff)
	}
	has(t, run(0, "apply", found), "in force already")

	changed := h.File("changed.yaml", []byte(strings.Replace(before, "mode: enforce", "mode: warn", 1)))
	has(t, run(1, "diff", changed), "-      mode: enforce", "+      mode: warn")
	has(t, run(0, "apply", changed, "--dry-run"), "would be put in force")
	has(t, run(1, "diff", changed), "+      mode: warn")
	has(t, run(1, "apply", changed, "--if-match", "sha256:"+strings.Repeat("0", 64)), "nothing was changed")
	has(t, run(0, "apply", changed), "+      mode: warn", "is in force for")
	if diff := run(0, "diff", changed); diff != "" {
		t.Errorf("what was applied differs:\n%s", diff)
	}

	// A document that does not load leaves the one in force.
	broken := h.File("broken.yaml", []byte(strings.ReplaceAll(before, "mode: enforce", "mode: off")))
	has(t, run(1, "apply", broken), "no enforced requirement")
	if diff := run(0, "diff", changed); diff != "" {
		t.Errorf("a document that does not load changed something:\n%s", diff)
	}

	// What stands above would fail a policy that asks for more.
	craneImage(t, h, s.host, "policy/app", "1.0")
	s.attest(h, s.host+"/dev/policy/app:1.0")
	s.run(0, "promote", s.host+"/dev/policy/app:1.0", "--to", "stable")
	has(t, run(0, "backtest", found, "--tier", "stable", "--repository", "policy/**"), "none of 1 artifact in stable would fail")
	stricter := h.File("stricter.yaml", []byte(strings.Replace(before, "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2", 1)))
	has(t, run(3, "backtest", stricter, "--tier", "stable", "--repository", "policy/**"),
		"policy/app:1.0", "no attestation https://slsa.dev/provenance/v0.2", "1 of 1 artifact in stable would fail")
	has(t, run(0, "backtest", stricter, "--tier", "stable", "--repository", "policy/**", "--at", "2020-01-01T00:00:00Z"), "none of 0 artifacts")
	run(2, "backtest", stricter, "--tier", "release")

	run(0, "apply", found)
	if after := run(0, "get", "dev-to-stable"); after != before {
		t.Errorf("put back is\n%s\nnot\n%s", after, before)
	}
}

package promote_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

func TestSetPolicy(t *testing.T) {
	g := bareGate(t, nil)
	document := func(name, from, to, extra string) []byte { return g.policyDocument(name, from, to, extra) }
	first, err := g.engine.SetPolicy(t.Context(), "admin", "p", document("p", "dev", "stable", ""), "")
	if err != nil {
		t.Fatal(err)
	}
	if first.SetBy != "admin" || first.From != "dev" || first.To != "stable" || first.SetAt.IsZero() || digest.FromString(first.Document) != first.Digest || !strings.Contains(first.Document, "BEGIN PUBLIC KEY") {
		t.Errorf("got %+v", first)
	}
	events := len(g.events("policy."))
	for name, c := range map[string]struct {
		name     string
		document []byte
		ifMatch  digest.Digest
		want     error
	}{
		"another name":             {"q", document("p", "dev", "stable", ""), "", oci.ErrPolicyInvalid},
		"a name with a slash":      {"a/b", document("a/b", "dev", "stable", ""), "", oci.ErrPolicyInvalid},
		"a tier is skipped":        {"q", document("q", "dev", "release", ""), "", oci.ErrPolicyInvalid},
		"to the bottom":            {"q", document("q", "stable", "dev", ""), "", oci.ErrPolicyInvalid},
		"to an unknown tier":       {"q", document("q", "dev", "prod", ""), "", oci.ErrPolicyInvalid},
		"from the tier itself":     {"q", document("q", "stable", "stable", ""), "", oci.ErrPolicyInvalid},
		"a second policy":          {"q", document("q", "dev", "stable", ""), "", oci.ErrConflict},
		"the tier is changed":      {"p", document("p", "stable", "release", ""), "", oci.ErrConflict},
		"another was meant":        {"p", document("p", "dev", "stable", `  repositories: ["x"]`), digest.FromString("x"), oci.ErrConflict},
		"none was there":           {"q", document("q", "stable", "release", ""), first.Digest, oci.ErrConflict},
		"there must be none":       {"p", document("p", "dev", "stable", `  repositories: ["x"]`), promote.NoPolicy, oci.ErrConflict},
		"not YAML":                 {"p", []byte("{"), "", oci.ErrPolicyInvalid},
		"empty":                    {"p", nil, "", oci.ErrPolicyInvalid},
		"an unknown key":           {"p", document("p", "dev", "stable", "  extra: true"), "", oci.ErrPolicyInvalid},
		"a key file on the server": {"p", bytes.ReplaceAll(document("p", "dev", "stable", ""), []byte("        pem: |"), []byte("        file: /etc/passwd\n        pem: |")), "", oci.ErrPolicyInvalid},
		"nothing is enforced":      {"p", bytes.ReplaceAll(document("p", "dev", "stable", ""), []byte("    - name: built-by-ci"), []byte("    - name: built-by-ci\n      mode: warn")), "", oci.ErrPolicyInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := g.engine.SetPolicy(t.Context(), "admin", c.name, c.document, c.ifMatch); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			all, err := g.engine.Policies(t.Context())
			if err != nil || len(all) != 1 || all[0] != first {
				t.Errorf("in force: %+v, %v", all, err)
			}
		})
	}
	// The same again changes nothing, whoever sets it.
	if same, err := g.engine.SetPolicy(t.Context(), "other", "p", document("p", "dev", "stable", ""), first.Digest); err != nil || same != first {
		t.Errorf("got %+v, %v", same, err)
	}
	if n := len(g.events("policy.")); n != events || n != 1 {
		t.Errorf("%d events", n)
	}
	second, err := g.engine.SetPolicy(t.Context(), "other", "p", document("p", "dev", "stable", `  repositories: ["acme/**"]`), first.Digest)
	if err != nil || second.Digest == first.Digest {
		t.Fatalf("got %+v, %v", second, err)
	}
	// Whose answer was lost asks again.
	again, err := g.engine.SetPolicy(t.Context(), "other", "p", document("p", "dev", "stable", `  repositories: ["acme/**"]`), first.Digest)
	if err != nil || again != second || len(g.events("policy.")) != 2 {
		t.Errorf("asked again: %+v, %v, %d events", again, err, len(g.events("policy.")))
	}
	if got, err := g.engine.Policy(t.Context(), "p"); err != nil || got != second {
		t.Errorf("got %+v, %v", got, err)
	}
	e := g.events("policy.")[1]
	if e.Type != tiers.EventPolicySet || e.Actor != "other" || e.Tier != "stable" || e.From != "dev" || e.Policy != "p" ||
		e.Digest != second.Digest || e.Previous != first.Digest || string(e.Body) != second.Document {
		t.Errorf("event %+v", e)
	}
	for _, name := range []string{"q", "", "../p", "p/"} {
		if _, err := g.engine.Policy(t.Context(), name); !errors.Is(err, oci.ErrPolicyUnknown) {
			t.Errorf("policy %q: %v", name, err)
		}
	}
}

// Of many who replace the same policy one does.
func TestSetPolicyRace(t *testing.T) {
	g := newGate(t, nil)
	old := g.policyOf("stable")
	var won atomic.Int64
	var all sync.WaitGroup
	for _, glob := range []string{"a", "b", "c", "d", "e", "f"} {
		all.Go(func() {
			_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", g.policyDocument("dev-to-stable", "dev", "stable", `  repositories: ["`+glob+`"]`), old.Digest)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, oci.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || len(g.events("policy.")) != 3 {
		t.Errorf("%d won, %d events", won.Load(), len(g.events("policy.")))
	}
}

// A policy whose record is not what its digest says decides nothing.
func TestCorruptPolicy(t *testing.T) {
	g := newGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	records, err := g.registry.Catalog().Get(t.Context(), "policy/dev-to-stable")
	g.must(err)
	for name, value := range map[string][]byte{
		"tampered":  bytes.ReplaceAll(records[0].Value, []byte("built-by-ci"), []byte("built-by-me")),
		"truncated": records[0].Value[:100],
		"empty":     {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.registry.Catalog().Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "policy/dev-to-stable", Value: value}}})
			g.must(err)
			engine := g.start(true) // one that has not compiled the policy yet
			if p, _, err := engine.Promote(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrCorrupt) || p.State == promote.Succeeded {
				t.Errorf("got %s, %v", p.State, err)
			}
		})
	}
}

// What was verified for one policy is asked anew for the next: the engine remembers what
// an attestation holds, never whom a policy trusts.
func TestAnotherPolicyOverTheSameEvidence(t *testing.T) {
	g := newGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	allowed := func(want bool, reason string) {
		t.Helper()
		v, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable"))
		g.must(err)
		if v.Allowed != want || !strings.Contains(v.Rules[0].Message, reason) {
			t.Errorf("allowed %v: %s", v.Allowed, v.Rules[0].Message)
		}
	}
	trusting := func(pem, extra string) {
		t.Helper()
		own := g.ciPEM
		g.ciPEM = pem
		document := bytes.Replace(g.policyDocument("dev-to-stable", "dev", "stable", ""), []byte("    - name: ci\n"), []byte("    - name: ci\n"+extra), 1)
		g.ciPEM = own
		_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", document, "")
		g.must(err)
	}
	allowed(true, "by ci")
	_, other := newKey(t)
	trusting(other, "")
	allowed(false, "no key of ci verifies the signature")
	trusting(g.ciPEM, "      notAfter: 2020-01-01T00:00:00Z\n")
	allowed(false, "of ci expired at 2020-01-01T00:00:00Z")
	trusting(g.ciPEM, "      principal: builders\n")
	allowed(true, "by ci")
}

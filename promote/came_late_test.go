package promote_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What takes long to copy is decided again with the evidence that has come meanwhile.
func TestEvidenceCameDuringCopy(t *testing.T) {
	for name, c := range map[string]struct {
		verdict string
		own     bool // signed by the authority that is asked
		state   promote.State
	}{
		"a test failed":              {"FAILED", true, promote.Failed},
		"a test passed once more":    {"PASSED", true, promote.Succeeded},
		"somebody says that it does": {"FAILED", false, promote.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var late atomic.Int64
			g := bareGate(t, func(c *tiers.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			})
			document := string(g.policyDocument("dev-to-stable", "dev", "stable", "")) +
				fmt.Sprintf("    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}, where: [\"predicate.result == 'PASSED'\"]}\n", testType)
			_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", []byte(document), "")
			g.must(err)
			result := func(verdict string, ago time.Duration) string {
				return fmt.Sprintf(`{"result":%q,"finishedOn":%q}`, verdict, time.Now().Add(-ago).UTC().Format(time.RFC3339))
			}
			image := g.image("1.0", "one", nil)
			g.provenance(image)
			g.attest(image, testType, result("PASSED", 3*time.Hour), g.ci)
			signer := g.ci
			if !c.own {
				signer, _ = newKey(t)
			}
			process, h := g.process(true)
			h.before("staged/", func() {
				g.attest(image, testType, result(c.verdict, time.Hour), signer)
				late.Store(int64(time.Minute))
			})
			p, _, err := process.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			g.must(err)
			if p.State != c.state {
				t.Fatalf("got %s, want %s: %s", p.State, c.state, tiers.Encode(p.Verdict))
			}
			if p.State == promote.Failed {
				if !strings.Contains(string(tiers.Encode(p.Verdict)), "FAILED") && !strings.Contains(string(tiers.Encode(p.Verdict)), "predicate.result") {
					t.Errorf("it does not say why: %s", tiers.Encode(p.Verdict))
				}
				g.absent("stable", image.Digest, "1.0")
			}
			g.ended(p)
			g.noTraces()
		})
	}
}

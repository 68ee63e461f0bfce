package promote_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What was decided before a freeze and takes long to copy does not become visible in it.
func TestFreezeCrossed(t *testing.T) {
	var late atomic.Int64
	g := bareGate(t, func(c *tiers.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	g.setPolicy("dev-to-stable", "dev", "stable", fmt.Sprintf("  freeze:\n    - {name: weekend, from: %q, until: %q}\n", at(time.Hour), at(3*time.Hour)))
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	process, h := g.process(true)
	h.before("staged/", func() { late.Store(int64(2 * time.Hour)) }) // while it was being copied
	p, _, err := process.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err == nil && p.State == promote.Succeeded {
		t.Errorf("it came to stable in the freeze: finished %s, decided %s", p.FinishedAt, p.Verdict.EvaluatedAt)
	}
}

package promote_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// Where to go on does not name a repository that the caller may not pull from.
func TestBacktestCursorHidesNames(t *testing.T) {
	g := newGate(t, nil)
	for i := range 22 {
		var change tiers.Change
		for k := range 100 {
			change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("tier/stable/repo/secret/%02d%02d", i, k), Value: []byte("{}")})
		}
		_, err := g.registry.Catalog().Commit(t.Context(), change)
		g.must(err)
	}
	p := g.load("p", "dev", "stable", "")
	_, next, err := g.engine.Backtest(t.Context(), promote.Backtest{Policy: p, May: func(string) bool { return false }}, "", 10)
	g.must(err)
	if strings.Contains(next, "secret") {
		t.Errorf("the cursor names %s", next)
	}
}

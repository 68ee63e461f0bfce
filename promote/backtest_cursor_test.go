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
	for i := range 26 {
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
	if next != "" {
		t.Errorf("the cursor names %s", next)
	}
	// Those that may be looked at end a page, and the next goes on from there.
	seen := map[string]bool{}
	may := func(name string) bool { seen[name] = true; return !strings.HasSuffix(name, "9") }
	for last, pages := "", 0; pages == 0 || last != ""; pages++ {
		_, next, err := g.engine.Backtest(t.Context(), promote.Backtest{Policy: p, May: may}, last, 10)
		g.must(err)
		if next != "" && (!may(next) || next <= last) || pages > 2 {
			t.Fatalf("page %d after %q: the cursor names %q", pages, last, next)
		}
		last = next
	}
	if len(seen) != 2600 {
		t.Errorf("%d repositories were come to", len(seen))
	}
	_, next, err = g.engine.Backtest(t.Context(), promote.Backtest{Policy: p}, "", 10)
	g.must(err)
	if next != "secret/1999" {
		t.Errorf("of those that all may be looked at a page ends at %q", next)
	}
}

package promote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
)

// A policy of one's own may take long. A backtest ends with its client, and says so: what
// was not decided is not left out silently.
func TestBacktestCost(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	g.promoteOK(request("1.0", "stable"))
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 50), ",") + "]"
	condition := fmt.Sprintf("%s.all(a, %s.all(b, %s.all(c, a + b > 0)))", list, list, list)
	var rules strings.Builder
	for i := range 20 { // of 100 that it may have: minutes, if nothing ends it
		fmt.Fprintf(&rules, "    - name: r%d\n      predicateTypes: [%q]\n      from: {authorities: [ci]}\n      where:\n", i, provenanceType)
		for range 50 {
			fmt.Fprintf(&rules, "        - %q\n", condition)
		}
	}
	p := g.load("p", "dev", "stable", rules.String())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	page, _, err := g.engine.Backtest(ctx, promote.Backtest{Policy: p}, "", 10)
	if took := time.Since(start); took > time.Minute || !errors.Is(err, context.DeadlineExceeded) || len(page) != 0 {
		t.Errorf("it went on for %s, about one artifact with one attestation (%+v, %v)", took, page, err)
	}
}

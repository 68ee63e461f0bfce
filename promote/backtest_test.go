package promote_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// backtested is all pages of a backtest, n at a time, by tag.
func (g *gate) backtested(b promote.Backtest, n int) (results map[string]promote.Backtested, pages int) {
	g.Helper()
	results = map[string]promote.Backtested{}
	for last := ""; ; {
		page, next, err := g.engine.Backtest(g.Context(), b, last, n)
		if err != nil {
			g.Fatal(err)
		}
		if pages++; len(page) > n || pages > 100 {
			g.Fatalf("page %d has %d results", pages, len(page))
		}
		for _, r := range page {
			key := r.Repository + ":" + r.Tags[0]
			if _, twice := results[key]; twice {
				g.Errorf("%s is there twice", key)
			}
			results[key] = r
		}
		if last = next; next == "" {
			return results, pages
		}
	}
}

// load compiles the policy of policyDocument with more lines at its end.
func (g *gate) load(name, from, to, more string) *policy.Policy {
	g.Helper()
	p, err := policy.Load(append(g.policyDocument(name, from, to, ""), more...), nil)
	if err != nil {
		g.Fatal(err)
	}
	return p
}

func TestBacktest(t *testing.T) {
	g := newGate(t, nil)
	for i := range 5 {
		tag := fmt.Sprintf("%d.0", i)
		image := g.image(tag, "content "+tag, nil)
		g.provenance(image)
		if i%2 == 0 {
			g.attest(image, testType, `{"result":"PASSED"}`, g.ci)
		}
		g.promoteOK(request(tag, "stable"))
	}
	events := len(g.events(""))
	same := g.load("p", "dev", "stable", "")
	stricter := g.load("p", "dev", "stable", "    - {name: tested, predicateTypes: [\""+testType+"\"], from: {authorities: [ci]}}")
	for n := 1; n <= 6; n++ {
		results, pages := g.backtested(promote.Backtest{Policy: same}, n)
		if len(results) != 5 || n == 1 && pages < 5 {
			t.Errorf("by %d: %d results on %d pages", n, len(results), pages)
		}
		for tag, r := range results {
			if !r.Allowed || r.Verdict == nil || r.Verdict.Policy.Digest != same.Digest() {
				t.Errorf("%s: %+v", tag, r)
			}
		}
		results, _ = g.backtested(promote.Backtest{Policy: stricter}, n)
		for i := range 5 {
			r := results[fmt.Sprintf("acme/app:%d.0", i)]
			if r.Allowed != (i%2 == 0) || r.Verdict.Rules[1].Allowed != r.Allowed {
				t.Errorf("by %d: %d: allowed %v", n, i, r.Allowed)
			}
		}
	}
	for name, b := range map[string]promote.Backtest{
		"another repository": {Policy: same, Repository: "acme/other"},
		"none allowed":       {Policy: same, May: func(string) bool { return false }},
		"before it came":     {Policy: same, At: g.registry.Now().Add(-time.Hour)},
		"another tier":       {Policy: g.load("q", "stable", "release", "")},
	} {
		if results, _ := g.backtested(b, 10); len(results) != 0 {
			t.Errorf("%s: %v", name, results)
		}
	}
	// As of a later time a provenance is too old.
	aged := g.load("p", "dev", "stable", "      maxAge: 24h")
	if results, _ := g.backtested(promote.Backtest{Policy: aged, At: g.registry.Now().Add(48 * time.Hour)}, 10); len(results) != 5 || results["acme/app:0.0"].Allowed {
		t.Errorf("later: %+v", results["acme/app:0.0"])
	}
	if _, _, err := g.engine.Backtest(t.Context(), promote.Backtest{Policy: same, Repository: "["}, "", 1); !errors.Is(err, oci.ErrRequestInvalid) {
		t.Errorf("no glob: %v", err)
	}
	for _, last := range []string{"acme/app@zzz", "none@x", "acme/app@", "zzz"} {
		if page, next, err := g.engine.Backtest(t.Context(), promote.Backtest{Policy: same}, last, 100); err != nil || next != "" || len(page) != 0 && last != "acme/app@" {
			t.Errorf("after %q: %d, %q, %v", last, len(page), next, err)
		}
	}
	if got := g.events(""); len(got) != events {
		t.Errorf("a backtest wrote events: %d, were %d", len(got), events)
	}
}

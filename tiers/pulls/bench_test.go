package pulls_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
)

// BenchmarkRecord counts a pull of what was pulled before: what recording costs a pull.
func BenchmarkRecord(b *testing.B) {
	l, err := pulls.New(pulls.Config{Registry: stores.Registry(b, nil), Share: 1, Log: discard()})
	if err != nil {
		b.Fatal(err)
	}
	p := pull("node-7", "app")
	b.ReportAllocs()
	for b.Loop() {
		l.Record(p)
	}
}

// BenchmarkFind asks for a digest that was pulled on one of 90 days, and for what a principal
// pulled on all of them. Each day has 20,000 rows of 2,000 digests.
func BenchmarkFind(b *testing.B) {
	now := time.Now()
	registry := stores.Registry(b, func(c *tiers.Config) { c.Now = func() time.Time { return now } })
	l, err := pulls.New(pulls.Config{Registry: registry, Share: 1, Log: discard()})
	if err != nil {
		b.Fatal(err)
	}
	for day := range 90 {
		for half := range 2 {
			for i := range pulls.MaxRows {
				l.Record(pull("node-"+strconv.Itoa(i%10), fmt.Sprint("app-", day, "-", half, "-", i/10)))
			}
			if err := l.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		now = now.Add(24 * time.Hour)
		if err := l.Tidy(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for name, q := range map[string]pulls.Query{"digest": {Digests: []digest.Digest{of("app-44-1-7")}, N: 100}, "principal": {Principal: "node-7", N: 100}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if page, _, err := l.Find(b.Context(), q); err != nil || len(page) != min(q.N, map[string]int{"digest": 10, "principal": 100}[name]) {
					b.Fatal(len(page), err)
				}
			}
		})
	}
}

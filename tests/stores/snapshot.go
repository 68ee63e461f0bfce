package stores

import (
	"bytes"
	"context"
	"testing"

	"sluice.dev/sluice/tiers"
)

// Remember reads everything in a catalog and returns what puts it back as it was, revisions
// apart: for tests that damage one catalog in many ways, one after the other.
func Remember(tb testing.TB, catalog tiers.Catalog) (putBack func()) {
	tb.Helper()
	before := everything(tb, catalog)
	return func() {
		tb.Helper()
		var changes []tiers.Change
		now := everything(tb, catalog)
		for key, value := range before {
			if other, ok := now[key]; !ok || !bytes.Equal(value, other) {
				changes = append(changes, tiers.Change{Put: []tiers.Put{{Key: key, Value: value}}})
			}
		}
		for key := range now {
			if _, ok := before[key]; !ok {
				changes = append(changes, tiers.Change{Delete: []string{key}})
			}
		}
		for _, change := range changes {
			if _, err := catalog.Commit(context.Background(), change); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

func everything(tb testing.TB, catalog tiers.Catalog) map[string][]byte {
	tb.Helper()
	all := map[string][]byte{}
	for q := (tiers.Query{Limit: 1000}); ; {
		page, err := catalog.List(context.Background(), q)
		if err != nil {
			tb.Fatal(err)
		}
		for _, record := range page {
			all[record.Key] = record.Value
			q.After = record.Key
		}
		if len(page) < q.Limit {
			return all
		}
	}
}

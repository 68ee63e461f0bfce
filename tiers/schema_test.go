package tiers_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
)

// forgetSelves makes the catalog one that an older version wrote: manifests do not refer to
// their own bytes.
func (w *world) forgetSelves() (forgotten int) {
	w.t.Helper()
	change := tiers.Change{Delete: []string{"schema"}}
	for _, r := range w.catalog.all(w.t, "store/") {
		if strings.Contains(r.Key, "/.manifest/") {
			change.Delete = append(change.Delete, r.Key)
		}
	}
	if _, err := w.catalog.Commit(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
	return len(change.Delete) - 1
}

// Of a catalog that an older version wrote nothing is condemned before its manifests refer
// to their bytes, those of tiers that are configured no more as well.
func TestCollectOlderCatalog(t *testing.T) {
	for name, only := range map[string]int{"all tiers": 3, "a tier is configured no more": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, oneStore)
			w.buckets["stable"], w.buckets["release"] = w.buckets["dev"], w.buckets["dev"]
			l := scatter(w)
			missing := w.forgetSelves()
			w.pass(lapsed)
			config := tiers.Config{Catalog: w.catalog, Log: slog.New(slog.DiscardHandler),
				Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }}
			for _, tier := range w.Tiers()[:only] {
				config.Tiers = append(config.Tiers, tiers.Tier{Name: tier.Name, From: tier.From, Push: tier.Push, Bucket: tier.Bucket})
			}
			r, err := tiers.New(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			dry, err := r.Collect(t.Context(), tiers.CollectOptions{DryRun: true}, nil)
			if err != nil || dry.Sweeps[tiers.SweepBlobs].Gone != 0 || len(dry.Problems) != 1 {
				t.Errorf("dry run: %+v, %v", dry, err)
			}
			for range 2 {
				if _, err := r.Collect(t.Context(), tiers.CollectOptions{}, nil); err != nil {
					t.Fatal(err)
				}
				w.pass(drained)
			}
			l.wantStay("collected")
			selves := 0
			for _, record := range w.catalog.all(t, "store/") {
				if strings.Contains(record.Key, "/.manifest/") {
					selves++
				}
			}
			if selves != missing {
				t.Errorf("%d manifests refer to themselves, want %d", selves, missing)
			}
		})
	}
}

// A catalog of a later version is not collected.
func TestCollectLaterCatalog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "schema", Value: []byte(`{"version":3}`)}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Collect(t.Context(), tiers.CollectOptions{}, nil); err == nil {
		t.Error("it was collected")
	}
}

package tiers_test

import (
	"fmt"
	"slices"
	"testing"

	"sluice.dev/sluice/tiers"
)

// Everything that is needed stays, everything else goes, in its time; and then collections
// are at rest, with nothing in the buckets that the catalog does not know.
func TestCollect(t *testing.T) {
	for name, edit := range map[string]func(*tiers.Config){"a bucket each": nil, "one bucket": oneStore} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, edit)
			if edit != nil {
				w.buckets["stable"], w.buckets["release"] = w.buckets["dev"], w.buckets["dev"]
			}
			l := scatter(w)
			before := w.objects("dev")
			// Only what a DELETE could not take with it.
			if c := w.collect(); len(gone(c)) != 1 || gone(c)[tiers.SweepReferences] != 1 {
				t.Errorf("what has just come goes: %v", gone(c))
			}
			l.wantLeft("fresh", true)
			w.pass(lapsed)
			c := w.collect()
			for sweep, s := range c.Sweeps {
				if s.Looked == 0 || s.Gone == 0 && sweep != tiers.SweepObjects {
					t.Errorf("%s: %+v", sweep, s)
				}
			}
			l.wantStay("condemned")
			l.wantLeft("condemned", false)
			if c := w.collect(); gone(c)[tiers.SweepObjects] != 0 {
				t.Error("objects go before they are drained")
			}
			w.pass(drained)
			w.collect()
			l.wantStay("collected")
			w.wantOnlyBlobs()
			if after := w.objects("dev"); len(after) >= len(before) {
				t.Errorf("%d objects, there were %d", len(after), len(before))
			}
			w.pass(lapsed)
			if c := w.collect(); len(gone(c)) != 0 {
				t.Errorf("at rest, and %v go", gone(c))
			}
			l.wantStay("at rest")
		})
	}
}

// A dry run changes nothing and tells what the next collection does.
func TestCollectDryRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	l := scatter(w)
	w.pass(lapsed)
	before := fmt.Sprint(w.catalog.all(t, ""))
	objects := w.objects("dev")
	dry, err := w.Collect(t.Context(), tiers.CollectOptions{DryRun: true}, nil)
	if err != nil || len(dry.Problems) > 0 {
		t.Fatal(err, dry.Problems)
	}
	if fmt.Sprint(w.catalog.all(t, "")) != before || !slices.Equal(w.objects("dev"), objects) {
		t.Error("something has changed")
	}
	total := int64(0)
	for _, s := range dry.Sweeps {
		total += s.Gone
	}
	if int64(len(dry.Items)) != total {
		t.Errorf("%d items, %d go", len(dry.Items), total)
	}
	for _, item := range dry.Items {
		if item.Why == "" || item.Sweep == "" {
			t.Errorf("%+v says too little", item)
		}
	}
	c := w.collect()
	for _, sweep := range []tiers.Sweep{tiers.SweepUploads, tiers.SweepIntents, tiers.SweepReferences, tiers.SweepStrays, tiers.SweepMultiparts} {
		if c.Sweeps[sweep].Gone != dry.Sweeps[sweep].Gone {
			t.Errorf("%s: %+v in the dry run, %+v then", sweep, dry.Sweeps[sweep], c.Sweeps[sweep])
		}
	}
	for _, sweep := range []tiers.Sweep{tiers.SweepLinks, tiers.SweepBlobs} { // what references of no manifest keep is not foreseen
		if dry.Sweeps[sweep].Gone > c.Sweeps[sweep].Gone || dry.Sweeps[sweep].Gone == 0 {
			t.Errorf("%s: %+v in the dry run, %+v then", sweep, dry.Sweeps[sweep], c.Sweeps[sweep])
		}
	}
	l.wantStay("collected")
}

// What goes no longer counts for the quotas of its repository, whichever they are.
func TestCollectQuotas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tiers.Config) {
		c.Tiers[0].Limits = quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: 1e6}, tiers.Quota{Prefix: "acme/app", Bytes: 1e6})
	})
	for i, name := range []string{"acme/app", "acme/web", "other"} {
		r := w.repo("dev", name)
		w.image(r, "v1", uint64(i))
		for j := range uint64(60) { // more than go in one transaction
			w.blob(r, bytesOf(1000+j, 10))
		}
	}
	before := used(t, w.Registry)
	w.pass(lapsed)
	if c := w.collect(); c.Sweeps[tiers.SweepLinks].Gone != 180 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepLinks])
	}
	w.pass(drained)
	w.collect()
	w.wantOnlyBlobs() // and that the counts are right
	if after := used(t, w.Registry); after == before {
		t.Errorf("used before and after: %s", after)
	}
}

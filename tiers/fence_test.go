package tiers_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Whoever has lost the right to bring something pins and stages no more of it.
func TestFence(t *testing.T) {
	w := newWorld(t, nil)
	a := w.artifact(1, "fenced")
	slices.Sort(a.all)
	a.all = slices.Compact(a.all)
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "owner", Value: []byte("first")}}}); err != nil {
		t.Fatal(err)
	}
	records, err := w.catalog.Get(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	fence := tiers.Unchanged(records[0])
	if err := w.Pin(t.Context(), w.dev.Tier, a.all, "fenced", true, fence); err != nil {
		t.Fatalf("pin while the fence holds: %v", err)
	}
	if err := w.Unpin(t.Context(), "fenced"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "owner", Value: []byte("second")}}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Pin(t.Context(), w.dev.Tier, a.all, "fenced", true, fence); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("pin behind the fence: got %v, want ErrConflict", err)
	}
	way := tiers.Bringing{From: w.dev.Tier, To: w.stable.Tier, Purpose: "test", Actor: "alice", Fence: []tiers.Condition{fence}}
	if err := w.BringAll(t.Context(), way, a.all, func(digest.Digest, tiers.Brought) { t.Error("brought behind the fence") }); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("bring behind the fence: got %v, want ErrConflict", err)
	}
	if _, err := w.Store(t.Context(), w.stable.Tier, digest.FromString("x"), []byte("x"), fence); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("store behind the fence: got %v, want ErrConflict", err)
	}
	w.audit(true)
	for _, d := range a.all {
		if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range a.nodes {
		if err := w.stable.Arrival("fenced", fence).Stage(t.Context(), n); !errors.Is(err, oci.ErrConflict) {
			t.Errorf("stage behind the fence: got %v, want ErrConflict", err)
		}
	}
	for _, prefix := range []string{"pinned/", "staged/", "tier/stable/"} {
		left, err := w.catalog.List(t.Context(), tiers.Query{Prefix: prefix, Limit: 10})
		if err != nil || len(left) > 0 {
			t.Errorf("behind the fence there are %v, %v", left, err)
		}
	}
}

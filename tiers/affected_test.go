package tiers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

// What a quarantine touches is found in all tiers, by references and upwards, and the search
// is bounded.
func TestAffected(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	a := w.artifact(1, "a")
	if err := errors.Join(w.stage("p1", a), w.commit("p1", a, "v1"), w.stable.Arrival("p1").Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := w.dev.Tag(ctx, a.root, "latest"); err != nil {
		t.Fatal(err)
	}
	w.image(w.dev, "beside", 7)
	staged := w.artifact(2, "b")
	if err := w.stage("p2", staged); err != nil { // not seen
		t.Fatal(err)
	}
	layer := a.nodes[0].Manifest.Layers[0]
	found, truncated, err := w.Affected(ctx, layer.Digest)
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%s/%s %v", f.Tier, f.Repository, f.Tags))
	}
	if want := []string{"dev/acme/app []", "dev/acme/app []", "dev/acme/app [latest]", "stable/acme/app []", "stable/acme/app []", "stable/acme/app [v1]"}; err != nil || truncated || !slices.Equal(sortedOf(got), want) {
		t.Errorf("found %q, %v, %v", got, truncated, err)
	}
	if found, _, err := w.Affected(ctx, staged.root.Digest); err != nil || len(found) != 1 || found[0].Tier != "dev" {
		t.Errorf("what is staged: %+v, %v", found, err)
	}
	if found, truncated, err := w.Affected(ctx, digest.FromString("nobody has it")); err != nil || truncated || len(found) != 0 {
		t.Errorf("found %+v, %v, %v", found, truncated, err)
	}
	prefix := "store/" + w.dev.Tier.Store() + "/ref/" + layer.Digest.String() + "/dev/acme/"
	for i := range 10 {
		var change tiers.Change
		for j := range 120 {
			change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("%sr%d@%s", prefix, i, digest.FromString(fmt.Sprint(i, j)))})
		}
		if _, err := w.catalog.Commit(ctx, change); err != nil {
			t.Fatal(err)
		}
	}
	if _, truncated, err := w.Affected(ctx, layer.Digest); err != nil || !truncated {
		t.Errorf("of very many: %v, %v", truncated, err)
	}
}

func sortedOf(all []string) []string {
	slices.Sort(all)
	return all
}

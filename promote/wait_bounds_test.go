package promote_test

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// Asking again for what waits already finds it, however many wait.
func TestWaitAskedAgainWhenFull(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	var first promote.Promotion
	for i := range 50 {
		p := a.wait(request("1.0", "stable", fmt.Sprint("tag", i)))
		if i == 0 {
			first = p
		}
	}
	again, created, err := a.engine.Promote(t.Context(), "manager", waiting(request("1.0", "stable", "tag0")))
	if err != nil || created || again.ID != first.ID {
		t.Errorf("asked again: %s %v, %v; want %s", again.ID, created, err, first.ID)
	}
}

// What waits in the repositories of some does not keep others from waiting.
func TestWaitFilledByOthers(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	for i := range 20 { // as many repositories as somebody likes to push to, 50 promotions of each
		var change tiers.Change
		for k := range 50 {
			change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("promotion-waiting/mallory/app%d@%d", i, k), Value: []byte("{}")})
		}
		_, err := a.registry.Catalog().Commit(t.Context(), change)
		a.must(err)
	}
	if p, _, err := a.engine.Promote(t.Context(), "manager", waiting(request("1.0", "stable"))); err != nil || p.State != promote.Pending {
		t.Errorf("got %s, %v; want it to wait", p.State, err)
	}
}

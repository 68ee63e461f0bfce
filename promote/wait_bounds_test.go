package promote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
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

// What waits in the repositories of one does not keep others from waiting.
func TestWaitFilledByOthers(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	fill := func(by string, repositories int) {
		for i := range repositories { // as many as somebody likes to push to
			var change tiers.Change
			for k := range 50 {
				change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("promotion-waiting/%s/app%d@%d", by, i, k), Value: fmt.Appendf(nil, `{"by":%q,"until":"2999-01-01T00:00:00Z"}`, by)})
			}
			_, err := a.registry.Catalog().Commit(t.Context(), change)
			a.must(err)
		}
	}
	ask := func(by, tag string) error {
		_, _, err := a.engine.Promote(t.Context(), by, waiting(request("1.0", "stable", tag)))
		return err
	}
	fill("mallory", 1)
	a.must(ask("mallory", "1.0")) // what waits by asking counts, 51
	fill("mallory", 2)
	if err := ask("mallory", "more"); !errors.Is(err, oci.ErrTooManyRequests) || !strings.Contains(err.Error(), "101 promotions of mallory wait") {
		t.Errorf("mallory asks for more: %v", err)
	}
	a.must(ask("manager", "mine"))
	for i := range 9 {
		fill(fmt.Sprint("another", i), 2)
	}
	if err := ask("manager", "more"); !errors.Is(err, oci.ErrTooManyRequests) || !strings.Contains(err.Error(), "1000 promotions of the registry wait") {
		t.Errorf("more than the registry keeps: %v", err)
	}
}

// What waits can be cancelled, and leaves nothing: approvals that come later do not move it.
func TestWaitCancelled(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	a.must(a.engine.Cancel(t.Context(), "operator", p.ID))
	p, err := a.engine.Promotion(t.Context(), p.ID)
	a.must(err)
	if p.State != promote.Failed || p.Error != "it waits no longer: operator cancelled it" || p.FinishedAt == nil || p.RequestedBy != "manager" {
		t.Errorf("got %+v", p)
	}
	a.without("promotion-waiting/", "")
	events := a.events("promotion.failed")
	if len(events) != 1 || events[0].Actor != "operator" || events[0].Cause != p.ID || events[0].Digest != image.Digest {
		t.Errorf("events %+v", events)
	}
	stop := a.running()
	a.approve("alice", image)
	if err := a.engine.Cancel(t.Context(), "operator", p.ID); !errors.Is(err, oci.ErrConflict) || !strings.Contains(err.Error(), "is Failed") {
		t.Errorf("cancelled again: %v", err)
	}
	for _, id := range []string{"unknown", "a/b", ""} {
		if err := a.engine.Cancel(t.Context(), "operator", id); !errors.Is(err, oci.ErrPromotionUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	stop()
	a.absent("stable", image.Digest, "1.0")
	if again := a.promoteOK(waiting(request("1.0", "stable"))); again.ID == p.ID {
		t.Error("asked again, the one that was cancelled is answered")
	}
	a.tidied()
	a.noTraces()
}

// One that is taken up while it is being cancelled is either cancelled or goes through.
func TestWaitCancelledMeanwhile(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	process, h := a.process(false)
	var cancelled error
	h.before("promotion-open/", func() { cancelled = a.engine.Cancel(t.Context(), "operator", p.ID) }) // it is about to be taken up
	a.approve("alice", image)
	stop := process.running()
	p = a.ends(p.ID, promote.Failed)
	stop()
	if cancelled != nil || !strings.Contains(p.Error, "operator cancelled it") {
		t.Errorf("%v, %s", cancelled, p.Error)
	}

	other := a.image("2.0", "two", nil)
	a.provenance(other)
	p = a.wait(request("2.0", "stable"))
	h.before("committed/", func() { cancelled = a.engine.Cancel(t.Context(), "operator", p.ID) })
	a.approve("alice", other)
	defer process.running()()
	p = a.ends(p.ID, promote.Succeeded)
	if !errors.Is(cancelled, oci.ErrConflict) || !strings.Contains(cancelled.Error(), "is being decided") {
		t.Errorf("cancelled while it moves: %v", cancelled)
	}
	a.tidied()
	a.without("promotion-waiting/", "")
	a.noTraces()
}

// What waits again because its basis does not come to rest has no verdict: it is Errored.
func TestWaitCancelledUndecided(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	process, h := a.process(false)
	pushes := a.pushes(image)
	h.set(func(_ context.Context, w write) error {
		switch {
		case w.puts("committed/"):
			pushes()
		case w.puts("promotion-waiting/"):
			if err := w.apply(); err != nil {
				return err
			}
			if again, err := a.engine.Promotion(t.Context(), p.ID); err != nil || again.Verdict != nil || again.WaitUntil == nil || again.Moved.Manifests > 0 {
				t.Errorf("it waits as %+v, %v", again, err)
			}
			return a.engine.Cancel(t.Context(), "operator", p.ID)
		}
		return w.apply()
	})
	a.approve("alice", image)
	pushes()
	stop := process.running()
	p = a.ends(p.ID, promote.Errored)
	stop()
	if p.Error != "it waits no longer: operator cancelled it" || p.Verdict != nil {
		t.Errorf("got %+v", p)
	}
	a.absent("stable", image.Digest, "1.0")
	a.tidied()
	a.noTraces()
}

package runs_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

// A replica that reaches the catalog no more stops its work by itself, before anybody else
// can have its place. Another finds the run interrupted and begins the next, and the first
// changes nothing of that when it is back.
func TestOwnerCutOff(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one, two := w.replica(job(g.work), nil), w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	one.line.set(true, nil)
	if cause := receive(t, g.ended); !strings.Contains(cause.Error(), "no sign of life") {
		t.Errorf("it stops because %v", cause)
	}
	if left := w.keys("running/"); len(left) != 1 {
		t.Errorf("when it stops its hold has passed already: %v", left)
	}
	var next runs.Run
	w.eventually("another may begin", func() bool {
		var err error
		if next, err = two.Start(t.Context(), runs.Collection, "bob", nil); err != nil && !isBusy(err, run.ID) {
			t.Fatal(err)
		}
		return err == nil
	})
	receive(t, g.begun)
	got, err := two.Get(t.Context(), runs.Collection, run.ID)
	if err != nil || got.State != runs.Interrupted || !strings.Contains(got.Error, "is gone") || got.FinishedAt == nil {
		t.Errorf("what was left is %s, %v", text(t, got), err)
	}
	one.line.set(false, nil)
	w.eventually("the first has let go", func() bool { return !one.Status()[0].Running })
	if again, err := two.Get(t.Context(), runs.Collection, run.ID); err != nil || text(t, again) != text(t, got) {
		t.Errorf("it came back and made of it %s, %v", text(t, again), err)
	}
	g.open <- struct{}{}
	w.end(one, next.ID, runs.Succeeded)
}

// A replica that is cut off for a moment keeps its run.
func TestOwnerComesBack(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one := w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	var mu sync.Mutex
	failed := 0
	one.line.set(false, func(tiers.Change) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if failed++; failed < 2 {
			return false, errCut
		}
		return true, nil
	})
	w.eventually("it was cut off", func() bool { mu.Lock(); defer mu.Unlock(); return failed > 2 })
	g.open <- struct{}{}
	w.end(one, run.ID, runs.Succeeded)
}

// An owner whose hold is another's ends its work, and writes nothing more of the run.
func TestHoldTaken(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one := w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	other := `{"run":"01OTHER","owner":"other"}`
	change := tiers.Change{Put: []tiers.Put{{Key: "running/collection", Value: []byte(other)}}}
	if _, err := w.config.Catalog.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	receive(t, g.ended)
	got := w.end(one, run.ID, runs.Interrupted)
	if got.CancelledBy != "" {
		t.Errorf("it is %s", text(t, got))
	}
	records, err := w.config.Catalog.Get(t.Context(), "running/collection")
	if err != nil || string(records[0].Value) != other {
		t.Errorf("of the other's hold it made %s, %v", records[0].Value, err)
	}
}

// Any one write of a run may be lost, or be applied and its answer be lost: the run ends as it
// would have, or says that it was not begun, and nothing is in the way of the next.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("write %d, applied %v", at, applied), func(t *testing.T) {
				w, g := newWorld(t), newGate()
				one, two := w.replica(job(g.work), nil), w.replica(job(g.work), nil)
				var mu sync.Mutex
				n := 0
				one.line.set(false, func(tiers.Change) (bool, error) {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == at {
						return applied, errCut
					}
					return true, nil
				})
				run, err := one.Start(t.Context(), runs.Collection, "alice", nil)
				if at == 1 {
					if !errors.Is(err, oci.ErrUnavailable) {
						t.Fatalf("the first write was lost, and the answer is %v", err)
					}
				} else {
					receive(t, g.begun)
					w.eventually("two renewals", func() bool { mu.Lock(); defer mu.Unlock(); return n >= 3 })
					g.open <- struct{}{}
					w.end(two, run.ID, runs.Succeeded)
				}
				mu.Lock()
				more = n >= at
				mu.Unlock()
				w.eventually("the next may begin", func() bool {
					_, err := two.Start(t.Context(), runs.Collection, "bob", nil)
					if err != nil && !isBusy(err, "") {
						t.Fatal(err)
					}
					return err == nil
				})
			})
			if at > 20 {
				t.Fatal("the writes never end")
			}
		}
	}
}

// A catalog that does not answer when the run ends is asked again.
func TestEndIsWrittenLater(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one := w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	one.line.set(true, nil)
	g.open <- struct{}{}
	w.eventually("it has ended, and its hold too", func() bool { return one.Status()[0].Ended[runs.Succeeded] == 1 && len(w.keys("running/")) == 0 })
	one.line.set(false, nil)
	if got := w.end(one, run.ID, runs.Succeeded); string(got.Result) != `{"done":"all"}` {
		t.Errorf("it is %s", text(t, got))
	}
}

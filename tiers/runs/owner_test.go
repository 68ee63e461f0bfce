package runs_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

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
	one, two := w.replica(job(g.work), expiring(2*time.Second)), w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	one.line.set(true, nil)
	if cause := receive(t, g.ended); !strings.Contains(cause.Error(), "no sign of life") {
		t.Errorf("it stops because %v", cause)
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

// Any write of a run may be lost, or be applied and its answer be lost: the run ends as it
// would have, or says that it was not begun, and nothing is in the way of the next.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	writes := map[string]func(c tiers.Change) bool{
		"begin":    func(c tiers.Change) bool { return touches(c, "began/") },
		"progress": func(c tiers.Change) bool { return touches(c, "run/") && len(c.Put) == 2 },
		"renewal":  func(c tiers.Change) bool { return len(c.Put) == 1 && touches(c, "running/") && len(c.Delete) == 0 },
		"end":      func(c tiers.Change) bool { return len(c.Delete) == 1 && touches(c, "run/") },
	}
	for name, is := range writes {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				w, g := newWorld(t), newGate()
				expire := 9 * time.Second
				if name == "begin" {
					expire = 2 * time.Second // of a hold that nobody keeps
				}
				one, two := w.replica(job(g.work), expiring(expire)), w.replica(job(g.work), nil)
				lost := make(chan struct{}, 1)
				one.line.set(false, func(c tiers.Change) (bool, error) {
					if !is(c) {
						return true, nil
					}
					select {
					case lost <- struct{}{}:
						return applied, errCut
					default: // it was once
						return true, nil
					}
				})
				run, err := one.Start(t.Context(), runs.Collection, "alice", nil)
				switch name {
				case "begin":
					if !errors.Is(err, oci.ErrUnavailable) {
						t.Fatalf("its begin was lost, and the answer is %v", err)
					}
				default:
					receive(t, g.begun)
					if name != "end" {
						w.eventually("a write is lost", func() bool { return len(lost) == 1 })
					}
					g.open <- struct{}{}
					w.end(two, run.ID, runs.Succeeded)
					if len(lost) != 1 {
						t.Error("no write was lost")
					}
				}
				w.eventually("the next may begin", func() bool {
					_, err := two.Start(t.Context(), runs.Collection, "bob", nil)
					if err != nil && !isBusy(err, "") {
						t.Fatal(err)
					}
					return err == nil
				})
			})
		}
	}
}

// A catalog that does not answer when the run ends is asked again.
func TestEndIsWrittenLater(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one := w.replica(job(g.work), expiring(2*time.Second))
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

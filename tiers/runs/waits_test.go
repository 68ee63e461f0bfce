package runs_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/tiers/runs"
)

// Where something waits the schedule begins a run, whatever the interval, and again after one
// that was cut off. What somebody cancelled does not come back, until something else waits.
func TestWaits(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	var since atomic.Pointer[time.Time]
	jobs := map[runs.Kind]runs.Job{runs.Redecision: {Work: g.work, Waits: func(context.Context) (time.Time, error) {
		if at := since.Load(); at != nil {
			return *at, nil
		}
		return time.Time{}, nil
	}}}
	r := w.replica(jobs, nil)
	begun := func(when string, want int) []runs.Run {
		t.Helper()
		if err := r.Begin(t.Context(), runs.Redecision); err != nil {
			t.Fatal(err)
		}
		page, _, err := r.List(t.Context(), runs.Redecision, "", 100)
		if err != nil || len(page) != want {
			t.Fatalf("%s: %d runs, %v; want %d", when, len(page), err, want)
		}
		return page
	}
	ended := func() {
		t.Helper()
		w.eventually("it has ended", func() bool {
			page, _, err := r.List(t.Context(), runs.Redecision, "", 1)
			return err == nil && page[0].State.Ended()
		})
	}
	begun("nothing waits", 0)
	now := time.Now()
	since.Store(&now)
	if run := begun("something waits", 1)[0]; run.Actor != runs.Scheduled {
		t.Errorf("it is of %s", run.Actor)
	}
	receive(t, g.begun)
	begun("one goes on", 1)
	g.open <- struct{}{}
	ended()
	run := begun("it waits still", 2)[0]
	receive(t, g.begun)
	if _, err := r.Cancel(t.Context(), runs.Redecision, "alice", run.ID); err != nil {
		t.Fatal(err)
	}
	ended()
	begun("it was cancelled", 2)
	later := time.Now().Add(time.Second)
	since.Store(&later)
	begun("something else waits", 3)
	receive(t, g.begun)
	g.open <- struct{}{}
	ended()
	since.Store(nil)
	begun("all is done", 3)
}

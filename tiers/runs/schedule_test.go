package runs_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

type options struct {
	DryRun bool `json:"dryRun"`
}

// follow runs the schedules of replicas until the test ends, or stop is called.
func (w *world) follow(replicas ...*replica) (stop func()) {
	ctx, cancel := context.WithCancel(w.Context())
	var all sync.WaitGroup
	for _, r := range replicas {
		all.Go(func() {
			if err := r.Run(ctx); err != nil {
				w.Error(err)
			}
		})
	}
	stop = func() { cancel(); all.Wait() }
	w.Cleanup(stop)
	return stop
}

// list lists all runs, the newest first.
func (w *world) list(r *replica) []runs.Run {
	w.Helper()
	page, next, err := r.List(w.Context(), runs.Collection, "", 1000)
	if err != nil || next != "" {
		w.Fatal(err, next)
	}
	return page
}

// However many replicas follow the same schedule, a run begins once, when the interval since
// the last is over, and never two together.
func TestSchedule(t *testing.T) {
	t.Parallel()
	const every = 300 * time.Millisecond
	w := newWorld(t)
	jobs := map[runs.Kind]runs.Job{runs.Collection: {Every: every, Options: options{}, Work: nil2}}
	replicas := []*replica{w.replica(jobs, nil), w.replica(jobs, nil), w.replica(jobs, nil)}
	stop := w.follow(replicas...)
	w.eventually("six runs", func() bool { return len(w.list(replicas[0])) >= 6 })
	stop()
	all := w.list(replicas[0])
	for i, run := range all {
		if run.Actor != runs.Scheduled || string(run.Options) != `{"dryRun":false}` {
			t.Errorf("the schedule began %s", text(t, run))
		}
		if i > 0 && all[i-1].StartedAt.Sub(run.StartedAt) < every {
			t.Errorf("two runs begin within %v", all[i-1].StartedAt.Sub(run.StartedAt))
		}
	}
	w.follow(replicas[1])
	w.eventually("it is known which was the last", func() bool {
		last := replicas[1].Status()[0].Last
		return last != nil && last.State == runs.Succeeded
	})
}

// A replica that finds a run due, and is overtaken by another that begins it and is done with
// it at once, does not begin a second.
func TestScheduleOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	jobs := map[runs.Kind]runs.Job{runs.Collection: {Every: time.Hour, Options: options{}, Work: nil2}}
	slow, quick := w.replica(jobs, nil), w.replica(jobs, nil)
	slow.line.set(false, func(c tiers.Change) (bool, error) {
		if touches(c, "began/") {
			if err := quick.Begin(t.Context(), runs.Collection); err != nil {
				t.Error(err)
			}
			w.eventually("the other is done", func() bool { return len(w.keys("running/")) == 0 })
		}
		return true, nil
	})
	if err := slow.Begin(t.Context(), runs.Collection); err != nil {
		t.Error(err)
	}
	if all := w.list(slow); len(all) != 1 {
		t.Errorf("there are %d runs", len(all))
	}
}

// A dry run neither counts for the schedule nor as the last that succeeded; a run by hand
// counts like one of the schedule.
func TestWhatCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	past := w.replica(job(nil2), nil)
	w.end(past, w.start(past, options{}).ID, runs.Succeeded) // an hour ago
	w.config.Now = nil
	jobs := map[runs.Kind]runs.Job{runs.Collection: {Every: 30 * time.Minute, Options: options{}, Work: nil2}}
	r := w.replica(jobs, nil)
	dry := w.start(r, options{DryRun: true})
	w.end(r, dry.ID, runs.Succeeded)
	if due, last := r.Look(t.Context(), runs.Collection); !due || last == nil || last.ID == dry.ID {
		t.Errorf("after a dry run it is due: %v, the last is %v", due, last)
	}
	real := w.start(r, options{})
	w.end(r, real.ID, runs.Succeeded)
	if due, last := r.Look(t.Context(), runs.Collection); due || last == nil || last.ID != real.ID {
		t.Errorf("after one by hand it is due: %v, the last is %v", due, last)
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	run := func(state runs.State, began, ended time.Duration, cancelled string) runs.Run {
		r := runs.Run{State: state, StartedAt: *ago(began), FinishedAt: ago(ended), CancelledBy: cancelled}
		if state == runs.Running {
			r.FinishedAt = nil
		}
		return r
	}
	for name, tt := range map[string]struct {
		past []runs.Run
		due  bool
	}{
		"none yet":                   {nil, true},
		"long ago":                   {[]runs.Run{run(runs.Succeeded, 25*time.Hour, 24*time.Hour, "")}, true},
		"counted from its begin":     {[]runs.Run{run(runs.Succeeded, 24*time.Hour, 2*time.Hour, "")}, true},
		"a while ago":                {[]runs.Run{run(runs.Succeeded, 23*time.Hour, 22*time.Hour, "")}, false},
		"the newest counts":          {[]runs.Run{run(runs.Succeeded, time.Hour, time.Hour, ""), run(runs.Succeeded, 48*time.Hour, 48*time.Hour, "")}, false},
		"failed just now":            {[]runs.Run{run(runs.Failed, 30*time.Hour, 10*time.Minute, "")}, false},
		"failed, and it is time":     {[]runs.Run{run(runs.Failed, 2*time.Hour, time.Hour, "")}, true},
		"cut off just now":           {[]runs.Run{run(runs.Interrupted, 30*time.Hour, 10*time.Minute, "")}, false},
		"cut off, and it is time":    {[]runs.Run{run(runs.Interrupted, 2*time.Hour, time.Hour, "")}, true},
		"cancelled":                  {[]runs.Run{run(runs.Interrupted, 2*time.Hour, time.Hour, "bob")}, false},
		"cancelled, and it is time":  {[]runs.Run{run(runs.Interrupted, 24*time.Hour, 23*time.Hour, "bob")}, true},
		"of a clock that goes ahead": {[]runs.Run{run(runs.Succeeded, -time.Hour, -time.Hour, "")}, false},
		"running":                    {[]runs.Run{run(runs.Running, 30*time.Hour, 0, "")}, false},
	} {
		if got := runs.Due(tt.past, 24*time.Hour, now); got != tt.due {
			t.Errorf("%s: due: %v", name, got)
		}
	}
}

// Where no other replica uses the catalog, what a former process left is marked at once.
func TestAlone(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	former := w.replica(job(g.work), expiring(time.Hour))
	run := w.start(former, nil)
	receive(t, g.begun)
	former.line.set(true, nil) // as if it were gone
	w.config.Catalog = &line{Catalog: w.config.Catalog}
	now := w.replica(job(nil2), func(c *runs.Config) { c.Alone, c.Expire = true, time.Hour })
	w.follow(now)
	w.eventually("the next may begin", func() bool {
		_, err := now.Start(t.Context(), runs.Collection, "alice", nil)
		if err != nil && !isBusy(err, run.ID) {
			t.Fatal(err)
		}
		return err == nil
	})
	w.end(now, run.ID, runs.Interrupted)
}

// What a replica has carried out is counted by how it ended.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var failure error
	work := func(context.Context, runs.Run, func(any)) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		return counted{Freed: 7}, failure
	}
	r, other := w.replica(job(work), nil), w.replica(job(work), nil)
	w.end(r, w.start(r, nil).ID, runs.Succeeded)
	w.end(r, w.start(r, nil).ID, runs.Succeeded)
	mu.Lock()
	failure = errors.New("no")
	mu.Unlock()
	w.end(r, w.start(r, nil).ID, runs.Failed)
	got := r.Status()[0]
	if got.Ended[runs.Succeeded] != 2 || got.Ended[runs.Failed] != 1 || got.Totals["freed"] != 21 || got.Running {
		t.Errorf("it has carried out %+v", got)
	}
	if got := other.Status()[0]; len(got.Ended) != 0 || got.Last != nil {
		t.Errorf("the other has carried out %+v", got)
	}
	if _, last := other.Look(t.Context(), runs.Collection); last == nil || last.State != runs.Succeeded || last.Figures["freed"] != 7 {
		t.Errorf("the other knows of %+v", last)
	}
}

// A job without an interval does not begin by itself.
func TestNothingScheduled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.replica(job(nil2), nil)
	if due, _ := r.Look(t.Context(), runs.Collection); due {
		t.Error("a job without an interval is due")
	}
}

package runs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

// counted is a result with figures.
type counted struct {
	Freed int64    `json:"freed"`
	Names []string `json:"names,omitempty"`
}

func (c counted) Figures() map[string]int64 { return map[string]int64{"freed": c.Freed} }

// A run ends as its work does, and its record says how.
func TestEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		work    runs.Work
		state   runs.State
		result  string
		failure string
	}{
		"done":    {func(context.Context, runs.Run, func(any)) (any, error) { return counted{Freed: 7}, nil }, runs.Succeeded, `{"freed":7}`, ""},
		"nothing": {func(context.Context, runs.Run, func(any)) (any, error) { return nil, nil }, runs.Succeeded, "", ""},
		"failed": {func(context.Context, runs.Run, func(any)) (any, error) {
			return counted{Freed: 7}, fmt.Errorf("page 3: %w", oci.ErrUnavailable)
		}, runs.Failed, `{"freed":7}`, "page 3: store unavailable"},
		"panic": {func(context.Context, runs.Run, func(any)) (any, error) {
			var none []int
			return none[3], nil
		}, runs.Failed, "", "an internal error"},
		"no result": {func(context.Context, runs.Run, func(any)) (any, error) { return func() {}, nil }, runs.Failed, "", "its result cannot be kept"},
		"talks much": {func(context.Context, runs.Run, func(any)) (any, error) {
			return nil, errors.New(strings.Repeat("ü", 10_000))
		}, runs.Failed, "", "ü …"},
	} {
		r := w.replica(job(tt.work), nil)
		run := w.start(r, map[string]bool{"dryRun": true})
		if run.State != runs.Running || run.Actor != "alice" || string(run.Options) != `{"dryRun":true}` || run.Kind != runs.Collection {
			t.Errorf("%s: it begins as %+v", name, run)
		}
		got := w.end(r, run.ID, tt.state)
		if string(got.Result) != tt.result || !strings.Contains(got.Error, tt.failure) || (got.Error == "") != (tt.failure == "") || got.Progress != nil {
			t.Errorf("%s: it ends as %s", name, text(t, got))
		}
		if len(got.Error) > 5000 {
			t.Errorf("%s: %d bytes of error", name, len(got.Error))
		}
		if tt.result != "" && got.Figures["freed"] != 7 {
			t.Errorf("%s: figures are %v", name, got.Figures)
		}
		if left := w.keys("running/"); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

// However many ask on however many replicas, one run of a kind goes on, and the others are
// told which; a run of another kind goes on beside it.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	jobs := map[runs.Kind]runs.Job{runs.Collection: {Work: g.work}, runs.Check: {Work: g.work}}
	replicas := []*replica{w.replica(jobs, nil), w.replica(jobs, nil)}
	for round := range 5 {
		var mu sync.Mutex
		var begun []runs.Run
		var refused []error
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				run, err := replicas[i%2].Start(t.Context(), runs.Collection, fmt.Sprint("user", i), nil)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused = append(refused, err)
					return
				}
				begun = append(begun, run)
			})
		}
		all.Wait()
		if len(begun) != 1 {
			t.Fatalf("round %d: %d began", round, len(begun))
		}
		for _, err := range refused {
			if !isBusy(err, begun[0].ID) || !strings.Contains(err.Error(), begun[0].ID+" of "+begun[0].Actor) {
				t.Errorf("round %d: refused with %v", round, err)
			}
		}
		receive(t, g.begun)
		check, err := replicas[1].Start(t.Context(), runs.Check, "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, g.begun)
		g.open <- struct{}{}
		g.open <- struct{}{}
		w.end(replicas[0], begun[0].ID, runs.Succeeded)
		if run, err := replicas[0].Wait(t.Context(), runs.Check, check.ID); err != nil || run.State != runs.Succeeded {
			t.Errorf("the check is %+v, %v", run, err)
		}
	}
}

// Whoever does not wait any more leaves the run going on.
func TestOutlivesWhoAsked(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	r := w.replica(job(g.work), nil)
	ctx, cancel := context.WithCancel(t.Context())
	run, err := r.Start(ctx, runs.Collection, "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, g.begun)
	cancel()
	if run, err := r.Wait(ctx, runs.Collection, run.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %+v, %v", run, err)
	}
	g.open <- struct{}{}
	w.end(r, run.ID, runs.Succeeded)
}

// A run is cancelled on the replica that carries it out or on any other. It says who did it
// and what it had come to.
func TestCancel(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one, two := w.replica(job(g.work), nil), w.replica(job(g.work), nil)
	for _, by := range []*replica{one, two} {
		run := w.start(one, nil)
		receive(t, g.begun)
		told, err := by.Cancel(t.Context(), runs.Collection, "bob", run.ID)
		if err != nil || told.CancelledBy != "bob" {
			t.Errorf("told: %+v, %v", told, err)
		}
		receive(t, g.ended)
		got := w.end(two, run.ID, runs.Interrupted)
		if got.CancelledBy != "bob" || got.Error != "bob cancelled it" || string(got.Result) != `{"done":"half"}` {
			t.Errorf("it ends as %s", text(t, got))
		}
		if _, err := by.Cancel(t.Context(), runs.Collection, "bob", run.ID); !errors.Is(err, oci.ErrConflict) || !strings.Contains(err.Error(), "is Interrupted") {
			t.Errorf("cancelled again: %v", err)
		}
	}
	if _, err := one.Cancel(t.Context(), runs.Collection, "bob", "none"); !errors.Is(err, oci.ErrRunUnknown) {
		t.Errorf("one that there is not: %v", err)
	}
}

// One that is slow to stop shows that it was told to, and keeps its hold: others do not begin,
// and who cancels it again changes nothing.
func TestCancelOfAStubborn(t *testing.T) {
	t.Parallel()
	told, open := make(chan struct{}), make(chan struct{})
	w := newWorld(t)
	work := func(ctx context.Context, _ runs.Run, _ func(any)) (any, error) {
		<-ctx.Done()
		close(told)
		select {
		case <-open:
		case <-t.Context().Done(): // the test has failed
		}
		return nil, ctx.Err()
	}
	one, two := w.replica(job(work), nil), w.replica(job(work), nil)
	run := w.start(one, nil)
	if _, err := two.Cancel(t.Context(), runs.Collection, "bob", run.ID); err != nil {
		t.Fatal(err)
	}
	receive(t, told)
	var renewals atomic.Int64
	one.line.set(false, func(c tiers.Change) (bool, error) {
		if touches(c, "running/") {
			renewals.Add(1)
		}
		return true, nil
	})
	w.eventually("it keeps its hold", func() bool { return renewals.Load() >= 2 })
	got, err := two.Get(t.Context(), runs.Collection, run.ID)
	if err != nil || got.State != runs.Running || got.CancelledBy != "bob" {
		t.Errorf("it is %+v, %v", got, err)
	}
	if _, err := two.Start(t.Context(), runs.Collection, "carol", nil); !isBusy(err, run.ID) {
		t.Errorf("beside it: %v", err)
	}
	if got, err := two.Cancel(t.Context(), runs.Collection, "carol", run.ID); err != nil || got.CancelledBy != "bob" {
		t.Errorf("cancelled again: %+v, %v", got, err)
	}
	close(open)
	w.end(two, run.ID, runs.Interrupted)
}

// A replica that stops says so in the runs that it leaves.
func TestClose(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	one, two := w.replica(job(g.work), nil), w.replica(job(g.work), nil)
	run := w.start(one, nil)
	receive(t, g.begun)
	one.Close()
	got, err := two.Get(t.Context(), runs.Collection, run.ID) // at once
	if err != nil || got.State != runs.Interrupted || !strings.Contains(got.Error, "stopped") || string(got.Result) != `{"done":"half"}` {
		t.Errorf("it is %s, %v", text(t, got), err)
	}
	if _, err := one.Start(t.Context(), runs.Collection, "alice", nil); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("a runner that is closed: %v", err)
	}
	w.start(two, nil)
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.replica(job(newGate().work), nil)
	if _, err := r.Start(t.Context(), runs.Check, "alice", nil); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("a kind without a job: %v", err)
	}
	if _, err := r.Start(t.Context(), runs.Collection, "alice", strings.Repeat("x", 100_000)); !errors.Is(err, oci.ErrRequestInvalid) {
		t.Errorf("large options: %v", err)
	}
	for _, id := range []string{"", "none", "a/b", "../collection/x"} {
		if _, err := r.Get(t.Context(), runs.Collection, id); !errors.Is(err, oci.ErrRunUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := runs.New(runs.Config{}); err == nil {
		t.Error("nothing is enough")
	}
	registry := stores.Registry(t, nil)
	for name, j := range map[string]runs.Job{"no work": {}, "a negative interval": {Work: nil2, Every: -1}} {
		if _, err := runs.New(runs.Config{Registry: registry, Log: slog.New(slog.DiscardHandler), Jobs: map[runs.Kind]runs.Job{runs.Check: j}}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Runs are listed the newest first, page by page, without what may be large; of all that
// there were a hundred are kept.
func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	large := counted{Freed: 1, Names: []string{strings.Repeat("x", 10_000)}}
	r := w.replica(job(func(context.Context, runs.Run, func(any)) (any, error) { return large, nil }), nil)
	var ids []string
	for range 105 {
		run := w.start(r, nil)
		w.end(r, run.ID, runs.Succeeded)
		ids = append(ids, run.ID)
	}
	w.eventually("a hundred are kept", func() bool { return len(w.keys("run/collection/")) == 100 })
	slices.Reverse(ids)
	other := w.replica(job(nil2), nil)
	for _, by := range []*replica{r, other} {
		var got []string
		for last, pages := "", 0; ; pages++ {
			page, next, err := by.List(t.Context(), runs.Collection, last, 30)
			if err != nil || len(page) > 30 || pages > 10 {
				t.Fatalf("%d, %v", len(page), err)
			}
			for _, run := range page {
				if run.Result != nil || run.Figures["freed"] != 1 {
					t.Fatalf("it lists %s", text(t, run))
				}
				got = append(got, run.ID)
			}
			if last = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, ids[:100]) {
			t.Errorf("it lists %d: %v", len(got), got)
		}
	}
	if got, err := other.Get(t.Context(), runs.Collection, ids[99]); err != nil || string(got.Result) != text(t, large) {
		t.Errorf("the oldest is %v, %v", got.ID, err)
	}
	if _, err := other.Get(t.Context(), runs.Collection, ids[100]); !errors.Is(err, oci.ErrRunUnknown) {
		t.Errorf("the one before: %v", err)
	}
}

func nil2(context.Context, runs.Run, func(any)) (any, error) { return nil, nil }

// Progress is seen everywhere, and costs no more than a write a second however often a job
// tells of it. Lists in it are cut short.
func TestProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := make(chan struct{})
	var told int64
	work := func(ctx context.Context, _ runs.Run, progress func(any)) (any, error) {
		names := make([]string, 50_000)
		for {
			told++
			progress(map[string]any{"looked": told, "names": names})
			select {
			case <-stop:
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			default:
			}
		}
	}
	patient := expiring(time.Minute) // the job leaves little time for anything else
	one, two := w.replica(job(work), patient), w.replica(job(work), patient)
	var mu sync.Mutex
	writes := 0
	one.line.set(false, func(c tiers.Change) (bool, error) {
		if touches(c, "run/") {
			mu.Lock()
			defer mu.Unlock()
			writes++
		}
		return true, nil
	})
	began := time.Now()
	run := w.start(one, nil)
	seen := map[string]bool{}
	w.eventually("six states of it", func() bool {
		got, err := two.Get(t.Context(), runs.Collection, run.ID)
		if err != nil || got.State != runs.Running || len(got.Progress) > 16<<10 {
			t.Fatalf("it is %.1000s, %v", text(t, got), err)
		}
		if got.Progress != nil {
			seen[string(got.Progress)] = true
		}
		return len(seen) >= 6
	})
	close(stop)
	w.end(two, run.ID, runs.Succeeded)
	most := int(time.Since(began)/time.Second) + 3 // its begin, its end, and one under way
	mu.Lock()
	defer mu.Unlock()
	if writes > most || writes < 4 {
		t.Errorf("%d writes of the record in %v", writes, time.Since(began))
	}
	t.Logf("told %d times, written %d times", told, writes)
}

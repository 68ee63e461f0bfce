package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	lookInterval = 15 * time.Second // between two looks at what is due, about
	shortestLook = 50 * time.Millisecond
	grace        = 5 * time.Minute // after the start of a replica the schedule begins nothing
	// retries is the part of an interval after which the schedule tries again what did not
	// succeed: soon enough to make it good, not so soon that what ends a server ends all.
	retries = 24
	// failedPause is how long what waits is left alone by the schedule after a run that failed.
	failedPause = 2 * time.Minute
)

// Run looks after the runs of all replicas until ctx ends: it begins those that are due, marks
// those whose owner is gone, and learns what Status tells. Of replicas that find the same run
// due one begins it.
func (r *Runner) Run(ctx context.Context) error {
	since, alone := time.Now(), r.alone
	for {
		if alone {
			if err := r.letGo(ctx); err == nil {
				alone = false
			} else if ctx.Err() == nil {
				r.log.WarnContext(ctx, "runs that were cut off could not be looked at", "error", err)
			}
		}
		for kind, job := range r.jobs {
			settled := time.Since(since) >= min(grace, job.Every)
			if err := r.look(ctx, kind, job, settled); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "runs could not be looked at", "kind", kind, "error", err)
			}
		}
		select {
		case <-time.After(r.pause()):
		case <-ctx.Done():
			return nil
		}
	}
}

// pause is how long until the next look: half to one and a half of the interval, so that
// replicas do not look together.
func (r *Runner) pause() time.Duration {
	interval := lookInterval
	for _, job := range r.jobs {
		if job.Every > 0 {
			interval = max(shortestLook, min(interval, job.Every/8))
		}
	}
	return interval/2 + rand.N(interval)
}

// letGo takes away the holds of former processes.
func (r *Runner) letGo(ctx context.Context) error {
	for kind := range r.jobs {
		record, h, err := r.readHold(ctx, kind)
		if err != nil {
			return err
		}
		if record.Revision == 0 || h.Owner == r.owner {
			continue
		}
		_, err = r.catalog.Commit(ctx, tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)}, Delete: []string{record.Key}})
		if err != nil {
			return err
		}
	}
	return nil
}

// look learns how the runs of a kind stand, and where mayBegin begins one that is due.
func (r *Runner) look(ctx context.Context, kind Kind, job Job, mayBegin bool) error {
	began, err := r.catalog.Get(ctx, beganKey(kind)) // before the history: what it says is at least as new
	if err != nil {
		return err
	}
	past, err := r.history(ctx, kind)
	if err != nil {
		return err
	}
	counting, err := job.counting(past)
	if err != nil {
		return err
	}
	r.remember(kind, counting)
	if !mayBegin || busy(past) {
		return nil
	}
	wanted := job.Every > 0 && due(counting, job.Every, r.registry.Now())
	if !wanted {
		if wanted, err = job.waits(ctx, past, r.registry.Now()); err != nil || !wanted {
			return err
		}
	}
	_, err = r.start(ctx, kind, Scheduled, job.Options, &began[0])
	if errors.Is(err, oci.ErrConflict) {
		return nil // another was faster
	}
	return err
}

// waits says whether there is something to do that nobody has cancelled, and that did not fail
// a moment ago.
func (j Job) waits(ctx context.Context, past []Run, now time.Time) (bool, error) {
	if j.Waits == nil {
		return false, nil
	}
	since, err := j.Waits(ctx)
	if err != nil || since.IsZero() {
		return false, err
	}
	if len(past) == 0 || since.After(past[0].StartedAt) {
		return true, nil
	}
	last := past[0]
	failing := last.State == Failed && last.FinishedAt != nil && now.Sub(*last.FinishedAt) < failedPause
	return last.CancelledBy == "" && !failing, nil
}

// counting are the runs that count for the schedule.
func (j Job) counting(past []Run) ([]Run, error) {
	if j.Options == nil {
		return past, nil
	}
	options, err := json.Marshal(j.Options)
	if err != nil {
		return nil, err
	}
	var counting []Run
	for _, run := range past {
		if bytes.Equal(run.Options, options) {
			counting = append(counting, run)
		}
	}
	return counting, nil
}

func busy(past []Run) bool {
	for _, run := range past {
		if !run.State.Ended() {
			return true
		}
	}
	return false
}

// due says whether a run should begin, by those that there were, the newest first. One that
// somebody cancelled counts like one that succeeded: it is not to come back at once.
func due(past []Run, every time.Duration, now time.Time) bool {
	if len(past) == 0 {
		return true
	}
	last := past[0]
	if last.State == Succeeded || last.CancelledBy != "" {
		return now.Sub(last.StartedAt) >= every
	}
	return last.FinishedAt != nil && now.Sub(*last.FinishedAt) >= every/retries
}

// Status is what this replica knows of the runs of a kind, without asking the catalog.
type Status struct {
	Kind    Kind
	Running bool             // this replica carries one out
	Ended   map[State]int    // runs that this replica has carried out
	Totals  map[string]int64 // their figures, added up
	// Last is the newest that counts for the schedule and succeeded, on whatever replica, as
	// of the last look; nil where none is known.
	Last *Run
}

// Status says how the runs stand, in no order.
func (r *Runner) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Status, 0, len(r.known))
	for _, known := range r.known {
		s := Status{Kind: known.Kind, Ended: map[State]int{}, Totals: map[string]int64{}, Last: known.Last}
		for state, n := range known.Ended {
			s.Ended[state] = n
		}
		for name, n := range known.Totals {
			s.Totals[name] = n
		}
		for _, o := range r.owned {
			s.Running = s.Running || o.run.Kind == s.Kind
		}
		all = append(all, s)
	}
	return all
}

// ended counts a run that this replica has carried out.
func (r *Runner) ended(run Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[run.Kind]
	known.Ended[run.State]++
	for name, n := range run.Figures {
		known.Totals[name] += n
	}
}

// remember keeps the newest run that succeeded.
func (r *Runner) remember(kind Kind, counting []Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range counting {
		if counting[i].State == Succeeded {
			r.known[kind].Last = &counting[i]
			return
		}
	}
}

package runs

import (
	"context"
	"time"
)

// Bounded and Due are what a record holds and when a run should begin.
var (
	Bounded = bounded
	Due     = func(past []Run, every time.Duration, now time.Time) bool { return due(past, every, now) }
)

// Look learns how the runs of a kind stand without beginning one, and says whether one is due
// and which was the last that succeeded.
func (r *Runner) Look(ctx context.Context, kind Kind) (bool, *Run) {
	job := r.jobs[kind]
	if err := r.look(ctx, kind, job, false); err != nil {
		return false, nil
	}
	past, err := r.history(ctx, kind)
	if err != nil {
		return false, nil
	}
	counting, err := job.counting(past)
	if err != nil {
		return false, nil
	}
	last := r.Status()[0].Last
	return job.Every > 0 && due(counting, job.Every, r.registry.Now()), last
}

// Begin begins a run that is due, as the schedule does.
func (r *Runner) Begin(ctx context.Context, kind Kind) error {
	return r.look(ctx, kind, r.jobs[kind], true)
}

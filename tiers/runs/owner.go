package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	progressInterval = time.Second            // between two writes of progress, unless holds are very short
	renderInterval   = 250 * time.Millisecond // the same, between two times that progress is rendered
)

// errLost says that the hold of a run may be another's.
var errLost = errors.New("this server gave no sign of life for too long, and another may have taken its place")

// errStopped says that the replica that carries out a run stops.
var errStopped = errors.New("the server that carried it out stopped")

// cancelledError says that somebody cancelled a run.
type cancelledError struct{ by string }

func (e *cancelledError) Error() string { return e.by + " cancelled it" }

// owned is a run that this replica carries out.
type owned struct {
	runner *Runner
	job    Job
	run    Run
	done   chan struct{} // closed when the run has ended, as far as this replica is concerned
	poked  chan struct{} // there is something to be read in the hold

	// What the keeper of the hold alone uses.
	hold      hold
	revision  int64     // of the hold
	confirmed time.Time // when what was last renewed was sent: until Expire later nobody else has the hold

	mu       sync.Mutex
	rendered time.Time
	progress json.RawMessage
	changed  bool // progress was not written yet
}

func (o *owned) poke() {
	select {
	case o.poked <- struct{}{}:
	default:
	}
}

// carryOut does the work of a run, keeps its hold meanwhile, and writes its end.
func (o *owned) carryOut() {
	r := o.runner
	defer r.work.Done()
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	stop, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		o.keep(stop, cancel)
	}()
	r.log.InfoContext(ctx, "run begins", "kind", o.run.Kind, "id", o.run.ID, "actor", o.run.Actor)
	result, err := o.do(ctx)
	close(stop)
	<-kept
	o.conclude(result, err, context.Cause(ctx))
	r.ended(o.run)
	if o.run.State == Succeeded {
		r.log.InfoContext(ctx, "run ended", "kind", o.run.Kind, "id", o.run.ID, "state", o.run.State)
	} else {
		r.log.WarnContext(ctx, "run ended", "kind", o.run.Kind, "id", o.run.ID, "state", o.run.State, "error", o.run.Error)
	}
	if err := o.finish(); err != nil {
		r.log.WarnContext(ctx, "the end of a run is not on record", "kind", o.run.Kind, "id", o.run.ID, "error", err)
	}
	r.mu.Lock()
	delete(r.owned, o.run.ID)
	r.mu.Unlock()
	close(o.done)
}

// do turns a panic into an error: a fault in a job must not end the server.
func (o *owned) do(ctx context.Context) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			o.runner.log.ErrorContext(ctx, "panic in a run", "kind", o.run.Kind, "id", o.run.ID, "panic", v, "stack", string(debug.Stack()))
			err = errors.New("an internal error: the server's log says more")
		}
	}()
	return o.job.Work(ctx, o.run, o.show)
}

// show takes progress. It renders it here, because the job goes on changing what it gave.
func (o *owned) show(v any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Sub(o.rendered) < renderInterval {
		return
	}
	data, _, err := bounded(v, maxProgress)
	if err != nil {
		return // of no use to anybody, and no reason to stop
	}
	o.rendered, o.progress, o.changed = now, data, true
}

// keep renews the hold and writes progress until stop. Where the hold is lost, or somebody
// wants the run to end, it cancels the work.
func (o *owned) keep(stop chan struct{}, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(min(progressInterval, o.runner.expire/4))
	defer ticker.Stop()
	for {
		poked := false
		select {
		case <-stop:
			return
		case <-o.poked:
			poked = true
		case <-ticker.C:
		}
		if !poked && !o.due() {
			continue
		}
		var cancelled *cancelledError
		switch err := o.renew(); {
		case errors.As(err, &cancelled):
			cancel(err) // and the hold is kept until the work has ended
		case errors.Is(err, errLost):
			cancel(err)
			return
		case err != nil:
			o.runner.log.Warn("a run could not be kept", "kind", o.run.Kind, "id", o.run.ID, "error", err)
		}
	}
}

// due says whether there is something to write. Every write renews the hold.
func (o *owned) due() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.confirmed) >= o.runner.expire/3 || o.changed
}

// renew renews the hold, together with new progress. The error is errLost where the hold
// passed to another, or may have: nobody has confirmed it for as long as it lasts.
func (o *owned) renew() error {
	r := o.runner
	ctx, cancel := context.WithDeadline(context.Background(), o.confirmed.Add(r.expire))
	defer cancel()
	began := time.Now()
	change := tiers.Change{
		If:  []tiers.Condition{{Key: holdKey(o.run.Kind), Revision: o.revision}},
		Put: []tiers.Put{{Key: holdKey(o.run.Kind), Value: tiers.Encode(o.hold), Expire: r.expire}},
	}
	progress, changed := o.news()
	if changed {
		o.run.Progress = progress
		change.Put = append(change.Put, tiers.Put{Key: runKey(o.run.Kind, o.run.ID), Value: tiers.Encode(o.run)})
	}
	revision, err := r.catalog.Commit(ctx, change)
	switch {
	case err == nil:
		o.revision, o.confirmed = revision, began
		if changed {
			o.told(progress)
		}
		return nil
	case errors.Is(err, oci.ErrConflict):
		return o.reread(ctx)
	case ctx.Err() != nil:
		return errLost
	}
	return err
}

// news is progress that was not written yet.
func (o *owned) news() (json.RawMessage, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.progress, o.changed
}

// told says that progress was written; what has come meanwhile was not.
func (o *owned) told(progress json.RawMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed = !bytes.Equal(progress, o.progress)
}

// reread looks at a hold that is another than was expected: a write of its owner whose answer
// was lost, the wish of somebody that the run end, or that of another run.
func (o *owned) reread(ctx context.Context) error {
	record, h, err := o.runner.readHold(ctx, o.run.Kind)
	switch {
	case err != nil && ctx.Err() != nil:
		return errLost
	case err != nil:
		return err
	case h.Run != o.run.ID || h.Owner != o.hold.Owner:
		return errLost
	}
	o.revision, o.hold = record.Revision, h
	if h.CancelledBy != "" {
		return &cancelledError{h.CancelledBy}
	}
	return nil
}

// conclude says how the run ended. cause is why its context ended, if it did.
func (o *owned) conclude(result any, err, cause error) {
	run, now := &o.run, o.runner.registry.Now()
	run.State, run.FinishedAt, run.Progress = Succeeded, &now, nil
	if err != nil {
		run.State, run.Error = Failed, err.Error()
	}
	var cancelled *cancelledError
	switch {
	case err == nil || cause == nil:
	case errors.As(cause, &cancelled):
		run.State, run.Error, run.CancelledBy = Interrupted, cause.Error(), cancelled.by
	case errors.Is(cause, errLost):
		run.State, run.Error = Interrupted, cause.Error()
	default: // the runner is closed
		run.State, run.Error = Interrupted, errStopped.Error()
	}
	data, omitted, err := bounded(result, maxResult)
	if err != nil {
		run.State, run.Error = Failed, fmt.Sprintf("its result cannot be kept: %v; %s", err, run.Error)
	}
	run.Result, run.Omitted, run.Error = data, omitted, boundedText(run.Error, maxError)
	if figured, ok := result.(Figured); ok {
		run.Figures = figured.Figures()
	}
}

// finish writes the end of the run and lets go of the hold. A catalog that does not answer is
// asked again for a while; after that the run is found by others, without its end.
func (o *owned) finish() error {
	r := o.runner
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	defer context.AfterFunc(r.ctx, func() {
		select {
		case <-time.After(closeTimeout):
			cancel()
		case <-ctx.Done():
		}
	})()
	pause := 50 * time.Millisecond
	for {
		err := o.writeEnd(ctx)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
	if err := r.prune(ctx, o.run.Kind); err != nil {
		r.log.WarnContext(ctx, "old runs could not be taken away", "kind", o.run.Kind, "error", err)
	}
	return nil
}

// writeEnd does it once. It is safe to repeat, also where an answer was lost, and it changes
// nothing where somebody marked the run as interrupted.
func (o *owned) writeEnd(ctx context.Context) error {
	r := o.runner
	run, record, h, holder, err := r.read(ctx, o.run.Kind, o.run.ID)
	if errors.Is(err, oci.ErrRunUnknown) || err == nil && run.State.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	change := tiers.Change{
		If:  []tiers.Condition{tiers.Unchanged(record), tiers.Unchanged(holder)},
		Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(o.run)}},
	}
	if h.Run == o.run.ID {
		change.Delete = []string{holder.Key}
	}
	_, err = r.catalog.Commit(ctx, change)
	return err
}

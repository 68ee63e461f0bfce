package promote

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	maxAttempts = 5       // of one promotion whose basis keeps changing
	maxError    = 4 << 10 // bytes of what is kept of an error
)

// errBasis says that what a decision rested on has changed: it is taken again.
var errBasis = errors.New("the basis of the decision changed")

// claim says that a promotion is this caller's to carry out: true once, until release.
// Without it recover would take over what the same replica has just begun.
func (e *Engine) claim(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.running[id]; ok {
		return false
	}
	e.running[id] = &running{done: make(chan struct{})}
	return true
}

// running is a promotion that this replica has claimed.
type running struct {
	done   chan struct{} // closed when there is something to be read in its journal
	closed bool
}

func (r *running) wake() {
	if !r.closed {
		r.closed = true
		close(r.done)
	}
}

// wake lets those who wait for a promotion read its end, while what it left open is still
// being tidied up: readers see the same either way.
func (e *Engine) wake(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.running[id]; r != nil {
		r.wake()
	}
}

// release ends a claim and wakes those who wait for it.
func (e *Engine) release(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[id].wake()
	delete(e.running, id)
}

// launch carries out a promotion that the caller has claimed, in the background, when it is
// its turn, and releases it. Once it waits no longer, begun is called.
func (e *Engine) launch(o *opened, begun func()) {
	e.mu.Lock()
	closed := e.ctx.Err() != nil
	if !closed {
		e.work.Add(1)
	}
	e.mu.Unlock()
	if closed {
		begun()
		e.release(o.ID)
		return
	}
	turn := e.turns.ask(o.RequestedBy, o.Large && !o.State.Terminal()) // to tidy up takes no time
	if !turn.has() {
		o.prepared = nil // too old when its turn comes, and it takes memory
	}
	go func() {
		defer e.work.Done()
		defer e.release(o.ID)
		defer e.turns.leave(turn)
		select {
		case <-turn.ready:
			begun()
		case <-e.ctx.Done():
			begun()
			return
		}
		if err := e.carryOut(e.ctx, o); err != nil {
			// The journal says where it stands; the next look takes it up.
			e.log.WarnContext(e.ctx, "promotion interrupted", "promotion", o.ID, "error", err)
		}
	}()
}

// carryOut brings a promotion to a terminal state. An error means that it could not be
// brought to any and stays open: the store is gone, the replica stops, or somebody else
// has taken it over.
func (e *Engine) carryOut(ctx context.Context, o *opened) error {
	if o.State.Terminal() {
		return e.tidy(ctx, o)
	}
	var failure error
	for range maxAttempts {
		if failure = e.guarded(ctx, func() error { return e.attempt(ctx, o) }); !errors.Is(failure, errBasis) {
			break
		}
		e.log.InfoContext(ctx, "promotion is decided again", "promotion", o.ID, "reason", failure)
	}
	if o.State.Terminal() && failure == nil {
		e.wake(o.ID)
		return e.tidy(ctx, o)
	}
	if failure == nil { // it waits
		return nil
	}
	if ctx.Err() != nil {
		return errors.Join(failure, ctx.Err())
	}
	if o.WaitUntil != nil && errors.Is(failure, oci.ErrUnavailable) {
		return failure // it has waited for days: the next look takes it up
	}
	if o.WaitUntil != nil && errors.Is(failure, errBasis) && e.registry.Now().Before(o.WaitLimit) {
		return e.parkAgain(ctx, o)
	}
	return e.error(ctx, o, failure)
}

// guarded turns a panic, of a library that was given hostile input, into an error.
func (e *Engine) guarded(ctx context.Context, work func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			e.log.ErrorContext(ctx, "panic in a promotion", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: an internal error stopped the decision", oci.ErrUndecidable)
		}
	}()
	return work()
}

// error ends a promotion that could not be decided or done.
//
// Before anything is taken away the journal is written: a commit that was reported lost
// may still be on its way to the catalog, and from then on it cannot be applied.
func (e *Engine) error(ctx context.Context, o *opened, failure error) error {
	if err := e.write(ctx, o, tiers.Change{}); err != nil {
		if errors.Is(err, oci.ErrConflict) {
			return errors.Join(failure, e.yield(ctx, o))
		}
		return errors.Join(failure, err)
	}
	if err := e.clear(ctx, o); err != nil {
		return errors.Join(failure, err)
	}
	o.Error, o.Standing = cut(failure.Error(), maxError), nil
	for _, sentinel := range journalled {
		if errors.Is(failure, sentinel) {
			o.Code = sentinel.Error()
			break
		}
	}
	e.log.WarnContext(ctx, "promotion errored", "promotion", o.ID, "error", failure)
	return e.end(ctx, o, Errored, tiers.Event{Type: tiers.EventErrored}, tiers.Change{Delete: []string{prefixOpen + o.ID}})
}

// yield ends the work on a promotion whose journal somebody else has written. What this
// replica has staged under a number of its own, it takes away by itself: the new owner works
// under another, or will take it away when it begins. If it was the commit after all that
// wrote the journal, there is nothing to take away, and recover finishes it.
func (e *Engine) yield(ctx context.Context, o *opened) error {
	now, err := e.open(ctx, o.ID)
	if err != nil {
		return err
	}
	if now.Attempt == o.Attempt && (now.arrived() || now.Owner != e.owner) {
		return nil // what stands under the number is seen, or for its owner to take away
	}
	return e.clear(ctx, o)
}

// attempt decides and, if the policy allows, moves. It returns nil with o in a terminal
// state, errBasis where it has to be decided again, or why it cannot be done.
func (e *Engine) attempt(ctx context.Context, o *opened) error {
	if err := e.clear(ctx, o); err != nil {
		return err
	}
	o.State, o.Owner, o.Verdict, o.Moved, o.Left, o.Summary, o.Standing = Running, e.owner, nil, Moved{}, nil, "", nil
	o.Attempt++
	if err := e.write(ctx, o, tiers.Change{}); err != nil {
		o.Attempt-- // the number may be another owner's by now, and what was staged under it, too
		return err
	}
	m := &move{engine: e, o: o, request: Request{Repository: o.Repository, Reference: o.Reference, From: o.From, To: o.To, Tags: o.Tags, Reason: o.Reason, Rollback: o.Rollback, Replaces: o.Replaces, follows: o.Follows}}
	var err error
	if m.source, err = e.check(&m.request, o.RequestedBy); err != nil {
		return err
	}
	if o.WaitUntil != nil && e.may != nil && !e.may(o.RequestedBy, o.From, o.To, o.Repository) {
		return fmt.Errorf("%w: %s, who asked for it, may no longer have %s rise from %s to %s: somebody who may has to ask again", oci.ErrDenied, o.RequestedBy, o.Repository, o.From, o.To)
	}
	if m.target, err = e.registry.Repository(o.To, o.Repository, o.RequestedBy); err != nil {
		return err
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	if err := m.checkFollows(ctx); err != nil {
		return err
	}
	if got := m.plan.basis.Root.Digest; got != o.Digest {
		return fmt.Errorf("%w: tag %s was %s when the promotion was asked for and is %s now: ask again if that is meant", oci.ErrConflict, o.Reference, o.Digest, got)
	}
	verdict, err := e.decide(ctx, m.request, m.plan, m.policy)
	if err != nil {
		return err
	}
	short := kept(verdict)
	m.verdict, o.Verdict, o.Left = verdict, &short, m.plan.left
	switch {
	case verdict.Allowed:
	case o.mayWait(e.registry.Now()):
		return m.park(ctx)
	default:
		return m.refuse(ctx)
	}
	if err := e.checkTags(ctx, m.request, m.plan); err != nil {
		return err
	}
	if err := m.bring(ctx); err != nil {
		return err
	}
	return m.commit(ctx, Succeeded)
}

// prepared is what was read to answer a request, and serves the first attempt as well.
type prepared struct {
	plan   *plan
	policy *inForce
	seen   seen
	at     time.Time
}

// preparedAge is how old it may be without another look.
const preparedAge = time.Second

// prepare reads the policy and makes the plan, unless that was done a moment ago, or nothing
// has changed in the repository since: to plan a large closure takes a while. What changes
// later is found by the transaction that commits.
func (m *move) prepare(ctx context.Context) (err error) {
	before := m.o.prepared
	m.o.prepared = nil
	if before != nil {
		fresh := m.engine.registry.Now().Sub(before.at) < preparedAge
		if !fresh {
			now, err := m.source.Generation(ctx)
			if err != nil {
				return err
			}
			fresh = now.Revision == before.plan.basis.Generation.Revision
		}
		if fresh {
			m.plan, m.policy, m.seen = before.plan, before.policy, before.seen
			return nil
		}
	}
	asked := m.request
	asked.Wait = !m.o.WaitLimit.IsZero()
	from := m.engine.reader(m.source)
	if m.seen, err = m.engine.see(ctx, from, asked); err != nil {
		return err
	}
	if m.policy, err = m.engine.policyOf(ctx, m.o.To); err != nil {
		return err
	}
	m.plan, err = m.engine.planFor(ctx, from, m.request, m.policy)
	return err
}

// clear takes away what the last attempt has staged and pinned. The attempts before it
// were cleared when it began. It must be certain that the attempt is not committed and
// cannot be any more.
func (e *Engine) clear(ctx context.Context, o *opened) error {
	if o.Attempt == 0 {
		return nil
	}
	target, err := e.registry.Repository(o.To, o.Repository, o.RequestedBy)
	switch {
	case errors.Is(err, oci.ErrTierUnknown): // it left the configuration
		if staged, listErr := e.registry.HasStaged(ctx, o.arrival()); listErr != nil || staged {
			return errors.Join(err, listErr)
		}
	case err != nil:
		return err
	default:
		if err := target.Arrival(o.arrival()).Rollback(ctx); err != nil {
			return err
		}
	}
	return e.registry.Unpin(ctx, o.arrival())
}

// arrived says whether it has brought anything that is seen: the artifact, or, where the
// policy said no, the evidence of one that stands above.
func (o *opened) arrived() bool {
	return o.State == Succeeded || o.State == Failed && o.Moved.Manifests > 0
}

// tidy ends what a promotion that brought something leaves open: the marks of its arrival
// and its pins. A crash anywhere in it is made good by doing it again.
func (e *Engine) tidy(ctx context.Context, o *opened) error {
	if o.arrived() {
		target, err := e.registry.Repository(o.To, o.Repository, o.RequestedBy)
		if err != nil {
			return err
		}
		if err := target.Arrival(o.arrival()).Finish(ctx); err != nil {
			return err
		}
	}
	if err := e.registry.Unpin(ctx, o.arrival()); err != nil {
		return err
	}
	_, err := e.registry.Catalog().Commit(ctx, tiers.Change{Delete: append(e.held(o), prefixOpen+o.ID)})
	return err
}

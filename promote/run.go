package promote

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	maxAttempts = 5 // of one promotion whose basis keeps changing
	tidyTimeout = 30 * time.Second
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

// launch carries out a promotion that the caller has claimed, in the background, and
// releases it.
func (e *Engine) launch(o *opened) {
	e.mu.Lock()
	closed := e.ctx.Err() != nil
	if !closed {
		e.work.Add(1)
	}
	e.mu.Unlock()
	if closed {
		e.release(o.ID)
		return
	}
	go func() {
		defer e.work.Done()
		defer e.release(o.ID)
		select {
		case e.slots <- struct{}{}:
		default:
			o.prepared = nil // too old when its turn comes, and large
			select {
			case e.slots <- struct{}{}:
			case <-e.ctx.Done():
				return
			}
		}
		defer func() { <-e.slots }()
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
	o.Error, o.Standing = failure.Error(), nil
	for _, sentinel := range journalled {
		if errors.Is(failure, sentinel) {
			o.Code = sentinel.Error()
			break
		}
	}
	e.log.WarnContext(ctx, "promotion errored", "promotion", o.ID, "error", failure)
	return e.end(ctx, o, Errored, tiers.Event{Type: tiers.EventErrored}, tiers.Change{Delete: []string{prefixOpen + o.ID}})
}

// yield ends the work on a promotion whose journal somebody else has written. The new
// owner tidied up when it took over; what this replica has staged since, it takes away by
// itself. If it was the commit after all that wrote the journal, there is nothing to take
// away, and recover finishes it.
func (e *Engine) yield(ctx context.Context, o *opened) error {
	now, err := e.open(ctx, o.ID)
	if err != nil {
		return err
	}
	if now.arrived() && now.Attempt == o.Attempt {
		return nil
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
		return err
	}
	m := &move{engine: e, o: o, request: Request{Repository: o.Repository, Reference: o.Reference, From: o.From, To: o.To, Tags: o.Tags, Reason: o.Reason, follows: o.Follows}}
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
	o.Verdict, o.Left = &verdict, m.plan.left
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

// preparedAge is how old it may be: what was attached since is not in it. What went or
// changed since is found by the transaction that commits, however old it is.
const preparedAge = time.Second

// prepare reads the policy and makes the plan, unless that was done a moment ago.
func (m *move) prepare(ctx context.Context) (err error) {
	before := m.o.prepared
	m.o.prepared = nil
	if before != nil && m.engine.registry.Now().Sub(before.at) < preparedAge {
		m.plan, m.policy, m.seen = before.plan, before.policy, before.seen
		return nil
	}
	asked := m.request
	asked.Wait = !m.o.WaitLimit.IsZero()
	if m.seen, err = m.engine.see(ctx, m.source, asked); err != nil {
		return err
	}
	if m.policy, err = m.engine.policyOf(ctx, m.o.To); err != nil {
		return err
	}
	m.plan, err = m.engine.planFor(ctx, m.source, m.request, m.policy.Policy)
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
	if err != nil {
		return err
	}
	if err := target.Arrival(o.arrival()).Rollback(ctx); err != nil {
		return err
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
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
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

// Run takes up what was cut off, and what waited and need wait no longer, at once and then every second, and gives the signs
// of life by which other replicas leave this one's work alone. It ends with ctx.
func (e *Engine) Run(ctx context.Context) error {
	first := true
	ticker := time.NewTicker(lifeRenewal)
	defer ticker.Stop()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() { e.watchWaiting(ctx) })
	for {
		if err := e.alive(ctx); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "no sign of life could be given", "error", err)
		}
		if err := e.recover(ctx, first && e.alone); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "open promotions could not be looked at", "error", err)
		} else {
			first = false
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// recover takes over the open promotions that nobody works on.
func (e *Engine) recover(ctx context.Context, alone bool) error {
	records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixOpen, Limit: tiers.MaxPage})
	if err != nil {
		return err
	}
	for _, record := range records {
		id := strings.TrimPrefix(record.Key, prefixOpen)
		if !e.claim(id) {
			continue
		}
		o, err := e.takeOver(ctx, id, alone)
		switch {
		case o != nil:
			e.launch(o)
			continue
		case err != nil:
			e.log.WarnContext(ctx, "promotion could not be taken over", "promotion", id, "error", err)
		}
		e.release(id)
	}
	return nil
}

// takeOver makes a promotion this replica's, if its owner gives no sign of life; nil where
// it stays the owner's. The write compares the journal's revision, so of two replicas one
// gets it, and a former owner that still lives can commit nothing more.
func (e *Engine) takeOver(ctx context.Context, id string, alone bool) (*opened, error) {
	o, err := e.open(ctx, id)
	if errors.Is(err, oci.ErrPromotionUnknown) {
		_, err = e.registry.Catalog().Commit(ctx, tiers.Change{Delete: []string{prefixOpen + id}})
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if o.Owner != "" && o.Owner != e.owner && !alone {
		life, err := e.get(ctx, prefixReplica+o.Owner)
		if err != nil || life.Revision != 0 {
			return nil, err
		}
	}
	if !o.State.Terminal() {
		o.Owner = e.owner
		if err := e.write(ctx, o, tiers.Change{}); err != nil {
			return nil, err
		}
		e.log.InfoContext(ctx, "promotion is taken up", "promotion", id, "attempt", o.Attempt+1)
	}
	return o, nil
}

package promote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const waitingInterval = time.Second

// look is one look at the promotions that wait. What many of them rest on, a repository or
// a policy, is read once.
type look struct {
	engine      *Engine
	generations map[string]int64   // by repository with its tier
	policies    map[string][]int64 // by tier
	known       map[string]int64   // by promotion: a generation in which nothing had changed for it
	resumed     int
}

// watchWaiting looks at what waits at once and then every second, until ctx ends. It goes
// beside the signs of life: a look may take long, and must not make a replica look dead.
func (e *Engine) watchWaiting(ctx context.Context) {
	every(ctx, waitingInterval, func() {
		err := e.guarded(ctx, func() error { return e.lookAtWaiting(ctx) })
		if err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "waiting promotions could not be looked at", "error", err)
		}
	})
}

// lookAtWaiting takes up the promotions that wait and for which something has changed: an
// approval came, by whatever way, the tag moved, the policy changed, or the time is over.
func (e *Engine) lookAtWaiting(ctx context.Context) error {
	e.looking.Lock()
	defer e.looking.Unlock()
	l := &look{engine: e, generations: map[string]int64{}, policies: map[string][]int64{}, known: map[string]int64{}}
	for after := ""; l.resumed < maxResumed; {
		records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixWaiting, After: after, Limit: waitingPage})
		if err != nil {
			return err
		}
		for _, record := range records {
			if err := l.at(ctx, record); err != nil {
				if ctx.Err() != nil || errors.Is(err, oci.ErrUnavailable) {
					return err
				}
				e.log.WarnContext(ctx, "a waiting promotion could not be looked at", "record", record.Key, "error", err)
			}
			after = record.Key
		}
		if len(records) < waitingPage {
			e.mu.Lock()
			e.unchanged = l.known // of those that still wait
			e.mu.Unlock()
			break
		}
	}
	return l.follow(ctx)
}

// at looks at one.
func (l *look) at(ctx context.Context, record tiers.Record) error {
	w, err := tiers.Decode[waiting](record)
	if err != nil {
		return err
	}
	repository, id, _ := strings.Cut(strings.TrimPrefix(record.Key, prefixWaiting), "@")
	due, err := l.changed(ctx, w, repository, id)
	if err != nil || !due || l.resumed == maxResumed || !l.engine.claim(id) {
		return err
	}
	o, err := l.engine.unpark(ctx, record, id)
	if err != nil || o == nil {
		l.engine.release(id)
		return err
	}
	l.resumed++
	l.engine.log.InfoContext(ctx, "waiting promotion is decided anew", "promotion", id)
	l.engine.launch(o, func() {})
	return nil
}

// changed says whether a promotion has to be decided anew.
func (l *look) changed(ctx context.Context, w waiting, repository, id string) (bool, error) {
	if !l.engine.registry.Now().Before(w.Until) {
		return true, nil
	}
	source, err := l.engine.registry.Repository(w.From, repository, "")
	if err != nil {
		return true, nil // the tiers are others now: it ends with that reason
	}
	policies, err := l.policyOf(ctx, w.To)
	if err != nil {
		return false, err
	}
	generation, err := l.generationOf(ctx, source)
	switch {
	case err != nil:
		return false, err
	case !slices.Equal(policies, w.Policy):
		return true, nil
	case generation == w.Generation:
		return false, nil
	}
	l.engine.mu.Lock()
	known := l.engine.unchanged[id]
	l.engine.mu.Unlock()
	if known != generation {
		switch desc, err := source.Resolve(ctx, w.Reference); {
		case errors.Is(err, oci.ErrManifestUnknown) || err == nil && desc.Digest != w.Digest:
			return true, nil
		case err != nil:
			return false, err
		}
		same, err := w.Seen.same(ctx, source)
		if err != nil || !same {
			return err == nil, err
		}
	}
	l.known[id] = generation
	return false, nil
}

// policyOf reads the revisions of the policy in force; none where there is none.
func (l *look) policyOf(ctx context.Context, tier string) ([]int64, error) {
	if known, ok := l.policies[tier]; ok {
		return known, nil
	}
	pol, err := l.engine.policyOf(ctx, tier)
	if err != nil && !errors.Is(err, oci.ErrUndecidable) {
		return nil, err
	}
	if err == nil {
		l.policies[tier] = revisions(pol)
	} else {
		l.policies[tier] = []int64{}
	}
	return l.policies[tier], nil
}

// generationOf reads the generation before anything that is compared with it.
func (l *look) generationOf(ctx context.Context, source *tiers.Repository) (int64, error) {
	name := source.FullName()
	if known, ok := l.generations[name]; ok {
		return known, nil
	}
	record, err := source.Generation(ctx)
	if err == nil {
		l.generations[name] = record.Revision
	}
	return record.Revision, err
}

// unpark makes a promotion that waits this replica's to decide; nil where another was
// first. The write compares the journal and the record, so of two replicas one gets it.
func (e *Engine) unpark(ctx context.Context, record tiers.Record, id string) (*opened, error) {
	o, err := e.open(ctx, id)
	change := tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)}, Delete: []string{record.Key}}
	switch {
	case errors.Is(err, oci.ErrPromotionUnknown) || err == nil && !o.waits():
		_, err = e.registry.Catalog().Commit(ctx, change) // a record without its promotion
		o = nil
	case err == nil:
		o.Owner = e.owner
		change.Put = []tiers.Put{e.opensFor(id)}
		err = e.write(ctx, o, change)
	}
	if errors.Is(err, oci.ErrConflict) {
		return nil, nil
	}
	return o, err
}

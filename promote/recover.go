package promote

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// maxTaken is how many promotions that it has taken up may wait for their turn before a
// replica leaves others to the other replicas, or to its next look. Those that it was asked
// for do not count: a replica with much to do takes up what a dead one has left all the same.
const maxTaken = 64

// Run takes up what was cut off, and what waited and need wait no longer, at once and then
// every second, and gives the signs of life by which other replicas leave this one's work
// alone. It ends with ctx.
func (e *Engine) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	live := func() {
		if err := e.alive(ctx); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "no sign of life could be given", "error", err)
		}
	}
	live() // before anything becomes this replica's
	// Neither may keep the next signs of life from being given in time.
	beside.Go(func() { e.watchWaiting(ctx) })
	beside.Go(func() { e.watchOpen(ctx) })
	every(ctx, lifeRenewal, live)
	return nil
}

// every does something at once and then again and again, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchOpen takes up what was cut off.
func (e *Engine) watchOpen(ctx context.Context) {
	first := true
	every(ctx, lifeRenewal, func() {
		if err := e.recover(ctx, first && e.alone); err == nil {
			first = false
		} else if ctx.Err() == nil {
			e.log.WarnContext(ctx, "open promotions could not be looked at", "error", err)
		}
	})
}

// recover takes over the open promotions that nobody works on. Their records name the
// owners, so that those of others cost nothing but being listed.
func (e *Engine) recover(ctx context.Context, alone bool) error {
	catalog := e.registry.Catalog()
	replicas, err := catalog.List(ctx, tiers.Query{Prefix: prefixReplica, Limit: tiers.MaxPage})
	if err != nil {
		return err
	}
	others := map[string]bool{}
	for _, r := range replicas {
		if owner := strings.TrimPrefix(r.Key, prefixReplica); owner != e.owner && !alone {
			others[owner] = true
		}
	}
	for after := ""; ; {
		records, err := catalog.List(ctx, tiers.Query{Prefix: prefixOpen, After: after, Limit: recoverPage})
		if err != nil {
			return err
		}
		for _, record := range records {
			if after = record.Key; others[string(record.Value)] {
				continue
			}
			if e.taken.Load() >= maxTaken {
				return nil
			}
			e.recoverOne(ctx, strings.TrimPrefix(record.Key, prefixOpen), alone)
		}
		if len(records) < recoverPage {
			return nil
		}
	}
}

// recoverPage is how many open promotions are listed at once.
const recoverPage = 1000

// recoverOne takes over a promotion, if nobody does it here and its owner is gone.
func (e *Engine) recoverOne(ctx context.Context, id string, alone bool) {
	if !e.claim(id) {
		return
	}
	o, err := e.takeOver(ctx, id, alone)
	if o != nil {
		e.taken.Add(1)
		e.launch(o, func() { e.taken.Add(-1) })
		return
	}
	if err != nil {
		e.log.WarnContext(ctx, "promotion could not be taken over", "promotion", id, "error", err)
	}
	e.release(id)
}

// opensFor is the record of an open promotion that this replica works on. It only helps
// others to find what nobody works on: who does is in the journal.
func (e *Engine) opensFor(id string) tiers.Put {
	return tiers.Put{Key: prefixOpen + id, Value: []byte(e.owner)}
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
		if err := e.write(ctx, o, tiers.Change{Put: []tiers.Put{e.opensFor(id)}}); err != nil {
			return nil, err
		}
		e.log.InfoContext(ctx, "promotion is taken up", "promotion", id, "attempt", o.Attempt+1)
	}
	return o, nil
}

package tiers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Pages in which a collection reads the catalog: what is in memory at once is bounded by
// them, however much there is.
const (
	collectPage = 5000
	uploadPage  = 100 // a session with many parts has a large record
	tellEvery   = time.Second
)

// place is a store that configured tiers use. One that only other tiers used is never
// touched.
type place struct {
	store  string
	bucket Bucket
	tiers  []*Tier
}

// places are the stores of the tiers, each once.
func (r *Registry) places() []*place {
	var all []*place
	for _, t := range r.tiers {
		i := slices.IndexFunc(all, func(p *place) bool { return p.store == t.store })
		if i < 0 {
			i, all = len(all), append(all, &place{store: t.store, bucket: t.Bucket})
		}
		all[i].tiers = append(all[i].tiers, t)
	}
	return all
}

// collector is one collection. Every change it makes compares what speaks for it, so pushes,
// promotions and other collections may go on beside it, and one that was paused does no
// harm when it goes on: what it then takes away is still what nothing needs.
type collector struct {
	*Registry
	options  CollectOptions
	began    time.Time // what has lapsed is judged by this time, from the first sweep to the last
	unready  bool      // references may be missing, and must not be written
	sweep    Sweep
	result   Collected
	failures []error
	progress func(Collected)
	told     time.Time
}

// Collect takes away what nothing needs any more, while pushes, pulls and promotions go on.
// Any number of collections may run at once, on whatever replica; a second one finds little
// to do. progress, where not nil, is called now and then with what was done so far.
//
// What it cannot look at it leaves alone and reports as a problem. The error says which
// sweeps came to no end; what they did before is done, and the next collection goes on.
func (r *Registry) Collect(ctx context.Context, o CollectOptions, progress func(Collected)) (Collected, error) {
	o.Actor = cmp.Or(o.Actor, "collector")
	c := &collector{Registry: r, options: o, began: r.Now(), progress: progress,
		result: Collected{DryRun: o.DryRun, Sweeps: map[Sweep]Swept{}}}
	if err := errors.Join(r.checked(ctx), c.complete(ctx)); err != nil {
		return c.result, fmt.Errorf("collect: %w", err)
	}
	c.begin(SweepUploads)
	c.ended(ctx, nil, c.sweepUploads(ctx))
	for _, part := range []struct {
		sweep Sweep
		do    func(context.Context, *place) error
	}{
		{SweepIntents, c.sweepIntents}, {SweepReferences, c.sweepReferences}, {SweepLinks, c.sweepLinks}, {SweepBlobs, c.sweepBlobs},
		{SweepStrays, c.sweepStrays}, {SweepMultiparts, c.sweepMultiparts}, {SweepObjects, c.sweepObjects},
	} {
		c.begin(part.sweep)
		for _, p := range c.places() {
			if ctx.Err() != nil {
				return c.result, fmt.Errorf("collect: %w", ctx.Err())
			}
			c.ended(ctx, p, part.do(ctx, p))
		}
	}
	if ctx.Err() != nil {
		return c.result, fmt.Errorf("collect: %w", ctx.Err())
	}
	c.begin("")
	return c.result, errors.Join(c.failures...)
}

// begin says which sweep is under way.
func (c *collector) begin(sweep Sweep) {
	c.sweep, c.result.Phase, c.told = sweep, sweep, time.Time{}
	if sweep != "" {
		c.count(func(*Swept) {}) // one that finds nothing is told of too
	}
	c.tell()
}

// ended takes note of a sweep that came to no end in a store, or in all of them.
func (c *collector) ended(ctx context.Context, p *place, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	store := ""
	if p != nil {
		store = p.store
	}
	c.failures = append(c.failures, fmt.Errorf("collect %s %s: %w", c.sweep, store, err))
	c.problem(store, "", fmt.Sprintf("the sweep came to no end, the next collection goes on: %v", err))
}

// problem reports what is left alone.
func (c *collector) problem(store, key, message string) {
	c.result.ProblemCount++
	if len(c.result.Problems) < MaxCollectProblems {
		c.result.Problems = append(c.result.Problems, CollectProblem{Sweep: c.sweep, Store: store, Key: key, Message: message})
	}
}

// count changes what is counted of the sweep under way.
func (c *collector) count(add func(*Swept)) {
	s := c.result.Sweeps[c.sweep]
	add(&s)
	c.result.Sweeps[c.sweep] = s
}

// gone counts something that goes, and in a dry run lists it.
func (c *collector) gone(item CollectItem) {
	c.count(func(s *Swept) { s.Gone, s.Bytes = s.Gone+1, s.Bytes+item.Size })
	if c.options.DryRun && len(c.result.Items) < MaxCollectItems {
		item.Sweep = c.sweep
		c.result.Items = append(c.result.Items, item)
	}
}

// tell reports the progress, not too often.
func (c *collector) tell() {
	if c.progress == nil || time.Since(c.told) < tellEvery {
		return
	}
	c.told = time.Now()
	now := c.result
	now.Sweeps = maps.Clone(now.Sweeps)
	c.progress(now)
}

// pages reads what q asks for page by page.
func (c *collector) pages(ctx context.Context, q Query, look func([]Record) error) error {
	for {
		page, err := c.catalog.List(ctx, q)
		if err != nil {
			return err
		}
		if err := look(page); err != nil {
			return err
		}
		c.tell()
		if len(page) < q.Limit {
			return nil
		}
		q.After = page[len(page)-1].Key
	}
}

// clearing is a change that takes one thing away, if nothing speaks against it.
type clearing struct {
	change Change
	item   CollectItem
}

// clearingRoom is how many conditions, and how many writes, of clearings go into one
// transaction: what quotas add must find room too.
const clearingRoom = MaxOps - maxQuotaNested

// remove applies clearings, many in a transaction, but for those that something speaks
// against by now. commit, where not nil, is by what they are applied.
func (c *collector) remove(ctx context.Context, all []clearing, commit func(Change, []clearing) error) error {
	if c.options.DryRun {
		for _, one := range all {
			c.gone(one.item)
		}
		return nil
	}
	if commit == nil {
		commit = func(change Change, _ []clearing) error {
			_, err := c.catalog.Commit(ctx, change)
			return err
		}
	}
	for len(all) > 0 {
		n := fitting(all)
		if err := c.removeBatch(all[:n], commit); err != nil {
			return err
		}
		all = all[n:]
		c.tell()
	}
	return nil
}

// fitting is how many of the clearings fit one transaction, one at the least.
func fitting(all []clearing) int {
	conditions, writes := 0, 0
	for i, one := range all {
		conditions += len(one.change.If)
		writes += len(one.change.Put) + len(one.change.Delete)
		if i > 0 && max(conditions, writes) > clearingRoom {
			return i
		}
	}
	return len(all)
}

// removeBatch leaves out those whose conditions do not hold, and is content with nothing:
// what is overtaken again and again is for the next collection.
func (c *collector) removeBatch(batch []clearing, commit func(Change, []clearing) error) error {
	batch = slices.Clone(batch)
	for try := 0; len(batch) > 0 && try < maxTries; try++ {
		changes := make([]Change, len(batch))
		for i, one := range batch {
			changes[i] = one.change
		}
		err := commit(mergeChanges(changes), batch)
		if err == nil {
			for _, one := range batch {
				c.gone(one.item)
			}
			return nil
		}
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
		failed := keySet(conflict.Keys)
		before := len(batch)
		batch = slices.DeleteFunc(batch, func(one clearing) bool {
			return slices.ContainsFunc(one.change.If, func(cond Condition) bool { return failed[cond.Key] })
		})
		if len(batch) == before { // it is about none of them
			return err
		}
	}
	return nil
}

// probe says which of some conditions do not hold, by their keys. It writes nothing, which
// costs the catalog no sync.
func (c *collector) probe(ctx context.Context, conditions []Condition) (failed map[string]bool, err error) {
	failed = map[string]bool{}
	for len(conditions) > 0 {
		n := min(len(conditions), MaxOps)
		_, err := c.catalog.Commit(ctx, Change{If: conditions[:n]})
		var conflict *ConflictError
		switch {
		case errors.As(err, &conflict):
			for _, key := range conflict.Keys {
				failed[key] = true
			}
		case err != nil:
			return nil, err
		}
		conditions = conditions[n:]
	}
	return failed, nil
}

func keySet(keys []string) map[string]bool {
	set := make(map[string]bool, len(keys))
	for _, key := range keys {
		set[key] = true
	}
	return set
}

// condemn makes the write by which an object goes once those who may still read it have had
// their time.
func (r *Registry) condemn(store, object string, d digest.Digest, size int64, why string) Put {
	return Put{Key: condemnedKey(store, object), Value: Encode(condemnedRecord{Digest: d, Size: size, At: r.Now(), Why: why})}
}

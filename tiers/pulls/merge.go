package pulls

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Limits of what looks after segments.
const (
	// mergeMost is how many segments become one: so many of a level make one of the next,
	// and in one transaction they take two thirds of what it may hold.
	mergeMost = 32
	// sweepEvery is how often a replica looks at the days that are over.
	sweepEvery = time.Hour
	// dayMost bounds the merges of one day in one look: no day has as many segments.
	dayMost  = 1000
	pageMost = 50 // records with their filters, in memory at once
)

// Tidy merges the segments of today where there are enough of a level, and once an hour those
// of the days that are over, and takes away what has been kept long enough. Any number of
// replicas may do that: who comes second finds the records changed, and leaves it.
func (l *Log) Tidy(ctx context.Context) error {
	now := l.registry.Now()
	for level, merged := levelWritten, true; merged && level < levelDay; level++ { // who merges a level fills the next
		page, err := l.catalog.List(ctx, tiers.Query{Prefix: levelPrefix(dayOf(now), level), Limit: mergeMost})
		if err != nil {
			return fmt.Errorf("pulls: %w", err)
		}
		if len(page) < mergeMost {
			break
		}
		if merged, err = l.merge(ctx, dayOf(now), level+1, page); err != nil {
			return err
		}
	}
	l.mu.Lock()
	due := now.Sub(l.swept) >= sweepEvery
	if due {
		l.swept = now
	}
	l.mu.Unlock()
	if !due {
		return nil
	}
	return l.sweep(ctx, now)
}

// sweep goes through the days before today.
func (l *Log) sweep(ctx context.Context, now time.Time) error {
	// A day goes when its last moment has been kept for long enough.
	expired := dayOf(now.Add(-l.config.Keep))
	for after := prefixSegment; ; {
		page, err := l.catalog.List(ctx, tiers.Query{Prefix: prefixSegment, After: after, Limit: 1, KeysOnly: true})
		if err != nil {
			return fmt.Errorf("pulls: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		day, _, err := splitKey(page[0].Key)
		switch {
		case err != nil:
			after = page[0].Key // a check tells of it
			continue
		case day >= dayOf(now):
			return nil
		case day < expired:
			err = l.expire(ctx, day)
		default:
			err = l.mergeDay(ctx, day)
		}
		if err != nil {
			return err
		}
		after = prefixSegment + day + "/\U0010ffff" // behind all of it
	}
}

// mergeDay makes as few segments as it can of a day that is over.
func (l *Log) mergeDay(ctx context.Context, day string) error {
	for range dayMost {
		page, err := l.catalog.List(ctx, tiers.Query{Prefix: prefixSegment + day + "/", Limit: mergeMost})
		if err != nil {
			return fmt.Errorf("pulls: %w", err)
		}
		for i, r := range page {
			if _, level, err := splitKey(r.Key); err == nil && level == levelFull {
				page = page[:i] // full ones are behind all others
				break
			}
		}
		if len(page) < 2 {
			return nil
		}
		if merged, err := l.merge(ctx, day, levelDay, page); err != nil || !merged {
			return err
		}
	}
	return nil
}

// merge makes one segment of several, of as many as it takes to be full. Those that cannot
// be read are left as they are.
func (l *Log) merge(ctx context.Context, day string, level int, records []tiers.Record) (merged bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	all := rows{}
	var used []*segment
	for _, r := range records {
		s, err := openSegment(r)
		if err != nil {
			continue // a check tells of it
		}
		var own []*Pull
		err = l.read(ctx, s, func(p *Pull) { own = append(own, p) })
		switch {
		case errors.Is(err, oci.ErrConflict):
			return false, nil // another replica merges
		case errors.Is(err, oci.ErrCorrupt):
			l.config.Log.WarnContext(ctx, "a segment is not merged", "error", err)
			continue
		case err != nil:
			return false, err
		}
		for _, p := range own {
			all.add(p)
		}
		if used = append(used, s); len(all) >= FullRows {
			level = levelFull
			break
		}
	}
	if len(used) < 2 {
		return false, nil
	}
	err = l.put(ctx, levelPrefix(day, level)[len(prefixSegment):]+l.registry.NewID(), all, used...)
	if errors.Is(err, oci.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// expire takes the records of a day away.
func (l *Log) expire(ctx context.Context, day string) error {
	for {
		page, err := l.catalog.List(ctx, tiers.Query{Prefix: prefixSegment + day + "/", Limit: pageMost})
		if err != nil {
			return fmt.Errorf("pulls: %w", err)
		}
		var change tiers.Change
		for _, r := range page {
			if s, err := openSegment(r); err == nil {
				l.drop(&change, s)
			} else { // its reference is an orphan then, and a check takes it away
				change.If, change.Delete = append(change.If, tiers.Unchanged(r)), append(change.Delete, r.Key)
			}
		}
		if len(page) > 0 {
			if _, err := l.catalog.Commit(ctx, change); errors.Is(err, oci.ErrConflict) {
				return nil // another replica does the same
			} else if err != nil {
				return fmt.Errorf("pulls: %w", err)
			}
		}
		if len(page) < pageMost {
			return nil
		}
	}
}

package pulls

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
)

// Limits of writing.
const (
	// maxTries is how often a batch is written at the most, an interval apart, until it is
	// dropped.
	maxTries = 60
	// writeTimeout bounds one try, and lastTimeout all that a replica writes when it stops.
	writeTimeout = 30 * time.Second
	lastTimeout  = 5 * time.Second
)

// batch is what was counted and is being written. Its id stays from try to try, so that one
// whose answer was lost is found done.
type batch struct {
	id    string
	rows  rows
	tries int
}

// Run writes what was counted, every interval and when it ends, and looks after what is
// stored, until ctx ends. What fails is logged and tried again.
func (l *Log) Run(ctx context.Context) error {
	var tidying sync.WaitGroup // beside: a store that is slow to read must not keep this from writing
	tidying.Go(func() { l.tidy(ctx) })
	defer tidying.Wait()
	ticker := time.NewTicker(l.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
			defer cancel()
			if err := l.Flush(last); err != nil {
				l.config.Log.Warn("pulls were not written", "error", err)
			}
			return nil
		case <-ticker.C:
		case <-l.full:
		}
		if err := l.Flush(ctx); err != nil && ctx.Err() == nil {
			l.config.Log.Warn("pulls are not written yet", "error", err)
		}
	}
}

// tidy looks after what is stored, every interval, until ctx ends.
func (l *Log) tidy(ctx context.Context) {
	ticker := time.NewTicker(l.config.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := l.Tidy(ctx); err != nil && ctx.Err() == nil {
			l.config.Log.Warn("what is recorded of pulls was not merged, or stays for longer than it should", "error", err)
		}
	}
}

// Flush writes what was counted before it was called.
func (l *Log) Flush(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.batch != nil { // of a try that failed
		if err := l.write(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	if len(l.counted) > 0 {
		l.batch = &batch{id: levelPrefix(dayOf(l.registry.Now()), levelWritten)[len(prefixSegment):] + l.registry.NewID(), rows: l.counted}
		l.counted, l.bytes, l.told = rows{}, 0, false
	}
	l.mu.Unlock()
	if l.batch == nil {
		return nil
	}
	return l.write(ctx)
}

// write writes the batch, once. After maxTries it is dropped: the next one may be of another
// kind.
func (l *Log) write(ctx context.Context) error {
	b := l.batch
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	b.tries++
	records, err := l.catalog.Get(ctx, prefixSegment+b.id)
	if err == nil && records[0].Revision == 0 {
		err = l.put(ctx, b.id, b.rows)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.batch = nil
		l.stats.Segments++
		return nil
	}
	l.stats.Failed, l.stats.Problem = l.registry.Now(), err.Error()
	if b.tries >= maxTries || errors.Is(err, oci.ErrTooLarge) {
		l.batch = nil
		l.stats.Dropped += b.rows.count()
		return fmt.Errorf("%d pulls are dropped: %w", b.rows.count(), err)
	}
	return err
}

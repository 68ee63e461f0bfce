package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// follow reads entries one page after the other until it has seen want of them, and says
// what is wrong with what it got.
func follow(ctx context.Context, r *replica, from, want int64) (events [][]byte, err error) {
	for from < want {
		page, err := r.Next(ctx, from)
		if err != nil {
			return events, err
		}
		if len(page) == 0 || len(page) > tileWidth {
			return events, fmt.Errorf("a page of %d entries from %d on", len(page), from)
		}
		for _, e := range page {
			if e.Index != from {
				return events, fmt.Errorf("entry %d where %d is owed", e.Index, from)
			}
			events, from = append(events, slices.Clone(e.Event)), from+1
		}
	}
	return events, nil
}

// Who follows the log gets every entry once and in order, whenever he begins and whatever
// replica seals, while others who follow go away.
func TestNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealer := w.replica()
	w.fill(tileWidth + 10) // some are there already, over more than one tile
	w.seal(sealer)
	const more, total = 300, tileWidth + 10 + 300 + 1

	var followers sync.WaitGroup
	got := make([][][]byte, 6)
	errs := make([]error, len(got))
	for i := range got {
		followers.Go(func() { got[i], errs[i] = follow(t.Context(), w.main, 0, total) })
	}
	impatient, cancel := context.WithCancel(t.Context())
	for range 4 {
		followers.Go(func() {
			for impatient.Err() == nil {
				ctx, stop := context.WithTimeout(impatient, 3*time.Millisecond)
				_, _ = w.main.Next(ctx, total+5)
				stop()
			}
		})
	}
	for range more / 10 {
		w.record(10)
		w.seal(sealer)
	}
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Body: make([]byte, 100_000)}) // an object of its own
	w.seal(sealer)
	waited := make(chan struct{})
	go func() { defer close(waited); time.Sleep(20 * time.Millisecond); cancel(); followers.Wait() }()
	select {
	case <-waited:
	case <-time.After(time.Minute):
		t.Fatal("not all is followed")
	}
	want := w.hooks.recorded()
	for i := range got {
		if errs[i] != nil {
			t.Fatalf("follower %d: %v", i, errs[i])
		}
		if !slices.EqualFunc(got[i], want, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("follower %d got %d entries, not the %d that were recorded", i, len(got[i]), len(want))
		}
	}
}

// One who waits ends with his context; what the stores do not give is an error, and asking
// again helps.
func TestNextFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Not by a deadline: etcd knows it too, and may find it passed before this process does.
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(30*time.Millisecond, cancel).Stop()
	if page, err := w.main.Next(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("of an empty log it got %v, %v", page, err)
	}
	w.fill(3)
	w.seal(w.main)
	other := w.replica()
	for _, path := range w.objects() {
		if strings.HasPrefix(path, "tile/entries/") {
			w.flip(path)
			defer w.flip(path)
		}
	}
	if page, err := other.Next(t.Context(), 0); !errors.Is(err, oci.ErrCorrupt) {
		t.Errorf("of a log that was changed it got %v, %v", page, err)
	}
}

// However many follow the end of the log, an entry is read from the bucket once.
func TestNextTogether(t *testing.T) {
	t.Parallel()
	w := newWorldWithout(t)
	counting := &countedBucket{Bucket: w.config.Tiers[0].Bucket}
	w.config.Tiers[0].Bucket = counting
	w.main = w.replica()
	w.fill(3)
	w.seal(w.main)
	other := w.replica()
	counting.opened.Store(0)
	var followers sync.WaitGroup
	for range 50 {
		followers.Go(func() {
			if _, err := follow(t.Context(), other, 0, 3); err != nil {
				t.Error(err)
			}
		})
	}
	followers.Wait()
	if n := counting.opened.Load(); n != 1 {
		t.Errorf("the entries were read %d times", n)
	}
}

// countedBucket counts how often entries are read.
type countedBucket struct {
	tiers.Bucket
	opened atomic.Int64
}

func (b *countedBucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.HasPrefix(key, "ledger/tile/entries/") {
		b.opened.Add(1)
	}
	return b.Bucket.Open(ctx, key, offset, length)
}

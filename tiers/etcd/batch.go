package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// concurrentBatches is how many reads are under way at once before others wait and share.
// Below it a read of one's own is quicker: waiting for company costs more than a request.
// Measured on two cores: with 4 clients sharing costs a tenth, with 32 it wins half.
const concurrentBatches = 8

// batches gathers reads that come while others are under way into one request. The
// request is sent after all of them came, so each sees every change that was acknowledged
// before it: the answer is as linearizable as one of its own. A registry is mostly asked
// for single records by many clients at once, and most of such a read is the request.
type batches struct {
	read func(ctx context.Context, keys []string) ([]tiers.Record, error)

	mu      sync.Mutex
	running int
	next    *batch // gathers what comes; nil: nothing waits
}

// batch is one request for several callers. What several ask for, the generation of what is
// in quarantine say, is read once: nobody may change what a record holds.
type batch struct {
	keys    []string
	places  map[string]int // of the keys
	done    chan struct{}  // closed when what follows is set
	records []tiers.Record
	err     error
}

// get reads keys, of which there are at most tiers.MaxOps, at one revision.
func (b *batches) get(ctx context.Context, keys []string) ([]tiers.Record, error) {
	joined, places := b.join(keys)
	if joined == nil { // nobody to share with
		defer b.ended()
		return b.read(ctx, keys)
	}
	// Those that are under way may take all of their time before this one is sent.
	overdue := time.NewTimer(opTimeout)
	defer overdue.Stop()
	select {
	case <-joined.done:
	case <-ctx.Done(): // the request goes on: it is others' too
		return nil, translate("get", ctx.Err())
	case <-overdue.C:
		return nil, fmt.Errorf("etcd get: %w: no answer in %v", oci.ErrUnavailable, opTimeout)
	}
	if joined.err != nil {
		return nil, joined.err
	}
	records := make([]tiers.Record, len(places))
	for i, place := range places {
		records[i] = joined.records[place]
	}
	return records, nil
}

// join adds keys to the batch that is sent next and says at what places they are in it; nil
// means that the caller may send a request of its own now.
func (b *batches) join(keys []string) (*batch, []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running < concurrentBatches {
		b.running++
		return nil, nil
	}
	if b.next != nil && len(b.next.keys)+len(keys) > tiers.MaxOps {
		b.start() // it is full: it goes beside the others
	}
	if b.next == nil {
		b.next = &batch{places: map[string]int{}, done: make(chan struct{})}
	}
	places := make([]int, len(keys))
	for i, key := range keys {
		place, ok := b.next.places[key]
		if !ok {
			place = len(b.next.keys)
			b.next.places[key], b.next.keys = place, append(b.next.keys, key)
		}
		places[i] = place
	}
	return b.next, places
}

// start sends the batch that gathers. b.mu is held.
func (b *batches) start() {
	sent := b.next
	b.next = nil
	b.running++
	go func() {
		defer b.ended()
		sent.records, sent.err = b.read(context.Background(), sent.keys) // under its own limit
		close(sent.done)
	}()
}

// ended makes room for the next batch.
func (b *batches) ended() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.next != nil && b.running < concurrentBatches {
		b.start()
	}
}

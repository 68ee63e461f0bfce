package s3

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/oci"
)

// How many requests to one bucket are under way at once. A server that answers within the
// usual milliseconds is never asked so much. With one that hangs or crawls, connections,
// buffers and goroutines would pile up for all who ask meanwhile: some wait for it, and all
// others are told at once to come back later.
const (
	mostAsking  = 256  // that send no body and have no answer yet
	mostSending = 512  // that send a body, or have the server move one
	mostReading = 2048 // whose answer is being read: a client that is slow takes one as well

	mostWaiting = 1024             // for a turn of each kind
	turnTimeout = 10 * time.Second // for a turn
)

// turns are the requests of one kind.
type turns struct {
	free    *semaphore.Weighted
	waiting atomic.Int64
	timeout time.Duration
}

func newTurns(most int64) *turns {
	return &turns{free: semaphore.NewWeighted(most), timeout: turnTimeout}
}

// take waits for a turn, which the caller gives back. The error wraps oci.ErrUnavailable
// where there is none, and nothing was sent.
func (t *turns) take(ctx context.Context) error {
	if t.free.TryAcquire(1) {
		return nil
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > mostWaiting {
		return fmt.Errorf("%w: as many requests as it is sent at once are under way, and as many wait", oci.ErrUnavailable)
	}
	waits, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if t.free.Acquire(waits, 1) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: as many requests as it is sent at once were under way for %v", oci.ErrUnavailable, t.timeout)
}

func (t *turns) give() { t.free.Release(1) }

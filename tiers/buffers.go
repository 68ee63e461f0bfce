package tiers

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/oci"
)

// buffers are the buffers of all uploads of unknown length together. Their number bounds
// the memory that such uploads take; those that nobody uses are the collector's.
type buffers struct {
	turns   *semaphore.Weighted // as many as may be in use
	waiting atomic.Int64        // uploads that wait for one
	most    int64               // of them
	idle    sync.Pool           // of *[bufferSize]byte
}

// mostWaiting is how many uploads wait for a buffer. Each holds the beginning of its body
// meanwhile, and where the store takes nothing, they wait long.
const mostWaiting = 512

func newBuffers(n int) *buffers {
	b := &buffers{turns: semaphore.NewWeighted(int64(n)), most: mostWaiting}
	b.idle.New = func() any { return new([bufferSize]byte) }
	return b
}

// take waits for a buffer. The error wraps oci.ErrTooManyRequests where too many wait.
func (b *buffers) take(ctx context.Context) ([]byte, error) {
	if buf := b.spare(); buf != nil {
		return buf, nil
	}
	defer b.waiting.Add(-1)
	if b.waiting.Add(1) > b.most {
		return nil, fmt.Errorf("%w: %d uploads whose length nobody said wait to be taken: try again when some have ended, or say the length", oci.ErrTooManyRequests, b.most)
	}
	if err := b.turns.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return b.get(), nil
}

// spare is a buffer that nobody waits for; nil where there is none.
func (b *buffers) spare() []byte {
	if !b.turns.TryAcquire(1) {
		return nil
	}
	return b.get()
}

func (b *buffers) get() []byte {
	array, _ := b.idle.Get().(*[bufferSize]byte)
	return array[:]
}

// release gives a buffer back; nil one that somebody may still read, in whose place a new
// one is made.
func (b *buffers) release(buf []byte) {
	if buf != nil {
		b.idle.Put((*[bufferSize]byte)(buf))
	}
	b.turns.Release(1)
}

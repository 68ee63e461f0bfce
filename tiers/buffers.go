package tiers

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// buffers are the buffers of all uploads of unknown length together. Their number bounds
// the memory that such uploads take; those that nobody uses are the collector's.
type buffers struct {
	turns *semaphore.Weighted // as many as may be in use
	idle  sync.Pool           // of *[bufferSize]byte
}

func newBuffers(n int) *buffers {
	b := &buffers{turns: semaphore.NewWeighted(int64(n))}
	b.idle.New = func() any { return new([bufferSize]byte) }
	return b
}

// take waits for a buffer.
func (b *buffers) take(ctx context.Context) ([]byte, error) {
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

package tiers

import (
	"context"
	"sync"
)

// buffers are the buffers of all uploads of unknown length together. Their number bounds
// the memory that such uploads take; those that nobody uses are the collector's.
type buffers struct {
	turns chan struct{} // one token for each that may be in use
	idle  sync.Pool     // of *[bufferSize]byte
}

func newBuffers(n int) *buffers {
	b := &buffers{turns: make(chan struct{}, n)}
	for range n {
		b.turns <- struct{}{}
	}
	b.idle.New = func() any { return new([bufferSize]byte) }
	return b
}

// take waits for a buffer.
func (b *buffers) take(ctx context.Context) ([]byte, error) {
	select {
	case <-b.turns:
		return b.get(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// spare is a buffer that nobody waits for, if there is one.
func (b *buffers) spare() (buf []byte, ok bool) {
	select {
	case <-b.turns:
		return b.get(), true
	default:
		return nil, false
	}
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
	b.turns <- struct{}{}
}

package ledger

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Bounds of the pages that followers get.
const (
	pageBytes = 256 << 10 // after so many bytes of events a page ends; its last event may pass them
	keptPages = 4         // those that all who follow the end of the log ask for
	// pageTimeout bounds the reading of a page, which goes on when one who asked for it has gone.
	pageTimeout = 30 * time.Second
)

// following is what all who follow the log in this process share: they ask the catalog
// together whether there is more, and read a new page once.
type following struct {
	mu      sync.Mutex
	sealed  Checkpoint    // the newest that anybody here has read
	asking  bool          // one of those who wait asks the catalog
	changed chan struct{} // closed when he has an answer, or gives up

	reads singleflight.Group
	pages *lru.Cache[pageSpan, []Entry]
}

// pageSpan names a page by the entries that it begins with and ends before.
type pageSpan struct{ from, end int64 }

func newFollowing() (*following, error) {
	pages, err := lru.New[pageSpan, []Entry](keptPages)
	return &following{pages: pages}, err
}

// Next returns sealed entries from an index on, at least one and at most a tile of them. It
// waits until there is one, so asked again and again, each time for what comes behind the
// last, it gives every entry once and in order. What lies in the bucket is checked against
// the checkpoint. The entries are shared: nobody may change them.
func (l *Ledger) Next(ctx context.Context, from int64) ([]Entry, error) {
	c, err := l.sealedBeyond(ctx, from)
	if err != nil {
		return nil, err
	}
	span := pageSpan{from, min(c.Size, (from/tileWidth+1)*tileWidth)}
	if page, ok := l.following.pages.Get(span); ok {
		return page, nil
	}
	read := l.following.reads.DoChan(fmt.Sprint(span), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pageTimeout)
		defer cancel()
		return l.readPage(ctx, c, span)
	})
	select {
	case result := <-read:
		page, _ := result.Val.([]Entry)
		return page, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readPage reads a page. It copies the entries: each would else hold the whole tile in memory.
func (l *Ledger) readPage(ctx context.Context, c Checkpoint, span pageSpan) ([]Entry, error) {
	page, err := entriesWithin(ctx, l, c, span.from, int(span.end-span.from), pageBytes)
	if err != nil {
		return nil, err
	}
	for i, e := range page {
		value := bytes.Clone(e.Value)
		if bytes.Equal(e.Value, e.Event) {
			page[i].Value, page[i].Event = value, value
			continue
		}
		page[i].Value, page[i].Event = value, bytes.Clone(e.Event)
	}
	l.following.pages.Add(span, page)
	return page, nil
}

// sealedBeyond waits for a checkpoint that covers the entry of an index.
func (l *Ledger) sealedBeyond(ctx context.Context, index int64) (Checkpoint, error) {
	f := l.following
	for pause := time.Duration(0); ; pause = l.interval {
		f.mu.Lock()
		if f.sealed.Size > index {
			defer f.mu.Unlock()
			return f.sealed, nil
		}
		asks := !f.asking
		if asks {
			f.asking, f.changed = true, make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		if asks {
			if err := l.ask(ctx, pause); err != nil {
				return Checkpoint{}, err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Checkpoint{}, ctx.Err()
		}
	}
}

// ask reads the newest checkpoint after a pause, for all who wait. Whatever comes of it,
// another may ask then.
func (l *Ledger) ask(ctx context.Context, pause time.Duration) error {
	f := l.following
	var state State
	var err error
	select {
	case <-time.After(pause):
		state, err = l.State(ctx)
	case <-ctx.Done():
		err = ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && state.Size > f.sealed.Size {
		f.sealed = state.Checkpoint
	}
	f.asking = false
	close(f.changed)
	return err
}

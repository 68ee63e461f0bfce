package ledger_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// write is a write to a store on its way.
type write struct {
	change tiers.Change // of the catalog; the zero change for an object
	object string       // the key of an object that is put or deleted
	apply  func() error
}

// hooks stand between processes and their stores, and remember what was written.
type hooks struct {
	mu      sync.Mutex
	write   func(write) error // nil: apply
	events  []recorded
	objects map[string][]byte
	again   []string
	notes   []string
}

// recorded is an event with the revision that made it.
type recorded struct {
	revision int64
	key      string
	value    []byte
}

func (h *hooks) set(write func(write) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write = write
}

func (h *hooks) wrote(w write) error {
	h.mu.Lock()
	hook := h.write
	h.mu.Unlock()
	if hook == nil {
		return w.apply()
	}
	return hook(w)
}

// over puts the hooks between a configuration and its stores.
func (h *hooks) over(config *tiers.Config) {
	h.objects = map[string][]byte{}
	config.Catalog = &hookedCatalog{config.Catalog, h}
	for i := range config.Tiers {
		config.Tiers[i].Bucket = &hookedBucket{config.Tiers[i].Bucket, h}
	}
}

// fault is what happens at one write.
type fault struct {
	applied bool // the write is done although it is reported as failed
	fatal   bool // the process does nothing more from then on
}

// inject makes the n-th write fail, from 0, and says whether there was one.
func (h *hooks) inject(n int, f fault) (hit *atomic.Bool) {
	hit = &atomic.Bool{}
	gone := fmt.Errorf("%w: injected", oci.ErrUnavailable)
	var count atomic.Int64
	var dead atomic.Bool
	h.set(func(w write) error {
		if dead.Load() {
			return gone
		}
		if count.Add(1) != int64(n)+1 {
			return w.apply()
		}
		hit.Store(true)
		dead.Store(f.fatal)
		if f.applied {
			if err := w.apply(); err != nil {
				return err
			}
		}
		return gone
	})
	return hit
}

// before calls f ahead of the n-th write, from 0, and says whether there was one.
func (h *hooks) before(n int, f func()) (hit *atomic.Bool) {
	hit = &atomic.Bool{}
	var count atomic.Int64
	h.set(func(w write) error {
		if count.Add(1) == int64(n)+1 {
			hit.Store(true)
			f()
		}
		return w.apply()
	})
	return hit
}

// remember notes the events and checkpoints of a change that was applied. One whose outcome
// its caller never learnt is noted as well.
func (h *hooks) remember(change tiers.Change, revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range change.Put {
		switch {
		case strings.HasPrefix(p.Key, "event/"):
			h.events = append(h.events, recorded{revision, p.Key, p.Value})
		case p.Key == "ledger/head":
			var head struct{ Next struct{ Note string } }
			if json.Unmarshal(p.Value, &head) == nil && head.Next.Note != "" {
				h.notes = append(h.notes, head.Next.Note)
			}
		}
	}
}

// recorded are all events, in the order in which the catalog took them.
func (h *hooks) recorded() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortFunc(h.events, func(a, b recorded) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.key, b.key))
	})
	values := make([][]byte, len(h.events))
	for i, e := range h.events {
		values[i] = e.value
	}
	return values
}

// signed are all checkpoints that anybody can have been shown.
func (h *hooks) signed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.notes)
}

// rewritten are the keys of objects that were written again with other bytes.
func (h *hooks) rewritten() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.again)
}

type hookedCatalog struct {
	tiers.Catalog
	*hooks
}

func (c *hookedCatalog) Commit(ctx context.Context, change tiers.Change) (revision int64, err error) {
	err = c.wrote(write{change: change, apply: func() (err error) {
		if revision, err = c.Catalog.Commit(ctx, change); err == nil {
			c.remember(change, revision)
		}
		return err
	}})
	return revision, err
}

type hookedBucket struct {
	tiers.Bucket
	*hooks
}

func (b *hookedBucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if before, ok := b.objects[key]; ok && !bytes.Equal(before, data) {
		b.again = append(b.again, key)
	}
	b.objects[key] = data
	b.mu.Unlock()
	return b.wrote(write{object: key, apply: func() error { return b.Bucket.Put(ctx, key, bytes.NewReader(data), size) }})
}

func (b *hookedBucket) Delete(ctx context.Context, key string) error {
	return b.wrote(write{object: key, apply: func() error { return b.Bucket.Delete(ctx, key) }})
}

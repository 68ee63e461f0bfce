package promote_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"sluice.dev/sluice/tiers"
)

// write is a write to a store on its way: what it writes and how it is applied.
type write struct {
	change tiers.Change // of the catalog; the zero change for an object
	object string       // the key of an object; empty for a change of the catalog
	apply  func() error
}

// puts says whether the write puts a record under prefix.
func (w write) puts(prefix string) bool {
	return slices.ContainsFunc(w.change.Put, func(p tiers.Put) bool { return strings.HasPrefix(p.Key, prefix) })
}

// hooks stand between a process and its stores. They serve one process: another has a
// registry of its own over the same stores.
type hooks struct {
	mu    sync.Mutex
	write func(context.Context, write) error                 // nil: apply
	read  func(ctx context.Context, key string, object bool) // before each
	keys  map[string]int                                     // how often each object was written
	twice []string                                           // objects that were written again
}

func (h *hooks) set(write func(context.Context, write) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write = write
}

func (h *hooks) onRead(read func(ctx context.Context, key string, object bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read = read
}

// before runs f once, before the first write that puts a record under prefix.
func (h *hooks) before(prefix string, f func()) {
	h.set(func(_ context.Context, w write) error {
		if w.puts(prefix) {
			h.set(nil)
			f()
		}
		return w.apply()
	})
}

func (h *hooks) wrote(ctx context.Context, w write) error {
	h.mu.Lock()
	hook := h.write
	if w.object != "" {
		if h.keys[w.object]++; h.keys[w.object] > 1 {
			h.twice = append(h.twice, w.object)
		}
	}
	h.mu.Unlock()
	if hook == nil {
		return w.apply()
	}
	return hook(ctx, w)
}

func (h *hooks) reads(ctx context.Context, key string, object bool) {
	h.mu.Lock()
	hook := h.read
	h.mu.Unlock()
	if hook != nil {
		hook(ctx, key, object)
	}
}

// over puts the hooks between a configuration and its stores.
func (h *hooks) over(config *tiers.Config) {
	h.keys = map[string]int{}
	config.Catalog = &hookedCatalog{config.Catalog, h}
	config.Tiers = slices.Clone(config.Tiers)
	for i := range config.Tiers {
		config.Tiers[i].Bucket = &hookedBucket{config.Tiers[i].Bucket, h}
	}
}

type hookedCatalog struct {
	tiers.Catalog
	*hooks
}

func (c *hookedCatalog) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	for _, key := range keys {
		c.reads(ctx, key, false)
	}
	return c.Catalog.Get(ctx, keys...)
}

func (c *hookedCatalog) Commit(ctx context.Context, change tiers.Change) (revision int64, err error) {
	if len(change.Put)+len(change.Delete) == 0 {
		return c.Catalog.Commit(ctx, change)
	}
	err = c.wrote(ctx, write{change: change, apply: func() (err error) {
		revision, err = c.Catalog.Commit(ctx, change)
		return err
	}})
	return revision, err
}

type hookedBucket struct {
	tiers.Bucket
	*hooks
}

func (b *hookedBucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	return b.wrote(ctx, write{object: key, apply: func() error { return b.Bucket.Put(ctx, key, r, size) }})
}

func (b *hookedBucket) Complete(ctx context.Context, key, id string, parts []tiers.Part) error {
	return b.wrote(ctx, write{object: key, apply: func() error { return b.Bucket.Complete(ctx, key, id, parts) }})
}

func (b *hookedBucket) CopyFrom(ctx context.Context, from tiers.Objects, source, key string, size int64) error {
	return b.wrote(ctx, write{object: key, apply: func() error { return b.Bucket.CopyFrom(ctx, plain(from), source, key, size) }})
}

func (b *hookedBucket) CanCopyFrom(from tiers.Objects) bool { return b.Bucket.CanCopyFrom(plain(from)) }

func (b *hookedBucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.reads(ctx, key, true)
	return b.Bucket.Open(ctx, key, offset, length)
}

func plain(o tiers.Objects) tiers.Objects {
	if hooked, ok := o.(*hookedBucket); ok {
		return hooked.Bucket
	}
	return o
}

// process is another process over the stores of g: a registry behind hooks, with an engine.
func (g *gate) process(alone bool) (*gate, *hooks) {
	g.Helper()
	other, h := *g, &hooks{}
	h.over(&other.config)
	registry, err := tiers.New(g.Context(), other.config)
	if err != nil {
		g.Fatal(err)
	}
	other.registry = registry
	*g.processes = append(*g.processes, registry)
	other.engine = other.start(alone)
	return &other, h
}

package tiers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// faults makes one write of a world fail, counted over its buckets and its catalog.
type faults struct {
	mu      sync.Mutex
	armed   bool
	at, n   int
	applied bool // the write is done and reported as failed; otherwise it is lost
	hit     string
}

func (f *faults) arm(at int, applied bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.at, f.n, f.applied, f.hit = true, at, 0, applied, ""
}

// disarm says which write failed; empty if the work was done before the turn of it.
func (f *faults) disarm() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.hit
}

// write does one write, or fails it.
func (f *faults) write(what string, do func() error) error {
	f.mu.Lock()
	now := f.armed && f.n == f.at
	f.n++
	if now {
		f.hit = what
	}
	applied := f.applied
	f.mu.Unlock()
	if !now {
		return do()
	}
	if applied {
		if err := do(); err != nil {
			return err
		}
	}
	return fmt.Errorf("injected into %s: %w", what, oci.ErrUnavailable)
}

// bucket is a real bucket that remembers what was done to it. It fails the test when a key
// or a part number is written twice.
type bucket struct {
	tiers.Bucket
	t      *testing.T
	faults *faults

	mu      sync.Mutex
	written map[string]string // keys that an object was ever made under, by what
	live    map[string]bool   // keys that hold an object, but for the mark of the catalog
	parts   map[string]bool   // parts ever written
	open    map[string]string // multipart uploads by id, their keys
	unknown map[string]bool   // ids that nobody was told of
	whole   map[string]bool   // objects that were read and found to be what they should

	before  func(op, key string) // called ahead of every write, if not nil
	copies  bool                 // whether copies between buckets are offered
	corrupt bool                 // flip a byte of what is copied or put
}

func record(t *testing.T, b tiers.Bucket, f *faults) *bucket {
	return &bucket{Bucket: b, t: t, faults: f, written: map[string]string{}, live: map[string]bool{}, copies: true,
		parts: map[string]bool{}, whole: map[string]bool{}, open: map[string]string{}, unknown: map[string]bool{}}
}

func (b *bucket) call(op, key string) {
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	if before != nil {
		before(op, key)
	}
}

func (b *bucket) hook(before func(op, key string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
}

// begin notes that a key is about to be written, whatever becomes of it.
func (b *bucket) begin(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if by := b.written[key]; by != "" {
		b.t.Errorf("object %s is written twice, first by %s", key, by)
	}
	b.written[key] = "one request"
}

func (b *bucket) made(key string, err error) error {
	if err == nil && !strings.HasPrefix(key, "catalogs/") {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.live[key] = true
	}
	return err
}

func (b *bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	b.call("put", key)
	b.begin(key)
	if b.corrupt {
		r = &flipper{r: r}
	}
	return b.faults.write("put", func() error { return b.made(key, b.Bucket.Put(ctx, key, r, size)) })
}

func (b *bucket) CopyFrom(ctx context.Context, from tiers.Objects, src, key string, size int64) error {
	b.call("copy", key)
	b.begin(key)
	return b.faults.write("copy", func() error {
		if !b.corrupt {
			return b.made(key, b.Bucket.CopyFrom(ctx, from.(*bucket).Bucket, src, key, size))
		}
		rc, err := from.Open(ctx, src, 0, -1)
		if err != nil {
			return err
		}
		defer rc.Close()
		return b.made(key, b.Bucket.Put(ctx, key, &flipper{r: rc}, size))
	})
}

func (b *bucket) CanCopyFrom(from tiers.Objects) bool {
	other, ok := from.(*bucket)
	return ok && b.copies && b.Bucket.CanCopyFrom(other.Bucket)
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	b.call("delete", key)
	return b.faults.write("delete", func() error {
		err := b.Bucket.Delete(ctx, key)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.live, key)
		}
		return err
	})
}

func (b *bucket) Begin(ctx context.Context, key string) (string, error) {
	b.call("begin", key)
	var id string
	err := b.faults.write("begin", func() (err error) {
		id, err = b.Bucket.Begin(ctx, key)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.open[id] = key
		}
		return err
	})
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.unknown[id] = true
		return "", err
	}
	return id, nil
}

func (b *bucket) PutPart(ctx context.Context, key, id string, number int, r io.Reader, size int64) (tiers.Part, error) {
	b.call("part", key)
	name := fmt.Sprintf("%s %s %d", key, id, number)
	b.mu.Lock()
	if b.parts[name] {
		b.t.Errorf("part %s is written twice", name)
	}
	b.parts[name] = true
	b.mu.Unlock()
	var part tiers.Part
	err := b.faults.write("part", func() (err error) {
		part, err = b.Bucket.PutPart(ctx, key, id, number, r, size)
		return err
	})
	return part, err
}

func (b *bucket) Complete(ctx context.Context, key, id string, parts []tiers.Part) error {
	b.call("complete", key)
	b.mu.Lock()
	if by := b.written[key]; by != "" && by != id { // the same upload again makes the same object
		b.t.Errorf("object %s is written twice, first by %s", key, by)
	}
	b.written[key] = id
	b.mu.Unlock()
	return b.faults.write("complete", func() error {
		err := b.Bucket.Complete(ctx, key, id, parts)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.open, id)
			b.live[key] = true
		}
		return err
	})
}

func (b *bucket) Abort(ctx context.Context, key, id string) error {
	b.call("abort", key)
	return b.faults.write("abort", func() error {
		err := b.Bucket.Abort(ctx, key, id)
		b.mu.Lock()
		defer b.mu.Unlock()
		if err == nil && b.open[id] == key {
			delete(b.open, id)
		}
		return err
	})
}

// flipper changes the first byte that passes.
type flipper struct {
	r    io.Reader
	done bool
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 && !f.done {
		f.done = true
		p[0] ^= 1
	}
	return n, err
}

// catalog is a real catalog that remembers which records expire.
type catalog struct {
	tiers.Catalog
	faults *faults

	mu           sync.Mutex
	expires      map[string]bool
	commits      int
	beforeCommit func(tiers.Change)
	beforeGet    func(keys []string)
	afterList    func(q tiers.Query)
}

func (c *catalog) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	records, err := c.Catalog.List(ctx, q)
	c.mu.Lock()
	after := c.afterList
	c.mu.Unlock()
	if after != nil {
		after(q)
	}
	return records, err
}

// onList sets what is called behind every listing.
func (c *catalog) onList(after func(q tiers.Query)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.afterList = after
}

func (c *catalog) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	c.mu.Lock()
	before := c.beforeGet
	c.mu.Unlock()
	if before != nil {
		before(keys)
	}
	return c.Catalog.Get(ctx, keys...)
}

// onGet sets what is called ahead of every read.
func (c *catalog) onGet(before func(keys []string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beforeGet = before
}

// onCommit sets what is called ahead of every write.
func (c *catalog) onCommit(before func(tiers.Change)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beforeCommit = before
}

func (c *catalog) Commit(ctx context.Context, change tiers.Change) (int64, error) {
	c.mu.Lock()
	before := c.beforeCommit
	c.mu.Unlock()
	if before != nil {
		before(change)
	}
	var revision int64
	err := c.faults.write("commit", func() (err error) {
		revision, err = c.Catalog.Commit(ctx, change)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.commits++
			for _, p := range change.Put {
				c.expires[p.Key] = p.Expire > 0
			}
		}
		return err
	})
	return revision, err
}

// all lists every record under a prefix.
func (c *catalog) all(t *testing.T, prefix string) []tiers.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []tiers.Record
	for after := ""; ; {
		page, err := c.List(ctx, tiers.Query{Prefix: prefix, After: after, Limit: 5000})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) < 5000 {
			return all
		}
		after = page[len(page)-1].Key
	}
}

func fields(t *testing.T, r tiers.Record) map[string]any {
	t.Helper()
	if len(r.Value) == 0 {
		return nil
	}
	var v map[string]any
	if err := json.Unmarshal(r.Value, &v); err != nil {
		t.Fatalf("record %s: %v", r.Key, err)
	}
	return v
}

// cut takes apart "<prefix><a><sep><b>".
func cut(key, prefix, sep string) (a, b string) {
	a, b, _ = strings.Cut(strings.TrimPrefix(key, prefix), sep)
	return a, b
}

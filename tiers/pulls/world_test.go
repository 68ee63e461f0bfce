package pulls_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

// hooks stand before the stores.
type hooks struct {
	mu    sync.Mutex
	write func(apply func() error) error // of a change or an object; nil: apply
	get   func(keys []string)
}

func (h *hooks) set(write func(apply func() error) error, get func(keys []string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write, h.get = write, get
}

func (h *hooks) wrote(apply func() error) error {
	h.mu.Lock()
	write := h.write
	h.mu.Unlock()
	if write == nil {
		return apply()
	}
	return write(apply)
}

type hookedCatalog struct {
	tiers.Catalog
	hooks *hooks
}

func (c *hookedCatalog) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	c.hooks.mu.Lock()
	get := c.hooks.get
	c.hooks.mu.Unlock()
	if get != nil {
		get(keys)
	}
	return c.Catalog.Get(ctx, keys...)
}

func (c *hookedCatalog) Commit(ctx context.Context, change tiers.Change) (revision int64, err error) {
	err = c.hooks.wrote(func() (err error) {
		revision, err = c.Catalog.Commit(ctx, change)
		return err
	})
	return revision, err
}

type hookedBucket struct {
	tiers.Bucket
	hooks *hooks
}

func (b *hookedBucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	return b.hooks.wrote(func() error { return b.Bucket.Put(ctx, key, r, size) })
}

// world is a registry on real stores, and replicas that record pulls from it.
type world struct {
	*testing.T
	hooks    *hooks
	later    atomic.Int64 // how far the clock is ahead
	catalog  tiers.Catalog
	bucket   tiers.Bucket // of release
	registry *tiers.Registry
	log      *pulls.Log
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, hooks: &hooks{}}
	// At noon: no test passes midnight unless it wants to.
	now := time.Now()
	w.forward(time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, time.UTC).Sub(now))
	w.registry = stores.Registry(t, func(c *tiers.Config) {
		w.catalog, w.bucket = c.Catalog, c.Tiers[2].Bucket
		c.Catalog = &hookedCatalog{c.Catalog, w.hooks}
		c.Tiers[2].Bucket = &hookedBucket{c.Tiers[2].Bucket, w.hooks}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	})
	w.log = w.replica(pulls.Config{Share: 1})
	return w
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (w *world) forward(d time.Duration) { w.later.Add(int64(d)) }

func (w *world) replica(c pulls.Config) *pulls.Log {
	w.Helper()
	c.Registry, c.Log = w.registry, discard()
	l, err := pulls.New(c)
	w.must(err)
	return l
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// of is a digest.
func of(name string) digest.Digest { return digest.FromString(name) }

// pull is a pull of the manifest name from release.
func pull(principal, name string) pulls.Pull {
	return pulls.Pull{Principal: principal, Tier: "release", Repository: "acme/" + name, Digest: of(name), Client: "containerd/v2"}
}

// flushed records pulls at a replica and has it write them.
func (w *world) flushed(l *pulls.Log, all ...pulls.Pull) {
	w.Helper()
	for _, p := range all {
		l.Record(p)
	}
	w.must(l.Flush(w.Context()))
}

// found is what a query finds, page by page, as principal/tier/repository count.
func (w *world) found(q pulls.Query) (all []string) {
	w.Helper()
	if q.N == 0 {
		q.N = 100
	}
	for {
		page, next, err := w.log.Find(w.Context(), q)
		w.must(err)
		if len(page) > q.N {
			w.Fatalf("a page has %d", len(page))
		}
		for _, p := range page {
			all = append(all, fmt.Sprintf("%s %s/%s %d", p.Principal, p.Tier, p.Repository, p.Count))
		}
		if q.Last = next; next == "" {
			return all
		}
	}
}

// finds compares what a query finds, in whatever order.
func (w *world) finds(q pulls.Query, want ...string) {
	w.Helper()
	got := w.found(q)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// segments are the keys of the records.
func (w *world) segments() (keys []string) {
	w.Helper()
	records, err := w.catalog.List(w.Context(), tiers.Query{Prefix: "pulls/", Limit: tiers.MaxPage})
	w.must(err)
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// objects are the keys in the bucket, all that are contents.
func (w *world) objects() (keys []string) {
	w.Helper()
	entries, err := w.bucket.List(w.Context(), "blobs/", "", tiers.MaxObjects)
	w.must(err)
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// collect goes so far ahead that all that is garbage goes.
func (w *world) collect() {
	w.Helper()
	for range 2 {
		w.forward(25 * time.Hour)
		_, err := w.registry.Collect(w.Context(), tiers.CollectOptions{}, nil)
		w.must(err)
	}
}

// checked has a check find what is wanted.
func (w *world) checked(repair bool, want ...string) {
	w.Helper()
	o := tiers.CheckOptions{ReadData: true, Repair: repair}
	pulls.AddCheck(&o, w.registry)
	checked, err := w.registry.Check(w.Context(), o, nil)
	w.must(err)
	var got []string
	for _, f := range checked.Findings {
		if f.Severity != tiers.Info {
			got = append(got, f.Kind+" "+fmt.Sprint(f.Repaired))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.Errorf("a check finds %q, want %q", got, want)
	}
}

var errTest = fmt.Errorf("test: %w", oci.ErrUnavailable)

// failing has every write fail from now on.
func failing(func() error) error { return errTest }

// nth is a hook that has one write fail, before or behind it. It says whether it was reached.
func nth(n int, applied bool) (write func(func() error) error, reached *atomic.Bool) {
	var seen atomic.Int64
	reached = &atomic.Bool{}
	return func(apply func() error) error {
		if seen.Add(1) != int64(n) {
			return apply()
		}
		reached.Store(true)
		if applied {
			return errors.Join(apply(), errTest)
		}
		return errTest
	}, reached
}

package pulls_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
)

// Whoever asks finds who pulled what, whichever replica counted it.
func TestFind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.replica(pulls.Config{Share: 1})
	dev, stable := pull("alice", "app"), pull("alice", "app")
	dev.Tier, stable.Tier = "dev", "stable"
	begin := w.registry.Now()
	w.flushed(w.log, pull("alice", "app"), pull("alice", "app"), pull("bob", "web"), dev, stable)
	w.forward(time.Minute)
	between := w.registry.Now().Truncate(time.Millisecond) // as times are recorded
	last := pull("alice", "app")
	last.Tag, last.Client = "1.0", "docker/29"
	w.flushed(other, last, pull("anonymous", "app"))

	w.finds(pulls.Query{Digests: []digest.Digest{of("app")}}, "alice release/acme/app 3", "alice stable/acme/app 1", "anonymous release/acme/app 1")
	w.finds(pulls.Query{Digests: []digest.Digest{of("app"), of("web"), of("none")}, Tier: "release"}, "alice release/acme/app 3", "anonymous release/acme/app 1", "bob release/acme/web 1")
	w.finds(pulls.Query{Digests: []digest.Digest{of("none")}})
	w.finds(pulls.Query{Principal: "bob"}, "bob release/acme/web 1")
	w.finds(pulls.Query{Repository: "acme/web"}, "bob release/acme/web 1")
	w.finds(pulls.Query{Since: between}, "alice release/acme/app 1", "anonymous release/acme/app 1")
	w.finds(pulls.Query{Since: between.Add(time.Minute)})

	page, _, err := w.log.Find(t.Context(), pulls.Query{Principal: "alice", Tier: "release", N: 1})
	w.must(err)
	p := page[0]
	if p.Digest != of("app") || p.Tag != "1.0" || p.Client != "docker/29" || p.First.Before(begin.Add(-time.Second)) || p.First.After(between) || p.Last.Before(between.Add(-time.Second)) {
		t.Errorf("it is %+v", p)
	}
	if s := w.log.Stats(); s.Recorded != 4 || s.Dropped != 0 || s.Segments != 1 || s.Problem != "" {
		t.Errorf("it says %+v", s)
	}
	w.checked(false)
	w.flushed(w.log) // nothing
	if n := len(w.segments()); n != 2 {
		t.Errorf("there are %d segments", n)
	}
	w.log.Record(pull("carol", "db"))
	w.forward(time.Minute)
	between = w.registry.Now().Truncate(time.Millisecond)
	w.flushed(w.log, pull("dave", "db")) // one segment of both
	w.finds(pulls.Query{Repository: "acme/db", Since: between}, "dave release/acme/db 1")
}

// What is recorded is what the configuration says.
func TestConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := pull("alice", "app")
	dev.Tier = "dev"
	none, some, devs := w.replica(pulls.Config{}), w.replica(pulls.Config{Share: 0.1}), w.replica(pulls.Config{Share: 1, Tiers: []string{"dev"}})
	for range 4000 {
		for _, l := range []*pulls.Log{none, some, devs} {
			l.Record(pull("alice", "app"))
			l.Record(dev)
		}
	}
	if a, b, c := none.Stats().Recorded, some.Stats().Recorded, devs.Stats().Recorded; a != 0 || b < 250 || b > 600 || c != 4000 {
		t.Errorf("%d, %d and %d were counted of 4000", a, b, c)
	}
	if _, err := pulls.New(pulls.Config{Registry: w.registry, Log: discard(), Tiers: []string{"none"}}); !errors.Is(err, oci.ErrTierUnknown) {
		t.Errorf("a tier that there is not: %v", err)
	}
	for _, bad := range []pulls.Config{{Share: 2}, {Share: -1}, {Keep: -1}, {Interval: -1}} {
		bad.Registry, bad.Log = w.registry, discard()
		if _, err := pulls.New(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// Pages follow each other whatever segments the pulls lie in, and hold each place once.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for s := range 4 {
		for i := range 40 {
			if i%(s+1) == 0 {
				w.log.Record(pull(fmt.Sprint("node-", i), "app"))
				w.log.Record(pull(fmt.Sprint("node-", i), "web"))
			}
		}
		w.must(w.log.Flush(t.Context()))
	}
	for i := range 40 {
		n := 0
		for s := range 4 {
			if i%(s+1) == 0 {
				n++
			}
		}
		want = append(want, fmt.Sprintf("node-%d release/acme/app %d", i, n), fmt.Sprintf("node-%d release/acme/web %d", i, n))
	}
	for _, n := range []int{7, 79, 80, 81} {
		w.finds(pulls.Query{N: n}, want...)
	}
}

// Small segments become large ones, of a day that is over one is left, and what they were is
// collected. What is found stays the same.
func TestMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := pulls.Query{Digests: []digest.Digest{of("app")}}
	for range 33 {
		w.flushed(w.log, pull("alice", "app"))
	}
	w.flushed(w.log, pull("bob", "web"))
	want := []string{"alice release/acme/app 33", "bob release/acme/web 1"}
	if n := len(w.segments()); n != 34 {
		t.Fatalf("there are %d segments", n)
	}
	w.must(w.log.Tidy(t.Context()))
	keys := w.segments()
	if len(keys) != 3 || !strings.Contains(keys[2], "/1/") {
		t.Fatalf("there are %q", keys)
	}
	w.must(w.log.Tidy(t.Context())) // there are too few now
	w.finds(pulls.Query{}, want...)
	w.finds(q, want[0])
	w.checked(false)

	w.forward(24 * time.Hour)
	w.must(w.log.Tidy(t.Context()))
	if keys = w.segments(); len(keys) != 1 || !strings.Contains(keys[0], "/8/") {
		t.Errorf("of a day that is over there are %q", keys)
	}
	w.finds(pulls.Query{}, want...)
	w.flushed(w.log, pull("alice", "app")) // of the next day
	w.collect()
	if n := len(w.objects()); n != 2 {
		t.Errorf("there are %d objects of 2 segments", n)
	}
	w.finds(q, "alice release/acme/app 34")
	w.checked(false)
}

// What was kept long enough goes, and its bytes with the next collections.
func TestExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.log = w.replica(pulls.Config{Share: 1, Keep: 48 * time.Hour})
	w.flushed(w.log, pull("alice", "app"))
	w.forward(24 * time.Hour)
	w.flushed(w.log, pull("bob", "app"))
	w.forward(24*time.Hour + time.Minute) // of the first day the afternoon is not over for as long
	w.must(w.log.Tidy(t.Context()))
	w.finds(pulls.Query{}, "alice release/acme/app 1", "bob release/acme/app 1")
	w.forward(24 * time.Hour)
	w.must(w.log.Tidy(t.Context()))
	w.finds(pulls.Query{}, "bob release/acme/app 1")
	w.collect()
	if n := len(w.objects()); n != 1 {
		t.Errorf("there are %d objects", n)
	}
	w.checked(false)
}

// Whatever write fails, lost or applied, what was counted is written once, and what is left
// over is collected.
func TestEachWriteFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, failed := 0, 0
	for write := 1; ; write++ {
		var reached bool
		for _, applied := range []bool{false, true} {
			hook, was := nth(write, applied)
			w.hooks.set(hook, nil)
			w.log.Record(pull("alice", "app"))
			n++
			w.forward(2 * time.Minute) // no key stands announced from before
			if err := w.log.Flush(t.Context()); err != nil {
				failed++
				w.hooks.set(nil, nil)
				w.must(w.log.Flush(t.Context()))
			}
			w.hooks.set(nil, nil)
			reached = reached || was.Load()
			w.finds(pulls.Query{}, fmt.Sprintf("alice release/acme/app %d", n))
		}
		if !reached {
			break
		}
	}
	if failed != 6 { // the announcement, the object and the record
		t.Errorf("%d writes failed", failed)
	}
	if s := w.log.Stats(); s.Dropped != 0 || s.Recorded != int64(n) || s.Segments != int64(n) || !strings.Contains(s.Problem, "test: ") || s.Failed.IsZero() {
		t.Errorf("it says %+v", s)
	}
	w.collect()
	if got := len(w.objects()); got != n {
		t.Errorf("there are %d objects of %d segments", got, n)
	}
	w.checked(false)
}

// A merge that fails at any write, lost or applied, leaves each pull in one segment.
func TestMergeFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.flushed(w.log, pull("alice", "app"))
	w.flushed(w.log, pull("alice", "app"), pull("bob", "app"))
	w.forward(24 * time.Hour)
	day := w.replica(pulls.Config{Share: 1})
	for write := 1; ; write++ {
		hook, reached := nth(write, write > 2)
		w.hooks.set(hook, nil)
		err := day.Tidy(t.Context())
		w.hooks.set(nil, nil)
		w.finds(pulls.Query{}, "alice release/acme/app 2", "bob release/acme/app 1")
		if !reached.Load() {
			w.must(err)
			break
		}
		day = w.replica(pulls.Config{Share: 1}) // which looks at once
		w.forward(2 * time.Minute)
	}
	if n := len(w.segments()); n != 1 {
		t.Errorf("there are %d segments", n)
	}
	w.checked(false)
}

// Two replicas merge the same: one of them does.
func TestMergeRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.flushed(w.log, pull("alice", "app"))
	w.flushed(w.log, pull("alice", "app"))
	w.forward(24 * time.Hour)
	first, second := w.replica(pulls.Config{Share: 1}), w.replica(pulls.Config{Share: 1})
	writes := 0
	w.hooks.set(func(apply func() error) error {
		if writes++; writes == 3 { // the first is about to commit
			w.hooks.set(nil, nil)
			w.forward(-24 * time.Hour) // a replica whose clock is behind adds one: the second makes other bytes
			w.flushed(w.log, pull("bob", "app"))
			w.forward(24 * time.Hour)
			w.must(second.Tidy(t.Context()))
		}
		return apply()
	}, nil)
	w.must(first.Tidy(t.Context()))
	if keys := w.segments(); writes != 3 || len(keys) != 1 {
		t.Errorf("after %d writes there are %q", writes, keys)
	}
	w.finds(pulls.Query{}, "alice release/acme/app 2", "bob release/acme/app 1")
	w.checked(false)
}

// Who asks while segments are merged and collected gets it all.
func TestFindWhileMerging(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.flushed(w.log, pull("alice", "app"))
	w.flushed(w.log, pull("bob", "app"))
	w.forward(48 * time.Hour)
	merging := w.replica(pulls.Config{Share: 1})
	var once sync.Once
	w.hooks.set(nil, func(keys []string) {
		if !strings.Contains(keys[0], "/blob/") {
			return
		}
		once.Do(func() { // somebody is about to read a segment
			w.hooks.set(nil, nil)
			if err := merging.Tidy(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			if _, err := w.registry.Collect(context.WithoutCancel(t.Context()), tiers.CollectOptions{}, nil); err != nil {
				t.Error(err)
			}
		})
	})
	w.finds(pulls.Query{}, "alice release/acme/app 1", "bob release/acme/app 1")
	if n := len(w.segments()); n != 1 {
		t.Errorf("there are %d segments", n)
	}
}

// A million distinct pulls while no store answers take no more memory than two bounds, keep
// nobody waiting, and are counted.
func TestBounded(t *testing.T) {
	w := newWorld(t)
	const most = 64 << 20
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	w.hooks.set(failing, nil)
	app := of("app")
	for i := range 1_000_000 {
		w.log.Record(pulls.Pull{Principal: "node-" + strconv.Itoa(i), Tier: "release", Repository: "acme/app", Digest: app, Client: "containerd/v2"})
		if i%250_000 == 0 {
			if err := w.log.Flush(t.Context()); err == nil {
				t.Error("it was written")
			}
		}
	}
	if now := heap(); now > before+most {
		t.Errorf("it takes %d MiB", (now-before)>>20)
	}
	s := w.log.Stats()
	if s.Recorded+s.Dropped != 1_000_000 || s.Recorded > 2*pulls.MaxRows || s.Recorded < pulls.MaxRows {
		t.Errorf("it says %+v", s)
	}
	w.hooks.set(nil, nil)
	w.must(w.log.Flush(t.Context()))
	if n := len(w.found(pulls.Query{N: pulls.MaxPage})); n != int(s.Recorded) {
		t.Errorf("%d of %d were written", n, s.Recorded)
	}
	// Long names come up against the other bound.
	long := strings.Repeat("y", 64<<10)
	for i := range 200 {
		w.log.Record(pull(long+fmt.Sprint(i), "app"))
	}
	if now := w.log.Stats(); now.Recorded-s.Recorded > pulls.MaxBytes/int64(len(long)) || now.Recorded+now.Dropped != 1_000_200 {
		t.Errorf("of long names it says %+v", now)
	}
}

// A batch that cannot be written is dropped at last, and counted; the next one is written.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hooks.set(failing, nil)
	w.log.Record(pull("alice", "app"))
	w.log.Record(pull("alice", "app"))
	for tries := 1; w.log.Stats().Dropped == 0; tries++ {
		if err := w.log.Flush(t.Context()); !errors.Is(err, oci.ErrUnavailable) {
			t.Fatalf("it says %v", err)
		}
		w.log.Record(pull("bob", "app"))
		if tries > 60 {
			t.Fatal("it is tried for ever")
		}
	}
	if n := w.log.Stats().Dropped; n != 2 {
		t.Errorf("%d were dropped", n)
	}
	w.hooks.set(nil, nil)
	w.must(w.log.Flush(t.Context()))
	w.finds(pulls.Query{}, "bob release/acme/app 60")
}

// A replica writes by itself: at its interval, when nothing more fits, and when it ends.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		interval time.Duration
		rows     int
	}{{10 * time.Millisecond, 1}, {time.Hour, pulls.MaxRows}, {time.Hour, 1}} {
		l := w.replica(pulls.Config{Share: 1, Interval: c.interval})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for i := range c.rows {
			l.Record(pull(fmt.Sprint("node-", i), "app"))
		}
		ends := c.interval == time.Hour && c.rows == 1
		if ends {
			cancel()
		}
		for deadline := time.Now().Add(time.Minute); l.Stats().Segments == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if l.Stats().Segments == 0 {
			t.Errorf("every %v: nothing of %d rows was written in a minute", c.interval, c.rows)
		}
		cancel()
		running.Wait()
		if s := l.Stats(); s.Segments != 1 || s.Recorded != int64(c.rows) {
			t.Errorf("every %v, of %d rows: %+v", c.interval, c.rows, s)
		}
	}
}

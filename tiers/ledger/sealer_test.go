package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// verify runs the check of an auditor over the bucket.
func (w *world) verify(state ledger.State) {
	w.Helper()
	report, err := ledger.Verify(w.Context(), w.main, ledger.VerifyOptions{Keys: w.keys()})
	w.must(err)
	if !report.Sound || report.Size != state.Size || report.Entries != state.Size {
		w.Fatalf("the log does not verify: %+v", report)
	}
}

// Events are sealed in the order in which the catalog took them, whatever clocks gave them
// their ids, and each as it was recorded.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	fast := w.config
	fast.Now = func() time.Time { return now.Add(time.Hour) }
	ahead, err := tiers.New(t.Context(), fast)
	w.must(err)
	for i := range 20 {
		w.record(1)
		_, err := w.config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{
			ahead.EventPut(tiers.Event{Type: tiers.EventUntagged, Actor: "bob", Tag: fmt.Sprint(i)})}})
		w.must(err)
		if i == 10 {
			w.seal(w.main)
		}
	}
	w.commit(tiers.Event{Type: tiers.EventTagged, Tag: "x"}, tiers.Event{Type: tiers.EventTagged, Tag: "y"})
	w.seal(w.main)
	w.audit()
}

// A log grows over tiles and levels, in steps of all sizes; what made room stays, and
// nothing else does.
func TestGrowth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seal(w.main)
	w.hasSize(0)
	for _, n := range []int{1, 1, 253, 1, 1, 300, 4000, 211, 1000, 1} {
		w.fill(n)
		w.seal(w.main)
	}
	w.audit()
	if left := w.list("ledger/batch/"); len(left) > 0 {
		t.Errorf("batches stay: %d", len(left))
	}
	var partial []string
	for _, path := range w.objects() {
		if strings.Contains(path, ".p/") {
			partial = append(partial, path)
		}
	}
	size := w.state().Size // 5769 = 22*256 + 137
	want := []string{"tile/0/022.p/136", "tile/0/022.p/137", "tile/1/000.p/1", "tile/1/000.p/17", "tile/1/000.p/18", "tile/1/000.p/2", "tile/1/000.p/22",
		"tile/entries/022.p/136", "tile/entries/022.p/137"}
	if !slices.Equal(partial, want) {
		t.Errorf("at size %d the partial tiles are %v, want %v", size, partial, want)
	}
}

// hasSize checks the size of the log, which has a checkpoint though it may be empty.
func (w *world) hasSize(size int64) {
	w.Helper()
	if state := w.state(); state.Size != size || len(state.Signed) == 0 {
		w.Fatalf("size %d, signed %q", state.Size, state.Signed)
	}
}

// Many replicas record and seal at once.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	var sealing, recording sync.WaitGroup
	for range 3 {
		r := w.replica()
		sealing.Go(func() {
			for ctx.Err() == nil {
				// A claim of another is no obstacle here: all seal all the time.
				if _, err := r.Barge(ctx); err != nil && !errors.Is(err, oci.ErrConflict) && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		recording.Go(func() {
			for range 60 {
				w.record(1)
				w.commit(tiers.Event{Type: tiers.EventTagged}, tiers.Event{Type: tiers.EventUntagged})
			}
		})
	}
	recording.Wait()
	w.settle()
	stop()
	sealing.Wait()
	w.audit()
}

// settle waits until everything that is recorded is sealed.
func (w *world) settle() {
	w.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if state := w.state(); state.Size == int64(len(w.hooks.recorded())) && len(w.waiting()) == 0 {
			return
		}
		if time.Since(begin) > time.Minute {
			w.Fatal("the ledger is not sealed")
		}
	}
}

// A replica leaves one that gets on alone, takes over from one that does not, and at once
// from one that stopped.
func TestClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.replica(), w.replica()
	first.hooks.set(func(w write) error { // it dies behind its claim
		if len(w.change.Put) == 1 && w.change.Put[0].Key == "ledger/sealer" {
			return w.apply()
		}
		return fmt.Errorf("%w: injected", oci.ErrUnavailable)
	})
	w.record(3)
	if _, err := first.Seal(t.Context()); !errors.Is(err, oci.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := second.Seal(t.Context()); err != nil || w.state().Size != 0 {
		t.Fatalf("the claim of another was passed over: size %d, %v", w.state().Size, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- second.Run(ctx) }()
	w.settle()
	stop()
	w.must(<-done)
	w.record(1)
	if _, err := w.main.Seal(t.Context()); err != nil || w.state().Size != 4 {
		t.Fatalf("the claim of one that stopped is in the way: size %d, %v", w.state().Size, err)
	}
	w.audit()
}

// An event that no entry can hold is an object of its own.
func TestLongEvent(t *testing.T) {
	t.Parallel()
	w := newWorldWithout(t)
	now := time.Now()
	w.config.Now = func() time.Time { return now } // a time is as long as its fraction
	w.main = w.replica()
	w.record(2)
	body := make([]byte, 300_000)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Body: body})
	// The longest that fits, and the first that does not.
	var probe = len(w.main.EventPut(tiers.Event{Type: tiers.EventTagged, Cause: "-"}).Value) - 1
	for _, size := range []int{65535, 65536} {
		w.commit(tiers.Event{Type: tiers.EventTagged, Cause: strings.Repeat("x", size-probe)})
	}
	w.record(1)
	w.seal(w.main)
	w.audit()
	long := 0
	for _, path := range w.objects() {
		if strings.HasPrefix(path, "events/") {
			long++
		}
	}
	if long != 2 {
		t.Errorf("%d objects of long events, want 2", long)
	}
}

// What ended a promotion is found by its id, once it is sealed.
func TestIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(5)
	w.commit(tiers.Event{Type: tiers.EventWaiting, Cause: "p1"})
	w.commit(tiers.Event{Type: tiers.EventPromoted, Cause: "p1"})
	w.commit(tiers.Event{Type: tiers.EventRefused, Cause: "p2"})
	w.commit(tiers.Event{Type: tiers.EventManifestDeleted, Cause: "no promotion"})
	index := func() map[string]int64 {
		found, err := w.main.Index(t.Context(), "p0", "p1", "p2", "no promotion")
		w.must(err)
		return found
	}
	if got := index(); len(got) != 0 {
		t.Errorf("before it is sealed: %v", got)
	}
	w.seal(w.main)
	if got := index(); len(got) != 2 || got["p1"] != 6 || got["p2"] != 7 {
		t.Errorf("found %v, want p1 at 6 and p2 at 7", got)
	}
}

// A catalog that was set back is noticed before an index is given twice.
func TestSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(3)
	w.seal(w.main)
	old := w.list("ledger/head")[0]
	w.record(3)
	w.seal(w.main)
	_, err := w.config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: old.Key, Value: old.Value}}})
	w.must(err)
	w.record(1)
	before := w.objects()
	_, err = w.main.Seal(t.Context())
	if !errors.Is(err, oci.ErrCorrupt) || !strings.Contains(err.Error(), "set back") {
		t.Fatalf("sealed over what was sealed: %v", err)
	}
	if after := w.objects(); !slices.Equal(before, after) {
		t.Errorf("objects %v became %v", before, after)
	}
}

// A bucket whose log is of another catalog is left alone.
func TestForeignBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(1)
	w.seal(w.main)
	config := w.config
	config.Catalog = stores.Catalog(t)
	other, err := tiers.New(t.Context(), config)
	w.must(err)
	_, err = ledger.New(t.Context(), ledger.Config{Registry: other, Signer: w.signer, Origin: origin, Log: quiet()})
	if !errors.Is(err, oci.ErrConflict) {
		t.Errorf("opened: %v", err)
	}
}

// Nothing is sealed on top of tiles that are not what was signed.
func TestEdgeChanged(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"tile/0/000.p/9", "tile/entries/000.p/9"} {
		w := newWorld(t)
		w.record(9)
		w.seal(w.main)
		w.flip(path)
		w.record(1)
		if _, err := w.replica().Seal(t.Context()); !errors.Is(err, oci.ErrCorrupt) {
			t.Errorf("%s: %v", path, err)
		}
		if got := w.state().Size; got != 9 {
			t.Errorf("%s: size %d", path, got)
		}
	}
}

// Another key begins with an event that says so, and signs from there on.
func TestKeyChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(2)
	w.seal(w.main)
	old := w.signer
	w.signer = newSigner(t)
	r := w.replica()
	w.seal(r)
	state := w.state()
	if state.Size != 3 {
		t.Fatalf("%d entries, want 3", state.Size)
	}
	_, err := ledger.OpenCheckpoint(state.Signed, w.signer.Public())
	w.must(err)
	if _, err := ledger.OpenCheckpoint(state.Signed, old.Public()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("the former key: %v", err)
	}
	entries, err := r.Entries(t.Context(), 2, 1)
	w.must(err)
	if !strings.Contains(string(entries[0].Event), `"ledger.key"`) || !strings.Contains(string(entries[0].Event), r.Key()) {
		t.Errorf("the last entry is %s", entries[0].Event)
	}
}

// slowLister lists events in two steps, as a catalog may, and lets something happen between
// them.
type slowLister struct {
	tiers.Catalog
	between func()
}

// List reads q, and then once more what came behind it meanwhile.
func (c *slowLister) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	page, err := c.Catalog.List(ctx, q)
	if err != nil || q.Prefix != "event/" || q.Limit == 1 || c.between == nil || len(page) == 0 {
		return page, err
	}
	between := c.between
	c.between = nil
	between()
	q.After = page[len(page)-1].Key
	rest, err := c.Catalog.List(ctx, q)
	return append(page, rest...), err
}

// Of what comes while events are listed a part may stand in the listing: an event whose
// predecessor does not must wait.
func TestListedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorldWithout(t)
	slow := &slowLister{Catalog: w.config.Catalog}
	w.config.Catalog = slow
	w.main = w.replica()
	at := func(shift time.Duration) *tiers.Registry {
		config := w.config
		config.Now = func() time.Time { return time.Now().Add(shift) }
		r, err := tiers.New(t.Context(), config)
		w.must(err)
		return r
	}
	behind, ahead := at(-time.Hour), at(time.Hour)
	w.record(1)
	slow.between = func() {
		for _, r := range []*tiers.Registry{behind, ahead} { // the listing is past the first of them
			_, err := slow.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{r.EventPut(tiers.Event{Type: tiers.EventTagged})}})
			w.must(err)
		}
	}
	w.seal(w.main)
	if slow.between != nil {
		t.Fatal("nothing was listed")
	}
	w.audit()
}

package ledger_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Whatever write of a sealer fails, in whatever way, no event is lost, doubled or moved, and
// no second history is signed: by whom goes on, itself or another.
func TestFaultAtEachWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault
		from, step int // between them the four meet every write
	}{
		"lost, and killed":    {fault{fatal: true}, 0, 2},
		"applied, and killed": {fault{applied: true, fatal: true}, 1, 2},
		"lost":                {fault{}, 0, 3},
		"applied":             {fault{applied: true}, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := c.from
			for w.faultAt(n, c.fault) {
				n += c.step
			}
			if n < 16 {
				t.Errorf("%d writes were tried", n)
			}
			w.audit()
		})
	}
}

// prepare leaves a tile that was filled and is to be tidied up, and records another tile of
// events, one of them too long for an entry: whoever seals them does all that a sealer does.
func (w *world) prepare() {
	w.Helper()
	w.fill(tileWidth)
	w.finish(w.main)
	w.fill(tileWidth)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Body: make([]byte, 60_000)})
}

// faultAt seals a round with a fault at the n-th write, and says whether there was such a
// write.
func (w *world) faultAt(n int, f fault) bool {
	w.Helper()
	w.prepare()
	r := w.replica()
	hit := r.hooks.inject(n, f)
	if _, err := r.Barge(w.Context()); err != nil && !errors.Is(err, oci.ErrUnavailable) {
		w.Fatalf("write %d: %v", n, err)
	}
	w.record(2)
	next := r
	if f.fatal {
		next = w.replica()
	}
	w.finish(next)
	return hit.Load()
}

// finish seals everything, whoever has the claim.
func (w *world) finish(r *replica) {
	w.Helper()
	for range 100 {
		if _, err := r.Barge(w.Context()); err != nil && !errors.Is(err, oci.ErrConflict) && !errors.Is(err, oci.ErrUnavailable) {
			w.Fatal(err)
		}
		if w.state().Size == int64(len(w.hooks.recorded())) {
			return
		}
	}
	w.Fatalf("%d of %d events are sealed", w.state().Size, len(w.hooks.recorded()))
}

// A sealer that stands still before any of its writes, while another seals what there is and
// what comes, changes nothing when it goes on.
func TestPausedAtEachWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hit *atomic.Bool
	n := 0
	for ; hit == nil || hit.Load(); n++ {
		w.prepare()
		paused, other := w.replica(), w.replica()
		hit = paused.hooks.before(n, func() {
			w.finish(other)
			w.record(2)
			if n%2 == 0 {
				w.finish(other)
			}
		})
		if _, err := paused.Barge(t.Context()); err != nil && !errors.Is(err, oci.ErrConflict) {
			t.Fatalf("write %d: %v", n, err)
		}
		w.finish(paused)
	}
	if n < 16 {
		t.Errorf("%d writes were tried", n)
	}
	w.audit()
}

// A replica that is cut off as it begins the ledger leaves one that others open.
func TestFaultAtBegin(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{{}, {applied: true}} {
		w := newWorldWithout(t)
		r, err := w.registry()
		w.must(err)
		r.hooks.inject(0, f)
		if err := w.open(t.Context(), r); !errors.Is(err, oci.ErrUnavailable) {
			t.Fatal(err)
		}
		w.main = w.replica()
		w.record(1)
		w.seal(w.main)
		w.audit()
	}
}

// Who reads the ledger while it is sealed and tidied up always finds it whole.
func TestReadersMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record(1)
	w.seal(w.main)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 12 {
			w.fill(97)
			w.finish(w.main)
		}
	}()
	reader := w.replica()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		state, err := reader.State(t.Context())
		w.must(err)
		entries, err := reader.Entries(t.Context(), max(0, state.Size-300), 1000)
		w.must(err)
		if int64(len(entries)) < min(state.Size, 300) {
			t.Fatalf("%d entries of %d", len(entries), state.Size)
		}
		_, proof, err := reader.Prove(t.Context(), state.Size/2)
		w.must(err)
		if !strings.HasPrefix(proof, "c2sp.org/tlog-proof@v1\nindex ") {
			t.Fatalf("proof %q", proof)
		}
	}
}

package promote_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// look runs the engine for one look at what is open.
func (g *gate) look() {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 300*time.Millisecond)
	defer cancel()
	g.must(g.engine.Run(ctx))
}

// silence lets all signs of life expire.
func (g *gate) silence() {
	g.Helper()
	records, err := g.registry.Catalog().List(g.Context(), tiers.Query{Prefix: "replica/", Limit: 100})
	g.must(err)
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	_, err = g.registry.Catalog().Commit(g.Context(), tiers.Change{Delete: keys})
	g.must(err)
}

// A replica takes over only what belongs to nobody who lives.
func TestTakeOver(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	owner, h := g.process(false)
	owner.look() // gives a sign of life
	h.inject(8, fault{fatal: true}, func() {})
	p, created, err := owner.engine.Start(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || !created {
		t.Fatal(err)
	}
	other, _ := g.process(false)
	other.look()
	if p, err = g.engine.Promotion(t.Context(), p.ID); err != nil || p.State.Terminal() {
		t.Fatalf("taken from a living owner: %s, %v", p.State, err)
	}
	g.absent("stable", image.Digest, "1.0")

	owner.engine.Close()
	g.silence()
	other.settle()
	p, err = g.engine.Promotion(t.Context(), p.ID)
	if err != nil || p.State != promote.Succeeded {
		t.Fatalf("got %s, %v", p.State, err)
	}
	g.complete("stable", "1.0", image.Digest)
	g.ended(p)
	g.nothingOpen()
}

// An owner that was taken for dead comes back at any of its steps: what it does then
// changes nothing and leaves nothing.
func TestFormerOwner(t *testing.T) {
	for _, step := range []string{"promotion/", "pinned/", "staged/", "committed/"} {
		t.Run(step[:len(step)-1], func(t *testing.T) {
			g := newGate(t, nil)
			image := g.image("1.0", "one", nil)
			g.provenance(image)
			owner, h := g.process(false)
			paused, wake := make(chan struct{}), make(chan struct{})
			var started atomic.Bool
			h.set(func(_ context.Context, w write) error {
				if w.puts(step) && started.Load() {
					h.set(nil)
					close(paused)
					<-wake
				}
				started.Store(true)
				return w.apply()
			})
			asked := make(chan promote.Promotion)
			go func() {
				p, _, _ := owner.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
				asked <- p
			}()
			<-paused
			g.silence()
			other, _ := g.process(false)
			other.settle()
			q, found := other.only("1.0")
			if !found || q.State != promote.Succeeded {
				t.Errorf("taken over: %+v", q)
			}
			close(wake)
			if p := <-asked; p.ID != q.ID || p.State != promote.Succeeded {
				t.Errorf("the former owner answers %s %s", p.ID, p.State)
			}
			owner.engine.Close()
			if n := g.summaries("stable", image); n != 1 {
				t.Errorf("%d summaries", n)
			}
			g.complete("stable", "1.0", image.Digest)
			g.ended(q)
			g.noTraces()
		})
	}
}

// Two starts at once: one of them does it.
func TestTakeOverRace(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	first, h := g.process(true)
	h.inject(5, fault{fatal: true}, func() {})
	_, _, err := first.engine.Start(t.Context(), "manager", request("1.0", "stable"))
	g.must(err)
	first.engine.Close()
	done := make(chan struct{})
	for range 4 {
		other, _ := g.process(false)
		go func() {
			other.look()
			other.settle()
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	g.settle()
	p, _ := g.only("1.0")
	if p.State != promote.Succeeded || g.summaries("stable", image) != 1 {
		t.Errorf("got %+v", p)
	}
	g.ended(p)
	g.nothingOpen()
}

// A commit that was reported lost may be applied long after. Either it counts, or it is
// undone before it can.
func TestLateCommit(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	first, h := g.process(true)
	late := make(chan func() error, 1)
	h.set(func(_ context.Context, w write) error {
		switch {
		case w.puts("committed/"):
			late <- w.apply
			return oci.ErrUnavailable
		case len(late) == 1 && len(w.change.Delete) > 0: // something is taken away
			_ = (<-late)() // now the commit arrives
		}
		return w.apply()
	})
	p, _, _ := first.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if p.State != promote.Errored {
		t.Fatalf("got %s", p.State)
	}
	g.absent("stable", image.Digest, "1.0")
	g.ended(p)
	g.nothingOpen()
	g.promoteOK(request("1.0", "stable"))
	g.complete("stable", "1.0", image.Digest)
}

// A replica does not take over from itself: what it has just begun goes through at once.
func TestRunDoesNotInterrupt(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	own, h := g.process(true)
	var writes atomic.Int64
	h.set(func(ctx context.Context, w write) error {
		err := w.apply()
		if w.puts("promotion/") {
			writes.Add(1)
		}
		if w.puts("promotion-open/") {
			own.look() // the journal is written, and the work not begun
		}
		return err
	})
	p := own.promoteOK(request("1.0", "stable"))
	records, err := g.registry.Catalog().Get(t.Context(), "promotion/"+p.ID)
	g.must(err)
	// Begun, running, done.
	if n := writes.Load(); n != 3 || !strings.Contains(string(records[0].Value), `"attempt":1`) {
		t.Errorf("the journal was written %d times: %s", n, records[0].Value)
	}
	g.noTraces()
}

// A living owner's promotion stays its own, whatever its open record says: what counts is in
// the journal.
func TestTakeOverLiving(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	owner, h := g.process(false)
	owner.look() // gives a sign of life
	h.inject(8, fault{fatal: true}, func() {})
	p, _, err := owner.engine.Start(t.Context(), "manager", request("1.0", "stable"))
	g.must(err)
	owner.engine.Close()
	_, err = g.registry.Catalog().Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "promotion-open/" + p.ID}, {Key: "replica/" + g.ownerOf(p.ID)}}})
	g.must(err)
	other, _ := g.process(false)
	other.look()
	if p, err = g.engine.Promotion(t.Context(), p.ID); err != nil || p.State.Terminal() {
		t.Errorf("taken from a living owner: %s, %v", p.State, err)
	}
	g.silence()
	other.settle()
	if p, err = g.engine.Promotion(t.Context(), p.ID); err != nil || p.State != promote.Succeeded {
		t.Errorf("got %s, %v", p.State, err)
	}
	g.nothingOpen()
}

// ownerOf is the owner in a journal.
func (g *gate) ownerOf(id string) string {
	g.Helper()
	records, err := g.registry.Catalog().Get(g.Context(), "promotion/"+id)
	g.must(err)
	j, err := tiers.Decode[map[string]any](records[0])
	g.must(err)
	return j["owner"].(string)
}

// The document that the event of a promotion points to is kept for ever: something in the
// catalog refers to its bytes.
func TestRecordKept(t *testing.T) {
	g := newGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	p := g.promoteOK(request("1.0", "stable"))
	for _, e := range g.events("promotion.succeeded") {
		key := "store/" + e.Store + "/ref/" + e.Document.String() + "/.record/" + p.ID
		records, err := g.registry.Catalog().Get(t.Context(), key, "store/"+e.Store+"/blob/"+e.Document.String())
		if err != nil || records[0].Revision == 0 || records[1].Revision == 0 {
			t.Errorf("%s, %v, %v", key, records, err)
		}
	}
}

// What was to rise to a tier that has left the configuration ends.
func TestTakeOverToUnknownTier(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	owner, h := g.process(false)
	gone := fmt.Errorf("%w: injected", oci.ErrUnavailable)
	var dead atomic.Bool
	h.set(func(_ context.Context, w write) error {
		if dead.Load() || w.puts("pinned/") {
			dead.Store(true)
			return gone
		}
		return w.apply()
	})
	p, _, err := owner.engine.Start(t.Context(), "manager", request("1.0", "stable"))
	g.must(err)
	for !dead.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	owner.engine.Close()
	g.silence()
	without := *g
	without.config.Tiers = g.config.Tiers[:1]
	other, _ := without.process(false)
	other.settle()
	p, err = g.engine.Promotion(t.Context(), p.ID)
	if err != nil || p.State != promote.Errored || !strings.Contains(p.Error, oci.ErrTierUnknown.Error()) {
		t.Errorf("got %s: %s (%v)", p.State, p.Error, err)
	}
	g.nothingOpen()
}

package promote_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// A panic anywhere is a no to the promotion that met it, and the engine lives on.
func TestPanic(t *testing.T) {
	var later atomic.Int64
	g := newGate(t, func(c *tiers.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	own, h := g.process(true)
	panicking := func(_ context.Context, key string, object bool) {
		if object {
			panic("injected")
		}
	}

	h.onRead(panicking)
	if _, err := own.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUndecidable) {
		t.Errorf("evaluate: got %v", err)
	}
	if p, created, err := own.engine.Promote(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUndecidable) || created {
		t.Errorf("while it is read for the request: got %+v, %v, %v", p, created, err)
	}
	h.onRead(nil)

	for name, arm := range map[string]func(){
		"while it is decided": func() {
			h.before("promotion-open/", func() { // what was read before is too old, and no longer all
				later.Add(int64(time.Minute))
				g.image("other", "other", nil)
				h.onRead(panicking)
			})
		},
		"while it is copied": func() {
			var once atomic.Bool
			h.set(func(_ context.Context, w write) error {
				if w.object != "" && once.CompareAndSwap(false, true) {
					panic("injected")
				}
				return w.apply()
			})
		},
		"at the commit": func() { h.before("committed/", func() { panic("injected") }) },
	} {
		t.Run(name, func(t *testing.T) {
			arm()
			p, created, err := own.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			h.set(nil)
			h.onRead(nil)
			if !errors.Is(err, oci.ErrUndecidable) || !created || p.State != promote.Errored || strings.Contains(p.Error, "injected") {
				t.Fatalf("got %s, %q, %v, %v", p.State, p.Error, created, err)
			}
			g.absent("stable", image.Digest, "1.0")
			g.ended(p)
			g.nothingOpen()
		})
	}
	own.promoteOK(request("1.0", "stable"))
	g.complete("stable", "1.0", image.Digest)
}

// A client that goes away does not take the promotion with it.
func TestClientGone(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	own, h := g.process(true)
	ctx, cancel := context.WithCancel(t.Context())
	h.before("pinned/", cancel)
	p, created, err := own.engine.Promote(ctx, "manager", request("1.0", "stable"))
	if !created || !errors.Is(err, context.Canceled) || p.ID == "" {
		t.Fatalf("got %+v, %v, %v", p, created, err)
	}
	if again := own.promoteOK(request("1.0", "stable")); again.ID != p.ID {
		t.Error("asked again it was another promotion")
	}
	g.complete("stable", "1.0", image.Digest)
}

// A stopped engine begins nothing, and what it was asked for is done by the next.
func TestClosed(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	own, _ := g.process(true)
	own.engine.Close()
	p, created, err := own.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if !created || !errors.Is(err, oci.ErrUnavailable) {
		t.Fatalf("got %+v, %v, %v", p, created, err)
	}
	g.settle()
	if p, err = g.engine.Promotion(t.Context(), p.ID); err != nil || p.State != promote.Succeeded {
		t.Fatalf("got %s, %v", p.State, err)
	}
	g.noTraces()
}

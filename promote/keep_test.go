package promote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// transient is an edit by which everything goes from dev at the next retention.
func transient(c *tiers.Config) {
	c.Tiers[0].Retention.Rules = []tiers.RetentionRule{{KeepFor: 1}}
}

// retain carries out retention as another process does.
func (g *gate) retain(keep tiers.Keeper) tiers.Retained {
	g.Helper()
	done, err := g.registry.Retain(g.Context(), tiers.RetainOptions{Keep: keep}, nil)
	if err != nil || len(done.Problems) > 0 {
		g.Fatal(err, done.Problems)
	}
	return done
}

// inDev says whether dev has something.
func (g *gate) inDev(reference string) bool {
	g.Helper()
	_, err := g.repo("dev").Resolve(g.Context(), reference)
	if err != nil && !errors.Is(err, oci.ErrManifestUnknown) {
		g.Fatal(err)
	}
	return err == nil
}

// What waits for approvals stays in dev, with its tag and its evidence, until that has ended.
func TestRetainWaiting(t *testing.T) {
	for _, end := range []string{"cancelled", "approved"} {
		t.Run(end, func(t *testing.T) {
			a := newApprovers(t, 1, transient)
			image, other := a.image("1.0", "one", nil), a.image("other", "other", nil)
			provenance := a.provenance(image)
			p := a.wait(request("1.0", "stable"))
			if done := a.retain(nil); done.Kept[tiers.KeptPromotion] != 1 || a.inDev(other.Digest.String()) {
				t.Errorf("did %+v", done)
			}
			done := a.retain(a.engine.Keeper())
			if len(done.Items) != 1 || !strings.Contains(done.Items[0].Why, "promotion "+p.ID+" to stable waits for approvals") {
				t.Errorf("did %+v", done)
			}
			for _, reference := range []string{"1.0", image.Digest.String(), provenance.Digest.String()} {
				if !a.inDev(reference) {
					t.Errorf("%s is gone", reference)
				}
			}
			if end == "cancelled" {
				a.must(a.engine.Cancel(t.Context(), "manager", p.ID))
				a.noTraces()
				if done := a.retain(a.engine.Keeper()); done.Manifests != 2 || a.inDev(image.Digest.String()) {
					t.Errorf("cancelled: did %+v", done)
				}
				return
			}
			defer a.running()()
			a.push("alice", "approved", image)
			a.ends(p.ID, promote.Succeeded)
			a.noTraces()
			if done := a.retain(a.engine.Keeper()); done.Kept[tiers.KeptAbove] != 1 || !a.inDev("1.0") {
				t.Errorf("risen: did %+v", done)
			}
		})
	}
}

// A promotion that was begun before its artifact was held by a pin is found by its journal.
func TestRetainWaitingUnpinned(t *testing.T) {
	a := newApprovers(t, 1, transient)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	a.wait(request("1.0", "stable"))
	records, err := a.registry.Catalog().List(t.Context(), tiers.Query{Prefix: "store/", Limit: tiers.MaxPage, KeysOnly: true})
	a.must(err)
	for _, record := range records {
		if strings.Contains(record.Key, "/.pin/") {
			_, err := a.registry.Catalog().Commit(t.Context(), tiers.Change{Delete: []string{record.Key}})
			a.must(err)
		}
	}
	if done := a.retain(a.engine.Keeper()); done.Kept[tiers.KeptPromotion] != 1 || !a.inDev("1.0") {
		t.Errorf("did %+v", done)
	}
}

// A policy that says no lets go of the artifact.
func TestRetainRefused(t *testing.T) {
	g := newGate(t, transient)
	image := g.image("1.0", "one", nil)
	p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || p.State != promote.Failed {
		t.Fatal(p.State, err)
	}
	g.noTraces()
	if done := g.retain(g.engine.Keeper()); done.Manifests != 1 || g.inDev(image.Digest.String()) {
		t.Errorf("did %+v", done)
	}
}

// Retention at any change that a promotion makes: it is begun with its artifact there, which
// stays, or not at all.
func TestRetainDuringPromotion(t *testing.T) {
	for n, more := int64(1), true; more; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := newGate(t, transient)
			hooked, h := g.process(true)
			image := g.image("1.0", "one", nil)
			provenance := g.provenance(image)
			var i atomic.Int64 // contents are brought some at once
			h.set(func(_ context.Context, w write) error {
				if w.object == "" && i.Add(1) == n {
					g.retain(nil)
				}
				return w.apply()
			})
			p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			switch {
			case errors.Is(err, oci.ErrManifestUnknown) && n == 1:
				if g.inDev(image.Digest.String()) || p.ID != "" {
					t.Errorf("%v although it is there, or was begun: %+v", err, p)
				}
			case err != nil || p.State != promote.Succeeded:
				t.Errorf("got %s, %v", p.State, err)
			default:
				g.complete("dev", "1.0", image.Digest)
				if !g.inDev(provenance.Digest.String()) {
					t.Error("the evidence is gone")
				}
			}
			g.noTraces()
			more = i.Load() >= n
		})
	}
}

// A promotion that begins at any write of retention.
func TestPromotionDuringRetain(t *testing.T) {
	for n, more := 1, true; more; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := newGate(t, transient)
			hooked, h := g.process(true)
			index := g.platforms("1.0")
			provenance := g.provenance(index)
			i, was := 0, false
			var p promote.Promotion
			var err error
			h.set(func(_ context.Context, w write) error {
				if i++; i == n {
					h.set(nil)
					was = g.inDev("1.0")
					p, _, err = g.engine.Start(t.Context(), "manager", request("1.0", "stable"))
				}
				return w.apply()
			})
			hooked.retain(nil)
			if more = i >= n; !more {
				return
			}
			if !was {
				if !errors.Is(err, oci.ErrManifestUnknown) {
					t.Errorf("begun although it was gone: %+v, %v", p, err)
				}
				return
			}
			g.must(err)
			p, _, err = g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			if err != nil || p.State != promote.Succeeded {
				t.Errorf("got %s, %v", p.State, err)
			}
			g.complete("dev", "1.0", index.Digest)
			if !g.inDev(provenance.Digest.String()) {
				t.Error("the evidence is gone")
			}
			g.noTraces()
		})
	}
}

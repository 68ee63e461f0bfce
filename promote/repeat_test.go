package promote_test

import (
	"fmt"
	"sync"
	"testing"

	"sluice.dev/sluice/promote"
)

func TestAskedTwice(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	refused, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || !created || refused.State != promote.Failed {
		t.Fatalf("got %+v, %v, %v", refused, created, err)
	}
	g.provenance(image)
	p := g.promoteOK(request("1.0", "stable"))
	for _, r := range []promote.Request{
		request("1.0", "stable"),
		{Repository: repository, Reference: "1.0", From: "dev", To: "stable", Tags: []string{"1.0", "1.0"}},
		{Repository: repository, Reference: "1.0", To: "stable", Reason: "another reason"},
	} {
		again, created, err := g.engine.Promote(t.Context(), "somebody else", r)
		if err != nil || created || again.ID != p.ID || again.RequestedBy != "manager" {
			t.Errorf("%+v: got %s, %v, %v", r, again.ID, created, err)
		}
	}
	events := len(g.events(""))
	g.attest(image, testType, `{}`, g.ci)
	q, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || !created || q.ID == p.ID || q.Moved.Manifests != 2 {
		t.Errorf("with new evidence: got %+v, %v, %v", q, created, err)
	}
	if len(g.events("")) == events {
		t.Error("no event")
	}
	if n := g.summaries("stable", image); n != 2 {
		t.Errorf("%d summaries of two decisions", n)
	}
	// Another policy decides anew.
	g.setPolicy("dev-to-stable", "dev", "stable", `  repositories: ["acme/**"]`)
	if r := g.promoteOK(request("1.0", "stable")); r.ID == p.ID || r.ID == q.ID {
		t.Error("another policy made no other promotion")
	}
	g.noTraces()
}

// Eight ask for the same at once, through two replicas.
func TestAskedAtOnce(t *testing.T) {
	g := newGate(t, nil)
	image := g.platforms("1.0")
	g.provenance(image)
	other, _ := g.process(false)
	var all sync.WaitGroup
	var mu sync.Mutex
	ids, creations := map[string]bool{}, 0
	for i := range 8 {
		engine := []*promote.Engine{g.engine, other.engine}[i%2]
		all.Go(func() {
			p, created, err := engine.Promote(t.Context(), fmt.Sprint("user", i), request("1.0", "stable"))
			if err != nil || p.State != promote.Succeeded {
				t.Errorf("got %s, %v", p.State, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ids[p.ID] = true; created {
				creations++
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || creations != 1 {
		t.Errorf("%d promotions, %d created", len(ids), creations)
	}
	if n := g.summaries("stable", image); n != 1 {
		t.Errorf("%d summaries", n)
	}
	g.complete("stable", "1.0", image.Digest)
	g.noTraces()
}

// Many promotions at once that share layers, evidence and the artifact itself.
func TestManyAtOnce(t *testing.T) {
	g := newGate(t, nil)
	shared := g.platforms("shared")
	g.provenance(shared)
	var requests []promote.Request
	for i := range 6 {
		tag := fmt.Sprint("own", i)
		index := g.index(tag, nil, shared, g.image("", tag, nil))
		g.provenance(index)
		requests = append(requests, request(tag, "stable"), request("shared", "stable", fmt.Sprint("shared", i)))
	}
	other, _ := g.process(false)
	var all sync.WaitGroup
	for i, r := range requests {
		engine := []*promote.Engine{g.engine, other.engine}[i%2]
		all.Go(func() {
			if p, _, err := engine.Promote(t.Context(), "manager", r); err != nil || p.State != promote.Succeeded {
				t.Errorf("%s: got %s, %v", r.Reference, p.State, err)
			}
		})
	}
	all.Wait()
	for _, r := range requests {
		tag := r.Reference
		if len(r.Tags) > 0 {
			tag = r.Tags[0]
		}
		g.complete("stable", tag, "")
	}
	if n := g.summaries("stable", shared); n != 6 {
		t.Errorf("%d summaries of 6 promotions", n)
	}
	g.noTraces()
}

// Of many that want one tag for different artifacts one gets it.
func TestOneTagForMany(t *testing.T) {
	g := newGate(t, nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	var winners []promote.Promotion
	for i := range 5 {
		tag := fmt.Sprint("v", i)
		g.provenance(g.image(tag, tag, nil))
		all.Go(func() {
			p, _, _ := g.engine.Promote(t.Context(), "manager", request(tag, "stable", "1.0"))
			mu.Lock()
			defer mu.Unlock()
			if p.State == promote.Succeeded {
				winners = append(winners, p)
			}
		})
	}
	all.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d have set an immutable tag", len(winners))
	}
	g.complete("stable", "1.0", winners[0].Digest)
	manifests, _, err := g.repo("stable").Manifests(t.Context(), "", 100)
	if err != nil || len(manifests) != 3 {
		t.Errorf("%d manifests rose, %v; want the winner, its provenance and summary", len(manifests), err)
	}
	g.noTraces()
}

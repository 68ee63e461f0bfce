package promote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

func waiting(r promote.Request) promote.Request { r.Wait = true; return r }

// wait asks for a promotion and expects it to wait.
func (a *approvers) wait(r promote.Request) promote.Promotion {
	a.Helper()
	p, created, err := a.engine.Promote(a.Context(), "manager", waiting(r))
	if err != nil || !created || p.State != promote.Pending || p.WaitUntil == nil || p.Verdict == nil || p.Verdict.Allowed {
		a.Fatalf("got %s %v, %v (%s); want it to wait", p.State, created, err, p.Error)
	}
	return p
}

// running runs the engine until the returned function is called.
func (g *gate) running() (stop func()) {
	g.Helper()
	ctx, cancel := context.WithCancel(g.Context())
	done := make(chan error, 1)
	go func() { done <- g.engine.Run(ctx) }()
	return func() {
		cancel()
		g.must(<-done)
	}
}

// becomes waits until a promotion is as it is wanted.
func (g *gate) becomes(id, what string, want func(promote.Promotion) bool) promote.Promotion {
	g.Helper()
	var p promote.Promotion
	for range 1000 {
		var err error
		p, err = g.engine.Promotion(g.Context(), id)
		g.must(err)
		if want(p) {
			return p
		}
		time.Sleep(10 * time.Millisecond)
	}
	verdict, _ := json.Marshal(p.Verdict)
	g.Fatalf("promotion %s is %s (%s), want %s: %s", id, p.State, p.Error, what, verdict)
	return p
}

func (g *gate) ends(id string, state promote.State) promote.Promotion {
	g.Helper()
	p := g.becomes(id, string(state), func(p promote.Promotion) bool { return p.State.Terminal() })
	if p.State != state {
		verdict, _ := json.Marshal(p.Verdict)
		g.Fatalf("promotion %s is %s (%s), want %s: %s", id, p.State, p.Error, state, verdict)
	}
	return p
}

// attempts counts how often a promotion was decided.
func (g *gate) attempts(id string) int {
	g.Helper()
	records, err := g.registry.Catalog().Get(g.Context(), "promotion/"+id)
	g.must(err)
	var j struct {
		Attempt int `json:"attempt"`
	}
	g.must(json.Unmarshal(records[0].Value, &j))
	return j.Attempt
}

// stillWaits checks that nothing but its records is kept of a promotion that waits.
func (g *gate) stillWaits(id string) {
	g.Helper()
	p, err := g.engine.Promotion(g.Context(), id)
	if err != nil || p.State != promote.Pending || p.FinishedAt != nil || p.Verdict == nil {
		g.Fatalf("promotion is %+v, %v; want it to wait", p, err)
	}
	for _, prefix := range []string{"promotion-open/", "staged/", "committed/", "pinned/"} {
		g.without(prefix, "")
	}
}

// It waits for two approvals, one pushed and one by the call, and goes through by itself.
func TestWait(t *testing.T) {
	a := newApprovers(t, 2, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	if until := p.WaitUntil.Sub(p.CreatedAt); until != 168*time.Hour || p.Verdict.Rules[1].Awaits != policy.AwaitsApproval {
		t.Errorf("waits for %s, rules %+v", until, p.Verdict.Rules)
	}
	a.stillWaits(p.ID)
	again, created, err := a.engine.Promote(t.Context(), "somebody", waiting(request("1.0", "stable")))
	if err != nil || created || again.ID != p.ID || again.State != promote.Pending {
		t.Errorf("asked again: got %s %s %v, %v", again.ID, again.State, created, err)
	}
	defer a.running()()

	a.push("alice", policy.Approved, image)
	a.becomes(p.ID, "one approval", func(p promote.Promotion) bool {
		return p.State == promote.Pending && strings.Contains(p.Verdict.Rules[1].Message, "1 of 2 distinct signers")
	})
	a.stillWaits(p.ID)
	if again, created, err := a.engine.Promote(t.Context(), "somebody", waiting(request("1.0", "stable"))); err != nil || created || again.ID != p.ID {
		t.Errorf("asked with one approval: got %s %v, %v", again.ID, created, err)
	}
	a.absent("stable", digest.FromString("x"), "1.0")
	a.approve("bob", image)
	p = a.ends(p.ID, promote.Succeeded)
	a.tidied()
	a.complete("stable", "1.0", image.Digest)
	if referrers, _, err := a.repo("stable").Referrers(t.Context(), image.Digest, "", "", 10); err != nil || len(referrers) != 4 {
		t.Errorf("referrers %d, %v; want the provenance, two approvals and the summary", len(referrers), err)
	}
	if again, created, err := a.engine.Promote(t.Context(), "somebody", request("1.0", "stable")); err != nil || created || again.ID != p.ID {
		t.Errorf("asked when it was done: got %s %v, %v", again.ID, created, err)
	}
	var types []string
	for _, e := range a.events("promotion.") {
		types = append(types, string(e.Type))
	}
	if got := strings.Join(types, " "); got != "promotion.waiting promotion.succeeded" {
		t.Errorf("events %s", got)
	}
	a.without("promotion-waiting/", "")
	a.noTraces()
}

// What ends a wait, and how.
func TestWaitEnds(t *testing.T) {
	var late atomic.Int64 // what the clock is ahead
	clock := func(c *tiers.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	}
	for name, c := range map[string]struct {
		happens func(a *approvers, image ocispec.Descriptor)
		state   promote.State
		says    string
	}{
		"an approval": {func(a *approvers, image ocispec.Descriptor) { a.push("alice", policy.Approved, image) }, promote.Succeeded, ""},
		"a rejection": {func(a *approvers, image ocispec.Descriptor) {
			a.push("bob", policy.Rejected, image, func(p *policy.Approval) { p.Reason = "not on a Friday" })
		}, promote.Failed, "waits no longer: approvals would not change what the policy says by approved"},
		"the time": {func(a *approvers, image ocispec.Descriptor) { late.Store(int64(169 * time.Hour)) }, promote.Failed, "waited for approvals until"},
		"the tag moved": {func(a *approvers, image ocispec.Descriptor) { a.image("1.0", "two", nil) },
			promote.Errored, "tag 1.0 was"},
		"the tag was deleted": {func(a *approvers, image ocispec.Descriptor) { a.must(a.repo("dev").DeleteTag(a.Context(), "1.0")) },
			promote.Errored, "manifest unknown"},
		"the artifact was deleted": {func(a *approvers, image ocispec.Descriptor) {
			a.must(a.repo("dev").DeleteManifest(a.Context(), image.Digest))
		}, promote.Errored, "manifest unknown"},
		"evidence is missing all at once": {func(a *approvers, image ocispec.Descriptor) {
			referrers, _, err := a.repo("dev").Referrers(a.Context(), image.Digest, "", "", 1)
			a.must(err)
			a.dropReferrer(image.Digest, referrers[0].Digest)
		}, promote.Failed, "by built-by-ci"},
		"a policy that asks for more": {func(a *approvers, image ocispec.Descriptor) {
			a.require("dev-to-stable", "dev", "stable", a.rules(1)+fmt.Sprintf("    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}}\n", testType))
		}, promote.Failed, "by tested"},
		"a policy that asks for no approval": {func(a *approvers, image ocispec.Descriptor) {
			a.require("dev-to-stable", "dev", "stable", fmt.Sprintf("\n    - {name: built, predicateTypes: [%q], from: {authorities: [ci]}}\n", provenanceType))
		}, promote.Succeeded, ""},
		"a policy that nobody can satisfy": {func(a *approvers, image ocispec.Descriptor) {
			a.require("dev-to-stable", "dev", "stable", strings.Replace(a.rules(1), "alice, bob, ci", "ci", 1))
		}, promote.Failed, "by approved"},
		"no policy": {func(a *approvers, image ocispec.Descriptor) {
			_, err := a.registry.Catalog().Commit(a.Context(), tiers.Change{Delete: []string{"tier-policy/stable"}})
			a.must(err)
		}, promote.Errored, "no policy says what may rise"},
	} {
		t.Run(name, func(t *testing.T) {
			late.Store(0)
			a := newApprovers(t, 1, clock)
			image := a.image("1.0", "one", nil)
			a.provenance(image)
			p := a.wait(request("1.0", "stable"))
			defer a.running()()
			c.happens(a, image)
			p = a.ends(p.ID, c.state)
			if !strings.Contains(p.Error, c.says) || p.WaitUntil == nil {
				t.Errorf("got %q, want %q", p.Error, c.says)
			}
			if c.state != promote.Succeeded {
				a.absent("stable", image.Digest, "1.0")
			}
			a.without("promotion-waiting/", "")
			a.tidied()
			a.nothingOpen()
		})
	}
}

// What does not end a wait does not even have it decided anew.
func TestWaitGoesOn(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	defer a.running()()
	for i := range 3 {
		a.provenance(a.image(fmt.Sprint("other", i), fmt.Sprint(i), nil))
		time.Sleep(600 * time.Millisecond)
	}
	if n := a.attempts(p.ID); n != 1 {
		t.Errorf("decided %d times although nothing changed for it", n)
	}
	// CASES, Evidence 17: approvals that do not count.
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.Repository = "acme/other" })
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.To = "release" })
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.Policy = policy.PolicyDigest(digest.FromString("another")) })
	a.push("ci", policy.Approved, image)
	a.becomes(p.ID, "decided anew", func(p promote.Promotion) bool {
		return p.State == promote.Pending && a.attempts(p.ID) > 1 && strings.Contains(p.Verdict.Rules[1].Message, "ci built the artifact") &&
			strings.Contains(p.Verdict.Rules[1].Message, `"acme/other"`)
	})
	// Under another policy the approvals of the former are worth nothing.
	a.require("dev-to-stable", "dev", "stable", strings.ReplaceAll(a.rules(1), "built-by-ci", "built"))
	n := a.attempts(p.ID)
	a.becomes(p.ID, "decided by the new policy", func(p promote.Promotion) bool {
		return p.State == promote.Pending && a.attempts(p.ID) > n && p.Verdict.Rules[0].Name == "built"
	})
	a.approve("alice", image)
	a.ends(p.ID, promote.Succeeded)
}

func TestWaitRefused(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	p, _, err := a.engine.Promote(t.Context(), "manager", waiting(request("1.0", "stable")))
	if err != nil || p.State != promote.Failed || p.WaitUntil != nil {
		t.Errorf("without provenance: got %s, %v", p.State, err)
	}
	a.provenance(image)
	if p, _, err := a.engine.Promote(t.Context(), "manager", request("1.0", "stable")); err != nil || p.State != promote.Failed {
		t.Errorf("without wait: got %s, %v", p.State, err)
	}
	for _, text := range []string{"0s", "-1h", "721h", "1", "soon", "1ns", "999999h"} {
		r := request("1.0", "stable")
		r.WaitFor = text
		if _, _, err := a.engine.Promote(t.Context(), "manager", r); !errors.Is(err, oci.ErrRequestInvalid) || !strings.Contains(err.Error(), "720h") {
			t.Errorf("waitFor %s: got %v", text, err)
		}
	}
	r := request("1.0", "stable")
	r.WaitFor = "72h"
	if p, _, err = a.engine.Promote(t.Context(), "manager", r); err != nil || p.State != promote.Pending || p.WaitUntil.Sub(p.CreatedAt) != 72*time.Hour {
		t.Errorf("waitFor 72h: got %+v, %v", p, err)
	}
}

// Those that wait take no slot from others, and are bounded.
func TestWaitMany(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	var ids []string
	for i := range 50 {
		ids = append(ids, a.wait(request(image.Digest.String(), "stable", fmt.Sprint("t", i))).ID)
	}
	_, created, err := a.engine.Promote(t.Context(), "manager", waiting(request(image.Digest.String(), "stable", "more")))
	if !errors.Is(err, oci.ErrTooManyRequests) || created || !strings.Contains(err.Error(), "50 promotions of repository acme/app wait") {
		t.Errorf("one more: got %v, %v", created, err)
	}
	for _, id := range ids {
		a.stillWaits(id)
	}
	other := a.image("2.0", "two", nil)
	a.provenance(other)
	a.approve("alice", other)
	a.promoteOK(request("2.0", "stable"))
	a.approve("bob", image)
	defer a.running()()
	for _, id := range ids {
		a.ends(id, promote.Succeeded)
	}
	a.tidied()
	a.noTraces()
}

// Two replicas look at once: each change is decided once.
func TestWaitReplicas(t *testing.T) {
	a := newApprovers(t, 2, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	first, _ := a.process(false)
	second, _ := a.process(false)
	defer first.running()()
	defer second.running()()
	a.approve("alice", image)
	a.becomes(p.ID, "one approval", func(p promote.Promotion) bool {
		return p.State == promote.Pending && strings.Contains(p.Verdict.Rules[1].Message, "1 of 2")
	})
	a.approve("bob", image)
	a.ends(p.ID, promote.Succeeded)
	if n := a.attempts(p.ID); n != 3 {
		t.Errorf("decided %d times, want 3", n)
	}
	if n := a.summaries("stable", image); n != 1 {
		t.Errorf("%d summaries", n)
	}
	a.complete("stable", "1.0", image.Digest)
	a.tidied()
	a.noTraces()
}

// Whatever write of a promotion that waits fails, in whatever way: it goes through once
// when the approval is there, or ends with a reason.
func TestWaitFaults(t *testing.T) {
	for name, f := range map[string]fault{"lost, and killed": {fatal: true}, "applied, and killed": {applied: true, fatal: true}, "lost": {}, "applied": {applied: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApprovers(t, 1, nil)
			// It begins, is decided, waits, is taken up and decided; then it moves as any other.
			for n := range 6 {
				if !a.waitFault(n, f) {
					t.Errorf("write %d was not met", n)
				}
			}
		})
	}
}

// waitFault lets the n-th write fail of a process that begins a promotion which waits, and
// that takes it up once it is approved; the writes of moving it are TestFaultAtEachWrite's.
func (a *approvers) waitFault(n int, f fault) bool {
	a.Helper()
	tag := fmt.Sprint("w", n)
	image := a.image(tag, tag, nil)
	a.provenance(image)
	process, h := a.process(true)
	ctx, cancel := context.WithTimeout(a.Context(), 20*time.Second)
	defer cancel()
	hit := h.inject(n, f, func() {
		if f.fatal {
			cancel()
		}
	})
	p, _, err := process.engine.Promote(ctx, "manager", waiting(request(tag, "stable")))
	moving := false
	if err == nil && p.State == promote.Pending {
		a.approve("alice", image)
		runs, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- process.engine.Run(runs) }()
		for !hit.Load() && runs.Err() == nil {
			if now, err := a.engine.Promotion(a.Context(), p.ID); err == nil && now.State.Terminal() {
				moving = true
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		stop()
		<-done
	}
	process.engine.Close()

	// The next start finds what is there.
	next, _ := a.process(true)
	stop := next.running()
	q, found := next.only(tag)
	if !found && (n > 0 || f.applied) {
		a.Fatalf("write %d: the promotion is gone", n)
	}
	if found {
		if q.State == promote.Pending || q.State == promote.Running {
			a.becomes(q.ID, "settled", func(p promote.Promotion) bool {
				return p.State.Terminal() || p.State == promote.Pending && p.WaitUntil != nil
			})
			a.approve("alice", image)
		}
		q = next.becomes(q.ID, "ended", func(p promote.Promotion) bool { return p.State.Terminal() })
		switch {
		case q.State == promote.Succeeded:
			a.complete("stable", tag, image.Digest)
			if n := a.summaries("stable", image); n != 1 {
				a.Errorf("%d summaries", n)
			}
		case q.State == promote.Errored && !f.fatal:
			a.absent("stable", image.Digest, tag)
		default:
			a.Fatalf("write %d: %s: %s", n, q.State, q.Error)
		}
	}
	stop()
	a.without("promotion-waiting/", "")
	a.nothingOpen()
	return hit.Load() && !moving && !a.Failed()
}

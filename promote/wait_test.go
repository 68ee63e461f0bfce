package promote_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// approvers are alice and bob, whom the policies of a gate ask for approval.
type approvers struct {
	*gate
	keys map[string]crypto.Signer
	pems map[string]string
}

// newApprovers makes a gate whose policies ask for provenance by ci and for so many
// approvals, by alice, bob or ci.
func newApprovers(t *testing.T, threshold int, edit func(*tiers.Config)) *approvers {
	t.Helper()
	a := &approvers{gate: bareGate(t, edit), keys: map[string]crypto.Signer{}, pems: map[string]string{}}
	a.keys["ci"], a.pems["ci"] = a.ci, a.ciPEM
	for _, name := range []string{"alice", "bob"} {
		a.keys[name], a.pems[name] = newKey(t)
	}
	a.require("dev-to-stable", "dev", "stable", a.rules(threshold))
	a.require("stable-to-release", "stable", "release", a.rules(threshold))
	return a
}

func (a *approvers) rules(threshold int) string {
	return fmt.Sprintf(`
    - {name: built-by-ci, predicateTypes: ["%s"], from: {authorities: [ci]}}
    - {name: approved, approval: {}, from: {authorities: [alice, bob, ci], threshold: %d}}
`, provenanceType, threshold)
}

// require puts a policy with other rules in force.
func (a *approvers) require(name, from, to, rules string) {
	a.Helper()
	var authorities strings.Builder
	for _, name := range []string{"ci", "alice", "bob"} {
		pem, err := json.Marshal(a.pems[name])
		a.must(err)
		fmt.Fprintf(&authorities, "    - {name: %s, key: {pem: %s}}\n", name, pem)
	}
	document := fmt.Sprintf("apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: %s}\nspec:\n  from: %s\n  to: %s\n  authorities:\n%s  require:%s",
		name, from, to, authorities.String(), rules)
	_, err := a.engine.SetPolicy(a.Context(), "admin", name, []byte(document), "")
	a.must(err)
}

// statement is an approval of subject by the policy in force, after edit.
func (a *approvers) statement(who, name, decision string, subject digest.Digest, edit ...func(*policy.Approval)) []byte {
	a.Helper()
	info, err := a.engine.Policy(a.Context(), name)
	a.must(err)
	approval := policy.Approval{Repository: repository, From: info.From, To: info.To, Policy: policy.PolicyDigest(info.Digest),
		Decision: decision, Timestamp: time.Now().UTC()}
	for _, f := range edit {
		f(&approval)
	}
	predicate, err := json.Marshal(approval)
	a.must(err)
	statement, err := attest.NewStatement(policy.ApprovalType, predicate, "app", subject)
	a.must(err)
	bundle, err := attest.Sign(a.Context(), statement, a.keys[who])
	a.must(err)
	return bundle
}

// push attaches an approval to an artifact in dev, as any client may.
func (a *approvers) push(who, decision string, subject ocispec.Descriptor, edit ...func(*policy.Approval)) {
	a.Helper()
	_, err := attest.Attach(a.Context(), a.repo("dev"), a.statement(who, "dev-to-stable", decision, subject.Digest, edit...), policy.ApprovalType, subject, time.Now())
	a.must(err)
}

// approve has the registry attach an approval.
func (a *approvers) approve(who string, subject ocispec.Descriptor) {
	a.Helper()
	_, err := a.engine.Approve(a.Context(), who, promote.ApprovalRequest{Repository: repository, Reference: subject.Digest.String(), From: "dev", To: "stable",
		Bundle: a.statement(who, "dev-to-stable", policy.Approved, subject.Digest)})
	a.must(err)
}

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
	a.image("other", "other", nil)
	a.becomes(p.ID, "looked at", func(promote.Promotion) bool { return a.attempts(p.ID) == 2 }) // what is attached was not hashed before
	a.becomes(p.ID, "waiting", func(p promote.Promotion) bool { return p.State == promote.Pending })
	for i := range 3 {
		a.provenance(a.image(fmt.Sprint("other", i), fmt.Sprint(i), nil))
		time.Sleep(600 * time.Millisecond)
	}
	if n := a.attempts(p.ID); n != 2 {
		t.Errorf("decided %d times although nothing changed for it", n)
	}
	// CASES, Evidence 17: approvals that do not count.
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.Repository = "acme/other" })
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.To = "release" })
	a.push("alice", policy.Approved, image, func(p *policy.Approval) { p.Policy = policy.PolicyDigest(digest.FromString("another")) })
	a.push("ci", policy.Approved, image)
	a.becomes(p.ID, "decided anew", func(p promote.Promotion) bool {
		return p.State == promote.Pending && a.attempts(p.ID) > 2 && strings.Contains(p.Verdict.Rules[1].Message, "ci built the artifact") &&
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
			n := 0
			for a.waitFault(n, f) {
				if n++; n > 6 { // from here on it moves as any other does
					n += 8
				}
			}
			if n < 20 || t.Failed() {
				t.Errorf("%d writes were tried", n)
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

// The registry attaches approvals in any tier, and refuses what could not count.
func TestApprove(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	other := a.image("2.0", "two", nil)
	a.provenance(image)
	outsider, _ := newKey(t)
	a.keys["mallory"] = outsider
	statement := func(predicateType, predicate string) []byte {
		s, err := attest.NewStatement(predicateType, []byte(predicate), "app", image.Digest)
		a.must(err)
		bundle, err := attest.Sign(t.Context(), s, a.keys["alice"])
		a.must(err)
		return bundle
	}
	mine := func(edit ...func(*policy.Approval)) []byte {
		return a.statement("alice", "dev-to-stable", policy.Approved, image.Digest, edit...)
	}
	for name, c := range map[string]struct {
		request promote.ApprovalRequest
		want    error
		says    string
	}{
		"no bundle":              {promote.ApprovalRequest{Bundle: []byte(`{}`)}, oci.ErrRequestInvalid, "bundle"},
		"no JSON":                {promote.ApprovalRequest{Bundle: []byte(`hello`)}, oci.ErrRequestInvalid, "not strict JSON"},
		"a key twice":            {promote.ApprovalRequest{Bundle: bytes.Replace(mine(), []byte("{"), []byte(`{"mediaType":"x",`), 1)}, oci.ErrRequestInvalid, "not strict JSON"},
		"signed by nobody known": {promote.ApprovalRequest{Bundle: a.statement("mallory", "dev-to-stable", policy.Approved, image.Digest)}, oci.ErrRequestInvalid, "no authority signed it"},
		"of another artifact":    {promote.ApprovalRequest{Bundle: a.statement("alice", "dev-to-stable", policy.Approved, other.Digest)}, oci.ErrRequestInvalid, "the statement is about"},
		"not an approval":        {promote.ApprovalRequest{Bundle: statement(testType, `{"result":"PASSED"}`)}, oci.ErrRequestInvalid, "want " + policy.ApprovalType},
		"an empty approval":      {promote.ApprovalRequest{Bundle: statement(policy.ApprovalType, `{}`)}, oci.ErrRequestInvalid, "predicate.repository is missing"},
		"another repository":     {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Repository = "acme/web" })}, oci.ErrRequestInvalid, `"acme/web"`},
		"another tier":           {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.To = "release" })}, oci.ErrRequestInvalid, `"release"`},
		"another policy":         {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Policy = policy.PolicyDigest(image.Digest) })}, oci.ErrConflict, "in force is"},
		"from the future":        {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Timestamp = time.Now().Add(time.Hour) })}, oci.ErrRequestInvalid, "in the future"},
		"an unknown artifact":    {promote.ApprovalRequest{Reference: "3.0", Bundle: mine()}, oci.ErrManifestUnknown, "3.0"},
		"a skipped tier":         {promote.ApprovalRequest{To: "release", Bundle: mine()}, oci.ErrRequestInvalid, "no tier is skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.request
			r.Repository, r.From = repository, "dev"
			if r.Reference == "" {
				r.Reference = "1.0"
			}
			if r.To == "" {
				r.To = "stable"
			}
			before := len(a.events(""))
			if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
			if n := len(a.events("")); n != before {
				t.Errorf("%d events of what was refused", n-before)
			}
		})
	}
	good := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "dev", To: "stable", Bundle: mine()}
	got, err := a.engine.Approve(t.Context(), "web", good)
	if err != nil || got.Subject != image.Digest || got.Decision != policy.Approved || len(got.Signers) != 1 || got.Signers[0].Authority != "alice" {
		t.Fatalf("got %+v, %v", got, err)
	}
	events := a.events("manifest.pushed")
	if last := events[len(events)-1]; last.Digest != got.Digest || last.Subject != image.Digest || last.Actor != "web" || last.Tier != "dev" {
		t.Errorf("event %+v", last)
	}
	n := len(a.events(""))
	if again, err := a.engine.Approve(t.Context(), "web", good); err != nil || again.Digest != got.Digest || len(a.events("")) != n {
		t.Errorf("the same again: got %+v, %v, %d events", again, err, len(a.events(""))-n)
	}
	a.promoteOK(request("1.0", "stable"))

	// To stable nobody pushes, but approvals for release are attached there.
	release := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "stable", To: "release",
		Bundle: a.statement("bob", "stable-to-release", policy.Approved, image.Digest)}
	waits := a.wait(request("1.0", "release"))
	if got, err = a.engine.Approve(t.Context(), "web", release); err != nil {
		t.Fatal(err)
	}
	defer a.running()()
	a.ends(waits.ID, promote.Succeeded)
	a.complete("release", "1.0", image.Digest)
	a.complete("stable", "1.0", image.Digest)
	a.tidied()
	if _, err := a.repo("stable").PutManifest(t.Context(), "2.0", "", image.MediaType, []byte("{}")); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("push to stable: %v", err)
	}
	if err := a.repo("stable").AsRegistry().DeleteManifest(t.Context(), got.Digest); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("delete in stable: %v", err)
	}
}

// A policy that asks nobody takes no approvals.
func TestApproveNobodyAsked(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	bundle := a.statement("alice", "dev-to-stable", policy.Approved, image.Digest)
	r := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "dev", To: "stable", Bundle: bundle}
	a.require("dev-to-stable", "dev", "stable", strings.Replace(a.rules(1), "alice, bob, ci", "bob", 1))
	r.Bundle = a.statement("alice", "dev-to-stable", policy.Approved, image.Digest)
	if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, oci.ErrDenied) || !strings.Contains(err.Error(), "asks bob") {
		t.Errorf("signed by an authority that is not asked: %v", err)
	}
	a.require("dev-to-stable", "dev", "stable", fmt.Sprintf("\n    - {name: built, predicateTypes: [%q], from: {authorities: [ci]}}\n", provenanceType))
	if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, oci.ErrRequestInvalid) || !strings.Contains(err.Error(), "asks nobody") {
		t.Errorf("nobody is asked: %v", err)
	}
}

// Approvals that come at once through two replicas are all there.
func TestApproveAtOnce(t *testing.T) {
	a := newApprovers(t, 2, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	other, _ := a.process(false)
	defer other.running()()
	var all sync.WaitGroup
	for _, who := range []string{"alice", "bob", "alice", "bob"} {
		all.Go(func() { a.approve(who, image) })
	}
	all.Wait()
	a.ends(p.ID, promote.Succeeded)
}

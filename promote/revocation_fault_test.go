package promote_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// Whatever write of a revocation, of deciding anew, of lifting it and of deciding anew once
// more fails, whoever begins again comes to the same, and nothing happens twice.
func TestRevokeFaultAtEachWrite(t *testing.T) {
	for name, f := range map[string]fault{"lost, and killed": {fatal: true}, "applied, and killed": {applied: true, fatal: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			g.onRevoked("quarantine")
			n := 0
			for g.revokedAt(n, f) {
				n++
			}
			if n < 10 || t.Failed() {
				t.Errorf("%d writes were tried", n)
			}
			g.found("at last", g.check(tiers.CheckOptions{}))
		})
	}
}

// revokedAt revokes what an image of its own rests on, and lifts that, with a fault at the n-th
// write, and says whether there was such a write.
func (g *gate) revokedAt(n int, f fault) bool {
	g.Helper()
	tag := fmt.Sprint("n", n)
	image := g.image(tag, tag, nil)
	signed := g.provenance(image)
	g.promoteOK(request(tag, "stable"))
	before := map[tiers.EventType]int{}
	for _, e := range g.events("") {
		before[e.Type]++
	}
	in := func(g *gate, lift bool) error {
		request := promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String(), Reason: tag}
		work := func() error {
			_, err := g.engine.Redecide(g.Context(), func(promote.Redeciding) {})
			return err
		}
		page, _, err := g.engine.Revocations(g.Context(), "", 1000)
		var r promote.Revocation
		for _, there := range page {
			if there.Value == request.Value {
				r = there
			}
		}
		if err == nil && r.ID == "" {
			r, _, err = g.engine.Revoke(g.Context(), "security", request)
		}
		if err != nil {
			return err
		}
		if r.Lifted == nil {
			if err := work(); err != nil {
				return err
			}
			if q, err := g.registry.QuarantineOf(g.Context(), image.Digest); err == nil && !strings.Contains(q.Reason, tag) {
				g.Errorf("write %d: in quarantine %+v", n, q)
			} else if err != nil {
				return err
			}
		}
		if !lift {
			return nil
		}
		if _, err := g.engine.LiftRevocation(g.Context(), "security", r.ID, tag); err != nil {
			return err
		}
		return work()
	}
	first, h := g.process(true)
	hit := h.inject(n, f, func() {})
	err := in(first, true)
	first.engine.Close()
	if hit.Load() == (err == nil) {
		g.Errorf("write %d: %v", n, err)
	}
	h.set(nil)
	second, _ := g.process(true)
	g.must(in(second, true))
	if _, err := g.registry.QuarantineOf(g.Context(), image.Digest); !errors.Is(err, oci.ErrQuarantineUnknown) {
		g.Errorf("write %d: lifted, it is in quarantine: %v", n, err)
	}
	after := map[tiers.EventType]int{}
	for _, e := range g.events("") {
		after[e.Type]++
	}
	for kind, want := range map[tiers.EventType]int{tiers.EventRevoked: 1, tiers.EventRevocationLifted: 1, tiers.EventQuarantined: 1, tiers.EventQuarantineLifted: 1, tiers.EventStanding: 2} {
		if got := after[kind] - before[kind]; got != want {
			g.Errorf("write %d: %d events %s, want %d", n, got, kind, want)
		}
	}
	return hit.Load() && !g.Failed()
}

// A replica that ends in the middle is followed by another, which goes on behind the pages that
// are done, and reads nothing of these again.
func TestRedecideGoesOn(t *testing.T) {
	g := newGate(t, nil)
	for i := range 6 {
		tag := fmt.Sprint("n", i)
		g.provenance(g.image(tag, tag, nil))
		g.promoteOK(request(tag, "stable"))
	}
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedKey, Value: g.keyID(g.ci)})
	first, _ := g.process(true)
	first.engine.RedecideAtOnce(4)
	ctx, cancel := context.WithCancel(t.Context())
	pages := 0
	_, err := first.engine.Redecide(ctx, func(at promote.Redeciding) {
		if pages++; pages == 2 {
			cancel()
		}
	})
	now, readErr := g.engine.Revocation(t.Context(), r.ID)
	if !errors.Is(err, context.Canceled) || readErr != nil || now.Redecision.State != promote.RedecisionPending || now.Redecision.Tier != "stable" || now.Redecision.Decided == 0 || now.Redecision.Decided == 6 {
		t.Fatalf("%v, %+v, %v", err, now.Redecision, readErr)
	}
	since, err := g.engine.RedecisionsSince(t.Context())
	if err != nil || !since.Equal(now.Redecision.At) {
		t.Errorf("it waits since %v, %v", since, err)
	}
	second, h := g.process(true)
	writes := 0
	h.set(func(_ context.Context, w write) error {
		if w.puts("redecided/") {
			writes++
		}
		return w.apply()
	})
	second.engine.RedecideAtOnce(4)
	if got := second.redecide(r.ID); got.Decided != 6 || got.Changed != 6 || got.Reported != 6 || writes != 6-now.Redecision.Changed || got.Tier != "" {
		t.Errorf("at last %+v with %d of %d to do", got, writes, 6-now.Redecision.Changed)
	}
	if since, err := g.engine.RedecisionsSince(t.Context()); err != nil || !since.IsZero() {
		t.Errorf("done, it waits since %v, %v", since, err)
	}
}

// A revocation that comes while a promotion is under way, or while one waits, is in its
// decision.
func TestRevokedMeanwhile(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	signed := g.provenance(image)
	other, h := g.process(true)
	var r promote.Revocation
	h.before("tier/stable/tag/", func() {
		r = g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String()})
	})
	p, _, err := other.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || p.State != promote.Failed || !strings.Contains(p.Verdict.Rules[0].Message, "revoked by security") {
		t.Fatalf("%s, %v, %+v", p.State, err, p.Verdict)
	}
	g.absent("stable", image.Digest, "1.0")
	// And one that is lifted meanwhile is in what is decided anew.
	good, h2 := g.process(true)
	h2.before("redecid", func() {
		_, err := g.engine.LiftRevocation(t.Context(), "security", r.ID, "")
		g.must(err)
	})
	_, err = good.engine.Redecide(t.Context(), func(promote.Redeciding) {})
	g.must(err)
	if now, err := g.engine.Revocation(t.Context(), r.ID); err != nil || now.Redecision.State != promote.RedecisionDone || !now.Redecision.Lifting {
		t.Errorf("%+v, %v", now, err)
	}
	g.promoteOK(request("1.0", "stable"))
}

func TestRevokedWhileItWaits(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	a.revoke(promote.RevocationRequest{Kind: promote.RevokedKey, Value: a.keyID(a.ci)})
	stop := a.running()
	defer stop()
	p = a.ends(p.ID, promote.Failed)
	if !strings.Contains(fmt.Sprint(p.Verdict.Rules), "revoked by security") {
		t.Errorf("%+v", p.Verdict)
	}
	a.absent("stable", image.Digest, "1.0")
}

// What takes away the same is found by the one that came first, whichever is decided about
// first, and what one has in quarantine the end of another does not let go.
func TestTwoRevocations(t *testing.T) {
	g := newGate(t, nil)
	g.onRevoked("quarantine")
	image := g.image("1.0", "one", nil)
	signed := g.attest(image, provenanceType, provenanceOf, g.ci)
	g.promoteOK(request("1.0", "stable"))
	one := g.revoke(promote.RevocationRequest{Kind: promote.RevokedBuilder, Value: "https://example.com/builder"})
	two := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String()})
	if got, also := g.redecide(one.ID), g.redecide(two.ID); got.Quarantined != 1 || also.Rested != 1 || also.Changed != 0 {
		t.Errorf("%+v, %+v", got, also)
	}
	inQuarantine := func(want bool) {
		t.Helper()
		if _, err := g.registry.QuarantineOf(t.Context(), image.Digest); (err == nil) != want {
			t.Errorf("in quarantine: %v, want %v", err, want)
		}
	}
	inQuarantine(true)
	for _, r := range []promote.Revocation{one, two} {
		inQuarantine(true)
		_, err := g.engine.LiftRevocation(t.Context(), "security", r.ID, "")
		g.must(err)
		g.redecide(r.ID)
	}
	inQuarantine(false)
	// Somebody else's quarantine stays.
	three := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String()})
	g.quarantine(image.Digest)
	if got := g.redecide(three.ID); got.Quarantined != 1 {
		t.Errorf("%+v", got)
	}
	_, err := g.engine.LiftRevocation(t.Context(), "security", three.ID, "")
	g.must(err)
	if got := g.redecide(three.ID); got.Restored != 1 {
		t.Errorf("%+v", got)
	}
	inQuarantine(true)
}

// What would fail by its age alone is no way past a revocation of what it has.
func TestRevokedAndOld(t *testing.T) {
	var late atomic.Int64 // what the clock is ahead
	g := newGate(t, func(c *tiers.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	image := g.image("1.0", "one", nil)
	signed := g.attest(image, provenanceType, fmt.Sprintf(`{"runDetails":{"metadata":{"finishedOn":%q}}}`, g.registry.Now().Format(time.RFC3339)), g.ci)
	g.promoteOK(request("1.0", "stable"))
	late.Store(int64(2 * time.Hour))
	document := strings.Replace(string(g.policyDocument("dev-to-stable", "dev", "stable", "  onRevoked: quarantine")), "from: {authorities: [ci]}", "from: {authorities: [ci]}\n      maxAge: 1h", 1)
	_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", []byte(document), "")
	g.must(err)
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String()})
	page, at, next, err := g.engine.Revoking(t.Context(), "security", promote.RevocationRequest{Kind: promote.RevokedKey, Value: g.keyID(g.ci), Reason: "x"}, "")
	if err != nil || len(page) != 0 || at.Decided != 1 {
		t.Errorf("dry: %+v, %+v, %q, %v", page, at, next, err)
	}
	if got := g.redecide(r.ID); got.Quarantined != 1 {
		t.Errorf("%+v", got)
	}
}

// What one revocation keeps in quarantine in one tier does not come out because another is
// lifted that another tier's policy asked about.
func TestQuarantineOfTwo(t *testing.T) {
	g := newGate(t, nil)
	g.onRevoked("quarantine")
	document := strings.Replace(string(g.policyDocument("stable-to-release", "stable", "release", "  onRevoked: quarantine")), provenanceType, testType, 1)
	_, err := g.engine.SetPolicy(t.Context(), "admin", "stable-to-release", []byte(document), "")
	g.must(err)
	image := g.image("1.0", "one", nil)
	built, tested := g.provenance(image), g.attest(image, testType, `{"result":"PASSED"}`, g.ci)
	g.promoteOK(request("1.0", "stable"))
	g.promoteOK(request("1.0", "release"))
	var revoked []promote.Revocation
	for _, evidence := range []ocispec.Descriptor{built, tested} {
		r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: evidence.Digest.String()})
		if got := g.redecide(r.ID); got.Rested != 2 || got.Quarantined != 1 {
			t.Errorf("revoked: %+v", got)
		}
		revoked = append(revoked, r)
	}
	for i, r := range revoked {
		_, err := g.engine.LiftRevocation(t.Context(), "security", r.ID, "")
		g.must(err)
		if got := g.redecide(r.ID); got.Changed != 1 || got.Restored != i {
			t.Errorf("lifted: %+v", got)
		}
		if _, err := g.registry.QuarantineOf(t.Context(), image.Digest); (err == nil) != (i == 0) {
			t.Errorf("after %d it is in quarantine: %v", i+1, err)
		}
	}
}

// A check knows the records of revocations, and finds those that are wrong. Without their
// generation nothing would be revoked: that is mended.
func TestCheckRevocations(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	g.promoteOK(request("1.0", "stable"))
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedKey, Value: g.keyID(g.ci)})
	g.found("pending", g.check(tiers.CheckOptions{}))
	g.redecide(r.ID)
	g.found("sound", g.check(tiers.CheckOptions{}))
	none := "01KAS0Z6Y3T6Q2W8V4N5M7R9XB"
	g.plant("redeciding/"+none, `{"state":"Pending"}`)
	change := "redecided/" + r.ID + "/stable/" + repository + "@" + image.Digest.String()
	g.plant(strings.Replace(change, r.ID, none, 1), string(g.stored(change).Value))
	g.plant(strings.Replace(change, "stable", "release", 1), string(g.stored(change).Value))
	g.plant("revocation/"+none, `{`)
	g.remove("revoked")
	if v, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); err != nil || !v.Allowed {
		t.Errorf("without the generation: %+v, %v", v, err)
	}
	found := g.check(tiers.CheckOptions{Repair: true})
	kinds := map[string]int{}
	for _, f := range found.Findings {
		kinds[f.Kind]++
	}
	if kinds[promote.KindRevocationCount] != 1 || kinds[tiers.KindRecordInvalid] != 2 || len(kinds) != 2 {
		t.Errorf("found %v: %+v", kinds, found.Findings)
	}
	if _, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); err == nil {
		t.Error("where a revocation cannot be read it is decided all the same")
	}
	g.remove("revocation/"+none, strings.Replace(change, "stable", "release", 1))
	g.check(tiers.CheckOptions{Repair: true}) // what is about none goes
	g.found("mended", g.check(tiers.CheckOptions{}))
	if v, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); err != nil || v.Allowed {
		t.Errorf("mended: %+v, %v", v, err)
	}
}

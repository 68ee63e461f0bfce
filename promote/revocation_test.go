package promote_test

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

func (g *gate) revoke(r promote.RevocationRequest) promote.Revocation {
	g.Helper()
	r.Reason = "it was stolen"
	got, created, err := g.engine.Revoke(g.Context(), "security", r)
	if g.must(err); !created {
		g.Fatal("it was there already")
	}
	return got
}

// redecide carries out what waits, and returns what it came to for a revocation.
func (g *gate) redecide(id string) promote.Redecision {
	g.Helper()
	_, err := g.engine.Redecide(g.Context(), func(promote.Redeciding) {})
	g.must(err)
	r, err := g.engine.Revocation(g.Context(), id)
	if g.must(err); r.Redecision.State != promote.RedecisionDone {
		g.Fatalf("redecided: %+v", r.Redecision)
	}
	return r.Redecision
}

func (g *gate) redecided(id string) []promote.Redecided {
	g.Helper()
	var all []promote.Redecided
	for last := ""; ; {
		page, next, err := g.engine.Redecided(g.Context(), id, last, 2)
		g.must(err)
		if all, last = append(all, page...), next; next == "" {
			return all
		}
	}
}

func (g *gate) keyID(signer crypto.Signer) string {
	g.Helper()
	pem, err := attest.MarshalPublicKey(signer.Public())
	g.must(err)
	key, err := attest.ParsePublicKey(pem)
	g.must(err)
	return key.ID
}

// onRevoked puts policies in force that say what becomes of what was revoked.
func (g *gate) onRevoked(how string) {
	g.Helper()
	for _, tier := range [][2]string{{"dev", "stable"}, {"stable", "release"}} {
		g.setPolicy(tier[0]+"-to-"+tier[1], tier[0], tier[1], "  onRevoked: "+how+"\n")
	}
}

// verifiedIn says of evidence whether it counts, and whether a revocation is why not.
func (g *gate) counts(tier string, image, evidence ocispec.Descriptor, id string) bool {
	g.Helper()
	found, err := g.engine.Evidence(g.Context(), tier, repository, image.Digest)
	g.must(err)
	for _, ev := range found {
		if ev.Manifest != evidence.Digest {
			continue
		}
		if !ev.Verified() && (!strings.Contains(ev.Problem, "revoked by security") || !strings.Contains(ev.Problem, "it was stolen") || !slices.Contains(ev.Revoked, id)) {
			g.Errorf("the problem is %q, revoked %v", ev.Problem, ev.Revoked)
		}
		return ev.Verified()
	}
	g.Fatalf("%s is not among %d", evidence.Digest, len(found))
	return false
}

const provenanceOf = `{"buildDefinition":{"buildType":"https://example.com/t"},"runDetails":{"builder":{"id":"https://example.com/builder"},"metadata":{"finishedOn":"2026-03-01T12:00:00Z"}}}`

// Whatever is revoked counts no more, in every tier, where it was signed in the range, and
// counts again once that is lifted.
func TestRevoked(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	signed := g.attest(image, provenanceType, provenanceOf, g.ci)
	first := g.promoteOK(request("1.0", "stable"))
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339, s)
		g.must(err)
		return when
	}
	key := g.keyID(g.ci)
	for name, tt := range map[string]struct {
		request promote.RevocationRequest
		counts  bool
	}{
		"the manifest":           {promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: signed.Digest.String()}, false},
		"the envelope":           {promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: g.layerOf(signed).String()}, false},
		"the key":                {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key}, false},
		"another key":            {promote.RevocationRequest{Kind: promote.RevokedKey, Value: strings.Repeat("0", 64)}, true},
		"the builder":            {promote.RevocationRequest{Kind: promote.RevokedBuilder, Value: "https://example.com/builder"}, false},
		"another builder":        {promote.RevocationRequest{Kind: promote.RevokedBuilder, Value: "https://example.com/build"}, true},
		"an identity":            {promote.RevocationRequest{Kind: promote.RevokedIdentity, Issuer: "https://example.com", Value: "x"}, true},
		"signed since":           {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, From: at("2026-03-01T12:00:00Z")}, false},
		"signed before":          {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, From: at("2026-03-01T12:00:01Z")}, true},
		"signed until then":      {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, Until: at("2026-03-01T12:00:01Z")}, false},
		"signed from then on":    {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, Until: at("2026-03-01T12:00:00Z")}, true},
		"in a range":             {promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, From: at("2026-02-01T00:00:00Z"), Until: at("2026-04-01T00:00:00Z")}, false},
		"the layer of the image": {promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: image.Digest.String()}, true},
	} {
		r := g.revoke(tt.request)
		for _, tier := range []string{"dev", "stable"} {
			if got := g.counts(tier, image, signed, r.ID); got != tt.counts {
				t.Errorf("%s: in %s it counts %v", name, tier, got)
			}
		}
		v, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable"))
		if err != nil || v.Allowed != tt.counts {
			t.Errorf("%s: evaluated %v, %v", name, v.Allowed, err)
		}
		if p, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable")); err != nil || created == tt.counts || p.State == promote.Failed == tt.counts {
			t.Errorf("%s: promoted %s anew %v, %v", name, p.State, created, err)
		}
		if _, err := g.engine.LiftRevocation(t.Context(), "security", r.ID, "a mistake"); err != nil {
			t.Fatal(err)
		}
		if !g.counts("dev", image, signed, r.ID) || g.promoteOK(request("1.0", "stable")).ID != first.ID {
			t.Errorf("%s: lifted, it does not count as before", name)
		}
		if again, err := g.engine.LiftRevocation(t.Context(), "other", r.ID, ""); err != nil || again.Lifted.By != "security" {
			t.Errorf("%s: lifted twice: %+v, %v", name, again, err)
		}
	}
	g.found("sound", g.check(tiers.CheckOptions{}))
}

// A copy of an attestation counts no more than it, and what nobody dates is within any range.
func TestRevokedCopies(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	envelope := g.envelope(image, provenanceType)
	g.att(image, envelope)
	other := g.attAs("", envelope, g.envelope(image, testType)) // the same beside another, untagged
	found, err := g.engine.Evidence(t.Context(), "dev", repository, image.Digest)
	if err != nil || len(found) != 1 || !found[0].Verified() {
		t.Fatalf("found %+v, %v", found, err)
	}
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: other.Digest.String(), Until: time.Unix(1, 0)})
	if len(r.Signed) != 2 {
		t.Fatalf("it signs %v", r.Signed)
	}
	if found, err = g.engine.Evidence(t.Context(), "dev", repository, image.Digest); err != nil || found[0].Verified() || !strings.Contains(found[0].Problem, "nothing says when it was signed") {
		t.Errorf("the copy: %+v, %v", found, err)
	}
}

// Where one key of an authority is revoked, what another of its keys signed counts, and so does
// what another authority has signed with.
func TestRevokedOneOfTwo(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	bad := g.provenance(image)
	good := g.attest(image, provenanceType, `{"second":true}`, g.ci)
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedAttestation, Value: bad.Digest.String()})
	if g.counts("dev", image, bad, r.ID) || !g.counts("dev", image, good, r.ID) {
		t.Error("the wrong one counts")
	}
	g.promoteOK(request("1.0", "stable"))
	if got := g.redecide(r.ID); got.Decided != 1 || got.Rested != 1 || got.Changed != 0 {
		t.Errorf("redecided %+v", got)
	}
}

// Of what stands above and fails now is said which and why, and it is put in quarantine or
// reported as its tier's policy says; what stands by other evidence stays. Done again nothing
// changes, and lifted all is as before.
func TestRedecide(t *testing.T) {
	for _, how := range []string{"quarantine", "report"} {
		t.Run(how, func(t *testing.T) {
			g := newGate(t, nil)
			g.onRevoked(how)
			var images []ocispec.Descriptor
			for i := range 3 {
				tag := fmt.Sprintf("%d.0", i)
				image := g.image(tag, "content "+tag, nil)
				g.attest(image, provenanceType, provenanceOf, g.ci)
				if i == 2 {
					g.attest(image, provenanceType, `{"another":"builder"}`, g.ci)
				}
				g.promoteOK(request(tag, "stable"))
				images = append(images, image)
			}
			release := request("0.0", "release")
			g.promoteOK(release)
			before := len(g.events(string(tiers.EventStanding)))
			r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedBuilder, Value: "https://example.com/builder"})
			got := g.redecide(r.ID)
			want := promote.Redecision{Decided: 4, Rested: 4, Changed: 3}
			if how == "quarantine" {
				want.Quarantined = 3
			} else {
				want.Reported = 3
			}
			same := func(when string, got promote.Redecision) {
				t.Helper()
				if got.Decided != want.Decided || got.Rested != want.Rested || got.Changed != want.Changed || got.Quarantined != want.Quarantined || got.Reported != want.Reported || got.Restored != want.Restored {
					t.Errorf("%s: %+v, want %+v", when, got, want)
				}
			}
			same("revoked", got)
			changes := g.redecided(r.ID)
			if len(changes) != 3 || changes[0].Tier != "release" || changes[0].Tags[0] != "0.0" {
				t.Fatalf("changed %+v", changes)
			}
			for _, c := range changes {
				if !c.Before || c.Allowed || len(c.Rules) != 1 || c.Rules[0].Allowed || !strings.Contains(c.Rules[0].Message, "revoked by security") || len(c.Evidence) != 1 {
					t.Errorf("changed %+v", c)
				}
				q, err := g.registry.QuarantineOf(t.Context(), c.Digest)
				if (err == nil) != (how == "quarantine") || err == nil && (q.ID != c.Quarantine || q.Owner != "security" || !strings.Contains(q.Reason, "revocation "+r.ID)) {
					t.Errorf("in quarantine: %+v, %v", q, err)
				}
			}
			if got := len(g.events(string(tiers.EventStanding))) - before; got != 3 {
				t.Errorf("%d events", got)
			}
			g.found("revoked", g.check(tiers.CheckOptions{}))
			if _, err := g.registry.QuarantineOf(t.Context(), images[2].Digest); err == nil {
				t.Error("what stands by other evidence is in quarantine")
			}
			// Again, as if nothing of it had been kept but what it did.
			all := len(g.events(""))
			g.plant("redeciding/"+r.ID, `{"state":"Pending"}`)
			same("again", g.redecide(r.ID))
			if got := len(g.events("")) - all; got != 1 { // that it was done
				t.Errorf("again %d events", got)
			}
			_, err := g.engine.LiftRevocation(t.Context(), "security", r.ID, "a mistake")
			g.must(err)
			want = promote.Redecision{Decided: 4, Rested: 4, Changed: 3, Restored: 3}
			same("lifted", g.redecide(r.ID))
			for _, image := range images {
				if q, err := g.registry.QuarantineOf(t.Context(), image.Digest); !errors.Is(err, oci.ErrQuarantineUnknown) {
					t.Errorf("lifted, in quarantine: %+v, %v", q, err)
				}
			}
			g.found("lifted", g.check(tiers.CheckOptions{}))
		})
	}
}

// What a policy lets stay below has decided too: that is looked at where it stands.
func TestRevokedBelow(t *testing.T) {
	g := newGate(t, nil)
	g.setPolicy("dev-to-stable", "dev", "stable", "  carry: [application/vnd.example]\n  onRevoked: quarantine\n")
	image := g.image("1.0", "one", nil)
	signed := g.provenance(image)
	g.promoteOK(request("1.0", "stable"))
	g.rose(false, signed)
	r := g.revoke(promote.RevocationRequest{Kind: promote.RevokedKey, Value: g.keyID(g.ci)})
	if got := g.redecide(r.ID); got.Rested != 1 || got.Quarantined != 1 {
		t.Errorf("redecided %+v", got)
	}
}

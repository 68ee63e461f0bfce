package attest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// What is kept is what was examined, never what follows from it.
func TestVerifierKeepsNoAuthorisation(t *testing.T) {
	d := newDeployment(t)
	signer := newKey(t)
	v := attest.NewVerifier(0)
	att := bundleOf(t, signer, statement())
	expiring := authority(t, "ci", signer)
	expiring.Keys[0].NotAfter = noon()
	verified(t, v.Verify(att, artifact, []attest.Authority{expiring}, noon()), "ci")
	before := v.String()
	// The same, a second later: a hit, and the window has closed.
	refused(t, v.Verify(att, artifact, []attest.Authority{expiring}, noon().Add(time.Second)), "expired at 2026-11-22T12:00:00Z")
	// Another policy gives the key another name and principal, which count from then on.
	renamed := expiring
	renamed.Name, renamed.Principal = "release", "people"
	ev := v.Verify(att, artifact, []attest.Authority{renamed}, noon())
	verified(t, ev, "release")
	if ev.Signers[0].Principal != "people" {
		t.Errorf("got %+v", ev.Signers)
	}
	refused(t, v.Verify(att, artifact, []attest.Authority{renamed}, noon().Add(time.Second)), "of release expired")
	refused(t, v.Verify(att, digest.FromString("other"), []attest.Authority{expiring}, noon()), "is about "+artifact.String())
	if v.String() != before {
		t.Errorf("these were no hits: %s, then %s", before, v)
	}
	// One that does not name the key refuses, also after a policy that does; so does none.
	refused(t, v.Verify(att, artifact, []attest.Authority{authority(t, "ci", newKey(t))}, noon()), "no key of ci verifies")
	refused(t, v.Verify(att, artifact, nil, noon()), "no authority whose signature would count")
	// Authorities in another order are not mixed up.
	other := authority(t, "other", newKey(t))
	verified(t, v.Verify(att, artifact, []attest.Authority{expiring, other}, noon()), "ci")
	verified(t, v.Verify(att, artifact, []attest.Authority{other, expiring}, noon()), "ci")

	// Keyless: an identity that another policy does not accept.
	leaf := d.leaf(identified(issuer, subject), d.ctKey)
	signed := d.sign(leaf, mustJSON(t, statement())).attachment(t)
	root := d.trustedRoot(nil)
	gha := keyless(t, attest.KeylessConfig{Root: root, LogEntries: 1, CertificateTimestamps: 1})
	stranger := keyless(t, attest.KeylessConfig{Root: root, LogEntries: 1, CertificateTimestamps: 1, Subject: attest.Exactly("https://github.com/other")})
	two := keyless(t, attest.KeylessConfig{Root: root, LogEntries: 2, CertificateTimestamps: 1})
	for range 2 {
		provenAt(t, v.Verify(signed, artifact, []attest.Authority{gha}, noon()), noon().Add(time.Minute), "gha")
		refused(t, v.Verify(signed, artifact, []attest.Authority{stranger}, noon()), "it must be of")
		refused(t, v.Verify(signed, artifact, []attest.Authority{two}, noon()), "2 are asked for")
	}
}

// Everything that an examination depends on is in its key.
func TestVerifierTellsApart(t *testing.T) {
	signer := newKey(t)
	d := newDeployment(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	v := attest.NewVerifier(0)
	payload := simplePayload(t, artifact.String())
	good := d.simpleSigned(plainKey(signer), payload, time.Time{})
	verified(t, v.Verify(good, artifact, trusted, noon()), "ci")
	bad := d.simpleSigned(plainKey(newKey(t)), payload, time.Time{}) // the same layer, another annotation
	refused(t, v.Verify(bad, artifact, trusted, noon()), "no key of ci")
	good.Format = attest.FormatUnsigned
	refused(t, v.Verify(good, artifact, trusted, noon()), "unsigned")
	good.Format, good.Problem = attest.FormatCosignSig, "over the limit"
	refused(t, v.Verify(good, artifact, trusted, noon()), "over the limit")
	// An envelope under the label of a bare statement is one, with all its annotations.
	b := d.sign(d.leaf(identified(issuer, subject), d.ctKey), mustJSON(t, statement()))
	labelled := b.annotated(t)
	labelled.Format, labelled.Layer.MediaType = attest.FormatUnsigned, attest.PayloadType
	gha := []attest.Authority{keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})}
	for range 2 {
		provenAt(t, v.Verify(labelled, artifact, gha, noon()), noon().Add(time.Minute), "gha")
	}
	labelled.Layer.Annotations = nil
	refused(t, v.Verify(labelled, artifact, gha, noon()), "it is not signed with a certificate of gha")
	// A functionary of a layout signs no evidence, whatever the same key may otherwise.
	functionary := authority(t, "ci", signer)
	functionary.Functionary = true
	refused(t, v.Verify(bundleOf(t, signer, statement()), artifact, []attest.Authority{functionary}, noon()), "no authority whose signature would count")
	verified(t, v.Verify(bundleOf(t, signer, statement()), artifact, trusted, noon()), "ci")
	// Notary Project signatures are verified each time.
	notation := attest.Attachment{Format: attest.FormatNotaryJWS, Content: testdata(t, "notary-jws.json")}
	if want, got := attest.Verify(notation, artifact, nil, noon()), v.Verify(notation, artifact, nil, noon()); got.Problem != want.Problem || got.PredicateType != attest.PredicateNotary {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// A descriptor that lies about the content changes nothing.
	att := bundleOf(t, signer, statement())
	att.Layer.Digest = digest.FromString("layer")
	verified(t, v.Verify(att, artifact, trusted, noon()), "ci")
	forged := bundleOf(t, newKey(t), statement())
	forged.Layer.Digest = att.Layer.Digest
	refused(t, v.Verify(forged, artifact, trusted, noon()), "no key of ci")
	// Bounds of keys are trust: they do not carry over.
	later := authority(t, "ci", signer)
	later.Keys[0].NotBefore = noon().Add(time.Hour)
	refused(t, v.Verify(att, artifact, []attest.Authority{later}, noon()), "is not valid before")
	broken := attest.Authority{Name: "broken", Keys: []attest.Key{{Public: "no key"}}}
	refused(t, v.Verify(att, artifact, []attest.Authority{broken}, noon()), "of broken cannot be used")
}

// What the same content was under another label, and what the same key was to a layout, says
// nothing about evidence.
func TestVerifierTellsUsesApart(t *testing.T) {
	signer := newKey(t)
	ci := authority(t, "ci", signer)
	v := attest.NewVerifier(0)
	att := bundleOf(t, signer, statement())
	att.Format = attest.FormatUnsigned
	refused(t, v.Verify(att, artifact, []attest.Authority{ci}, noon()), "unsigned")
	att.Format = attest.FormatBundle
	verified(t, v.Verify(att, artifact, []attest.Authority{ci}, noon()), "ci")
	// A weak key of a layout bothers nobody else; one that is asked for evidence does.
	weak := attest.Authority{Name: "weak", Keys: []attest.Key{{Public: newRSA(t, 1024).Public()}}, Functionary: true}
	verified(t, v.Verify(att, artifact, []attest.Authority{ci, weak}, noon()), "ci")
	weak.Functionary = false
	refused(t, v.Verify(att, artifact, []attest.Authority{ci, weak}, noon()), "of weak cannot be used")
}

func TestVerifierIsBounded(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	const limit = 256 << 10
	v := attest.NewVerifier(limit)
	var entries, bytes int
	most := 0
	for i := range 300 {
		s := statement()
		s["predicate"] = object{"n": i, "text": strings.Repeat("x", 200)}
		att := bundleOf(t, signer, s)
		verified(t, v.Verify(att, artifact, trusted, noon()), "ci")
		if _, err := fmt.Sscanf(v.String(), "%d examinations in %d", &entries, &bytes); err != nil {
			t.Fatal(err)
		}
		if bytes > limit {
			t.Fatalf("%s", v)
		}
		most = max(most, entries)
	}
	if most < 20 || most > 200 || entries < most-1 {
		t.Errorf("%d at most, %d in the end", most, entries)
	}
	// What is large is not kept, and pushes nothing out.
	s := statement()
	s["predicate"] = object{"text": strings.Repeat("x", limit)}
	before := v.String()
	verified(t, v.Verify(bundleOf(t, signer, s), artifact, trusted, noon()), "ci")
	if v.String() != before {
		t.Errorf("%s, then %s", before, v)
	}
}

func TestVerifierConcurrently(t *testing.T) {
	signer, other := newKey(t), newKey(t)
	v := attest.NewVerifier(64 << 10)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 40 {
				s := statement()
				s["predicate"] = object{"n": n}
				if i%2 == 0 {
					verified(t, v.Verify(bundleOf(t, signer, s), artifact, []attest.Authority{authority(t, "ci", signer)}, noon()), "ci")
				} else {
					refused(t, v.Verify(bundleOf(t, signer, s), artifact, []attest.Authority{authority(t, "ci", other)}, noon()), "no key of ci")
				}
			}
		})
	}
	wg.Wait()
}

// Evidence 23, with and without the memory.
func TestVerifierSurvivesPanic(t *testing.T) {
	v := attest.NewVerifier(0)
	broken := []attest.Authority{{Name: "broken", Keys: []attest.Key{{Public: nil}}}}
	att := bundleOf(t, newKey(t), statement())
	for range 2 {
		refused(t, v.Verify(att, artifact, broken, noon()), "cannot be used")
	}
	signer := newKey(t)
	halfMade := authority(t, "half-made", signer)
	halfMade.Timestamps = &attest.Timestamps{}
	for range 2 {
		refused(t, v.Verify(bundleOf(t, signer, statement()), artifact, []attest.Authority{halfMade}, noon()), "verification broke off")
	}
	if !strings.HasPrefix(v.String(), "0 examinations") {
		t.Errorf("kept: %s", v)
	}
}

func BenchmarkVerify(b *testing.B) {
	d := newDeployment(b)
	key := newKey(b)
	payload := mustJSON(b, statement())
	leaf := d.leaf(identified(issuer, subject), d.ctKey)
	ci := []attest.Authority{authority(b, "ci", key)}
	gha := []attest.Authority{keyless(b, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})}
	corp := []attest.Authority{ownCA(b, attest.X509Config{Roots: d.roots(), Intermediates: d.intermediates(), Emails: exactly("release@example.com")})}
	stamped := d.sign(issue(b, d.issuing, newKey(b), named), payload)
	keylessBundle := d.sign(leaf, payload).attachment(b)
	cached := attest.NewVerifier(0)
	for _, bench := range []struct {
		name   string
		att    attest.Attachment
		trust  []attest.Authority
		verify func(attest.Attachment, digest.Digest, []attest.Authority, time.Time) attest.Evidence
	}{
		{"key bundle", bundleOf(b, key, statement()), ci, attest.Verify},
		{"keyless bundle", keylessBundle, gha, attest.Verify},
		{"x509 bundle", stamped.attachment(b), corp, attest.Verify},
		{"cosign-sig by key", d.simpleSigned(plainKey(key), simplePayload(b, artifact.String()), time.Time{}), ci, attest.Verify},
		{"cosign-sig keyless", d.simpleSigned(leaf, simplePayload(b, artifact.String()), noon().Add(time.Minute)), gha, attest.Verify},
		{"key bundle, kept", bundleOf(b, key, statement()), ci, cached.Verify},
		{"keyless bundle, kept", keylessBundle, gha, cached.Verify},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ev := bench.verify(bench.att, artifact, bench.trust, noon()); !ev.Verified() {
					b.Fatal(ev.Problem)
				}
			}
		})
	}
}

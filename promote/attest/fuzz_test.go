package attest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// FuzzVerify: whatever counts is about the artifact, in every reading of it, and was
// signed: changing bytes of a good attestation may break it, never give it another meaning.
func FuzzVerify(f *testing.F) {
	key, err := attest.ParsePublicKey(testdata(f, "cosign.pub"))
	if err != nil {
		f.Fatal(err)
	}
	trusted := []attest.Authority{{Name: "ci", Keys: []attest.Key{key}}}
	formats := []attest.Format{attest.FormatBundle, attest.FormatDSSE, attest.FormatUnsigned}
	f.Add(0, testdata(f, "cosign-bundle.json"))
	f.Add(1, testdata(f, "cosign-envelope.json"))
	f.Add(2, []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"`+artifact.Encoded()+`"}}],"predicateType":"https://a.b/c"}`))
	f.Add(0, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"MAA="},"tlogEntries":[{"canonicalizedBody":"e30="}]},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}}`))
	f.Add(1, []byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"x","sig":"AA=="}]}`))
	good := attest.Verify(asBundle(testdata(f, "cosign-bundle.json")), artifact, trusted, noon())
	f.Fuzz(func(t *testing.T, format int, content []byte) {
		if format < 0 {
			return
		}
		att := attest.Attachment{Format: formats[format%len(formats)], Content: slices.Clone(content)}
		ev := attest.Verify(att, artifact, trusted, noon())
		if ev.Verified() == (ev.Problem != "") {
			t.Fatalf("signed by %v, problem %q", ev.Signers, ev.Problem)
		}
		if !ev.Verified() {
			return
		}
		if att.Format == attest.FormatUnsigned {
			t.Fatal("unsigned and verified")
		}
		// The seeds hold the only signatures that the key has made.
		if ev.PredicateType != good.PredicateType || len(ev.Signers) != 1 || ev.Signers[0].KeyID != key.ID {
			t.Fatalf("got %+v", ev)
		}
		if other := attest.Verify(att, "sha256:0000000000000000000000000000000000000000000000000000000000000000", trusted, noon()); other.Verified() {
			t.Fatal("verified about another artifact too")
		}
	})
}

// FuzzVerifyMaterial: bundles with certificates, log entries and timestamps. Whatever
// counts says what was signed, about the artifact, by the identity that signed it, at the
// time that was proven. Made anew each time, the seeds hold the only good signatures.
func FuzzVerifyMaterial(f *testing.F) {
	d := newDeployment(f)
	payload := mustJSON(f, statement())
	b := d.sign(d.leaf(identified(issuer, subject), d.ctKey), payload)
	b.stamps = [][]byte{d.stamp(d.tsa, b.sig, noon().Add(time.Minute))}
	f.Add(b.attachment(f).Content)
	b.version = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	f.Add(b.attachment(f).Content)
	own := d.sign(issue(f, d.issuing, newKey(f), named), payload)
	own.chain = []*authorityCA{d.issuing, d.rootCA}
	f.Add(own.attachment(f).Content)
	root := d.trustedRoot(nil)
	trusted := []attest.Authority{
		keyless(f, attest.KeylessConfig{Root: root, LogEntries: 1, CertificateTimestamps: 1}),
		ownCA(f, attest.X509Config{Roots: d.roots(), Emails: exactly("release@example.com"), Timestamps: &attest.Timestamps{Root: root}}),
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		ev := attest.Verify(asBundle(content), artifact, trusted, noon())
		checkFuzzed(t, ev, slsa)
		if ev.Verified() && ev.Signers[0].Authority == "gha" && !ev.SignedAt.Equal(noon().Add(time.Minute)) {
			t.Fatalf("got %+v", ev)
		}
	})
}

func checkFuzzed(t *testing.T, ev attest.Evidence, predicateType string) {
	t.Helper()
	if ev.Verified() == (ev.Problem != "") {
		t.Fatalf("signed by %v, problem %q", ev.Signers, ev.Problem)
	}
	if strings.Contains(ev.Problem, "broke off") {
		t.Fatal(ev.Problem)
	}
	if ev.Verified() && ev.PredicateType != predicateType {
		t.Fatalf("got %+v", ev)
	}
}

// FuzzVerifySimpleSigning: a payload and its annotations. Only the payloads that were
// signed count, whatever the annotations say.
func FuzzVerifySimpleSigning(f *testing.F) {
	d := newDeployment(f)
	key := newKey(f)
	payload := simplePayload(f, artifact.String())
	for _, att := range []attest.Attachment{
		d.simpleSigned(plainKey(key), payload, noon().Add(time.Minute)),
		d.simpleSigned(d.leaf(identified(issuer, subject), d.ctKey), payload, noon().Add(time.Minute)),
	} {
		a := att.Layer.Annotations
		f.Add(payload, a["dev.cosignproject.cosign/signature"], a["dev.sigstore.cosign/certificate"], a["dev.sigstore.cosign/bundle"], "{}")
	}
	root := d.trustedRoot(nil)
	ci := authority(f, "ci", key)
	ci.Timestamps = &attest.Timestamps{Root: root, Threshold: 1}
	trusted := []attest.Authority{ci, keyless(f, attest.KeylessConfig{Root: root, LogEntries: 1, CertificateTimestamps: 1})}
	f.Fuzz(func(t *testing.T, content []byte, signature, certificate, entry, stamp string) {
		att := attest.Attachment{Format: attest.FormatCosignSig, Content: content}
		att.Layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/certificate": certificate,
			"dev.sigstore.cosign/bundle": entry, "dev.sigstore.cosign/rfc3161timestamp": stamp}
		ev := attest.Verify(att, artifact, trusted, noon())
		checkFuzzed(t, ev, attest.PredicateTypeSign)
		if ev.Verified() && string(content) != string(payload) {
			t.Fatalf("%q counts", content)
		}
	})
}

// FuzzParsePublicKey: what parses is written back to a key of the same fingerprint.
func FuzzParsePublicKey(f *testing.F) {
	f.Add(testdata(f, "cosign.pub"))
	f.Add(testdata(f, "cosign.key"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := attest.ParsePublicKey(data)
		if err != nil {
			return
		}
		again, err := attest.MarshalPublicKey(key.Public)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := attest.ParsePublicKey(again); err != nil || second.ID != key.ID {
			t.Fatalf("%v: %s and %s", err, key.ID, second.ID)
		}
	})
}

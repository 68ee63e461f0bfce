package attest_test

import (
	"encoding/json"
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

// pinned is the trust in what lies in testdata: fuzzing runs in several processes, and all
// of them have to trust the seeds.
func pinned(f *testing.F) []attest.Authority {
	f.Helper()
	root, err := attest.ParseTrustedRoot(testdata(f, "keyless-root.json"))
	if err != nil {
		f.Fatal(err)
	}
	roots, err := attest.ParseCertificates(testdata(f, "cosign-ca.pem"))
	if err != nil {
		f.Fatal(err)
	}
	key, err := attest.ParsePublicKey(testdata(f, "cosign.pub"))
	if err != nil {
		f.Fatal(err)
	}
	return []attest.Authority{
		keyless(f, attest.KeylessConfig{Root: root, LogEntries: 1, CertificateTimestamps: 1}),
		ownCA(f, attest.X509Config{Roots: roots, Emails: exactly("release@example.com"), Timestamps: &attest.Timestamps{Root: root}}),
		{Name: "ci", Keys: []attest.Key{key}, Timestamps: &attest.Timestamps{Root: root}},
	}
}

// checkFuzzed holds what is owed of whatever was changed in a seed: nothing counts but what
// was signed, and of the keyless ones at the time that was proven.
func checkFuzzed(t *testing.T, ev attest.Evidence) {
	t.Helper()
	if ev.Verified() == (ev.Problem != "") {
		t.Fatalf("signed by %v, problem %q", ev.Signers, ev.Problem)
	}
	if strings.Contains(ev.Problem, "broke off") {
		t.Fatal(ev.Problem)
	}
	if !ev.Verified() {
		return
	}
	want := map[string]string{"gha": subject, "corp": "release@example.com", "ci": ""}
	if got, ok := want[ev.Signers[0].Authority]; !ok || len(ev.Signers) != 1 || got != ev.Signers[0].Subject {
		t.Fatalf("got %+v", ev.Signers)
	}
	if ev.Signers[0].Authority == "gha" && !ev.SignedAt.Equal(noon().Add(time.Minute)) {
		t.Fatalf("signed at %v", ev.SignedAt)
	}
}

// FuzzVerifyMaterial: bundles with certificates, log entries and timestamps.
func FuzzVerifyMaterial(f *testing.F) {
	trusted := pinned(f)
	payloads := map[string]bool{}
	for _, name := range []string{"keyless-bundle.json", "keyless-bundle-v0.1.json", "cosign-bundle-certificate.json", "cosign-bundle.json"} {
		content := testdata(f, name)
		f.Add(content)
		ev := attest.Verify(asBundle(content), artifact, trusted, noon().AddDate(0, 0, 7))
		if !ev.Verified() {
			f.Fatalf("%s: %s", name, ev.Problem)
		}
		payloads[string(mustJSON(f, ev.Statement))] = true
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		ev := attest.Verify(asBundle(content), artifact, trusted, noon().AddDate(0, 0, 7))
		checkFuzzed(t, ev)
		if ev.Verified() && !payloads[string(mustJSON(t, ev.Statement))] {
			t.Fatalf("nobody signed %v", ev.Statement)
		}
	})
}

// FuzzVerifySimpleSigning: a payload and its annotations. Only the payloads that were
// signed count, whatever the annotations say.
func FuzzVerifySimpleSigning(f *testing.F) {
	trusted := pinned(f)
	payloads := map[string]bool{}
	for _, name := range []string{"keyless-sig", "cosign-sig", "cosign-sig-cert"} {
		payload, a := testdata(f, name+"-payload.json"), map[string]string{}
		if err := json.Unmarshal(testdata(f, name+"-annotations.json"), &a); err != nil {
			f.Fatal(err)
		}
		f.Add(payload, a["dev.cosignproject.cosign/signature"], a["dev.sigstore.cosign/certificate"], a["dev.sigstore.cosign/bundle"], "{}")
		payloads[string(payload)] = true
	}
	f.Fuzz(func(t *testing.T, content []byte, signature, certificate, entry, stamp string) {
		att := attest.Attachment{Format: attest.FormatCosignSig, Content: content}
		att.Layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/certificate": certificate,
			"dev.sigstore.cosign/bundle": entry, "dev.sigstore.cosign/rfc3161timestamp": stamp}
		ev := attest.Verify(att, artifact, trusted, noon().AddDate(0, 0, 7))
		checkFuzzed(t, ev)
		if ev.Verified() && (!payloads[string(content)] || ev.PredicateType != attest.PredicateTypeSign) {
			t.Fatalf("%q counts as %s", content, ev.PredicateType)
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

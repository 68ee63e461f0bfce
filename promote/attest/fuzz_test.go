package attest_test

import (
	"slices"
	"testing"

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

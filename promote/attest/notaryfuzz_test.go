package attest_test

import (
	"reflect"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// FuzzNotary: whatever counts is the payload that was signed, whatever surrounds it.
func FuzzNotary(f *testing.F) {
	p := newPKI(f)
	tsa := newTSA(f, newCA(f, "tsa root", nil), noon().AddDate(0, 0, -1))
	trust := trusting(p.trust, p.with(func(n *attest.Notary) { n.TimestampRoots = tsa.chain[1:] }))
	var good attest.Evidence
	for _, format := range notaryFormats() {
		att := notarySign(f, format, p.ec, stamped(tsa))
		if good = attest.Verify(att, artifact, trust, noon()); len(good.Signers) != 2 {
			f.Fatal(good.Problem)
		}
		f.Add(format == attest.FormatNotaryCOSE, att.Content)
		f.Add(format == attest.FormatNotaryCOSE, notarySign(f, format, newLeaf(f, newCA(f, "other", nil), "release", newKey(f))).Content)
	}
	f.Add(false, mustJSON(f, handSign(f, p.ec, protectedHeader(object{"crit": []string{"x"}}), `{"targetArtifact":{"digest":"x"}}`)))
	f.Add(true, []byte{0xd2, 0x84, 0x40, 0xa0, 0x41, 0x00, 0x41, 0x00})
	f.Fuzz(func(t *testing.T, cose bool, content []byte) {
		format := attest.FormatNotaryJWS
		if cose {
			format = attest.FormatNotaryCOSE
		}
		att := attest.Attachment{Format: format, Content: content, Target: known(ocispec.MediaTypeImageManifest, 123)}
		ev := attest.Verify(att, artifact, trust, noon())
		if ev.Verified() == (ev.Problem != "") {
			t.Fatalf("signed by %v, problem %q", ev.Signers, ev.Problem)
		}
		if len(ev.Problem) > 4000 {
			t.Fatalf("a problem of %d bytes", len(ev.Problem))
		}
		// The seeds hold the only signatures that trusted certificates have made.
		if ev.Verified() && !reflect.DeepEqual(ev.Statement, good.Statement) {
			t.Fatalf("got %v", ev.Statement)
		}
	})
}

// FuzzNotaryIdentity: an identity names country, state and organization, or everybody.
func FuzzNotaryIdentity(f *testing.F) {
	for _, seed := range []string{"*", "x509.subject: C=US, ST=WA, O=acme, CN=release", "x509.subject:C=\\2c,S=a\\,b,O=\" \"", "x509.subject: C=US+ST=WA,O=#00"} {
		f.Add(seed)
	}
	least := identities(f, "x509.subject: C=US, ST=WA, O=acme")[0]
	f.Fuzz(func(t *testing.T, text string) {
		identity, err := attest.ParseNotaryIdentity(text)
		if err != nil {
			return
		}
		if identity.String() != text || !identity.Overlaps(identity) {
			t.Fatalf("%q became %q", text, identity)
		}
		if text != "*" && identity.Overlaps(least) && !least.Overlaps(identity) {
			t.Fatalf("%q overlaps in one direction", text)
		}
	})
}

func BenchmarkNotary(b *testing.B) {
	p := newPKI(b)
	tsa := newTSA(b, newCA(b, "tsa root", nil), noon().AddDate(0, 0, -1))
	withTSA := p.with(func(n *attest.Notary) { n.TimestampRoots = tsa.chain[1:] })
	for _, format := range notaryFormats() {
		for name, signer := range map[string]certified{"P-256": p.ec, "RSA-2048": p.rsa} {
			plain, stamped := notarySign(b, format, signer), notarySign(b, format, signer, stamped(tsa))
			run := func(name string, att attest.Attachment, trust *attest.Notary) {
				b.Run(string(format)+"/"+name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if ev := attest.Verify(att, artifact, trusting(trust), noon()); !ev.Verified() {
							b.Fatal(ev.Problem)
						}
					}
				})
			}
			run(name, plain, p.trust)
			run(name+"/timestamp", stamped, withTSA)
		}
	}
}

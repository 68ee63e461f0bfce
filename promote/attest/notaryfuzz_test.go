package attest_test

import (
	"crypto/x509"
	"reflect"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// FuzzNotary: whatever counts is the payload that was signed, whatever surrounds it.
func FuzzNotary(f *testing.F) {
	// The keys are not kept, so these are the only signatures that they have made.
	store := func(name string) []*x509.Certificate {
		certs, err := attest.ParseTrustStore(testdata(f, name))
		if err != nil {
			f.Fatal(err)
		}
		return certs
	}
	plain := &attest.Notary{CAs: store("notary-ca.pem"), Identities: identities(f, "x509.subject: C=US, ST=WA, O=acme, CN=release")}
	timed := *plain
	timed.TimestampRoots = store("notary-tsa.pem")
	trust := trusting(plain, &timed)
	var good attest.Evidence
	for format, name := range map[attest.Format]string{attest.FormatNotaryJWS: "notary-jws.json", attest.FormatNotaryCOSE: "notary-cose.cbor"} {
		content := testdata(f, name)
		if good = attest.Verify(asNotary(format, content), artifact, trust, noon()); len(good.Signers) != 2 {
			f.Fatal(good.Problem)
		}
		f.Add(format == attest.FormatNotaryCOSE, content)
	}
	f.Add(false, []byte(`{"payload":"e30","protected":"e30","header":{"x5c":["MAA="]},"signature":"AA"}`))
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
	tsa := newTSA(b, newNotaryCA(b, "tsa root", nil), noon().AddDate(0, 0, -1))
	withTSA := p.with(func(n *attest.Notary) { n.TimestampRoots = tsa.chain[1:] })
	for _, format := range notaryFormats() {
		for name, signer := range map[string]certified{"P-256": p.ec, "RSA-2048": newLeaf(b, p.ca, "release", newRSA(b, 2048))} {
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

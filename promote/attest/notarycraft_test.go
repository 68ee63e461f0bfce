package attest_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"
	notarycose "github.com/notaryproject/notation-core-go/signature/cose"
	notaryjws "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/veraison/go-cose"

	"sluice.dev/sluice/promote/attest"
)

const notaryPayload = "application/vnd.cncf.notary.payload.v1+json"

// certified is a key with its certificate and those above it, up to the root.
type certified struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func (c certified) cert() *x509.Certificate { return c.chain[0] }

// subject is what ParseNotaryIdentity needs at the least, and a common name.
func notarySubject(cn string) pkix.Name {
	return pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"acme"}, CommonName: cn}
}

type change = func(*x509.Certificate)

// issue makes a certificate under the issuer; itself where there is none.
func issueNotary(t testing.TB, issuer *certified, key crypto.Signer, template *x509.Certificate, changes ...change) certified {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		template.NotAfter = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for _, change := range changes {
		change(template)
	}
	parent, signer, chain := template, key, []*x509.Certificate(nil)
	if issuer != nil {
		parent, signer, chain = issuer.cert(), issuer.key, issuer.chain
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certified{key: key, chain: append([]*x509.Certificate{cert}, chain...)}
}

func newNotaryCA(t testing.TB, cn string, issuer *certified, changes ...change) certified {
	t.Helper()
	return issueNotary(t, issuer, newKey(t), &x509.Certificate{Subject: notarySubject(cn), IsCA: true, KeyUsage: x509.KeyUsageCertSign}, changes...)
}

// weakCA has a key that is too short.
func weakCA(t testing.TB) certified {
	t.Helper()
	return issueNotary(t, nil, newRSA(t, 1024), &x509.Certificate{Subject: notarySubject("weak"), IsCA: true, KeyUsage: x509.KeyUsageCertSign})
}

// newLeaf issues a certificate that signs code.
func newLeaf(t testing.TB, ca certified, cn string, key crypto.Signer, changes ...change) certified {
	t.Helper()
	return issueNotary(t, &ca, key, leafTemplate(cn), changes...)
}

func leafTemplate(cn string) *x509.Certificate {
	return &x509.Certificate{Subject: notarySubject(cn), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
}

// year makes a certificate valid in one year only.
func year(y int) change {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(y+1, 1, 1, 0, 0, 0, 0, time.UTC)
	}
}

// authorityOfTime answers as a timestamp authority does (RFC 3161), at a time of its own.
type authorityOfTime struct {
	certified
	at       time.Time
	accuracy time.Duration
	more     []*x509.Certificate // in its tokens
}

func newTSA(t testing.TB, ca certified, at time.Time, changes ...change) *authorityOfTime {
	t.Helper()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	tsa := issueNotary(t, &ca, newRSA(t, 2048), &x509.Certificate{
		Subject: notarySubject("tsa"), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, changes...)
	return &authorityOfTime{certified: tsa, at: at}
}

func (a *authorityOfTime) Timestamp(_ context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	return a.respond(request.MessageImprint.HashedMessage, request.Nonce)
}

func (a *authorityOfTime) respond(hashed []byte, nonce *big.Int) (*tspclient.Response, error) {
	token := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: hashed, Time: a.at, Accuracy: a.accuracy, Nonce: nonce,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true, Certificates: slices.Concat(a.chain[1:], a.more),
	}
	der, err := token.CreateResponseWithOpts(a.cert(), a.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	response := new(tspclient.Response)
	return response, response.UnmarshalBinary(der)
}

// token stamps a signature without the checks that the signer's library makes.
func (a *authorityOfTime) token(t testing.TB, signature []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(signature)
	response, err := a.respond(sum[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return response.TimestampToken.FullBytes
}

// target is a good payload about artifact.
func target() object {
	return object{"targetArtifact": object{
		"mediaType": ocispec.MediaTypeImageManifest, "digest": artifact.String(), "size": 123,
		"annotations": object{"build": "17"},
	}}
}

// signRequest is what one signature is made of.
type signRequest struct {
	signature.SignRequest
	payload any
}

// notarySign signs with the Notary Project's own library.
func notarySign(t testing.TB, format attest.Format, signer certified, changes ...func(*signRequest)) attest.Attachment {
	t.Helper()
	local, err := signature.NewLocalSigner(signer.chain, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	r := &signRequest{payload: target(), SignRequest: signature.SignRequest{
		Payload: signature.Payload{ContentType: notaryPayload}, Signer: local,
		SigningTime: noon().Add(-time.Hour), SigningScheme: signature.SigningSchemeX509,
	}}
	for _, change := range changes {
		change(r)
	}
	if text, ok := r.payload.(string); ok {
		r.Payload.Content = []byte(text)
	} else {
		r.Payload.Content = mustJSON(t, r.payload)
	}
	envelope := notaryjws.NewEnvelope()
	if format == attest.FormatNotaryCOSE {
		envelope = notarycose.NewEnvelope()
	}
	content, err := envelope.Sign(&r.SignRequest)
	if err != nil {
		t.Fatal(err)
	}
	return attest.Attachment{Format: format, Content: content}
}

func stamped(tsa *authorityOfTime) func(*signRequest) {
	return func(r *signRequest) {
		roots := x509.NewCertPool()
		roots.AddCert(tsa.chain[len(tsa.chain)-1])
		r.Timestamper, r.TSARootCAs = tsa, roots
	}
}

// handSign makes a JWS of any headers and payload, which the library refuses to; the key is
// on P-256.
func handSign(t testing.TB, signer certified, protected, payload string) object {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(protected)) + "." + encode([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, signer.key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	var chain []string
	for _, cert := range signer.chain {
		chain = append(chain, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	return object{"payload": encode([]byte(payload)), "protected": encode([]byte(protected)), "header": object{"x5c": chain}, "signature": encode(sig)}
}

func asNotary(format attest.Format, content []byte) attest.Attachment {
	return attest.Attachment{Format: format, Content: content}
}

// notaryPKI is a CA with an intermediate and signers, and what trusts them.
type notaryPKI struct {
	root, ca certified
	ec       certified
	trust    *attest.Notary
}

func newPKI(t testing.TB) *notaryPKI {
	t.Helper()
	p := &notaryPKI{root: newNotaryCA(t, "root", nil)}
	p.ca = newNotaryCA(t, "ca", &p.root)
	p.ec = newLeaf(t, p.ca, "release", newKey(t))
	p.trust = &attest.Notary{CAs: p.root.chain, Identities: identities(t, "x509.subject: C=US, ST=WA, O=acme, CN=release")}
	return p
}

func identities(t testing.TB, texts ...string) []attest.NotaryIdentity {
	t.Helper()
	var all []attest.NotaryIdentity
	for _, text := range texts {
		identity, err := attest.ParseNotaryIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, identity)
	}
	return all
}

// with is the trust with a change.
func (p *notaryPKI) with(change func(*attest.Notary)) *attest.Notary {
	changed := *p.trust
	change(&changed)
	return &changed
}

func trusting(trust ...*attest.Notary) []attest.Authority {
	var all []attest.Authority
	for i, n := range trust {
		all = append(all, attest.Authority{Name: fmt.Sprintf("release-signers%s", []string{"", "-b", "-c"}[i]), Notary: n})
	}
	return all
}

// known is what a source says of the artifact.
func known(mediaType string, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: artifact, Size: size}
}

// coseTimestamp puts a timestamp into the unprotected header of an envelope.
func coseTimestamp(t testing.TB, content []byte, token func(signature []byte) []byte) []byte {
	t.Helper()
	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(content); err != nil {
		t.Fatal(err)
	}
	message.Headers.RawUnprotected = nil
	message.Headers.Unprotected["io.cncf.notary.timestampSignature"] = token(message.Signature)
	changed, err := message.MarshalCBOR()
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

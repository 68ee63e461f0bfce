package attest

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// entity shows a parcel to sigstore-go's verification of log entries and timestamps, with
// the key or certificate that made the signature.
type entity struct {
	verify.BaseSignedEntity
	parcel  *parcel
	signer  verify.VerificationContent
	entries []*tlog.Entry
}

var _ verify.SignedEntity = (*entity)(nil)

func (e *entity) TlogEntries() ([]*tlog.Entry, error) { return e.entries, nil }

func (e *entity) Timestamps() ([][]byte, error) { return e.parcel.timestamps, nil }

func (e *entity) VerificationContent() (verify.VerificationContent, error) { return e.signer, nil }

// SignatureContent is the one signature: where there may be several, nothing was brought
// that would be compared with it.
func (e *entity) SignatureContent() (verify.SignatureContent, error) {
	p := e.parcel
	if len(p.signatures) != 1 {
		return nil, errors.New("there must be exactly one signature")
	}
	if p.simple {
		hash, err := e.hash()
		if err != nil {
			return nil, err
		}
		h := hash.New()
		h.Write(p.message)
		name := map[crypto.Hash]string{crypto.SHA256: "SHA2_256", crypto.SHA384: "SHA2_384", crypto.SHA512: "SHA2_512"}[hash]
		return bundle.NewMessageSignature(h.Sum(nil), name, p.signatures[0]), nil
	}
	return &bundle.Envelope{Envelope: &dsse.Envelope{
		PayloadType: p.payloadType,
		Payload:     base64.StdEncoding.EncodeToString(p.payload),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(p.signatures[0])}},
	}}, nil
}

// hash is the one that a log has of the payload, beside the signature: the signer's, or
// SHA-512 where the signer takes the message whole.
func (e *entity) hash() (crypto.Hash, error) {
	public := crypto.PublicKey(nil)
	switch signer := e.signer.(type) {
	case keyContent:
		public = signer.key
	case *bundle.Certificate:
		public = signer.Certificate().PublicKey
	}
	hash, err := checkKey(public)
	if hash == 0 {
		hash = crypto.SHA512
	}
	return hash, err
}

// stamped shows what a timestamp is over.
type stamped []byte

func (s stamped) Signature() []byte                                       { return s }
func (s stamped) EnvelopeContent() verify.EnvelopeContent                 { return nil }
func (s stamped) MessageSignatureContent() verify.MessageSignatureContent { return nil }

// stampedEntity shows a parcel to the verification of timestamps.
type stampedEntity struct{ *entity }

func (e stampedEntity) SignatureContent() (verify.SignatureContent, error) {
	return stamped(e.parcel.stamped), nil
}

// keyContent is a trusted key that made the signature. When it counts is not sigstore-go's
// to judge, but proof.judge's.
type keyContent struct{ key crypto.PublicKey }

var _ verify.VerificationContent = keyContent{}

func (k keyContent) CompareKey(other any, _ root.TrustedMaterial) bool {
	equal, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	if cert, isCert := other.(*x509.Certificate); isCert {
		other = cert.PublicKey
	}
	return ok && equal.Equal(other)
}

func (k keyContent) ValidAtTime(time.Time, root.TrustedMaterial) bool { return true }
func (k keyContent) Certificate() *x509.Certificate                   { return nil }
func (k keyContent) Intermediates() []*x509.Certificate               { return nil }
func (k keyContent) PublicKey() verify.PublicKeyProvider              { return k }

// Hint is what keyMaterial finds the key by: there is only one.
func (k keyContent) Hint() string { return "" }

// keyMaterial is a trusted root beside the key that made the signature.
type keyMaterial struct {
	root.TrustedMaterial
	key crypto.PublicKey
}

func (m keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	hash, err := checkKey(m.key)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadVerifier(m.key, hash)
	if err != nil {
		return nil, err
	}
	return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
}

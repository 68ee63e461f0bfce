package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"sluice.dev/sluice/oci"
)

// Formats of Notary Project signatures: the two envelopes of its signature specification.
const (
	FormatNotaryJWS  Format = "notary-jws"
	FormatNotaryCOSE Format = "notary-cose"
)

const (
	// MediaTypeNotary is the artifact type of the manifest that attaches a Notary Project
	// signature.
	MediaTypeNotary = oci.MediaTypeNotary
	// PredicateNotary is the predicate type under which a Notary Project signature is shown
	// and counted. The name is of this package: the Notary Project signs a payload of its
	// own that has no predicate type.
	PredicateNotary = "https://notaryproject.dev/signature/v1"

	// notaryPayload is the one payload of a Notary Project signature (signature
	// specification, "Payload").
	notaryPayload = "application/vnd.cncf.notary.payload.v1+json"
)

// maxStore bounds the certificates of a trust store, in number and in bytes.
const (
	maxStoreCertificates = 100
	maxStoreBytes        = 1 << 20
)

// Notary is what makes Notary Project signatures count: a trust store and a trust policy of
// the level strict (trust store and trust policy specification). Integrity, authenticity,
// authentic timestamp and expiry are enforced. Revocation is not looked up, for there is no
// network here: whoever revokes a certificate takes it, or its CA, out of the trust store.
type Notary struct {
	// CAs is the trust store for signatures of the scheme notary.x509.
	CAs []*x509.Certificate
	// SigningAuthorities is the trust store for the scheme notary.x509.signingAuthority,
	// whose signers vouch for the time of signing themselves.
	SigningAuthorities []*x509.Certificate
	// TimestampRoots are the roots of timestamp authorities. Where there are some, a
	// signature of the scheme notary.x509 must have a timestamp of theirs; where there are
	// none, its certificates must be valid at the time of verification.
	TimestampRoots []*x509.Certificate
	// Identities are the subjects of which a signing certificate must have one.
	Identities []NotaryIdentity
}

// ParseTrustStore reads the certificates of a trust store: PEM blocks of the type
// "CERTIFICATE" and nothing else, each the certificate of a CA and each once.
func ParseTrustStore(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxStoreBytes {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(data), maxStoreBytes)
	}
	var store []*x509.Certificate
	for data = bytes.TrimSpace(data); len(data) > 0; data = bytes.TrimSpace(data) {
		// pem.Decode passes over what is no block, so that two readers could see different
		// stores.
		if !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
			return nil, errors.New("something in it is no PEM block")
		}
		block, rest := pem.Decode(data)
		if block == nil || bytes.Count(data[:len(data)-len(rest)], []byte("-----BEGIN ")) != 1 {
			return nil, errors.New("something in it is no PEM block")
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, fmt.Errorf("it has a PEM block %q; all must be a plain \"CERTIFICATE\"", shorten(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(store)+1, err)
		}
		if err := checkAnchor(cert, store); err != nil {
			return nil, err
		}
		if store = append(store, cert); len(store) > maxStoreCertificates {
			return nil, fmt.Errorf("it has more than %d certificates", maxStoreCertificates)
		}
		data = rest
	}
	if len(store) == 0 {
		return nil, errors.New("it has no certificate of a CA")
	}
	return store, nil
}

// checkAnchor says whether a certificate may be trusted to vouch for others. The Notary
// Project also trusts self-signed signing certificates; they are what test tools make, have
// no owner who could replace them, and are refused here.
func checkAnchor(cert *x509.Certificate, store []*x509.Certificate) error {
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return fmt.Errorf("the certificate %s is not of a CA; a trust store holds the CAs that issue the signers' certificates", subjectOf(cert))
	}
	if _, err := checkKey(cert.PublicKey); err != nil {
		return fmt.Errorf("the certificate %s: %w", subjectOf(cert), err)
	}
	for _, other := range store {
		if cert.Equal(other) {
			return fmt.Errorf("the certificate %s is in it twice", subjectOf(cert))
		}
	}
	return nil
}

// MarshalTrustStore writes certificates in the one form that a policy keeps them in.
func MarshalTrustStore(store []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range store {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return out.Bytes()
}

// IsRoot says whether a certificate is signed with its own key, as the root of a timestamp
// authority must be (trust store specification, "Trust Store").
func IsRoot(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(cert) == nil
}

// subjectOf names a certificate in a message.
func subjectOf(cert *x509.Certificate) string {
	return fmt.Sprintf("%q", shorten(strings.ToValidUTF8(cert.Subject.String(), "?")))
}

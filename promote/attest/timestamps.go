package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// maxCertificates bounds a list of roots.
const maxCertificates = 64

// Timestamps prove when a key, or a certificate that is not a keyless one, signed: by what
// the logs and timestamp authorities of a trusted root witnessed.
type Timestamps struct {
	Root *TrustedRoot
	// Threshold is how many of them have to agree that the signature was there in time.
	Threshold int
}

func (t *Timestamps) id() string {
	if t == nil {
		return ""
	}
	return identity(t.Root.id, strconv.Itoa(t.Threshold))
}

// date sets the verified times of a proof, or why there are none. The error says what
// contradicts the signature.
func (t *Timestamps) date(out *proof, p *parcel, signer verify.VerificationContent) error {
	if t == nil {
		return nil
	}
	w, err := t.Root.witness(p, signer, 0)
	if err != nil {
		return err
	}
	times := w.all()
	if len(times) >= max(t.Threshold, 1) {
		out.times = times
		return nil
	}
	out.unproven = fmt.Sprintf("%d of %d verified times", len(times), max(t.Threshold, 1))
	if w.doubts != nil {
		out.unproven += fmt.Sprintf(" (%s)", shorten(w.doubts.Error()))
	}
	return nil
}

// TimestampRoots makes a trusted root of nothing but timestamp authorities: those whose
// certificates were issued under the given roots. Certificates that are not self-signed
// are intermediates.
func TimestampRoots(certificates []*x509.Certificate) (*TrustedRoot, error) {
	var roots, intermediates []*x509.Certificate
	for _, c := range certificates {
		switch {
		case !c.IsCA:
			return nil, fmt.Errorf("the certificate of %q is not a CA's", c.Subject)
		case bytes.Equal(c.RawSubject, c.RawIssuer):
			roots = append(roots, c)
		default:
			intermediates = append(intermediates, c)
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("there is no root among the certificates: one has to be self-signed")
	}
	authorities := make([]root.TimestampingAuthority, len(roots))
	for i, r := range roots {
		id, err := fingerprint(r.PublicKey)
		if err != nil {
			return nil, err
		}
		// sigstore-go tells authorities apart by their URI.
		authorities[i] = &root.SigstoreTimestampingAuthority{Root: r, Intermediates: intermediates, URI: "urn:sha256:" + id}
	}
	material, err := root.NewTrustedRoot(root.TrustedRootMediaType01, nil, nil, authorities, nil)
	if err != nil {
		return nil, err
	}
	r := &TrustedRoot{material: material, id: identity("timestamp roots", string(MarshalCertificates(certificates)))}
	return r, r.check()
}

// ParseCertificates reads certificates in PEM: blocks of the type "CERTIFICATE", at most
// 64, and nothing else but text between them.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	begun := bytes.Count(data, []byte("-----BEGIN "))
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("parse certificates: a PEM block is a %q, it must be a %q", shorten(block.Type), "CERTIFICATE")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificates: %w", err)
		}
		certificates = append(certificates, certificate)
	}
	switch {
	case len(certificates) == 0:
		return nil, errors.New("parse certificates: there is no certificate in PEM")
	case len(certificates) != begun:
		return nil, errors.New("parse certificates: a PEM block is damaged")
	case len(certificates) > maxCertificates:
		return nil, fmt.Errorf("parse certificates: there are %d, at most %d are allowed", len(certificates), maxCertificates)
	}
	return certificates, nil
}

// MarshalCertificates writes certificates in PEM, without anything between them.
func MarshalCertificates(certificates []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.Bytes()
}

package attest

import (
	"crypto/x509"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// maxChain bounds the certificates that a signature brings along: each is parsed, and may
// be tried in a chain.
const maxChain = 16

// parcel is an attachment taken apart: what was signed, and what was brought to prove by
// whom and when. Nothing in it is verified.
type parcel struct {
	envelope
	simple      bool              // the payload is cosign's simple signing, not in an envelope
	message     []byte            // what the signatures are over
	stamped     []byte            // what timestamps are over
	certificate *x509.Certificate // of the signer; nil where a key signed
	chain       []*x509.Certificate
	timestamps  [][]byte            // RFC 3161 responses
	bundle      *protobundle.Bundle // the log entries are in here; nil where there are none
}

// unwrap takes an attachment apart. Where the error is about what surrounds the payload
// the parcel is returned too, so that it can be shown.
func unwrap(att Attachment) (*parcel, error) {
	switch att.Format {
	case FormatBundle:
		return parseBundle(att.Content)
	case FormatDSSE, FormatCosignAtt:
		return parseEnvelopeLayer(att)
	case FormatCosignSig:
		return parseSimpleSigning(att)
	case FormatLink:
		env, err := parseSigned(att.Content)
		if env == nil {
			return nil, err
		}
		return &parcel{envelope: *env, message: env.signed()}, err
	}
	return nil, fmt.Errorf("the format %q is unknown", att.Format)
}

// state is the one parse of what was signed; nil where it is of no type that states
// something.
func (p *parcel) state() (map[string]any, error) {
	switch {
	case p.simple:
		return simpleStatement(p.payload)
	case p.payloadType == PayloadType:
		return statementOf(&p.envelope)
	}
	return nil, nil
}

// verifiedBy says whether the key made one of the signatures.
func (p *parcel) verifiedBy(key Key) (bool, error) {
	if p.classic {
		return verifyClassic(key, p.message, p.signatures)
	}
	return verifyWith(key, p.message, p.signatures)
}

// entries are the log entries, in full. The rules of the bundle's version are checked with
// them: v0.1 has an inclusion promise, later ones have a proof.
func (p *parcel) entries() ([]*tlog.Entry, error) {
	if p.bundle == nil || len(p.bundle.GetVerificationMaterial().GetTlogEntries()) == 0 {
		return nil, nil
	}
	b, err := newBundle(p.bundle)
	if err != nil {
		return nil, err
	}
	return b.TlogEntries()
}

// newBundle checks a bundle by the rules of its version. Chains in a v0.3 bundle are
// beyond them, but are what tools write for a certificate of an authority of one's own.
func newBundle(pb *protobundle.Bundle) (*bundle.Bundle, error) {
	if pb.GetVerificationMaterial().GetX509CertificateChain() != nil && pb.GetMediaType() != versionV01 && pb.GetMediaType() != versionV02 {
		return bundle.NewBundle(pb, bundle.AllowCertificateChain())
	}
	return bundle.NewBundle(pb)
}

// setMaterial takes over what a bundle brings for its verification.
func (p *parcel) setMaterial(pb *protobundle.Bundle) error {
	material := pb.GetVerificationMaterial()
	if err := p.setCertificates(material); err != nil {
		return err
	}
	for i, entry := range material.GetTlogEntries() {
		if err := checkLogEntry(entry.GetCanonicalizedBody(), p); err != nil {
			return fmt.Errorf("log entry %d of the bundle: %w", i, err)
		}
	}
	for _, t := range material.GetTimestampVerificationData().GetRfc3161Timestamps() {
		p.timestamps = append(p.timestamps, t.GetSignedTimestamp())
	}
	p.bundle = pb
	return nil
}

// setCertificates parses the signer's certificate and those that it came with.
func (p *parcel) setCertificates(material *protobundle.VerificationMaterial) error {
	var raw []*protocommon.X509Certificate
	switch content := material.GetContent().(type) {
	case *protobundle.VerificationMaterial_Certificate:
		raw = []*protocommon.X509Certificate{content.Certificate}
	case *protobundle.VerificationMaterial_X509CertificateChain:
		if raw = content.X509CertificateChain.GetCertificates(); len(raw) == 0 {
			return errors.New("what the bundle has for a certificate is none: the chain is empty")
		}
	default:
		return nil
	}
	if len(raw) > maxChain {
		return fmt.Errorf("the bundle brings %d certificates, the limit is %d", len(raw), maxChain)
	}
	for i, c := range raw {
		certificate, err := x509.ParseCertificate(c.GetRawBytes())
		if err != nil {
			if _, keyErr := x509.ParsePKIXPublicKey(c.GetRawBytes()); keyErr == nil {
				return errors.New("the bundle has a bare public key where a certificate belongs; a key is named by its hint only")
			}
			return fmt.Errorf("what the bundle has for a certificate is none: %w", err)
		}
		if i == 0 {
			p.certificate = certificate
		} else {
			p.chain = append(p.chain, certificate)
		}
	}
	return nil
}

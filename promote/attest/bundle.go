package attest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"
)

// bundleVersions are the media types that bundles of the versions read here give
// themselves (protobuf-specs, sigstore_bundle.proto).
var bundleVersions = [...]string{
	MediaTypeBundle,
	bundlePrefix + "+json;version=0.1",
	bundlePrefix + "+json;version=0.2",
	bundlePrefix + "+json;version=0.3",
}

// parseBundle takes the envelope out of a Sigstore bundle. Where the error is about what
// surrounds it the envelope is returned too, so that it can be shown.
func parseBundle(content []byte) (*envelope, error) {
	// protobuf's own reader takes a key in two spellings and knows no such thing as case
	// variants, so the text is checked first.
	if _, err := DecodeStrict(content, MaxDepth); err != nil {
		return nil, fmt.Errorf("the bundle is not strict JSON: %w", err)
	}
	pb := new(protobundle.Bundle)
	if err := protojson.Unmarshal(content, pb); err != nil {
		return nil, fmt.Errorf("not a Sigstore bundle: %w", err)
	}
	if !knownVersion(pb.GetMediaType()) {
		return nil, fmt.Errorf("the bundle's media type is %q; v0.1 to v0.3 can be read", shorten(pb.GetMediaType()))
	}
	inner := pb.GetDsseEnvelope()
	if inner == nil {
		return nil, errors.New("the bundle holds no DSSE envelope: a signature over bytes states nothing about them")
	}
	e := &envelope{payloadType: inner.GetPayloadType(), payload: inner.GetPayload()}
	if n := len(inner.GetSignatures()); n != 1 {
		return e, fmt.Errorf("the bundle's envelope has %d signatures; it must have exactly one", n)
	}
	e.signatures = [][]byte{inner.GetSignatures()[0].GetSig()}
	if err := checkMaterial(pb, e); err != nil {
		return e, err
	}
	return e, nil
}

func knownVersion(mediaType string) bool {
	for _, known := range bundleVersions {
		if mediaType == known {
			return true
		}
	}
	return false
}

// checkMaterial looks at what the bundle brings for its verification. Only a key's name
// is of use: there is no root that certificates, log entries or timestamps could be
// verified with, so they prove nothing here.
func checkMaterial(pb *protobundle.Bundle, e *envelope) error {
	material := pb.GetVerificationMaterial()
	if err := checkNoCertificate(material); err != nil {
		return err
	}
	for i, entry := range material.GetTlogEntries() {
		if err := checkLogEntry(entry.GetCanonicalizedBody(), e); err != nil {
			return fmt.Errorf("log entry %d of the bundle: %w", i, err)
		}
	}
	if material != nil {
		// What is not believed need not be parsed by the library either.
		material.TlogEntries, material.TimestampVerificationData = nil, nil
	}
	b, err := bundle.NewBundle(pb)
	if err != nil {
		return fmt.Errorf("not a valid Sigstore bundle: %w", err)
	}
	content, err := b.VerificationContent()
	if err != nil {
		return fmt.Errorf("the bundle's verification material: %w", err)
	}
	key := content.PublicKey()
	if key == nil {
		return errors.New("the bundle names no public key")
	}
	e.hint = key.Hint()
	// cosign's hint is the base64 of what is written as hex everywhere else.
	if raw, err := base64.StdEncoding.DecodeString(e.hint); err == nil && len(raw) == 32 {
		e.hint = hex.EncodeToString(raw)
	}
	return nil
}

func checkNoCertificate(material *protobundle.VerificationMaterial) error {
	var der []byte
	switch material.GetContent().(type) {
	case *protobundle.VerificationMaterial_Certificate:
		der = material.GetCertificate().GetRawBytes()
	case *protobundle.VerificationMaterial_X509CertificateChain:
		if chain := material.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
			der = chain[0].GetRawBytes()
		}
	default:
		return nil
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		return fmt.Errorf("it is signed with a certificate (issued by %q, valid to %s); the policy's authorities are keys, so it must be signed with a key of theirs",
			shorten(cert.Issuer.String()), cert.NotAfter.UTC().Format(timeFormat))
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return errors.New("the bundle has a bare public key where a certificate belongs; a key is named by its hint only")
	}
	return errors.New("what the bundle has for a certificate is none; the policy's authorities are keys, so it must be signed with a key of theirs")
}

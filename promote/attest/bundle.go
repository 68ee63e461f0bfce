package attest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// The media types that bundles of the versions read here give themselves (protobuf-specs,
// sigstore_bundle.proto); MediaTypeBundle is the fourth.
const (
	versionV01 = bundlePrefix + "+json;version=0.1"
	versionV02 = bundlePrefix + "+json;version=0.2"
	versionV03 = bundlePrefix + "+json;version=0.3"
)

func knownVersion(mediaType string) bool {
	return slices.Contains([]string{MediaTypeBundle, versionV01, versionV02, versionV03}, mediaType)
}

// parseBundle takes a Sigstore bundle apart.
func parseBundle(content []byte) (*parcel, error) {
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
		// Sigstore's tools make such bundles of files (sign-blob); of images, cosign signs
		// a statement.
		return nil, errors.New("the bundle holds no DSSE envelope: a signature over bytes states nothing about them")
	}
	p := &parcel{envelope: envelope{payloadType: inner.GetPayloadType(), payload: inner.GetPayload()}}
	p.message = p.signed()
	if n := len(inner.GetSignatures()); n != 1 {
		return p, fmt.Errorf("the bundle's envelope has %d signatures; it must have exactly one", n)
	}
	p.signatures = [][]byte{inner.GetSignatures()[0].GetSig()}
	p.stamped = p.signatures[0]
	if err := p.setMaterial(pb); err != nil {
		return p, err
	}
	if err := checkShape(pb); err != nil {
		return p, err
	}
	p.hint = hintOf(pb)
	return p, nil
}

// checkShape checks a bundle without what only some kinds of trust believe: log entries
// are checked when they are asked for, and what is not believed need not be parsed.
func checkShape(pb *protobundle.Bundle) error {
	material := pb.GetVerificationMaterial()
	bare := &protobundle.Bundle{MediaType: pb.GetMediaType(), Content: pb.GetContent()}
	if material != nil {
		bare.VerificationMaterial = &protobundle.VerificationMaterial{Content: material.GetContent()}
	}
	b, err := newBundle(bare)
	if err != nil {
		return fmt.Errorf("not a valid Sigstore bundle: %w", err)
	}
	if _, err := b.VerificationContent(); err != nil {
		return fmt.Errorf("the bundle's verification material: %w", err)
	}
	return nil
}

// hintOf is the key that a bundle names. cosign's hint is the base64 of what is written as
// hex everywhere else.
func hintOf(pb *protobundle.Bundle) string {
	hint := pb.GetVerificationMaterial().GetPublicKey().GetHint()
	if raw, err := base64.StdEncoding.DecodeString(hint); err == nil && len(raw) == 32 {
		return hex.EncodeToString(raw)
	}
	return hint
}

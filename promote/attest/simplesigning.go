package attest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// PredicateTypeSign is what a cosign signature states: that the signer signed the artifact.
// cosign v3 writes it as a statement of this type; its older signatures, of a simple
// signing payload, are shown and counted as if they were one.
const PredicateTypeSign = "https://sigstore.dev/cosign/sign/v1"

// simpleSigningKind is critical.type of the payloads that cosign signs.
const simpleSigningKind = "cosign container image signature"

// parseSimpleSigning takes a signature of cosign's .sig tag apart: the layer is the
// payload, an annotation the signature over it.
func parseSimpleSigning(att Attachment) (*parcel, error) {
	p := &parcel{simple: true, message: att.Content, envelope: envelope{payload: att.Content}}
	encoded := att.Layer.Annotations[annotationSignature]
	if encoded == "" {
		return p, fmt.Errorf("it has no signature; there must be one in the annotation %s", annotationSignature)
	}
	if len(encoded) > maxAnnotation {
		return p, fmt.Errorf("the annotation %s has %d bytes, the limit is %d", annotationSignature, len(encoded), maxAnnotation)
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return p, fmt.Errorf("the annotation %s is not base64", annotationSignature)
	}
	p.signatures, p.stamped = [][]byte{signature}, signature
	return p, p.setAnnotations(att.Layer.Annotations)
}

// simpleStatement makes a statement of a simple signing payload: the subject is the image
// that it is about, the predicate the payload as it is.
func simpleStatement(payload []byte) (map[string]any, error) {
	tree, err := DecodeStrict(payload, MaxDepth-1)
	if err != nil {
		return nil, fmt.Errorf("the payload is not strict JSON: %w", err)
	}
	statement := map[string]any{"_type": StatementV1, "predicateType": PredicateTypeSign, "predicate": tree}
	critical, _ := tree["critical"].(map[string]any)
	if kind, _ := critical["type"].(string); kind != simpleSigningKind {
		return statement, fmt.Errorf("the payload's critical.type is %q; it must be %q", shorten(kind), simpleSigningKind)
	}
	image, _ := critical["image"].(map[string]any)
	name, _ := image["docker-manifest-digest"].(string)
	algorithm, value, ok := strings.Cut(name, ":")
	if !ok {
		return statement, errors.New("the payload names no image; it must have a digest as critical.image.docker-manifest-digest")
	}
	statement["subject"] = []any{map[string]any{"digest": map[string]any{algorithm: value}}}
	return statement, nil
}

// parseEnvelopeLayer takes a bare envelope apart, and what cosign's annotations say about
// its one signature.
func parseEnvelopeLayer(att Attachment) (*parcel, error) {
	env, err := parseEnvelope(att.Content)
	if env == nil {
		return nil, err
	}
	p := &parcel{envelope: *env, message: env.signed()}
	if err != nil {
		return p, err
	}
	brings := false
	for _, name := range annotated(att.Format) {
		brings = brings || att.Layer.Annotations[name] != ""
	}
	if !brings {
		return p, nil
	}
	if len(p.signatures) != 1 {
		return p, fmt.Errorf("the envelope has %d signatures, and annotations about one", len(p.signatures))
	}
	// cosign has the whole envelope stamped, not its signature.
	p.stamped = att.Content
	return p, p.setAnnotations(att.Layer.Annotations)
}

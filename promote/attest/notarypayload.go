package attest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// signatureKey is the one key that a predicate has beside those of the payload: what the
// signer states in signed attributes of the envelope, {scheme, signingTime, expiry}, times
// in RFC 3339. It is there once the signature was verified.
const signatureKey = "signature"

// setNotary shows the payload as a statement about its target. The payload is parsed here
// and nowhere else; all that is decided, is decided on this tree.
func (e *Evidence) setNotary(payload []byte) error {
	tree, err := DecodeStrict(payload, MaxDepth)
	if err != nil {
		return err
	}
	subject := map[string]any{}
	if target, ok := tree["targetArtifact"].(map[string]any); ok {
		if text, ok := target["digest"].(string); ok {
			algorithm, value, _ := strings.Cut(text, ":")
			subject["digest"] = map[string]any{algorithm: value}
		}
	}
	e.PredicateType = PredicateNotary
	e.Statement = map[string]any{
		"_type": StatementV1, "subject": []any{subject}, "predicateType": PredicateNotary, "predicate": tree,
	}
	return nil
}

// setAttributes adds what the envelope says of itself.
func (e *Evidence) setAttributes(attributes signature.SignedAttributes) error {
	predicate := e.Predicate()
	if _, taken := predicate[signatureKey]; taken {
		return fmt.Errorf("the payload has a key %q, which is not of the Notary Project", signatureKey)
	}
	stated := map[string]any{
		"scheme":      string(attributes.SigningScheme),
		"signingTime": attributes.SigningTime.UTC().Format(time.RFC3339),
	}
	if !attributes.Expiry.IsZero() {
		stated["expiry"] = attributes.Expiry.UTC().Format(time.RFC3339)
	}
	predicate[signatureKey] = stated
	return nil
}

// checkTarget says whether the payload is about subject, letter for letter. known is what
// the source says of the subject; empty where it does not know it.
func checkTarget(predicate map[string]any, subject digest.Digest, known ocispec.Descriptor) error {
	target, ok := predicate["targetArtifact"].(map[string]any)
	if !ok {
		return errors.New("the payload has no targetArtifact; it must describe what is signed")
	}
	text, hasDigest := target["digest"].(string)
	mediaType, hasType := target["mediaType"].(string)
	size, hasSize := target["size"].(int64)
	if !hasDigest || !hasType || !hasSize {
		return errors.New("the payload's targetArtifact must have a mediaType, a digest and a size")
	}
	if err := checkAnnotations(target["annotations"]); err != nil {
		return err
	}
	_, malformed := oci.ParseDigest(text)
	switch {
	case text == subject.String():
	case strings.EqualFold(text, subject.String()):
		return fmt.Errorf("the payload names the artifact as %s; the digest must be lower-case", shorten(text))
	case malformed != nil:
		return fmt.Errorf("the payload's digest %q is none", shorten(text))
	case !strings.HasPrefix(text, subject.Algorithm().String()+":"):
		return fmt.Errorf("the payload names the artifact as %s; it must name %s", shorten(text), subject)
	default:
		return fmt.Errorf("the signature is about %s, not about %s", shorten(text), subject)
	}
	if known.Digest == "" {
		return nil
	}
	if mediaType != known.MediaType {
		return fmt.Errorf("the signature is about a %q, the artifact is a %q", shorten(mediaType), known.MediaType)
	}
	if size != known.Size {
		return fmt.Errorf("the signature is about %d bytes, the artifact has %d", size, known.Size)
	}
	return nil
}

// checkAnnotations: what notation sign --user-metadata adds is text by text.
func checkAnnotations(annotations any) error {
	if annotations == nil {
		return nil
	}
	object, ok := annotations.(map[string]any)
	if !ok {
		return errors.New("the payload's annotations are not an object")
	}
	for key, value := range object {
		if _, ok := value.(string); !ok {
			return fmt.Errorf("the payload's annotation %q is not a string", shorten(key))
		}
	}
	return nil
}

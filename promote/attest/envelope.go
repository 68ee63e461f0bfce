package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// maxSignatures bounds the signatures of a bare envelope: each is tried with each key.
const maxSignatures = 32

// envelope is a DSSE envelope, taken out of whatever it came in.
type envelope struct {
	payloadType string
	payload     []byte
	signatures  [][]byte
	// hint is the key that the envelope names. Nobody signed it: it serves messages only.
	hint string
	// document is what a metablock signs; payload is then its canonical form. Nil for DSSE.
	document map[string]any
	// classic says that what is signed is in-toto's own, a link or a layout, and so how RSA
	// keys sign it.
	classic bool
}

// signed is what the signatures are over (DSSE protocol, "PAE").
func (e *envelope) signed() []byte {
	if e.document != nil {
		return e.payload
	}
	return dsse.PAE(e.payloadType, e.payload)
}

// tree is the parse of the payload.
func (e *envelope) tree() (map[string]any, error) {
	if e.document != nil {
		return e.document, nil
	}
	return DecodeStrict(e.payload, MaxDepth)
}

// verifiedBy says whether the key made one of the signatures.
func (e *envelope) verifiedBy(key Key) (bool, error) {
	if e.classic {
		return verifyClassic(key, e.signed(), e.signatures)
	}
	return verifyWith(key, e.signed(), e.signatures)
}

// parseEnvelope reads a bare envelope. Unlike a bundle's it may have several signatures.
func parseEnvelope(content []byte) (*envelope, error) {
	tree, err := DecodeStrict(content, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("the envelope is not strict JSON: %w", err)
	}
	return envelopeOf(tree)
}

func envelopeOf(tree map[string]any) (*envelope, error) {
	payloadType, _ := tree["payloadType"].(string)
	encoded, ok := tree["payload"].(string)
	if !ok {
		return nil, errors.New("the envelope has no payload")
	}
	payload, err := decodeBase64(encoded)
	if err != nil {
		return nil, errors.New("the envelope's payload is not base64")
	}
	e := &envelope{payloadType: payloadType, payload: payload}
	return e, e.setSignatures("envelope", tree["signatures"], decodeBase64)
}

// setSignatures reads the list of signatures; wrapping is what they come in, for messages.
func (e *envelope) setSignatures(wrapping string, v any, decode func(string) ([]byte, error)) error {
	signatures, _ := v.([]any)
	switch {
	case len(signatures) == 0:
		return fmt.Errorf("the %s has no signature; it must have one", wrapping)
	case len(signatures) > maxSignatures:
		return fmt.Errorf("the %s has %d signatures, the limit is %d", wrapping, len(signatures), maxSignatures)
	}
	for i, s := range signatures {
		object, _ := s.(map[string]any)
		encoded, ok := object["sig"].(string)
		if !ok {
			return fmt.Errorf("signature %d of the %s has no \"sig\"", i, wrapping)
		}
		sig, err := decode(encoded)
		if err != nil {
			return fmt.Errorf("signature %d of the %s is not %s", i, wrapping, map[bool]string{true: "hex", false: "base64"}[wrapping == "metablock"])
		}
		e.signatures = append(e.signatures, sig)
		if keyID, _ := object["keyid"].(string); e.hint == "" {
			e.hint = keyID
		}
	}
	return nil
}

// decodeBase64 takes standard and URL encoding, as the DSSE envelope spec asks.
func decodeBase64(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.URLEncoding.DecodeString(s)
}

// Envelope is the DSSE envelope of an attachment by itself, in the JSON that other tools
// read. It says nothing about whether a signature is valid: ask Verify first. Keys are not
// named in it: nobody signed the names, and some readers pass over a signature for one.
func Envelope(att Attachment) ([]byte, error) {
	env, err := unwrap(att)
	if err != nil {
		return nil, fmt.Errorf("envelope of %s: %w", att.Manifest.Digest, err)
	}
	out := dsse.Envelope{PayloadType: env.payloadType, Payload: base64.StdEncoding.EncodeToString(env.payload)}
	for _, sig := range env.signatures {
		out.Signatures = append(out.Signatures, dsse.Signature{Sig: base64.StdEncoding.EncodeToString(sig)})
	}
	return json.Marshal(out)
}

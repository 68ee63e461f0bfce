package attest

import (
	"encoding/base64"
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
}

// signed is what the signatures are over (DSSE protocol, "PAE").
func (e *envelope) signed() []byte { return dsse.PAE(e.payloadType, e.payload) }

// parseEnvelope reads a bare envelope. Unlike a bundle's it may have several signatures.
func parseEnvelope(content []byte) (*envelope, error) {
	tree, err := DecodeStrict(content, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("the envelope is not strict JSON: %w", err)
	}
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
	signatures, _ := tree["signatures"].([]any)
	switch {
	case len(signatures) == 0:
		return e, errors.New("the envelope has no signature; it must have one")
	case len(signatures) > maxSignatures:
		return e, fmt.Errorf("the envelope has %d signatures, the limit is %d", len(signatures), maxSignatures)
	}
	for i, s := range signatures {
		object, _ := s.(map[string]any)
		encoded, ok := object["sig"].(string)
		if !ok {
			return e, fmt.Errorf("signature %d of the envelope has no \"sig\"", i)
		}
		sig, err := decodeBase64(encoded)
		if err != nil {
			return e, fmt.Errorf("signature %d of the envelope is not base64", i)
		}
		e.signatures = append(e.signatures, sig)
		if keyID, _ := object["keyid"].(string); e.hint == "" {
			e.hint = keyID
		}
	}
	return e, nil
}

// decodeBase64 takes standard and URL encoding, as the DSSE envelope spec asks.
func decodeBase64(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.URLEncoding.DecodeString(s)
}

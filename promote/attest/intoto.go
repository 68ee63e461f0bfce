package attest

import (
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/sigstore/sigstore/pkg/signature"
)

// What in-toto's own documents call themselves (spec 1.0, sections 4.3 and 4.4).
const (
	typeLink   = "link"
	typeLayout = "layout"
)

// SignedDocument is a link or layout of in-toto itself, taken out of what it is signed in.
type SignedDocument struct {
	// Tree is the one strict parse of the document.
	Tree map[string]any
	env  *envelope
}

// ParseLayout reads a layout as in-toto's command writes it: in a DSSE envelope, or in the
// older metablock. Nothing of it is believed yet.
func ParseLayout(content []byte) (*SignedDocument, error) {
	env, err := parseSigned(content)
	if err != nil {
		return nil, err
	}
	if env.payloadType != PayloadType {
		return nil, fmt.Errorf("the envelope's payloadType is %q; it must be %q", shorten(env.payloadType), PayloadType)
	}
	tree, err := env.tree()
	if err != nil {
		return nil, fmt.Errorf("the layout is not strict JSON: %w", err)
	}
	if t, _ := tree["_type"].(string); t != typeLayout {
		return nil, fmt.Errorf("its _type is %q, want %q", shorten(t), typeLayout)
	}
	env.classic = true
	return &SignedDocument{Tree: tree, env: env}, nil
}

// SignedBy says whether a key made one of the document's signatures. When the key is valid
// is the caller's to judge.
func (d *SignedDocument) SignedBy(key Key) (bool, error) {
	return d.env.verifiedBy(key)
}

// parseSigned reads an envelope or a metablock, whichever it is.
func parseSigned(content []byte) (*envelope, error) {
	tree, err := DecodeStrict(content, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("the document is not strict JSON: %w", err)
	}
	if _, ok := tree["signed"]; ok {
		return metablock(tree)
	}
	return envelopeOf(tree)
}

// metablock takes a document out of in-toto's older wrapping: an object "signed" and the
// signatures over its canonical JSON.
func metablock(tree map[string]any) (*envelope, error) {
	for key := range tree {
		if key != "signed" && key != "signatures" {
			return nil, fmt.Errorf("a metablock has the keys \"signed\" and \"signatures\", not %q", shorten(key))
		}
	}
	signed, ok := tree["signed"].(map[string]any)
	if !ok {
		return nil, errors.New("what is signed in the metablock is not an object")
	}
	if hasFloat(signed) {
		return nil, errors.New("the metablock has a number with a fraction or an exponent, which has no canonical form")
	}
	canonical, err := cjson.EncodeCanonical(signed)
	if err != nil {
		return nil, fmt.Errorf("the metablock has no canonical form: %w", err)
	}
	e := &envelope{payloadType: PayloadType, payload: canonical, document: signed}
	return e, e.setSignatures("metablock", tree["signatures"], hex.DecodeString)
}

// hasFloat: canonical JSON knows integers only, and 1.0 would be signed as 1.
func hasFloat(v any) bool {
	switch v := v.(type) {
	case float64:
		return true
	case []any:
		for _, item := range v {
			if hasFloat(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if hasFloat(item) {
				return true
			}
		}
	}
	return false
}

// linkStatement shows a link that was signed as such as the statement that ITE-6 makes of
// it: what it is about are its products.
func linkStatement(link map[string]any) (map[string]any, error) {
	statement := map[string]any{"_type": StatementV1, "predicateType": LinkClassic, "predicate": link}
	parsed, err := Evidence{PredicateType: LinkClassic, Statement: statement}.Link()
	if err != nil {
		return statement, err
	}
	subject := make([]any, 0, len(parsed.Products))
	for name, digests := range parsed.Products {
		set := make(map[string]any, len(digests))
		for algorithm, value := range digests {
			set[algorithm] = value
		}
		subject = append(subject, map[string]any{"name": name, "digest": set})
	}
	statement["subject"] = sortedByName(subject)
	return statement, nil
}

// verifyClassic is verifyWith for in-toto's own documents: with RSA keys in-toto signs by
// PSS (spec 1.0, section 4.2, rsassa-pss-sha256), else as everybody does.
func verifyClassic(key Key, signed []byte, signatures [][]byte) (bool, error) {
	public, ok := key.Public.(*rsa.PublicKey)
	if !ok {
		return verifyWith(key, signed, signatures)
	}
	if _, err := checkKey(public); err != nil {
		return false, err
	}
	verifier, err := signature.LoadRSAPSSVerifier(public, crypto.SHA256, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if err != nil {
		return false, err
	}
	return anyVerifies(verifier, signed, signatures), nil
}

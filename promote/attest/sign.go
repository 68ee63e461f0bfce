package attest

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice.dev/sluice/oci"
)

// statementDocument is an in-toto statement v1 as it is written.
type statementDocument struct {
	Type          string            `json:"_type"`
	Subject       []subjectDocument `json:"subject"`
	PredicateType string            `json:"predicateType"`
	Predicate     jsontext.Value    `json:"predicate"`
}

type subjectDocument struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// NewStatement makes an in-toto statement (v1) about one artifact. predicate is a JSON
// object; it is taken over as it is written, but for white space. What Verify would refuse
// is refused here. name is for people; it may be empty.
func NewStatement(predicateType string, predicate []byte, name string, subject digest.Digest) ([]byte, error) {
	if err := checkPredicateType(predicateType); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	if _, err := oci.ParseDigest(subject.String()); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	if _, err := DecodeStrict(predicate, MaxDepth-1); err != nil {
		return nil, fmt.Errorf("make statement: the predicate is not strict JSON: %w", err)
	}
	statement, err := json.Marshal(statementDocument{
		Type:          StatementV1,
		Subject:       []subjectDocument{{name, map[string]string{subject.Algorithm().String(): subject.Encoded()}}},
		PredicateType: predicateType,
		Predicate:     predicate,
	})
	if err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	return statement, nil
}

// Sign signs a statement and makes a Sigstore bundle v0.3 of it, as "cosign attest --key"
// writes it without a log: a DSSE envelope and the name of the key. What Verify would
// refuse is not signed.
func Sign(ctx context.Context, statement []byte, signer crypto.Signer) ([]byte, error) {
	b, err := sign(ctx, statement, signer)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	return b, nil
}

func sign(ctx context.Context, statement []byte, signer crypto.Signer) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tree, err := DecodeStrict(statement, MaxDepth)
	if err != nil {
		return nil, err
	}
	if err := checkTypes(tree); err != nil {
		return nil, err
	}
	if _, err := subjectDigests(tree); err != nil {
		return nil, err
	}
	env := &envelope{payloadType: PayloadType, payload: statement}
	sig, err := signBytes(signer, env.signed())
	if err != nil {
		return nil, err
	}
	id, err := fingerprint(signer.Public())
	if err != nil {
		return nil, err
	}
	return marshalBundle(env, sig, id)
}

// signBytes signs and verifies at once: a signer may be a device, and a signature that is
// not valid is better found by its maker.
func signBytes(signer crypto.Signer, message []byte) ([]byte, error) {
	hash, err := checkKey(signer.Public())
	if err != nil {
		return nil, err
	}
	digested := message
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		digested = h.Sum(nil)
	}
	sig, err := signer.Sign(rand.Reader, digested, hash)
	if err != nil {
		return nil, err
	}
	valid, err := verifyWith(Key{Public: signer.Public()}, message, [][]byte{sig})
	if err != nil {
		return nil, err
	}
	if !valid {
		return nil, errors.New("the signer made a signature that its own public key does not verify")
	}
	return sig, nil
}

func marshalBundle(env *envelope, sig []byte, keyID string) ([]byte, error) {
	raw, err := hex.DecodeString(keyID)
	if err != nil {
		return nil, err
	}
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: MediaTypeBundle,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{
				PublicKey: &protocommon.PublicKeyIdentifier{Hint: base64.StdEncoding.EncodeToString(raw)},
			},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload:     env.payload,
			PayloadType: env.payloadType,
			Signatures:  []*protodsse.Signature{{Sig: sig}},
		}},
	})
	if err != nil {
		return nil, err
	}
	// protojson varies its white space from build to build on purpose.
	compact := jsontext.Value(b)
	if err := compact.Compact(); err != nil {
		return nil, err
	}
	return compact, nil
}

package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"sluice.dev/sluice/promote/attest"
)

const slsa = "https://slsa.dev/provenance/v1"

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func newECDSA(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB) crypto.Signer { return newECDSA(t, elliptic.P256()) }

func newRSA(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd25519(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t testing.TB, signer crypto.Signer) attest.Key {
	t.Helper()
	data, err := attest.MarshalPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := attest.ParsePublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authority(t testing.TB, name string, signers ...crypto.Signer) attest.Authority {
	t.Helper()
	a := attest.Authority{Name: name}
	for _, s := range signers {
		a.Keys = append(a.Keys, publicKey(t, s))
	}
	return a
}

// rawSign signs anything at all as DSSE, which Sign refuses to.
func rawSign(t testing.TB, signer crypto.Signer, payloadType string, payload []byte) []byte {
	t.Helper()
	return plainSign(t, signer, dsse.PAE(payloadType, payload))
}

// plainSign signs a message as everybody but in-toto does.
func plainSign(t testing.TB, signer crypto.Signer, message []byte) []byte {
	t.Helper()
	hash := crypto.Hash(0)
	switch k := signer.Public().(type) {
	case *ecdsa.PublicKey:
		hash = map[string]crypto.Hash{"P-256": crypto.SHA256, "P-384": crypto.SHA384, "P-521": crypto.SHA512}[k.Params().Name]
	case *rsa.PublicKey:
		hash = crypto.SHA256
	}
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	sig, err := signer.Sign(rand.Reader, message, hash)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

type object = map[string]any

func rawEnvelope(t testing.TB, signer crypto.Signer, payloadType, payload string) object {
	t.Helper()
	return object{
		"payload": []byte(payload), "payloadType": payloadType,
		"signatures": []any{object{"sig": rawSign(t, signer, payloadType, []byte(payload))}},
	}
}

func rawBundle(t testing.TB, signer crypto.Signer, payloadType, payload string) object {
	t.Helper()
	return object{
		"mediaType":            attest.MediaTypeBundle,
		"verificationMaterial": object{"publicKey": object{"hint": ""}},
		"dsseEnvelope":         rawEnvelope(t, signer, payloadType, payload),
	}
}

// statement is a good one about artifact.
func statement() object {
	return object{
		"_type":         attest.StatementV1,
		"subject":       []any{object{"name": "app", "digest": object{"sha256": artifact.Encoded()}}},
		"predicateType": slsa,
		"predicate":     object{"n": json.Number("9007199254740993")},
	}
}

func bundleOf(t testing.TB, signer crypto.Signer, statement object) attest.Attachment {
	t.Helper()
	return asBundle(mustJSON(t, rawBundle(t, signer, attest.PayloadType, string(mustJSON(t, statement)))))
}

func asBundle(content []byte) attest.Attachment {
	return attest.Attachment{Format: attest.FormatBundle, Content: content}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

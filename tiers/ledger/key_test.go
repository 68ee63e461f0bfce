package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func sign(t *testing.T, private crypto.Signer, c Checkpoint) []byte {
	t.Helper()
	s, err := newSigner(c.Origin, private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]crypto.Signer{"Ed25519": ed}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		if all[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A checkpoint opens with the key that signed it, and with no other, and not when it was
// changed.
func TestSignature(t *testing.T) {
	t.Parallel()
	c := Checkpoint{Origin: "registry.example.com/ledger", Size: 7, Root: emptyRoot()}
	others := keys(t)
	for name, private := range keys(t) {
		signed := sign(t, private, c)
		got, err := OpenCheckpoint(signed, others[name].Public(), private.Public())
		if err != nil || got != c {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		for other, key := range others {
			if _, err := OpenCheckpoint(signed, key.Public()); !errors.Is(err, ErrSignature) {
				t.Errorf("%s opens with a key of another, %s: %v", name, other, err)
			}
		}
		for i := range signed {
			changed := append([]byte(nil), signed...)
			changed[i] ^= 1
			if bytes.Equal(signature(t, changed), signature(t, signed)) && i > len(signed)-5 {
				continue // bits of the last base64 symbol that say nothing
			}
			if got, err := OpenCheckpoint(changed, private.Public()); err == nil {
				t.Errorf("%s: opens with byte %d changed: %+v", name, i, got)
			}
		}
	}
}

// signature decodes what ends a checkpoint; nil where it is not base64.
func signature(t *testing.T, signed []byte) []byte {
	t.Helper()
	text := strings.TrimSpace(string(signed[bytes.LastIndexByte(signed[:len(signed)-1], ' ')+1:]))
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return b
}

// Any client of a log takes the Ed25519 key and checks with it.
func TestPlainVerifier(t *testing.T) {
	t.Parallel()
	c := Checkpoint{Origin: "registry.example.com/ledger", Size: 7, Root: emptyRoot()}
	private := keys(t)["Ed25519"]
	text, err := VerifierKey(c.Origin, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(sign(t, private, c), note.VerifierList(v))
	if err != nil || opened.Text != c.text() {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSigner("registry.example.com/ledger", private); err == nil {
		t.Error("an RSA key signs")
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", "a\u2003b"} {
		if _, err := VerifierKey(name, keys(t)["Ed25519"].Public()); err == nil {
			t.Errorf("a log is named %q", name)
		}
	}
}

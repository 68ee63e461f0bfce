package ledger

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// Signature types of C2SP signed-note. Ed25519 is what every tlog client checks; ECDSA is
// for keys that are there already.
const (
	algEd25519 = 0x01
	algECDSA   = 0x02
)

// VerifierKey is a public key as tlog clients take it: <name>+<id>+<type and key>, named for
// the origin of the log. An ECDSA key has the id and the encoding of transparency-dev's
// clients; those that know Ed25519 alone do not take it.
func VerifierKey(origin string, public crypto.PublicKey) (string, error) {
	id, encoded, err := encodeKey(origin, public)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s+%08x+%s", origin, id, base64.StdEncoding.EncodeToString(encoded)), nil
}

// encodeKey gives the id of a key and its encoding behind the type of its signatures.
func encodeKey(name string, public crypto.PublicKey) (id uint32, encoded []byte, err error) {
	if name == "" || strings.ContainsFunc(name, unicode.IsSpace) || strings.ContainsAny(name, "+") {
		return 0, nil, fmt.Errorf("%q cannot be the name of a log: it must not be empty nor hold spaces or +", name)
	}
	switch key := public.(type) {
	case ed25519.PublicKey:
		encoded = append([]byte{algEd25519}, key...)
		sum := sha256.Sum256(append([]byte(name+"\n"), encoded...))
		return binary.BigEndian.Uint32(sum[:]), encoded, nil
	case *ecdsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return 0, nil, fmt.Errorf("key of the ledger: %w", err)
		}
		sum := sha256.Sum256(der) // unlike Ed25519's, its id is that of the key alone
		return binary.BigEndian.Uint32(sum[:]), append([]byte{algECDSA}, der...), nil
	}
	return 0, nil, fmt.Errorf("key of the ledger: a checkpoint cannot be signed with a key of the kind %T; it must be Ed25519 or ECDSA", public)
}

// verifier checks what one key has signed.
type verifier struct {
	name   string
	id     uint32
	public crypto.PublicKey
}

func newVerifier(name string, public crypto.PublicKey) (*verifier, error) {
	id, _, err := encodeKey(name, public)
	if err != nil {
		return nil, err
	}
	return &verifier{name: name, id: id, public: public}, nil
}

// Name is the origin of the log.
func (v *verifier) Name() string { return v.name }

// KeyHash tells keys of one name apart.
func (v *verifier) KeyHash() uint32 { return v.id }

// Verify says whether the key has signed msg.
func (v *verifier) Verify(msg, sig []byte) bool {
	switch key := v.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, msg, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	}
	return false
}

// signer signs notes, so that verifier checks them.
type signer struct {
	*verifier
	private crypto.Signer
}

func newSigner(name string, private crypto.Signer) (*signer, error) {
	v, err := newVerifier(name, private.Public())
	if err != nil {
		return nil, err
	}
	return &signer{verifier: v, private: private}, nil
}

// Sign signs msg.
func (s *signer) Sign(msg []byte) ([]byte, error) {
	if _, ok := s.public.(ed25519.PublicKey); ok {
		return s.private.Sign(rand.Reader, msg, crypto.Hash(0))
	}
	sum := sha256.Sum256(msg)
	return s.private.Sign(rand.Reader, sum[:], crypto.SHA256)
}

var _ note.Signer = (*signer)(nil)

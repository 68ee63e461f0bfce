package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Bounds of RSA moduli in bits: below, signatures can be forged; above, a signature costs
// more to verify than anyone's need for it justifies.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

const publicKeyType = "PUBLIC KEY"

// ParsePublicKey reads a public key: exactly one PEM block of the type "PUBLIC KEY" and
// nothing else. ECDSA on P-256, P-384 and P-521, RSA of 2048 to 8192 bits and Ed25519 are
// taken. The key has no time bounds.
func ParsePublicKey(data []byte) (Key, error) {
	block, err := onePEM(data)
	if err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	if block.Type != publicKeyType {
		return Key{}, fmt.Errorf("parse public key: the PEM block is a %q, it must be a %q", shorten(block.Type), publicKeyType)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	if _, err := checkKey(public); err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	id, err := fingerprint(public)
	if err != nil {
		return Key{}, fmt.Errorf("parse public key: %w", err)
	}
	return Key{ID: id, Public: public}, nil
}

// onePEM decodes data that is one PEM block without headers. pem.Decode itself skips
// whatever stands before the block, so that two readers could see different keys.
func onePEM(data []byte) (*pem.Block, error) {
	data = bytes.TrimSpace(data)
	if !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
		return nil, errors.New("it is not a PEM block")
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("it is not a PEM block")
	case len(bytes.TrimSpace(rest)) > 0 || bytes.Count(data, []byte("-----BEGIN ")) != 1:
		return nil, errors.New("there is more than one PEM block")
	case len(block.Headers) > 0:
		return nil, errors.New("the PEM block has headers; it must have none")
	}
	return block, nil
}

// checkKey says which hash a key signs with: the one that its kind is used with by
// default in the Sigstore ecosystem, so that a signature is valid in one way only.
func checkKey(public crypto.PublicKey) (crypto.Hash, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return 0, fmt.Errorf("the RSA key has %d bits; it must have %d to %d", bits, minRSABits, maxRSABits)
		}
		return crypto.SHA256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return crypto.SHA256, nil
		case elliptic.P384():
			return crypto.SHA384, nil
		case elliptic.P521():
			return crypto.SHA512, nil
		}
		return 0, fmt.Errorf("the ECDSA key is on %s; it must be on P-256, P-384 or P-521", k.Params().Name)
	case ed25519.PublicKey:
		return crypto.Hash(0), nil
	}
	return 0, fmt.Errorf("a key of the kind %T; it must be ECDSA, RSA or Ed25519", public)
}

// fingerprint identifies a key by its content, whatever it is called.
func fingerprint(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

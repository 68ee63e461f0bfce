package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// PEM types of private keys. cosign writes the first and still reads the second.
const (
	sigstoreKeyType = "ENCRYPTED SIGSTORE PRIVATE KEY"
	cosignKeyType   = "ENCRYPTED COSIGN PRIVATE KEY"
	pkcs8KeyType    = "PRIVATE KEY"
	ecKeyType       = "EC PRIVATE KEY"
	rsaKeyType      = "RSA PRIVATE KEY"
)

// LoadPrivateKey reads a private key: cosign's encrypted format, for which the password
// may be empty, or a plain PKCS #8, SEC 1 (EC) or PKCS #1 (RSA) block, for which the
// password is not used. The kinds of keys are those of ParsePublicKey.
func LoadPrivateKey(data, password []byte) (crypto.Signer, error) {
	block, err := onePEM(data)
	if err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	private, err := parsePrivate(block, password)
	if err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("load private key: a key of the kind %T cannot sign", private)
	}
	if _, err := checkKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("load private key: %w", err)
	}
	return signer, nil
}

func parsePrivate(block *pem.Block, password []byte) (crypto.PrivateKey, error) {
	switch block.Type {
	case sigstoreKeyType, cosignKeyType:
		der, err := encrypted.Decrypt(block.Bytes, password)
		if err != nil {
			return nil, fmt.Errorf("decrypt, is the password right? %w", err)
		}
		return x509.ParsePKCS8PrivateKey(der)
	case pkcs8KeyType:
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case ecKeyType:
		return x509.ParseECPrivateKey(block.Bytes)
	case rsaKeyType:
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case publicKeyType:
		return nil, errors.New("it is the public key; the private one is needed to sign")
	}
	return nil, fmt.Errorf("the PEM block is a %q; it must be a %q (cosign's) or a %q", shorten(block.Type), sigstoreKeyType, pkcs8KeyType)
}

// GenerateKey makes an ECDSA key pair on P-256 in cosign's format: the private key
// encrypted with the password, which may be empty, and the public key, both in PEM.
func GenerateKey(password []byte) (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	sealed, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	public, err = MarshalPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: sigstoreKeyType, Bytes: sealed}), public, nil
}

// MarshalPublicKey writes a public key as ParsePublicKey reads it.
func MarshalPublicKey(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("marshal public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicKeyType, Bytes: der}), nil
}

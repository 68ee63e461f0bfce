package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/attest"
)

func pemOf(t testing.TB, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParsePublicKey(t *testing.T) {
	signer := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	good := string(pemOf(t, "PUBLIC KEY", der, err))
	weak, err := x509.MarshalPKIXPublicKey(newRSA(t, 1024).Public())
	weakPEM := string(pemOf(t, "PUBLIC KEY", weak, err))
	huge, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537})
	hugePEM := string(pemOf(t, "PUBLIC KEY", huge, err))
	p224, err := x509.MarshalPKIXPublicKey(newECDSA(t, elliptic.P224()).Public())
	p224PEM := string(pemOf(t, "PUBLIC KEY", p224, err))
	cosignKey := string(testdata(t, "cosign.key"))
	for _, tt := range []struct{ name, data, want string }{
		{"good", good, ""},
		{"white space around", "\n " + good + "\n\n", ""},
		{"without a last line end", strings.TrimSpace(good), ""},
		{"Windows line ends", strings.ReplaceAll(good, "\n", "\r\n"), ""},
		{"nothing", "", "not a PEM block"},
		{"text", "key", "not a PEM block"},
		{"text before", "# CI\n" + good, "not a PEM block"},
		{"text after", good + "x", "more than one"},
		{"two keys", good + good, "more than one"},
		{"two keys, the first broken", "-----BEGIN PUBLIC KEY-----\n" + good, "PEM block"},
		{"headers", strings.Replace(good, "KEY-----\n", "KEY-----\nA: b\n\n", 1), "headers"},
		{"private key", cosignKey, `it must be a "PUBLIC KEY"`},
		{"certificate", string(pemOf(t, "CERTIFICATE", der, nil)), `it must be a "PUBLIC KEY"`},
		{"garbage inside", string(pemOf(t, "PUBLIC KEY", []byte("x"), nil)), "parse public key"},
		{"trailing DER", string(pemOf(t, "PUBLIC KEY", append(bytes.Clone(der), 0), nil)), "parse public key"},
		{"RSA 1024", weakPEM, "1024 bits"},
		{"RSA 8193", hugePEM, "8193 bits; it must have 2048 to 8192"},
		{"P-224", p224PEM, "P-224"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := attest.ParsePublicKey([]byte(tt.data))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || key.Public != nil {
					t.Errorf("got %v, %v; want an error with %q", key, err, tt.want)
				}
				return
			}
			sum := sha256.Sum256(der)
			if err != nil || key.ID != hex.EncodeToString(sum[:]) || !signer.Public().(*ecdsa.PublicKey).Equal(key.Public) {
				t.Errorf("got %v, %v", key, err)
			}
			if !key.NotBefore.IsZero() || !key.NotAfter.IsZero() {
				t.Error("bounds out of nowhere")
			}
		})
	}
}

func TestLoadPrivateKey(t *testing.T) {
	cosignKey := string(testdata(t, "cosign.key"))
	ec := newKey(t).(*ecdsa.PrivateKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	plain := string(pemOf(t, "PRIVATE KEY", pkcs8, err))
	sec1, err := x509.MarshalECPrivateKey(ec)
	ecPEM := string(pemOf(t, "EC PRIVATE KEY", sec1, err))
	ed, err := x509.MarshalPKCS8PrivateKey(newEd25519(t))
	edPEM := string(pemOf(t, "PRIVATE KEY", ed, err))
	weak, err := x509.MarshalPKCS8PrivateKey(newRSA(t, 1024))
	weakPEM := string(pemOf(t, "PRIVATE KEY", weak, err))
	for _, tt := range []struct{ name, data, password, want string }{
		{"cosign's", cosignKey, "", ""},
		{"cosign's by its old name", strings.ReplaceAll(cosignKey, "SIGSTORE", "COSIGN"), "", ""},
		{"PKCS #8", plain, "", ""},
		{"EC", ecPEM, "", ""},
		{"Ed25519", edPEM, "", ""},
		{"a password where there is none", cosignKey, "wrong", "is the password right"},
		{"cosign's, not encrypted JSON", string(pemOf(t, "ENCRYPTED SIGSTORE PRIVATE KEY", []byte("{}"), nil)), "", "decrypt"},
		{"encrypted PKCS #8", string(pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil)), "", "must be"},
		{"public key", string(testdata(t, "cosign.pub")), "", "public key"},
		{"two blocks", plain + plain, "", "more than one"},
		{"RSA 1024", weakPEM, "", "1024 bits"},
		{"nothing", "", "", "not a PEM block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			signer, err := attest.LoadPrivateKey([]byte(tt.data), []byte(tt.password))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || signer != nil {
					t.Errorf("got %v, %v; want an error with %q", signer, err, tt.want)
				}
				return
			}
			if err != nil || signer == nil {
				t.Errorf("got %v, %v", signer, err)
			}
		})
	}
	// The pair that cosign made belongs together.
	signer, err := attest.LoadPrivateKey([]byte(cosignKey), nil)
	if err != nil {
		t.Fatal(err)
	}
	if public, err := attest.MarshalPublicKey(signer.Public()); err != nil || !bytes.Equal(public, testdata(t, "cosign.pub")) {
		t.Errorf("got %s, %v", public, err)
	}
}

func TestGenerateKey(t *testing.T) {
	for _, password := range []string{"", "secret"} {
		private, public, err := attest.GenerateKey([]byte(password))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(private, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")) {
			t.Errorf("got %.60s", private)
		}
		signer, err := attest.LoadPrivateKey(private, []byte(password))
		if err != nil {
			t.Fatal(err)
		}
		key, err := attest.ParsePublicKey(public)
		if err != nil || !signer.Public().(*ecdsa.PublicKey).Equal(key.Public) {
			t.Errorf("the public key is not the private one's: %v", err)
		}
	}
}

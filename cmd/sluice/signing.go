package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// signers loads the keys that sign for the registry, by tier and "ledger", and makes those
// that are not named. Two names with one key are refused: a summary of one tier would pass
// for another's.
func signers(cfg *Config, log *slog.Logger) (map[string]crypto.Signer, error) {
	all := map[string]crypto.Signer{}
	owner := map[string]string{} // by public key
	for _, name := range cfg.signingNames() {
		signer, err := signerFor(cfg, name, log)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", name, err)
		}
		public, err := attest.MarshalPublicKey(signer.Public())
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", name, err)
		}
		if other, ok := owner[string(public)]; ok {
			return nil, fmt.Errorf("signing keys %s and %s are the same key: give each its own (signing.keys in the configuration), or what one signs would pass for the other's", other, name)
		}
		owner[string(public)] = name
		all[name] = signer
	}
	return all, nil
}

func signerFor(cfg *Config, name string, log *slog.Logger) (crypto.Signer, error) {
	if named, ok := cfg.Signing.Keys[name]; ok {
		return readSigner(named)
	}
	path := signingPath(cfg, name)
	signer, err := readSigner(KeyConfig{File: path})
	if !errors.Is(err, fs.ErrNotExist) {
		return signer, err
	}
	if !cfg.embedsEtcd() {
		log.Warn("signing key made here: other replicas need the same one, name it in signing.keys", "key", name, "file", path)
	}
	return makeSigner(path, name)
}

// signingPath is where a key lies that the configuration does not name.
func signingPath(cfg *Config, name string) string {
	return filepath.Join(cfg.Data, "keys", "signing-"+name+".key")
}

func readSigner(key KeyConfig) (crypto.Signer, error) {
	data, err := readLimited(key.File, maxKeySize)
	if err != nil {
		return nil, err
	}
	var password []byte
	if key.PasswordFile != "" {
		if password, err = readSecret(key.PasswordFile); err != nil {
			return nil, err
		}
	}
	signer, err := attest.LoadPrivateKey(data, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key.File, err)
	}
	return signer, nil
}

// makeSigner makes a key, as PKCS #8 in a file that only the owner may read. Summaries are
// signed with ECDSA on P-256, which cosign makes too; the ledger with Ed25519, which every
// client of logs checks.
func makeSigner(path, name string) (key crypto.Signer, err error) {
	if name == ledgerKey {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return key, nil
}

// readSecret reads a secret from a file; the line break that editors leave is not part of
// it.
func readSecret(path string) ([]byte, error) {
	data, err := readLimited(path, maxKeySize)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimRight(data, "\r\n")
	if len(secret) == 0 {
		return nil, fmt.Errorf("%s is empty: it has to hold a secret", path)
	}
	return secret, nil
}

// writeNew writes a file that does not exist yet, whole or not at all, and on disk: what
// it holds cannot be made a second time.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+strings.TrimPrefix(filepath.Base(path), ".")+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename it never replaces
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

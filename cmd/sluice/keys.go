package main

import (
	"crypto"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"sluice.dev/sluice/promote/attest"
)

const maxKeySize = 64 << 10 // bytes of a key file

// passwordVariables are where the password of a private key is looked for, in this order.
// The second is cosign's, so that one setting serves both.
func passwordVariables() []string { return []string{"SLUICE_KEY_PASSWORD", "COSIGN_PASSWORD"} }

// loadSigningKey reads a private key for signing by a person or a CI job. The password is
// that of the environment, else none, else what is typed at a terminal.
func loadSigningKey(path string, stdin io.Reader, stderr io.Writer) (crypto.Signer, error) {
	data, err := readLimited(path, maxKeySize)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	var password []byte
	given := false
	for _, name := range passwordVariables() {
		if text, ok := os.LookupEnv(name); ok {
			password, given = []byte(text), true
			break
		}
	}
	signer, err := attest.LoadPrivateKey(data, password)
	if err == nil {
		return signer, nil
	}
	if !given && isTerminal(stdin) {
		fmt.Fprintf(stderr, "Password of %s: ", path)
		password, readErr := term.ReadPassword(int(stdin.(*os.File).Fd()))
		fmt.Fprintln(stderr)
		if readErr != nil {
			return nil, fmt.Errorf("key %s: read password: %w", path, readErr)
		}
		signer, err = attest.LoadPrivateKey(data, password)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w (the password is read from SLUICE_KEY_PASSWORD or COSIGN_PASSWORD)", path, err)
	}
	return signer, nil
}

// loadPublicKey reads a public key in PEM.
func loadPublicKey(path string) (attest.Key, error) {
	data, err := readLimited(path, maxKeySize)
	if err != nil {
		return attest.Key{}, fmt.Errorf("key: %w", err)
	}
	key, err := attest.ParsePublicKey(data)
	if err != nil {
		return attest.Key{}, fmt.Errorf("key %s: %w", path, err)
	}
	return key, nil
}

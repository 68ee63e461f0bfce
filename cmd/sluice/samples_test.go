package main

import (
	"bytes"
	"crypto/ed25519"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/attest"
)

// The samples that a first start writes are those of deploy/policies, to the byte.
func TestSamplesAreThoseOfDeploy(t *testing.T) {
	for _, name := range []string{"dev-to-stable.yaml", "stable-to-release.yaml"} {
		deployed, err := os.ReadFile(filepath.Join("..", "..", "deploy", "policies", name))
		if err != nil {
			t.Fatal(err)
		}
		embedded, err := samples.ReadFile("samples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(deployed, embedded) {
			t.Errorf("cmd/sluice/samples/%s and deploy/policies/%s differ", name, name)
		}
	}
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	written, err := writeSamples(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(written) != 5 {
		t.Errorf("it wrote %v", written)
	}
	for name, mode := range map[string]fs.FileMode{"keys/ci.key": 0o600, "keys/ci.pub": 0o644, "policies/stable.yaml": 0o644, configName: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %v", name, info, err, mode)
		}
	}
	for _, name := range []string{"stable", "release"} {
		code, _, stderr := sluice(t, "policy", "lint", filepath.Join(dir, "policies", name+".yaml"))
		if code != exitDone {
			t.Errorf("the sample policy %s: %s", name, stderr)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, "keys", "ci.key"))
	if err != nil || !strings.HasPrefix(string(key), "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----") {
		t.Errorf("the key is not in cosign's format: %v %.50s", err, key)
	}
	if _, err := attest.LoadPrivateKey(key, nil); err != nil {
		t.Errorf("the key has a password: %v", err)
	}
}

// What somebody has put there stays.
func TestFirstStartReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "keys/ci.pub", "mine")
	write(t, dir, "policies/stable.yaml", "mine")
	written, err := writeSamples(dir)
	if err != nil || len(written) != 2 {
		t.Errorf("it wrote %v, %v", written, err)
	}
	for _, name := range []string{"keys/ci.pub", "policies/stable.yaml"} {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(content) != "mine" {
			t.Errorf("%s is %q now, %v", name, content, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "keys", "ci.key")); err == nil {
		t.Error("a private key was made for a public key of somebody else's")
	}
}

func TestSigningKeys(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	cfg, err := loadConfig(configSource{data: dir})
	if err != nil {
		t.Fatal(err)
	}
	first, err := signers(cfg, log)
	if err != nil || len(first) != 3 {
		t.Fatalf("the keys are %v, %v", first, err)
	}
	again, err := signers(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	for name, signer := range first {
		path := filepath.Join(dir, "keys", "signing-"+name+".key")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		one, err1 := attest.MarshalPublicKey(signer.Public())
		two, err2 := attest.MarshalPublicKey(again[name].Public())
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("key %s is another at the second start", name)
		}
	}
	if _, ok := first[ledgerKey].Public().(ed25519.PublicKey); !ok {
		t.Errorf("the ledger signs with a %T, which not every client of logs checks", first[ledgerKey].Public())
	}
	cfg.Signing.Keys = map[string]KeyConfig{ledgerKey: {File: filepath.Join(dir, "keys", "signing-stable.key")}}
	if _, err := signers(cfg, log); err == nil || !strings.Contains(err.Error(), "signing keys stable and ledger are the same key") {
		t.Errorf("two alike: %v", err)
	}
	cfg.Signing.Keys = map[string]KeyConfig{"stable": {File: filepath.Join(dir, "none.key")}}
	if _, err := signers(cfg, log); err == nil || !strings.Contains(err.Error(), "none.key") {
		t.Errorf("a named key that is missing must not be made: %v", err)
	}
}

func TestSigningKeyWithPassword(t *testing.T) {
	dir := t.TempDir()
	private, _, err := attest.GenerateKey([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, dir, "k", string(private))
	if _, err := readSigner(KeyConfig{File: file, PasswordFile: write(t, dir, "pw", "secret\n")}); err != nil {
		t.Errorf("with its password: %v", err)
	}
	if _, err := readSigner(KeyConfig{File: file, PasswordFile: write(t, dir, "pw", "\n")}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty password file: %v", err)
	}
	t.Setenv("COSIGN_PASSWORD", "secret")
	if _, err := loadSigningKey(file, strings.NewReader(""), os.Stderr); err != nil {
		t.Errorf("with COSIGN_PASSWORD: %v", err)
	}
	t.Setenv("SLUICE_KEY_PASSWORD", "wrong")
	if _, err := loadSigningKey(file, strings.NewReader(""), os.Stderr); err == nil {
		t.Error("SLUICE_KEY_PASSWORD does not come first")
	}
}

func TestPolicyLint(t *testing.T) {
	file := write(t, t.TempDir(), "p.yaml", "apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: x}\nspec: {from: dev, to: dev, fore: 1}\n")
	code, stdout, stderr := sluice(t, "policy", "lint", file)
	if code != exitFailed || !strings.Contains(stdout, "fore") || !strings.Contains(stdout, "line 4") || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = sluice(t, "policy", "lint", file, "-o", "json")
	if code != exitFailed || !strings.Contains(stdout, `"valid": false`) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

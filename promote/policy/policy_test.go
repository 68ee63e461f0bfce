package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

const (
	typeProvenance = "https://slsa.dev/provenance/v1"
	typeTest       = "https://in-toto.io/attestation/test-result/v0.1"
)

// keyring makes keys and serves them as files, ci.pub say.
type keyring map[string][]byte

func newKeyring(t testing.TB, names ...string) keyring {
	t.Helper()
	keys := keyring{}
	for _, name := range names {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		keys[name+".pub"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	return keys
}

func (k keyring) read(file string) ([]byte, error) {
	if content, ok := k[file]; ok {
		return content, nil
	}
	return nil, fs.ErrNotExist
}

func (k keyring) id(t testing.TB, name string) string {
	t.Helper()
	key, err := attest.ParsePublicKey(k[name+".pub"])
	if err != nil {
		t.Fatal(err)
	}
	return key.ID
}

// document is a policy of authorities a, b and c and the given requirements, indented as
// items of spec.require.
func document(require string) string {
	return `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: a, key: {file: a.pub}}
    - {name: b, key: {file: b.pub}}
    - {name: c, principal: b, key: {file: c.pub}}
    - {name: d, key: {file: a.pub}}
  require:
` + require
}

const plainRule = "    - {name: built, predicateTypes: [\"https://slsa.dev/provenance/v1\"], from: {authorities: [a]}}\n"

func load(t testing.TB, keys keyring, text string) *Policy {
	t.Helper()
	p, err := Load([]byte(text), keys.read)
	if err != nil {
		t.Fatalf("Load: %v\n%s", err, text)
	}
	return p
}

var (
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	root  = digest.FromString("root")
	amd64 = Platform{Digest: digest.FromString("amd64"), Name: "linux/amd64"}
	arm64 = Platform{Digest: digest.FromString("arm64"), Name: "linux/arm64"}
)

// scene makes facts about one artifact.
type scene struct {
	t    testing.TB
	keys keyring
}

func (s scene) facts(evidence ...attest.Evidence) Facts {
	return Facts{
		Repository: "acme/app", Digest: root, MediaType: ocispec.MediaTypeImageManifest, Now: noon,
		Evidence: evidence, Reference: "localhost:5000/dev/acme/app:1.0@" + root.String(),
	}
}

func (s scene) index(platforms []Platform, evidence ...attest.Evidence) Facts {
	f := s.facts(evidence...)
	f.MediaType, f.Platforms = ocispec.MediaTypeImageIndex, platforms
	return f
}

// signed is an attestation about the root by authorities of the document.
func (s scene) signed(name, predicateType string, predicate map[string]any, authorities ...string) attest.Evidence {
	e := attest.Evidence{
		Manifest: digest.FromString(name), Subject: root, Format: attest.FormatBundle, PredicateType: predicateType,
		Statement: map[string]any{"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": predicate},
	}
	for _, a := range authorities {
		key, principal := a, a
		switch a {
		case "c":
			principal = "b"
		case "d":
			key = "a"
		}
		e.Signers = append(e.Signers, attest.Signer{Authority: a, Principal: principal, KeyID: s.keys.id(s.t, key)})
	}
	return e
}

func on(e attest.Evidence, subject digest.Digest) attest.Evidence { e.Subject = subject; return e }

func at(e attest.Evidence, when time.Time) attest.Evidence { e.SignedAt = when; return e }

func broken(e attest.Evidence, problem string) attest.Evidence { e.Problem = problem; return e }

// result is a test result with the time that its runner states; zero for none.
func result(verdict string, when time.Time) map[string]any {
	predicate := map[string]any{"result": verdict}
	if !when.IsZero() {
		predicate["finishedOn"] = when.Format(time.RFC3339)
	}
	return predicate
}

func finished(when time.Time) map[string]any {
	return map[string]any{"runDetails": map[string]any{"metadata": map[string]any{"finishedOn": when.Format(time.RFC3339)}}}
}

// decided compares a verdict with a single rule with what is owed.
func decided(t *testing.T, v Verdict, allowed bool, message string) {
	t.Helper()
	if len(v.Rules) != 1 {
		t.Fatalf("%d rules", len(v.Rules))
	}
	r := v.Rules[0]
	if v.Allowed != allowed || r.Allowed != allowed {
		t.Errorf("allowed: verdict %v, rule %v, want %v: %s", v.Allowed, r.Allowed, allowed, r.Message)
	}
	if !strings.Contains(r.Message, message) {
		t.Errorf("message %q lacks %q", r.Message, message)
	}
	if remediable := !allowed && !strings.Contains(message, "has no platform"); remediable != (r.Remedy != "") {
		t.Errorf("allowed %v with remedy %q", allowed, r.Remedy)
	}
	if allowed != (len(r.Evidence) > 0) || r.Evidence == nil {
		t.Errorf("allowed %v with evidence %v", allowed, r.Evidence)
	}
}

// wants says whether an error wraps a sentinel and names every text.
func wants(err, sentinel error, texts ...string) error {
	if !errors.Is(err, sentinel) {
		return fmt.Errorf("error %v, want %v", err, sentinel)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			return fmt.Errorf("error lacks %q:\n%w", text, err)
		}
	}
	return nil
}

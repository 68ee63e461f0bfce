package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

func TestSignFindVerify(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{"ECDSA": newKey(t), "RSA": newRSA(t, 3072), "Ed25519": newEd25519(t)} {
		t.Run(name, func(t *testing.T) {
			predicate := []byte(`{"n": 9007199254740993, "<html>": "&"}`)
			statement, err := attest.NewStatement(slsa, predicate, "acme/app", artifact)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := attest.Sign(context.Background(), statement, signer)
			if err != nil {
				t.Fatal(err)
			}
			subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: artifact, Size: 6}
			manifest, blobs, err := attest.BundleManifest(bundle, slsa, subject, noon())
			if err != nil {
				t.Fatal(err)
			}
			repo := newRepository()
			for _, b := range blobs {
				if got := repo.put(b.Descriptor.MediaType, b.Content); got.Digest != b.Descriptor.Digest || got.Size != b.Descriptor.Size {
					t.Errorf("blob is described as %v and is %v", b.Descriptor, got)
				}
			}
			repo.attach(artifact, attest.MediaTypeBundle, repo.put(ocispec.MediaTypeImageManifest, manifest))
			found := find(t, repo, attest.Limits{})
			if len(found) != 1 {
				t.Fatalf("found %v", found)
			}
			ev := attest.Verify(found[0], artifact, []attest.Authority{authority(t, "ci", signer)}, noon())
			verified(t, ev, "ci")
			if ev.PredicateType != slsa || ev.Predicate()["n"] != int64(9007199254740993) || ev.Predicate()["<html>"] != "&" {
				t.Errorf("got %+v", ev)
			}
		})
	}
}

// The manifest has what cosign writes, as its bytes go into the registry.
func TestBundleManifest(t *testing.T) {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: artifact, Size: 6, Annotations: map[string]string{"not": "copied"}}
	manifest, blobs, err := attest.BundleManifest([]byte("bundle"), slsa, subject, noon())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"},` +
		`"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"` + digest.FromString("bundle").String() + `","size":6}],` +
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + artifact.String() + `","size":6},` +
		`"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://slsa.dev/provenance/v1","org.opencontainers.image.created":"2026-11-22T12:00:00Z"}}`
	if string(manifest) != want {
		t.Errorf("got  %s\nwant %s", manifest, want)
	}
	if len(blobs) != 2 || string(blobs[0].Content) != "{}" || string(blobs[1].Content) != "bundle" {
		t.Errorf("blobs %v", blobs)
	}
	if _, err := oci.ParseManifest(ocispec.MediaTypeImageManifest, manifest); err != nil {
		t.Error(err)
	}
	if _, _, err := attest.BundleManifest([]byte("bundle"), "", subject, noon()); err == nil {
		t.Error("an empty predicate type passed")
	}
}

// The bundle has the keys that cosign's own has, and no others.
func TestSignLikeCosign(t *testing.T) {
	signer, err := attest.LoadPrivateKey(testdata(t, "cosign.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := attest.NewStatement(slsa, []byte("{}"), "", artifact)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := attest.Sign(context.Background(), statement, signer)
	if err != nil {
		t.Fatal(err)
	}
	var a, b struct {
		MediaType            string                     `json:"mediaType"`
		VerificationMaterial json.RawMessage            `json:"verificationMaterial"`
		DSSEEnvelope         map[string]json.RawMessage `json:"dsseEnvelope"`
	}
	for content, to := range map[string]any{string(ours): &a, string(testdata(t, "cosign-bundle.json")): &b} {
		dec := json.NewDecoder(strings.NewReader(content))
		dec.DisallowUnknownFields()
		if err := dec.Decode(to); err != nil {
			t.Fatal(err)
		}
	}
	if a.MediaType != b.MediaType || !bytes.Equal(a.VerificationMaterial, b.VerificationMaterial) {
		t.Errorf("ours %s, %s\ncosign's %s, %s", a.MediaType, a.VerificationMaterial, b.MediaType, b.VerificationMaterial)
	}
	if len(a.DSSEEnvelope) != len(b.DSSEEnvelope) || !bytes.Equal(a.DSSEEnvelope["payloadType"], b.DSSEEnvelope["payloadType"]) {
		t.Errorf("ours %s\ncosign's %s", a.DSSEEnvelope, b.DSSEEnvelope)
	}
}

func TestNewStatementRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, predicateType, predicate string
		subject                        digest.Digest
		want                           string
	}{
		{"empty type", "", "{}", artifact, "empty"},
		{"slash-ended type", slsa + "/", "{}", artifact, "slash"},
		{"bad digest", slsa, "{}", "sha256:x", "digest"},
		{"predicate no JSON", slsa, "x", artifact, "strict JSON"},
		{"predicate no object", slsa, "[]", artifact, "strict JSON"},
		{"duplicate keys", slsa, `{"a":1,"a":2}`, artifact, "strict JSON"},
		{"case variants", slsa, `{"a":1,"A":2}`, artifact, "strict JSON"},
	} {
		if s, err := attest.NewStatement(tt.predicateType, []byte(tt.predicate), "", tt.subject); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %s, %v; want an error with %q", tt.name, s, err, tt.want)
		}
	}
}

// failing is a signer whose device breaks, or answers with rubbish.
type failing struct {
	crypto.Signer
	sig []byte
	err error
}

func (f failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return f.sig, f.err }

func TestSignRefuses(t *testing.T) {
	signer := newKey(t)
	good, err := attest.NewStatement(slsa, []byte("{}"), "", artifact)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", `{}`, string(good) + "x",
		strings.Replace(string(good), `"sha256"`, `"SHA256":"","sha256"`, 1),
		strings.Replace(string(good), "Statement/v1", "Statement/v9", 1),
		strings.Replace(string(good), `"subject"`, `"object"`, 1)} {
		if bundle, err := attest.Sign(context.Background(), []byte(bad), signer); err == nil {
			t.Errorf("signed %q: %s", bad, bundle)
		}
	}
	cause := errors.New("device is gone")
	if _, err := attest.Sign(context.Background(), good, failing{signer, nil, cause}); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if _, err := attest.Sign(context.Background(), good, failing{signer, []byte("rubbish"), nil}); err == nil {
		t.Error("rubbish passed for a signature")
	}
	if _, err := attest.Sign(context.Background(), good, newRSA(t, 1024)); err == nil {
		t.Error("signed with a weak key")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := attest.Sign(cancelled, good, signer); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

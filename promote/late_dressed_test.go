package promote_test

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

// What an authority signed is the statement, not what a stranger wraps with it: a manifest
// that has a copy of a signed bundle and something else in it does not rise against the
// decision.
func TestLateDressed(t *testing.T) {
	a := tested(t, "")
	image := a.image("1.0", "one", nil)
	good := a.result(image, "PASSED", 3*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.result(image, "FAILED", 2*time.Hour) // from here on the policy says no

	_, body, err := a.repo("dev").Manifest(t.Context(), good.Digest.String())
	a.must(err)
	m, err := oci.ParseManifest(ocispec.MediaTypeImageManifest, body)
	a.must(err)
	for name, config := range map[string]ocispec.Descriptor{
		"a Helm chart": a.blob([]byte(`{"name":"evil","version":"1.0.0","apiVersion":"v2"}`), "application/vnd.cncf.helm.config.v1+json"),
		"any content":  a.blob([]byte(`{}`), ocispec.MediaTypeEmptyJSON),
	} {
		payload := a.blob([]byte("not reviewed by anybody: "+name), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
		dressed := a.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: attest.MediaTypeBundle,
			Config: config, Layers: []ocispec.Descriptor{payload, m.Layers[0]}, Subject: &image,
		})
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if reason := left(p, dressed.Digest); !strings.Contains(reason, "holds more than attestations") {
			t.Errorf("%s: left because %q", name, reason)
		}
		if _, err := a.repo("stable").Resolve(t.Context(), dressed.Digest.String()); err == nil {
			t.Errorf("%s rose although the policy says no", name)
		}
		if _, err := a.repo("stable").Resolve(t.Context(), dressed.Digest.String()); err == nil {
			if blob, err := a.repo("stable").Fetch(t.Context(), payload); err == nil {
				_ = blob.Close()
				t.Errorf("its content can be pulled from stable")
			}
		}
	}
}

// The same holds where the policy carries what is verified: the copy of an attestation does
// not take anything else with it.
func TestCarryVerifiedDressed(t *testing.T) {
	a := tested(t, "  carry: verified\n")
	image := a.image("1.0", "one", nil)
	good := a.result(image, "PASSED", 3*time.Hour)
	_, body, err := a.repo("dev").Manifest(t.Context(), good.Digest.String())
	a.must(err)
	m, err := oci.ParseManifest(ocispec.MediaTypeImageManifest, body)
	a.must(err)
	bundle, payload := m.Layers[0], a.blob([]byte("unsigned"), "application/x-tar")
	renamed, large := bundle, a.blob([]byte(`{"x":"`+strings.Repeat("x", 2000)+`"}`), ocispec.MediaTypeImageConfig)
	renamed.MediaType = "application/x-tar"
	for name, c := range map[string]struct {
		config ocispec.Descriptor
		layers []ocispec.Descriptor
		rises  bool
	}{
		"cosign's configuration": {a.blob([]byte(`{"rootfs":{"type":"layers","diff_ids":[]}}`), ocispec.MediaTypeImageConfig), []ocispec.Descriptor{bundle}, true},
		"an empty configuration": {a.blob([]byte(`{}`), ocispec.MediaTypeEmptyJSON), []ocispec.Descriptor{bundle, bundle}, true},
		"a layer beside":         {a.blob([]byte(`{}`), ocispec.MediaTypeEmptyJSON), []ocispec.Descriptor{bundle, payload}, false},
		"renamed":                {a.blob([]byte(`{}`), ocispec.MediaTypeEmptyJSON), []ocispec.Descriptor{bundle, renamed}, false},
		"a large configuration":  {large, []ocispec.Descriptor{bundle}, false},
		"not empty":              {a.blob([]byte(`{"a":1}`), ocispec.MediaTypeEmptyJSON), []ocispec.Descriptor{bundle}, false},
		"another configuration":  {a.blob([]byte(`{}`), "application/vnd.cncf.helm.config.v1+json"), []ocispec.Descriptor{bundle}, false},
	} {
		desc := a.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: attest.MediaTypeBundle,
			Config: c.config, Layers: c.layers, Subject: &image, Annotations: map[string]string{"case": name},
		})
		p := a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
		_, err := a.repo("stable").Resolve(t.Context(), desc.Digest.String())
		if reason := left(p, desc.Digest); c.rises != (err == nil) || !c.rises && !strings.Contains(reason, "holds more than verified") {
			t.Errorf("%s: %v, left because %q", name, err, reason)
		}
	}
}

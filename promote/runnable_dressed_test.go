package promote_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// A runnable image is one whatever types it gives to its layers: a runtime that takes the
// layers of a manifest by their order and unpacks them does not look at the types.
func TestRunnableWithLayersCalledEvidence(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	var layer bytes.Buffer
	packed := gzip.NewWriter(&layer)
	files := tar.NewWriter(packed)
	g.must(files.WriteHeader(&tar.Header{Name: "bin/evil", Mode: 0o755, Size: 4}))
	_, err := files.Write([]byte("evil"))
	g.must(err)
	g.must(files.Close())
	g.must(packed.Close())
	config := g.blob([]byte(`{"os":"linux","architecture":"amd64","config":{"Cmd":["/bin/evil"]}}`), ocispec.MediaTypeImageConfig)
	dressed := func(name string, layers ...ocispec.Descriptor) ocispec.Descriptor {
		return g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers,
			Subject: &image, Annotations: map[string]string{"case": name}})
	}
	statement := g.blob([]byte(`{"_type":"https://in-toto.io/Statement/v1"}`), oci.MediaTypeInToto)
	var plain bytes.Buffer
	files = tar.NewWriter(&plain)
	g.must(files.WriteHeader(&tar.Header{Name: "{", Mode: 0o755, Size: 0}))
	g.must(files.Close())
	runs := map[string]ocispec.Descriptor{
		"beside a statement": dressed("beside", statement, g.blob(layer.Bytes(), oci.MediaTypeInToto)),
		"not compressed":     dressed("plain", g.blob(plain.Bytes(), oci.MediaTypeDSSE)),
		"both":               dressed("both", g.blob(polyglot(), oci.MediaTypeDSSE)),
		"an SBOM as text":    dressed("text", g.blob([]byte("SPDXVersion: SPDX-2.3"), "text/spdx")),
	}
	for _, mediaType := range []string{"text/spdx", "text/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml",
		oci.MediaTypeInToto, oci.MediaTypeInTotoLink, oci.MediaTypeDSSE, attest.MediaTypeBundle, "application/vnd.dev.cosign.simplesigning.v1+json"} {
		runs[mediaType] = dressed(mediaType, g.blob(layer.Bytes(), mediaType))
	}
	evidence := map[string]ocispec.Descriptor{
		"BuildKit's statements": dressed("statements", statement, statement),
		"a signature":           dressed("signature", g.blob([]byte(`{"critical":{}}`), "application/vnd.dev.cosign.simplesigning.v1+json")),
		"an SBOM":               dressed("sbom", g.blob([]byte(`{"bomFormat":"CycloneDX"}`), "application/vnd.cyclonedx+json")),
		"an envelope":           g.att(image, g.envelope(image, testType)),
	}
	p := g.promoteOK(request("1.0", "stable"))
	for name, desc := range runs {
		g.rose(false, desc)
		if reason := left(p, desc.Digest); !strings.Contains(reason, "runnable image") {
			t.Errorf("%s: left because %q", name, reason)
		}
	}
	for name, desc := range evidence {
		g.rose(true, desc)
		if reason := left(p, desc.Digest); reason != "" {
			t.Errorf("%s: left because %q", name, reason)
		}
	}
	g.noTraces()
}

// polyglot is JSON and a tar archive: a header of the oldest form, all within a string.
func polyglot() []byte {
	block := bytes.Repeat([]byte("x"), 512)
	copy(block, `{"`)
	copy(block[100:], "0000755 0000000 0000000 00000001000 00000000000         0")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o  ", sum))
	content := bytes.Repeat([]byte("y"), 512)
	copy(content[len(content)-6:], `":"1"}`)
	return append(block, content...)
}

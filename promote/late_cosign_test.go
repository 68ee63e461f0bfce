package promote_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
)

// Bad news that stands above under cosign's tag is not taken from under the tag by whoever
// may write the tag below and is refused.
func TestLateCosignTagKeepsBadNews(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	provenance, bad := g.envelope(image, provenanceType), g.envelope(image, "https://example.com/bad-news")
	g.att(image, provenance, bad)
	g.promoteOK(request("1.0", "stable"))
	above, err := g.repo("stable").Resolve(t.Context(), cosignTag(image.Digest, ".att"))
	g.must(err)
	g.setPolicyOf(testType)          // the policy says no from here on
	below := g.attAs("", provenance) // an old attestation, signed long ago, without the bad news
	g.force(cosignTag(image.Digest, ".att"), below)
	p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	g.must(err)
	g.tidied()
	now, err := g.repo("stable").Resolve(t.Context(), cosignTag(image.Digest, ".att"))
	if p.State != promote.Failed || err != nil || now.Digest != above.Digest {
		t.Errorf("%s: the tag above lost the bad news: it was %s and is %s, %v", p.State, above.Digest, now.Digest, err)
	}
	if reason := left(p, below.Digest); !strings.Contains(reason, "does not hold 1 of the 2 layers") || p.Moved.Manifests != 0 {
		t.Errorf("moved %+v, left because %q", p.Moved, reason)
	}
	g.noTraces()
}

// An ordinary promotion does not take it away either, and tells two signatures of one
// payload apart.
func TestCosignTagKeepsLayers(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	tag := cosignTag(image.Digest, ".sig")
	sig := func(reference string, signatures ...string) ocispec.Descriptor {
		var layers []ocispec.Descriptor
		for _, s := range signatures {
			layer := g.blob([]byte(`{"critical":{}}`), "application/vnd.dev.cosign.simplesigning.v1+json")
			layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": s}
			layers = append(layers, layer)
		}
		return g.manifest(reference, ocispec.MediaTypeImageManifest, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: g.blob([]byte(`{"os":"","config":{}}`), ocispec.MediaTypeImageConfig), Layers: layers})
	}
	first := sig(tag, "a", "b")
	g.promoteOK(request("1.0", "stable"))
	g.complete("stable", tag, first.Digest)
	for _, fewer := range []ocispec.Descriptor{sig("", "a", "c"), sig("", "b")} {
		g.force(tag, fewer)
		p := g.promoteOK(request("1.0", "stable"))
		g.complete("stable", tag, first.Digest)
		if reason := left(p, fewer.Digest); !strings.Contains(reason, "does not hold 1 of the 2 layers") {
			t.Errorf("left because %q", reason)
		}
	}
	more := sig(tag, "c", "b", "a")
	g.promoteOK(request("1.0", "stable"))
	g.complete("stable", tag, more.Digest)
	g.noTraces()
}

package promote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

const (
	sbomType      = "application/spdx+json"
	signatureType = "application/vnd.example.signature"
)

// index pushes an index of the given manifests.
func (g *gate) index(reference string, subject *ocispec.Descriptor, children ...ocispec.Descriptor) ocispec.Descriptor {
	g.Helper()
	return g.manifest(reference, ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex, Manifests: children, Subject: subject})
}

// artifact pushes a manifest with an empty configuration and one layer.
func (g *gate) artifact(reference, artifactType, content string, subject *ocispec.Descriptor) ocispec.Descriptor {
	g.Helper()
	desc := g.manifest(reference, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: g.blob([]byte("{}"), ocispec.MediaTypeEmptyJSON), Layers: []ocispec.Descriptor{g.blob([]byte(content), artifactType)}, Subject: subject})
	return desc
}

// docker pushes an image of Docker's schema 2.
func (g *gate) docker(reference, content string) ocispec.Descriptor {
	g.Helper()
	return g.manifest(reference, oci.MediaTypeDockerManifest, map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeDockerManifest,
		"config": g.blob([]byte(`{"os":"linux","c":"`+content+`"}`), oci.MediaTypeDockerConfig),
		"layers": []any{
			g.blob([]byte("layer "+content), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
			ocispec.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: digest.FromString("foreign"), Size: 7,
				URLs: []string{"https://example.com/layer"}},
		}})
}

// envelope is a signed statement as a bare DSSE envelope.
func (g *gate) envelope(subject ocispec.Descriptor, predicateType string) []byte {
	g.Helper()
	statement, err := attest.NewStatement(predicateType, []byte(`{"buildDefinition":{}}`), "app", subject.Digest)
	if err != nil {
		g.Fatal(err)
	}
	bundle, err := attest.Sign(g.Context(), statement, g.ci)
	if err != nil {
		g.Fatal(err)
	}
	var parts struct {
		Envelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &parts); err != nil {
		g.Fatal(err)
	}
	return parts.Envelope
}

func cosignTag(d digest.Digest, suffix string) string { return "sha256-" + d.Encoded() + suffix }

// att writes cosign's .att tag of subject with the given envelopes.
func (g *gate) att(subject ocispec.Descriptor, envelopes ...[]byte) ocispec.Descriptor {
	g.Helper()
	return g.attAs(cosignTag(subject.Digest, ".att"), envelopes...)
}

// attAs is att under another reference; empty for none.
func (g *gate) attAs(reference string, envelopes ...[]byte) ocispec.Descriptor {
	g.Helper()
	var layers []ocispec.Descriptor
	for _, envelope := range envelopes {
		layers = append(layers, g.blob(envelope, oci.MediaTypeDSSE))
	}
	return g.manifest(reference, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: g.blob([]byte(`{"os":"","config":{}}`), ocispec.MediaTypeImageConfig), Layers: layers})
}

// force points a tag of dev at a manifest past all that keeps clients from moving it, as it
// may stand in a catalog that an older version has written.
func (g *gate) force(tag string, desc ocispec.Descriptor) {
	g.Helper()
	record := tiers.TagRecord{Digest: desc.Digest, MediaType: desc.MediaType, Size: desc.Size, UpdatedAt: g.registry.Now()}
	_, err := g.registry.Catalog().Commit(g.Context(), tiers.Change{Put: []tiers.Put{{Key: "tier/dev/tag/" + repository + ":" + tag, Value: tiers.Encode(record)}}})
	g.must(err)
	if got, err := g.repo("dev").Resolve(g.Context(), tag); err != nil || got.Digest != desc.Digest {
		g.Fatalf("the tag is %s, %v", got.Digest, err)
	}
}

// rose checks whether manifests can be seen in stable.
func (g *gate) rose(want bool, manifests ...ocispec.Descriptor) {
	g.Helper()
	for i, m := range manifests {
		_, err := g.repo("stable").Resolve(g.Context(), m.Digest.String())
		if want && err != nil || !want && !errors.Is(err, oci.ErrManifestUnknown) {
			g.Errorf("manifest %d, %s: %v; want risen %v", i, m.Digest, err, want)
		}
	}
}

// left finds why a manifest stayed behind.
func left(p promote.Promotion, d digest.Digest) string {
	for _, l := range p.Left {
		if l.Digest == d {
			return l.Reason
		}
	}
	return ""
}

func TestClosureNested(t *testing.T) {
	g := newGate(t, nil)
	inner := g.platforms("inner")
	other := g.docker("", "other")
	index := g.index("1.0", nil, inner, other)
	sbom := g.artifact("", sbomType, "sbom", &inner)
	signature := g.artifact("", signatureType, "signature of the sbom", &sbom)
	countersigned := g.artifact("", signatureType, "signature of the signature", &signature)
	onPlatform := g.attest(other, testType, `{"passed":true}`, g.ci)
	provenance := g.provenance(index)
	unrelated := g.image("unrelated", "unrelated", nil)

	p := g.promoteOK(request("1.0", "stable"))
	g.rose(true, index, inner, other, sbom, signature, countersigned, onPlatform, provenance)
	g.rose(false, unrelated)
	g.complete("stable", "1.0", index.Digest)
	// 2 indexes, 3 images, 5 referrers, and the summary.
	if p.Moved.Manifests != 11 || len(p.Left) != 0 {
		t.Errorf("moved %+v, left %v", p.Moved, p.Left)
	}
	g.promoteOK(request("1.0", "release"))
	g.complete("release", "1.0", index.Digest)
	g.noTraces()
}

func TestClosureKinds(t *testing.T) {
	g := newGate(t, nil)
	for name, push := range map[string]func(tag string) ocispec.Descriptor{
		"docker": func(tag string) ocispec.Descriptor { return g.docker(tag, "d") },
		"artifact": func(tag string) ocispec.Descriptor {
			return g.artifact(tag, "application/vnd.example.chart", "chart", nil)
		},
		"docker-list": func(tag string) ocispec.Descriptor {
			child := g.docker("", "in a list")
			return g.manifest(tag, oci.MediaTypeDockerList, map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeDockerList,
				"manifests": []any{map[string]any{"mediaType": child.MediaType, "digest": child.Digest, "size": child.Size,
					"platform": map[string]string{"os": "linux", "architecture": "amd64"}}}})
		},
		"withdrawn-artifact": func(tag string) ocispec.Descriptor {
			return g.manifest(tag, oci.MediaTypeArtifactManifest, map[string]any{"mediaType": oci.MediaTypeArtifactManifest,
				"artifactType": "application/vnd.example.x", "blobs": []any{g.blob([]byte("x"), "text/plain")}})
		},
		"empty-index": func(tag string) ocispec.Descriptor {
			return g.manifest(tag, ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []any{}})
		},
		"many-layers": func(tag string) ocispec.Descriptor {
			var layers []ocispec.Descriptor
			for i := range 90 {
				layers = append(layers, g.blob(fmt.Appendf(nil, "layer %d", i), ocispec.MediaTypeImageLayer))
			}
			return g.manifest(tag, ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
				MediaType: ocispec.MediaTypeImageManifest, Config: g.blob([]byte("{}"), ocispec.MediaTypeImageConfig), Layers: append(layers, layers[0])})
		},
	} {
		t.Run(name, func(t *testing.T) {
			desc := push(name)
			g.provenance(desc)
			p := g.promoteOK(request(name, "stable"))
			g.complete("stable", name, desc.Digest)
			if len(p.Left) != 0 {
				t.Errorf("left %v", p.Left)
			}
		})
	}
	g.noTraces()
}

func TestCosignTags(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	provenance := g.envelope(image, provenanceType)
	first := g.att(image, provenance)
	// A signature that is tagged and a referrer; both lead to it above.
	signature := g.artifact(cosignTag(image.Digest, ".sig"), signatureType, "signature", &image)
	ofAtt := g.artifact(cosignTag(first.Digest, ".sig"), signatureType, "of the attestation", nil)
	fallback := g.index(cosignTag(image.Digest, ""), nil, first)

	p := g.promoteOK(request("1.0", "stable"))
	g.complete("stable", cosignTag(image.Digest, ".att"), first.Digest)
	g.complete("stable", cosignTag(image.Digest, ".sig"), signature.Digest)
	g.complete("stable", cosignTag(first.Digest, ".sig"), ofAtt.Digest)
	g.rose(false, fallback)
	g.absent("stable", fallback.Digest, cosignTag(image.Digest, ""))

	// More evidence under the same tag moves the tag above, in a promotion of its own.
	second := g.att(image, provenance, g.envelope(image, testType))
	q := g.promoteOK(request("1.0", "stable"))
	if q.ID == p.ID {
		t.Error("new evidence made no new promotion")
	}
	g.complete("stable", cosignTag(image.Digest, ".att"), second.Digest)
	g.rose(true, first)
	g.promoteOK(request("1.0", "release"))
	g.complete("release", cosignTag(image.Digest, ".att"), second.Digest)
	g.noTraces()
}

// What cosign's tags may not do: name the artifact itself, or something that runs.
func TestCosignTagsAbused(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	if err := g.repo("dev").Tag(t.Context(), image, cosignTag(image.Digest, ".sig")); err != nil {
		t.Fatal(err)
	}
	evil := g.image(cosignTag(image.Digest, ".att"), "evil", nil)
	index := g.index(cosignTag(image.Digest, ".sbom"), nil, evil)
	p := g.promoteOK(request("1.0", "stable"))
	g.rose(false, evil, index)
	for _, suffix := range []string{".sig", ".att", ".sbom", ""} {
		if _, err := g.repo("stable").Resolve(t.Context(), cosignTag(image.Digest, suffix)); !errors.Is(err, oci.ErrManifestUnknown) {
			t.Errorf("tag %s rose: %v", suffix, err)
		}
	}
	if left(p, evil.Digest) == "" || left(p, index.Digest) == "" {
		t.Errorf("left %v", p.Left)
	}
}

// More of cosign's tags than one transaction takes: those of the artifact itself come first.
func TestCosignTagsMany(t *testing.T) {
	g := newGate(t, nil)
	var children []ocispec.Descriptor
	for i := range 12 {
		child := g.image("", fmt.Sprint("child ", i), nil)
		for _, suffix := range []string{".sig", ".att"} {
			g.artifact(cosignTag(child.Digest, suffix), signatureType, fmt.Sprint(suffix, i), nil)
		}
		children = append(children, child)
	}
	index := g.index("1.0", nil, children...)
	att := g.att(index, g.envelope(index, provenanceType))
	var tags []string
	for i := range 20 {
		tags = append(tags, fmt.Sprint("t", i))
	}
	p := g.promoteOK(request("1.0", "stable", tags...))
	g.complete("stable", "t19", index.Digest)
	g.complete("stable", cosignTag(index.Digest, ".att"), att.Digest)
	if len(p.Left) != 5 || !strings.Contains(p.Left[0].Reason, "too many") {
		t.Errorf("left %d: %v", len(p.Left), p.Left)
	}
	g.noTraces()
}

func TestCarry(t *testing.T) {
	for name, c := range map[string]struct {
		carry        string
		sbom, signed bool
		reason       string
	}{
		"all":      {"", true, true, ""},
		"verified": {"  carry: verified", false, true, "verified"},
		"sboms":    {"  carry: [" + sbomType + "]", true, false, sbomType},
	} {
		t.Run(name, func(t *testing.T) {
			g := bareGate(t, nil)
			g.setPolicy("dev-to-stable", "dev", "stable", c.carry)
			image := g.image("1.0", "one", nil)
			provenance := g.provenance(image)
			sbom := g.artifact("", sbomType, "sbom", &image)
			stranger, _ := newKey(t)
			unknown := g.attest(image, testType, `{}`, stranger)
			p := g.promoteOK(request("1.0", "stable"))
			g.rose(c.sbom, sbom)
			g.rose(c.signed, provenance)
			g.rose(c.carry == "", unknown)
			for _, r := range []struct {
				desc ocispec.Descriptor
				rose bool
			}{{sbom, c.sbom}, {provenance, c.signed}, {unknown, c.carry == ""}} {
				if reason := left(p, r.desc.Digest); r.rose != (reason == "") || !strings.Contains(reason, c.reason) && !r.rose {
					t.Errorf("%s: left because %q", r.desc.Digest, reason)
				}
			}
			g.complete("stable", "1.0", image.Digest)
			g.noTraces()
		})
	}
}

// What others attach neither rises where it must not nor keeps the artifact from rising.
func TestJunk(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	runs := g.image("", "runs", &image)
	index := g.index("", &image, runs)
	dressed := g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: attest.MediaTypeBundle,
		Config: g.blob([]byte(`{"os":"linux"}`), ocispec.MediaTypeImageConfig), Layers: []ocispec.Descriptor{g.blob([]byte("rootfs"), ocispec.MediaTypeImageLayerGzip)}, Subject: &image})
	noLayers := g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, Config: g.blob([]byte(`{"os":"linux"}`), ocispec.MediaTypeImageConfig), Layers: []ocispec.Descriptor{}, Subject: &image})
	garbage := g.artifact("", attest.MediaTypeBundle, `{"mediaType":`, &image)
	loud := g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: sbomType, Config: g.blob([]byte("{}"), ocispec.MediaTypeEmptyJSON),
		Layers: []ocispec.Descriptor{g.blob([]byte("x"), sbomType)}, Subject: &image, Annotations: map[string]string{"a": strings.Repeat("x", 1200<<10)}})
	long := g.artifact("", "application/"+strings.Repeat("x", 400<<10), "long", &runs) // below what does not rise
	deep := image
	var chain []ocispec.Descriptor
	for i := range 10 {
		deep = g.artifact("", signatureType, fmt.Sprint("level ", i+1), &deep)
		chain = append(chain, deep)
	}
	p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || p.State != promote.Failed {
		t.Fatalf("junk was taken for evidence: %s, %v", p.State, err)
	}
	g.provenance(image)
	p = g.promoteOK(request("1.0", "stable"))
	g.rose(false, runs, index, dressed, noLayers, loud, long, chain[8], chain[9])
	g.rose(true, garbage, chain[7])
	for name, d := range map[string]digest.Digest{"runnable": runs.Digest, "an index": index.Digest, "a runnable": dressed.Digest,
		"a runnable ": noLayers.Digest, "annotations": loud.Digest, "levels deep": chain[8].Digest} {
		if reason := left(p, d); !strings.Contains(reason, name) {
			t.Errorf("%s: left because %q", name, reason)
		}
	}
	g.complete("stable", "1.0", image.Digest)
	g.noTraces()
}

// However many stay behind, the journal stays small.
func TestLeftBounded(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	config := g.blob([]byte(`{"os":"linux"}`), ocispec.MediaTypeImageConfig)
	for i := range 130 {
		g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: fmt.Sprint("application/x", i, strings.Repeat("y", 12<<10)), Config: config, Layers: []ocispec.Descriptor{}, Subject: &image})
	}
	g.provenance(image)
	p := g.promoteOK(request("1.0", "stable"))
	if len(p.Left) != 100 || !strings.Contains(p.Left[99].Reason, "30 more") || len(p.Left[0].ArtifactType) > 400 {
		t.Errorf("left %d, the last because %q", len(p.Left), p.Left[len(p.Left)-1].Reason)
	}
}

// Indexes that name one another many times over are walked once each.
func TestIndexBomb(t *testing.T) {
	g := newGate(t, nil)
	desc := g.image("", "leaf", nil)
	for range oci.MaxIndexDepth {
		children := make([]ocispec.Descriptor, 200)
		for i := range children {
			children[i] = desc
		}
		desc = g.index("", nil, children...)
	}
	g.provenance(desc)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, _, err := g.engine.Promote(ctx, "manager", request(desc.Digest.String(), "stable"))
	if err != nil || p.State != promote.Succeeded || p.Moved.Manifests != oci.MaxIndexDepth+3 {
		t.Fatalf("got %s, %+v, %v", p.State, p.Moved, err)
	}
	g.rose(true, desc)
}

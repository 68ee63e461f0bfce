package tiers_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// cosign's tags lose nothing while what they are about is there, whatever way they are
// written.
func TestEvidenceTags(t *testing.T) {
	w := newWorld(t, nil)
	subject := w.image(w.dev, "1.0", 1)
	config := w.blob(w.dev, []byte("{}"))
	layer := func(seed uint64, signature string) ocispec.Descriptor {
		desc := w.blob(w.dev, bytesOf(seed, 40))
		desc.MediaType = oci.MediaTypeDSSE
		desc.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature}
		return desc
	}
	one, two := layer(2, "a"), layer(3, "b")
	other := one
	other.Annotations = maps.Clone(one.Annotations)
	other.Annotations["dev.cosignproject.cosign/signature"] = "another"
	for _, suffix := range []string{".att", ".sig"} {
		tag := strings.Replace(subject.Digest.String(), ":", "-", 1) + suffix
		first := w.manifest(w.dev, tag, image(config, nil, "", one))
		both := w.manifest(w.dev, tag, image(config, nil, "", one, two)) // more is fine
		w.manifest(w.dev, tag, image(config, nil, "", two, one, layer(4, "c")))
		w.manifest(w.dev, tag, image(config, nil, "", two, one, layer(4, "c"))) // the same again
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, oci.ErrTagImmutable) {
				t.Errorf("%s, %s: %v", suffix, what, err)
			}
			if desc, err := w.dev.Resolve(t.Context(), tag); err != nil || desc.Digest == first.Digest || desc.Digest == both.Digest {
				t.Fatalf("%s, %s: the tag is at %s, %v", suffix, what, desc.Digest, err)
			}
		}
		put := func(layers ...ocispec.Descriptor) error {
			_, err := w.dev.PutManifest(t.Context(), tag, "", "", image(config, nil, "", layers...))
			return err
		}
		refused("fewer", put(one))
		refused("none", put())
		refused("another signature", put(other, two, layer(4, "c")))
		refused("as a further tag", func() error {
			body := image(config, nil, "", one)
			_, err := w.dev.PutManifest(t.Context(), first.Digest.String(), "", "", body, tag)
			return err
		}())
		refused("tagged back", w.dev.Tag(t.Context(), both, tag))
		refused("deleted", w.dev.DeleteTag(t.Context(), tag))
		now, err := w.dev.Resolve(t.Context(), tag)
		if err != nil {
			t.Fatal(err)
		}
		refused("deleted with its manifest", w.dev.DeleteManifest(t.Context(), now.Digest))
	}

	// Without their subject they are tags as any other.
	if err := w.dev.DeleteManifest(t.Context(), subject.Digest); err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(subject.Digest.String(), ":", "-", 1)
	w.manifest(w.dev, tag+".att", image(config, nil, "", one))
	for _, suffix := range []string{".att", ".sig"} {
		if err := w.dev.DeleteTag(t.Context(), tag+suffix); err != nil {
			t.Error(err)
		}
	}
	// Others move as ever.
	for _, name := range []string{"sha256-abc.att", tag + ".sbom", "1.0.att"} {
		w.manifest(w.dev, name, image(config, nil, "", one))
		w.manifest(w.dev, name, image(config, nil, "", two))
	}
	w.audit(true)
}

// A tag that an image has of itself keeps no evidence: it neither keeps the image nor
// stands in the way of what cosign writes.
func TestEvidenceTagOfItself(t *testing.T) {
	w := newWorld(t, nil)
	tag := func(of ocispec.Descriptor) string { return strings.Replace(of.Digest.String(), ":", "-", 1) + ".att" }
	one, two := w.image(w.dev, "", 1), w.image(w.dev, "", 2)
	for _, desc := range []ocispec.Descriptor{one, two} {
		if err := w.dev.Tag(t.Context(), desc, tag(desc)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dev.DeleteManifest(t.Context(), one.Digest); err != nil {
		t.Error(err)
	}
	evidence := w.manifest(w.dev, tag(two), image(w.blob(w.dev, nil), nil, ""))
	if err := w.dev.DeleteManifest(t.Context(), evidence.Digest); !errors.Is(err, oci.ErrTagImmutable) {
		t.Errorf("evidence: %v", err)
	}
	w.audit(true)
}

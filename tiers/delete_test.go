package tiers_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const evidenceType = "application/vnd.dev.sigstore.bundle.v0.3+json"

func TestDeleteRules(t *testing.T) {
	w := newWorld(t, nil)
	child := w.image(w.dev, "", 1)
	parent := w.manifest(w.dev, "multi", index(child))
	config := w.blob(w.dev, nil)
	evidence := w.manifest(w.dev, "", image(config, &parent, evidenceType))
	sbom := w.manifest(w.dev, "", image(config, &parent, "application/spdx+json"))
	used := digest.FromBytes(bytesOf(1, 40))
	generation, err := w.dev.SubjectGeneration(t.Context(), parent.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
		want error
	}{
		{"a child", func() error { return w.dev.DeleteManifest(t.Context(), child.Digest) }, oci.ErrUnsupported},
		{"evidence", func() error { return w.dev.DeleteManifest(t.Context(), evidence.Digest) }, oci.ErrUnsupported},
		{"a blob in use", func() error { return w.dev.DeleteBlob(t.Context(), used) }, oci.ErrUnsupported},
		{"a referrer", func() error { return w.dev.DeleteManifest(t.Context(), sbom.Digest) }, nil},
		{"a referrer again", func() error { return w.dev.DeleteManifest(t.Context(), sbom.Digest) }, oci.ErrManifestUnknown},
		{"the index", func() error { return w.dev.DeleteManifest(t.Context(), parent.Digest) }, nil},
		{"its tag", func() error { return w.dev.DeleteTag(t.Context(), "multi") }, oci.ErrManifestUnknown},
		{"evidence, its subject gone", func() error { return w.dev.DeleteManifest(t.Context(), evidence.Digest) }, nil},
		{"the former child", func() error { return w.dev.DeleteManifest(t.Context(), child.Digest) }, nil},
		{"its blob", func() error { return w.dev.DeleteBlob(t.Context(), used) }, nil},
		{"its blob again", func() error { return w.dev.DeleteBlob(t.Context(), used) }, oci.ErrBlobUnknown},
		{"above: a manifest", func() error { return w.stable.DeleteManifest(t.Context(), child.Digest) }, oci.ErrDenied},
		{"above: a tag", func() error { return w.stable.DeleteTag(t.Context(), "v1") }, oci.ErrDenied},
		{"above: a blob", func() error { return w.stable.DeleteBlob(t.Context(), used) }, oci.ErrDenied},
	} {
		if err := step.do(); !errors.Is(err, step.want) || step.want != nil && err == nil {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
		w.audit(true)
	}
	if page, _, err := w.dev.Referrers(t.Context(), parent.Digest, "", "", 10); err != nil || len(page) != 0 {
		t.Errorf("referrers are left: %v, %v", page, err)
	}
	now, err := w.dev.SubjectGeneration(t.Context(), parent.Digest)
	if err != nil || now.Revision <= generation.Revision {
		t.Errorf("the subject's generation did not grow: %d, %d, %v", generation.Revision, now.Revision, err)
	}
}

// A DELETE that is refused changes nothing, however many tags there are.
func TestDeleteRefusedKeepsTags(t *testing.T) {
	w := newWorld(t, nil)
	child := w.image(w.dev, "", 1)
	w.manifest(w.dev, "multi", index(child))
	for i := range 25 {
		if err := w.dev.Tag(t.Context(), child, fmt.Sprintf("v%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dev.DeleteManifest(t.Context(), child.Digest); !errors.Is(err, oci.ErrUnsupported) {
		t.Fatalf("%v, want %v", err, oci.ErrUnsupported)
	}
	if tags, _, err := w.dev.Tags(t.Context(), "", 100); err != nil || len(tags) != 26 {
		t.Errorf("%d tags are left of 26: %v", len(tags), err)
	}
}

// Many tags, many blobs, many children: all of them can go.
func TestDeleteMany(t *testing.T) {
	w := newWorld(t, nil)
	layers := w.pushLayers(130)
	body := image(layers[0], nil, "", layers...)
	wide := w.manifest(w.dev, "", body)
	for i := range 45 {
		if err := w.dev.Tag(t.Context(), wide, fmt.Sprintf("v%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	var children []ocispec.Descriptor
	for i := range 70 {
		children = append(children, w.manifest(w.dev, "", image(layers[0], nil, fmt.Sprintf("application/x.%d", i))))
	}
	parent := w.manifest(w.dev, "multi", index(children...))
	for _, d := range append([]ocispec.Descriptor{wide, parent}, children...) {
		if err := w.dev.DeleteManifest(t.Context(), d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if tags, _, err := w.dev.Tags(t.Context(), "", 100); err != nil || len(tags) != 0 {
		t.Errorf("tags are left: %v, %v", tags, err)
	}
	for _, l := range layers {
		if err := w.dev.DeleteBlob(t.Context(), l.Digest); err != nil {
			t.Fatal(err)
		}
	}
	w.audit(false) // references of what is gone wait for garbage collection
}

// A tag that moves on while its former manifest is deleted stays where it moved.
func TestDeleteSparesMovedTags(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.image(w.dev, "", 1), w.image(w.dev, "", 2)
	for i := range 25 {
		if err := w.dev.Tag(t.Context(), a, fmt.Sprintf("v%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	moved := false
	w.catalog.onCommit(func(tiers.Change) {
		if !moved {
			moved = true
			if err := w.dev.Tag(t.Context(), b, "v00"); err != nil {
				t.Error(err)
			}
		}
	})
	if err := w.dev.DeleteManifest(t.Context(), a.Digest); err != nil {
		t.Fatal(err)
	}
	w.catalog.onCommit(nil)
	if d, err := w.dev.Resolve(t.Context(), "v00"); err != nil || d.Digest != b.Digest {
		t.Errorf("the moved tag: %v, %v", d, err)
	}
	w.audit(true)
}

// Whatever overtakes what, no tag ever points at a manifest that is gone, and no manifest
// is left without what it needs.
func TestDeleteRaces(t *testing.T) {
	w := newWorld(t, nil)
	body := image(w.blob(w.dev, bytesOf(1, 40)), nil, "")
	d := digest.FromBytes(body)
	for round := range 15 {
		w.manifest(w.dev, "v0", body)
		var wg sync.WaitGroup
		for i, do := range []func() error{
			func() error { return w.dev.DeleteManifest(t.Context(), d) },
			func() error { return w.dev.Tag(t.Context(), ocispec.Descriptor{Digest: d}, "v1") },
			func() error { _, err := w.dev.PutManifest(t.Context(), "v2", "", "", body); return err },
			func() error {
				_, err := w.dev.PutManifest(t.Context(), "multi", "", "", index(ocispec.Descriptor{
					MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(body))}))
				return err
			},
			func() error { return w.dev.DeleteTag(t.Context(), "v0") },
			func() error { return w.dev.DeleteBlob(t.Context(), digest.FromBytes(bytesOf(1, 40))) },
		} {
			wg.Go(func() {
				err := do()
				if err != nil && !errors.Is(err, oci.ErrManifestUnknown) && !errors.Is(err, oci.ErrUnsupported) &&
					!errors.Is(err, oci.ErrManifestReference) && !errors.Is(err, oci.ErrBlobUnknown) {
					t.Errorf("round %d, %d: %v", round, i, err)
				}
			})
		}
		wg.Wait()
		w.audit(true)
		if t.Failed() {
			return
		}
		for _, tag := range []string{"multi", "v0", "v1", "v2"} {
			if root, err := w.dev.Resolve(t.Context(), tag); err == nil {
				if err := w.dev.DeleteManifest(t.Context(), root.Digest); err != nil && !errors.Is(err, oci.ErrUnsupported) {
					t.Fatal(err)
				}
			}
		}
		w.blob(w.dev, bytesOf(1, 40))
	}
}

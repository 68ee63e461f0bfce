package attest

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// Annotations that cosign writes to the manifest of a bundle. Readers filter by them, so
// they are written; here they are never believed.
const (
	AnnotationBundleContent       = "dev.sigstore.bundle.content"
	AnnotationBundlePredicateType = "dev.sigstore.bundle.predicateType"
)

// Blob is content with its descriptor.
type Blob struct {
	Descriptor ocispec.Descriptor
	Content    []byte
}

// BundleManifest makes the image manifest that attaches a bundle to subject, as cosign
// writes it, and the blobs that must be stored before it. The same arguments make the
// same bytes.
func BundleManifest(bundle []byte, predicateType string, subject ocispec.Descriptor, created time.Time) (manifest []byte, blobs []Blob, err error) {
	if err := checkPredicateType(predicateType); err != nil {
		return nil, nil, fmt.Errorf("make bundle manifest: %w", err)
	}
	layer := ocispec.Descriptor{MediaType: MediaTypeBundle, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}
	config := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeEmptyJSON,
		Digest:    ocispec.DescriptorEmptyJSON.Digest,
		Size:      ocispec.DescriptorEmptyJSON.Size,
	}
	annotated := config
	annotated.ArtifactType = MediaTypeBundle
	manifest, err = json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: MediaTypeBundle,
		Config:       annotated,
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: map[string]string{
			ocispec.AnnotationCreated:     created.UTC().Format(time.RFC3339),
			AnnotationBundleContent:       "dsse-envelope",
			AnnotationBundlePredicateType: predicateType,
		},
	}, json.Deterministic(true))
	if err != nil {
		return nil, nil, fmt.Errorf("make bundle manifest: %w", err)
	}
	return manifest, []Blob{{config, []byte("{}")}, {layer, bundle}}, nil
}

// Attach stores a bundle in repository as a referrer of subject, and returns its manifest.
func Attach(ctx context.Context, repository content.Pusher, bundle []byte, predicateType string, subject ocispec.Descriptor, created time.Time) (ocispec.Descriptor, error) {
	manifest, blobs, err := BundleManifest(bundle, predicateType, subject, created)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	for _, b := range append(blobs, Blob{desc, manifest}) {
		if err := repository.Push(ctx, b.Descriptor, bytes.NewReader(b.Content)); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return desc, nil
}

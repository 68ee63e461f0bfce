package attest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// repository is a Source in memory.
type repository struct {
	content   map[digest.Digest][]byte
	tags      map[string]ocispec.Descriptor
	referrers map[digest.Digest][]ocispec.Descriptor
	broken    map[string]error // by digest, tag or "referrers"
	fetched   int
	pages     int
}

var _ attest.Source = (*repository)(nil)

func newRepository() *repository {
	return &repository{
		content:   map[digest.Digest][]byte{},
		tags:      map[string]ocispec.Descriptor{},
		referrers: map[digest.Digest][]ocispec.Descriptor{},
		broken:    map[string]error{},
	}
}

func (r *repository) Referrers(_ context.Context, subject digest.Digest, artifactType, last string, n int) ([]ocispec.Descriptor, string, error) {
	if err := r.broken["referrers"]; err != nil {
		return nil, "", err
	}
	r.pages++
	all := r.referrers[subject]
	from, _ := slices.BinarySearchFunc(all, last, func(d ocispec.Descriptor, last string) int {
		if d.Digest.String() <= last {
			return -1
		}
		return 1
	})
	all = all[from:]
	if len(all) <= n {
		return all, "", nil
	}
	return all[:n], all[n-1].Digest.String(), nil
}

func (r *repository) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	if err := r.broken[reference]; err != nil {
		return ocispec.Descriptor{}, err
	}
	if desc, ok := r.tags[reference]; ok {
		return desc, nil
	}
	return ocispec.Descriptor{}, fmt.Errorf("resolve %s: %w", reference, oci.ErrManifestUnknown)
}

func (r *repository) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	r.fetched++
	if err := r.broken[desc.Digest.String()]; err != nil {
		return nil, err
	}
	content, ok := r.content[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("fetch %s: %w", desc.Digest, oci.ErrBlobUnknown)
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (r *repository) put(mediaType string, content []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	r.content[desc.Digest] = content
	return desc
}

// attach makes desc a referrer as a registry's records would have it.
func (r *repository) attach(subject digest.Digest, artifactType string, desc ocispec.Descriptor) {
	desc.ArtifactType = artifactType
	all := append(r.referrers[subject], desc)
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	r.referrers[subject] = all
}

// manifest stores an image manifest with the layers; subject may be empty.
func (r *repository) manifest(t testing.TB, subject digest.Digest, artifactType string, layers ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	m := map[string]any{
		"schemaVersion": 2,
		"mediaType":     ocispec.MediaTypeImageManifest,
		"config":        ocispec.DescriptorEmptyJSON,
		"layers":        append([]ocispec.Descriptor{}, layers...),
	}
	if artifactType != "" {
		m["artifactType"] = artifactType
	}
	if subject != "" {
		m["subject"] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 2}
	}
	return r.put(ocispec.MediaTypeImageManifest, mustJSON(t, m))
}

// attachBundle attaches content as cosign does.
func (r *repository) attachBundle(t testing.TB, subject digest.Digest, content []byte) ocispec.Descriptor {
	t.Helper()
	desc := r.manifest(t, subject, attest.MediaTypeBundle, r.put(attest.MediaTypeBundle, content))
	r.attach(subject, attest.MediaTypeBundle, desc)
	return desc
}

func (r *repository) index(t testing.TB, children ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	return r.put(ocispec.MediaTypeImageIndex, mustJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": append([]ocispec.Descriptor{}, children...),
	}))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

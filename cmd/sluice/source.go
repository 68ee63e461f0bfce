package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// source reads evidence from a registry over its protocol, so that a check here trusts
// nothing that the registry says of it: not its verdicts, and of its listings only that
// they are complete.
type source struct {
	repo *remote.Repository
}

var _ attest.Source = (*source)(nil)

// Referrers lists everything on one page: what comes after last is not asked of the
// registry, whose pages need not be in the order of digests.
func (s *source) Referrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) ([]ocispec.Descriptor, string, error) {
	var all []ocispec.Descriptor
	err := s.repo.Referrers(ctx, ocispec.Descriptor{Digest: subject}, artifactType, func(page []ocispec.Descriptor) error {
		all = append(all, page...)
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("referrers of %s: %w", subject, err)
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	all = slices.CompactFunc(all, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest })
	return all, "", nil
}

// Resolve asks for a tag or digest.
func (s *source) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	desc, err := s.repo.Resolve(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return desc, fmt.Errorf("%s: %w", reference, oci.ErrManifestUnknown)
	}
	return desc, err
}

// Fetch opens a manifest or blob.
func (s *source) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	content, err := s.repo.Fetch(ctx, desc)
	switch {
	case !errors.Is(err, errdef.ErrNotFound):
		return content, err
	case oci.IsManifest(desc.MediaType):
		return nil, fmt.Errorf("%s: %w", desc.Digest, oci.ErrManifestUnknown)
	}
	return nil, fmt.Errorf("%s: %w", desc.Digest, oci.ErrBlobUnknown)
}

package web

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// Registry is what the pages read of the tiers; Read makes one of a *tiers.Registry.
// Errors wrap the sentinels of package oci. Lists hold at most n items after last, and
// next is what to ask for as last to go on, empty at the end.
type Registry interface {
	// Tiers lists the tiers from the bottom up.
	Tiers() []*tiers.Tier
	// Repositories lists the names of the repositories of a tier, in byte order.
	Repositories(ctx context.Context, tier, last string, n int) (names []string, next string, err error)
	// Tags lists the tags of a repository, in byte order. The error wraps
	// oci.ErrNameUnknown for a repository that never held a manifest.
	Tags(ctx context.Context, tier, repository, last string, n int) (tags []string, next string, err error)
	// TagsOf lists the tags that point at a manifest.
	TagsOf(ctx context.Context, tier, repository string, d digest.Digest) ([]string, error)
	// Resolve finds the manifest that a tag or digest names; the error wraps
	// oci.ErrManifestUnknown where there is none. It reads no more than records.
	Resolve(ctx context.Context, tier, repository, reference string) (ocispec.Descriptor, error)
	// Manifest reads the bytes of a manifest, checked against its digest.
	Manifest(ctx context.Context, tier, repository, reference string) (ocispec.Descriptor, []byte, error)
	// Quarantine is what keeps a manifest from being pulled; nil where nothing does.
	Quarantine(ctx context.Context, tier, repository string, desc ocispec.Descriptor) (*tiers.Quarantine, error)
}

// Gate is what the pages read of the promotions; *promote.Engine is one.
type Gate interface {
	// Promotion finds one. The error wraps oci.ErrPromotionUnknown.
	Promotion(ctx context.Context, id string) (promote.Promotion, error)
	// Promotions lists the newest first.
	Promotions(ctx context.Context, filter promote.Filter, last string, n int) (page []promote.Promotion, next string, err error)
	// Artifacts lists the manifests of a repository, by digest.
	Artifacts(ctx context.Context, tier, repository, last string, n int) (page []promote.Artifact, next string, err error)
	// Evidence is what is attached to a manifest and to the platforms of an index.
	Evidence(ctx context.Context, tier, repository string, d digest.Digest) ([]attest.Evidence, error)
	// Policies lists the policies in force, by name.
	Policies(ctx context.Context) ([]promote.PolicyInfo, error)
	// Policy finds one. The error wraps oci.ErrPolicyUnknown.
	Policy(ctx context.Context, name string) (promote.PolicyInfo, error)
}

var (
	_ Registry = reader{}
	_ Gate     = (*promote.Engine)(nil)
)

// reader opens a repository for each question; opening one reads nothing.
type reader struct{ *tiers.Registry }

// Read makes the pages' view of a registry.
func Read(registry *tiers.Registry) Registry { return reader{registry} }

func (r reader) Tags(ctx context.Context, tier, repository, last string, n int) (tags []string, next string, err error) {
	repo, err := r.Repository(tier, repository, "")
	if err != nil {
		return nil, "", err
	}
	return repo.Tags(ctx, last, n)
}

func (r reader) TagsOf(ctx context.Context, tier, repository string, d digest.Digest) ([]string, error) {
	repo, err := r.Repository(tier, repository, "")
	if err != nil {
		return nil, err
	}
	return repo.TagsOf(ctx, d)
}

func (r reader) Resolve(ctx context.Context, tier, repository, reference string) (ocispec.Descriptor, error) {
	repo, err := r.Repository(tier, repository, "")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return repo.Resolve(ctx, reference)
}

func (r reader) Manifest(ctx context.Context, tier, repository, reference string) (ocispec.Descriptor, []byte, error) {
	repo, err := r.Repository(tier, repository, "")
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	return repo.Manifest(ctx, reference)
}

func (r reader) Quarantine(ctx context.Context, tier, repository string, desc ocispec.Descriptor) (*tiers.Quarantine, error) {
	repo, err := r.Repository(tier, repository, "")
	if err != nil {
		return nil, err
	}
	held, err := repo.Quarantines(ctx, desc)
	if err != nil {
		return nil, err
	}
	return held[0], nil
}

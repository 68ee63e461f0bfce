package tiers

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// mountCandidates bounds the references that the search for a source of a mount looks at.
const mountCandidates = 100

// MountAny is Mount from whatever repository of the store shows the blob and allowed says
// yes to ("Mounting a blob from another repository", without from). It looks at the
// repository that stored the bytes first and at a bounded number of manifests that need
// them, so it may miss a source that is there; to the caller that is the same as none.
func (r *Repository) MountAny(ctx context.Context, d digest.Digest, allowed func(tier, repository string) bool) (ok bool, err error) {
	if err := r.Writable(""); err != nil {
		return false, err
	}
	_, blob, err := r.registry.blobRecord(ctx, r.Tier.store, d)
	if err != nil {
		if isUnknown(err) {
			err = nil
		}
		return false, err
	}
	tried := map[string]bool{"": true} // of blobs that no repository uploaded
	if ok, err := r.mountFrom(ctx, blob.Origin, d, tried, allowed); err != nil || ok {
		return ok, err
	}
	prefix := refPrefix(r.Tier.store, d)
	// What is no repository begins with a dot and stands before all that are.
	refs, err := r.registry.catalog.List(ctx, Query{Prefix: prefix, After: prefix + "/", Limit: mountCandidates})
	if err != nil {
		return false, err
	}
	for _, ref := range refs {
		name, _, _ := strings.Cut(ref.Key[len(prefix):], "@")
		if ok, err := r.mountFrom(ctx, name, d, tried, allowed); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// mountFrom tries one source, a tier and a repository, once. One whose tier is no longer
// configured is none.
func (r *Repository) mountFrom(ctx context.Context, source string, d digest.Digest, tried map[string]bool, allowed func(tier, repository string) bool) (bool, error) {
	if tried[source] {
		return false, nil
	}
	tried[source] = true
	tier, name, _ := strings.Cut(source, "/")
	if !allowed(tier, name) {
		return false, nil
	}
	from, err := r.registry.Repository(tier, name, r.Actor)
	if err != nil {
		return false, nil
	}
	return r.Mount(ctx, from, d)
}

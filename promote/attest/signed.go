package attest

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Signed lists what the attestations of a manifest are signatures over, those in one layer of
// it where that is not empty: by these digests a copy is known, however it is wrapped
// (Evidence.Signed). What cannot be read is left out, and what is no attestation has none.
func Signed(ctx context.Context, src Source, manifest ocispec.Descriptor, layer digest.Digest) ([]digest.Digest, error) {
	f := newFinder(src, Limits{})
	m, err := f.manifest(ctx, manifest)
	if err != nil || m == nil {
		return nil, err
	}
	if err := f.layers(ctx, manifest, m, attFormat); err != nil {
		return nil, err
	}
	var all []digest.Digest
	for _, att := range f.found {
		if layer != "" && att.Layer.Digest != layer {
			continue
		}
		if ex := examine(labelled(att), nil); ex.signed != "" {
			all = append(all, ex.signed)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

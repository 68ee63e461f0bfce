package main

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/errdef"

	"sluice.dev/sluice/oci"
)

// parseREF reads the REF argument of a verb. It has to name an artifact.
func parseREF(cmd *cobra.Command, text string) (oci.Reference, error) {
	ref, err := oci.ParseReference(text)
	if err != nil {
		return ref, wrongUse(cmd, "%w; want HOST/TIER/REPOSITORY:TAG or HOST/TIER/REPOSITORY@DIGEST, 127.0.0.1:5000/dev/acme/app:1.0 say", err)
	}
	if ref.Target() == "" {
		return ref, wrongUse(cmd, "%q names no artifact: want %s:TAG or %s@DIGEST", text, text, text)
	}
	return ref, nil
}

// resolve finds the manifest that ref names, once: what is done afterwards is done to its
// digest, wherever the tag moves meanwhile.
func (c *client) resolve(ctx context.Context, ref oci.Reference) (ocispec.Descriptor, error) {
	repo, err := c.repository(ref.Name())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := repo.Resolve(ctx, ref.Target())
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return ocispec.Descriptor{}, fmt.Errorf("%s: there is no such artifact", ref)
	case err != nil:
		return ocispec.Descriptor{}, fmt.Errorf("resolve %s: %w", ref, c.denied(err))
	}
	if _, err := oci.ParseDigest(desc.Digest.String()); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("resolve %s: %w", ref, err)
	}
	if ref.Digest != "" && desc.Digest != ref.Digest {
		return ocispec.Descriptor{}, fmt.Errorf("resolve %s: the registry answered with %s", ref, desc.Digest)
	}
	return desc, nil
}

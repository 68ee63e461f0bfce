package tiers

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Push stores a manifest or blob that desc describes, as oras-go asks.
func (r *Repository) Push(ctx context.Context, desc ocispec.Descriptor, content io.Reader) error {
	if desc.Size < 0 {
		return fmt.Errorf("push %s: %w: %d bytes", desc.Digest, oci.ErrSizeInvalid, desc.Size)
	}
	if oci.IsManifest(desc.MediaType) {
		if err := r.Tier.checkManifest(desc.Size); err != nil {
			return fmt.Errorf("push %s: %w", desc.Digest, err)
		}
		body, err := readExactly(content, desc.Size)
		if err != nil {
			return fmt.Errorf("push %s: %w", desc.Digest, err)
		}
		_, err = r.PutManifest(ctx, desc.Digest.String(), "", desc.MediaType, body)
		return err
	}
	return r.PushBlob(ctx, content, desc.Size, desc.Digest)
}

// PushBlob stores the blob d in one go: length bytes of content, or all there is where
// length is negative. There is no session that could be gone on with; what fails leaves
// nothing. Errors are those of Upload.Finish.
func (r *Repository) PushBlob(ctx context.Context, content io.Reader, length int64, d digest.Digest) error {
	if err := r.Pushable(""); err != nil {
		return err
	}
	u := r.freshUpload(r.sessionID(d.Algorithm()))
	u.untold = true
	if err := u.Finish(ctx, content, -1, length, d); err != nil {
		u.abandon(ctx)
		return err
	}
	return nil
}

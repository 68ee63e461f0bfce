package attest

import (
	"bytes"
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Read fetches what desc describes, at most limit bytes, and compares it with the
// descriptor. The error wraps oci.ErrTooLarge where desc is over the limit (nothing is
// fetched then), oci.ErrDigestInvalid where its digest is none, and oci.ErrSizeInvalid where
// the content has another size than desc says. Content of another digest is no fault of whoever
// pushed it: a registry takes none under a digest that is not its own. It wraps
// oci.ErrUnavailable, as what a source did not give right: evidence that is not known must
// not be taken for evidence that is not there. Else the error is the source's.
func Read(ctx context.Context, src Source, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	body, err := read(ctx, src, desc, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	return body, nil
}

func read(ctx context.Context, src Source, desc ocispec.Descriptor, limit int64) (_ []byte, err error) {
	// An unknown algorithm would panic in go-digest further down.
	if _, err := oci.ParseDigest(desc.Digest.String()); err != nil {
		return nil, err
	}
	if desc.Size < 0 {
		return nil, fmt.Errorf("%w: the descriptor says %d bytes", oci.ErrSizeInvalid, desc.Size)
	}
	if desc.Size > limit {
		return nil, fmt.Errorf("%w: it has %d bytes, the limit is %d", oci.ErrTooLarge, desc.Size, limit)
	}
	content, err := src.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := content.Close(); err == nil {
			err = cerr
		}
	}()
	var body bytes.Buffer
	body.Grow(int(min(desc.Size, 1<<20))) // what was promised is allocated only as it comes
	// One byte more than promised shows that there is more.
	if _, err := body.ReadFrom(io.LimitReader(content, desc.Size+1)); err != nil {
		return nil, err
	}
	if got := int64(body.Len()); got != desc.Size {
		if got > desc.Size {
			return nil, fmt.Errorf("%w: the descriptor says %d bytes, the content goes on", oci.ErrSizeInvalid, desc.Size)
		}
		return nil, fmt.Errorf("%w: the descriptor says %d bytes, the content has %d", oci.ErrSizeInvalid, desc.Size, got)
	}
	if got := desc.Digest.Algorithm().FromBytes(body.Bytes()); got != desc.Digest {
		return nil, fmt.Errorf("%w: the source gave content with the digest %s", oci.ErrUnavailable, got)
	}
	return body.Bytes(), nil
}

package tiers

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// verified reads an object whose bytes are known to be those of a digest, and fails where the
// store gives others. Readers take the last of them only once all are known to be right: who
// sends them on has not sent all, and a store makes nothing of less than it was told.
//
// Other bytes are a failure of the store like any other, oci.ErrUnavailable: they were right
// when they were stored, so nobody who sent them is to blame, and the next answer may be
// right again.
type verified struct {
	body io.ReadCloser
	hash hash.Hash
	want digest.Digest
	key  string
	left int64
	err  error
}

// openVerified reads the size bytes of the object key, which are those of want. What is not
// there is a failure of the store as well.
func openVerified(ctx context.Context, bucket Objects, key string, size int64, want digest.Digest) (io.ReadCloser, error) {
	body, err := bucket.Open(ctx, key, 0, size)
	if errors.Is(err, oci.ErrObjectUnknown) || errors.Is(err, oci.ErrRangeInvalid) {
		return nil, fmt.Errorf("%w: object %s of %s: %v", oci.ErrUnavailable, key, want, err)
	}
	if err != nil {
		return nil, err
	}
	return &verified{body: body, hash: want.Algorithm().Hash(), want: want, key: key, left: size}, nil
}

// Read gives the last bytes only where all are right.
func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if v.left == 0 {
		return 0, io.EOF
	}
	n, err := v.body.Read(p[:min(int64(len(p)), v.left)])
	_, _ = v.hash.Write(p[:n]) // never fails
	v.left -= int64(n)
	switch {
	case v.left > 0 && err == io.EOF:
		v.err = fmt.Errorf("%w: object %s ends %d bytes early", oci.ErrUnavailable, v.key, v.left)
	case v.left > 0 && err != nil && !errors.Is(err, context.Canceled):
		v.err = fmt.Errorf("%w: %w", oci.ErrUnavailable, err) // whatever it is, no client did it
	case v.left > 0:
		v.err = err
	default:
		if got := digest.NewDigest(v.want.Algorithm(), v.hash); got != v.want {
			v.err = fmt.Errorf("%w: object %s was stored as %s and reads as %s", oci.ErrUnavailable, v.key, v.want, got)
			return 0, v.err
		}
	}
	return n, v.err
}

// Close ends the reading.
func (v *verified) Close() error { return v.body.Close() }

package s3

import (
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// CanCopyFrom says whether the server can copy between the two buckets by itself.
func (s *Store) CanCopyFrom(from tiers.Objects) bool {
	src, ok := from.(*Store)
	return ok && src.endpoint == s.endpoint && src.region == s.region &&
		src.access == s.access && src.secret == s.secret
}

// CopyFrom copies an object on the server: in one request up to 5 GiB, in parts above.
//
// A server may answer 200 and report its failure in the body, which the client library
// reads as a result without an ETag. So an empty ETag is a failure.
func (s *Store) CopyFrom(ctx context.Context, from tiers.Objects, srcKey, key string, size int64) error {
	if !s.CanCopyFrom(from) {
		return fmt.Errorf("copy %s to %s: another server or account: %w", srcKey, s, oci.ErrUnsupported)
	}
	src := from.(*Store).bucket
	if size > s.copyLimit {
		return s.copyParts(ctx, src, srcKey, key, size)
	}
	// The store reads the bytes anyway: it is asked for their SHA-256, which proves the copy
	// without reading it back. A store that does not know the header leaves it out.
	sum := map[string]string{"x-amz-checksum-algorithm": "SHA256"}
	err := s.ask(ctx, s.sending, s.patience.work, func(ctx context.Context) error {
		info, err := s.core.CopyObject(ctx, src, srcKey, s.bucket, key, sum, minio.CopySrcOptions{}, minio.PutObjectOptions{})
		if err == nil {
			err = proved(info.ETag)
		}
		return err
	})
	return s.failed(ctx, "copy "+src+"/"+srcKey+" to", key, err)
}

func proved(etag string) error {
	if etag == "" {
		return fmt.Errorf("%w: a copy without an ETag", oci.ErrUnavailable)
	}
	return nil
}

// copyParts copies ranges of a large object as the parts of a new one. Whatever fails, the
// parts go: nobody else knows the upload.
func (s *Store) copyParts(ctx context.Context, bucket, srcKey, key string, size int64) error {
	id, err := s.Begin(ctx, key)
	if err != nil {
		return err
	}
	step := max(s.copyPart, (size+tiers.MaxParts-1)/tiers.MaxParts)
	var parts []tiers.Part
	for offset := int64(0); offset < size; offset += step {
		length := min(step, size-offset)
		number := len(parts) + 1
		var part minio.CompletePart
		err := s.ask(ctx, s.sending, s.patience.work, func(ctx context.Context) (err error) {
			if part, err = s.core.CopyObjectPart(ctx, bucket, srcKey, s.bucket, key, id, number, offset, length, nil); err == nil {
				err = proved(part.ETag)
			}
			return err
		})
		if err != nil {
			s.drop(ctx, key, id)
			return s.failed(ctx, fmt.Sprintf("copy part %d of %s/%s to", number, bucket, srcKey), key, err)
		}
		parts = append(parts, tiers.Part{Number: number, Size: length, ETag: part.ETag})
	}
	if err := s.Complete(ctx, key, id, parts); err != nil {
		s.drop(ctx, key, id)
		return err
	}
	return nil
}

// drop aborts an upload though the caller may be gone. A failure changes nothing for the
// caller, who has an error already; the server's own rules clear what is left.
func (s *Store) drop(ctx context.Context, key, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = s.Abort(ctx, key, id)
}

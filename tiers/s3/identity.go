package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
)

// identityKey is the object that names the bucket. No key that the registry makes has
// this form.
const identityKey = "sluice-identity"

// Identity returns the name that the bucket was given once. Whoever finds none writes one
// on the condition that there is still none, so of all who try at once one wins and the
// others read what it wrote. A content that is no ULID is an error and is never replaced:
// what the catalog knows of the bucket may hang on the name that was lost.
func (s *Store) Identity(ctx context.Context) (string, error) {
	for range maxAttempts {
		id, err := s.readIdentity(ctx)
		if !errors.Is(err, oci.ErrObjectUnknown) {
			return id, err
		}
		opts := putOptions()
		opts.SetMatchETagExcept("*")
		id = ulid.Make().String()
		err = s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
			_, err := s.core.PutObject(ctx, s.bucket, identityKey, strings.NewReader(id), int64(len(id)), "", sha256Hex([]byte(id)), opts)
			return err
		})
		if err = s.failed(ctx, "write", identityKey, err); err != nil && !errors.Is(err, oci.ErrConflict) {
			return "", err
		}
	}
	return "", fmt.Errorf("identity of bucket %s: written, but not found: %w", s, oci.ErrUnavailable)
}

func (s *Store) readIdentity(ctx context.Context) (string, error) {
	var content []byte
	err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
		body, _, _, err := s.core.GetObject(ctx, s.bucket, identityKey, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		content, err = io.ReadAll(io.LimitReader(body, ulid.EncodedSize+1))
		return err
	})
	if err != nil {
		return "", s.failed(ctx, "read", identityKey, err)
	}
	if _, err := ulid.ParseStrict(string(content)); err != nil {
		return "", fmt.Errorf("identity of bucket %s, object %s: %w: %w", s, identityKey, oci.ErrCorrupt, err)
	}
	return string(content), nil
}

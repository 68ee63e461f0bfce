package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Begin opens a multipart upload.
func (s *Store) Begin(ctx context.Context, key string) (string, error) {
	var id string
	err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) (err error) {
		if id, err = s.core.NewMultipartUpload(ctx, s.bucket, key, putOptions()); err == nil && id == "" {
			err = fmt.Errorf("%w: no upload id in the answer", oci.ErrUnavailable)
		}
		return err
	})
	return id, s.failed(ctx, "begin upload of", key, err)
}

// PutPart stores a part; bodies are treated as in Put.
func (s *Store) PutPart(ctx context.Context, key, uploadID string, number int, r io.Reader, size int64) (tiers.Part, error) {
	switch {
	case number < 1 || number > tiers.MaxParts:
		return tiers.Part{}, fmt.Errorf("part %d of %s: numbers go from 1 to %d: %w", number, key, tiers.MaxParts, oci.ErrTooLarge)
	case size < 0 || size > maxPut:
		return tiers.Part{}, fmt.Errorf("part %d of %s: %d bytes: %w", number, key, size, oci.ErrTooLarge)
	}
	stored, err := s.send(ctx, r, size, func(ctx context.Context, body io.Reader, sha256 string) (receipt, error) {
		part, err := s.core.PutObjectPart(ctx, s.bucket, key, uploadID, number, body, size,
			minio.PutObjectPartOptions{DisableContentSha256: true, Sha256Hex: sha256})
		return receipt{part.ETag, part.ChecksumCRC64NVME}, err
	})
	if err != nil {
		return tiers.Part{}, s.failed(ctx, fmt.Sprintf("put part %d of", number), key, err)
	}
	return tiers.Part{Number: number, Size: size, ETag: stored.etag, CRC64: stored.sum}, nil
}

// Complete makes the object. Keys are written once, so an object of the right size and, where
// the server tells it, the right sum under the key is this one: that settles both an answer
// that was lost, after which the server no longer knows the upload, and a server that answers
// a repeated request with success while the first is still at work.
func (s *Store) Complete(ctx context.Context, key, uploadID string, parts []tiers.Part) error {
	if len(parts) == 0 {
		return fmt.Errorf("complete %s: no parts: %w", key, oci.ErrSizeInvalid)
	}
	var size int64
	list := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: p.Number, ETag: p.ETag}
		size += p.Size
	}
	err := s.ask(ctx, s.sending, s.patience.work, func(ctx context.Context) error {
		info, err := s.core.CompleteMultipartUpload(ctx, s.bucket, key, uploadID, list, minio.PutObjectOptions{})
		if err == nil && info.ETag == "" {
			err = fmt.Errorf("%w: no ETag in the answer", oci.ErrUnavailable)
		}
		return err
	})
	err = s.failed(ctx, "complete", key, err)
	if err != nil && !errors.Is(err, oci.ErrUploadUnknown) {
		return err
	}
	found, statErr := s.stat(ctx, key)
	switch {
	case err != nil && (statErr != nil || found.Size != size):
		return err
	case statErr != nil && errors.Is(statErr, oci.ErrObjectUnknown):
		return fmt.Errorf("complete %s in %s: answered, but not there: %w", key, s, oci.ErrUnavailable)
	case statErr != nil:
		return statErr
	case found.Size != size:
		return fmt.Errorf("complete %s in %s: %d bytes instead of %d: %w", key, s, found.Size, size, oci.ErrUnavailable)
	}
	return s.failed(ctx, "complete", key, receipt{found.ETag, fullSum(found.ChecksumCRC64NVME, found.ChecksumMode)}.made(joinedSum(parts)))
}

// Abort drops an upload.
func (s *Store) Abort(ctx context.Context, key, uploadID string) error {
	err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
		return s.core.AbortMultipartUpload(ctx, s.bucket, key, uploadID)
	})
	err = s.failed(ctx, "abort", key, err)
	if errors.Is(err, oci.ErrUploadUnknown) {
		return nil
	}
	return err
}

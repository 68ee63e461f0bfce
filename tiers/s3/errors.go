package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
)

// failed translates an error of the client library: nil stays nil, the end of the caller's
// context stays what it is, and all else becomes one of the registry's errors. What has no
// sentinel is a request that the server refused as wrong; asking again does not help.
func (s *Store) failed(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%s %s in %s: %w", op, key, s, cause)
	}
	if sentinel := kind(err); sentinel != nil {
		return fmt.Errorf("%s %s in %s: %w: %w", op, key, s, sentinel, detach(err))
	}
	return fmt.Errorf("%s %s in %s: %w", op, key, s, err)
}

// kind finds the sentinel of an error. Anything that is not an answer of the server is a
// failure to reach it.
func kind(err error) error {
	if source := (sourceError{}); errors.As(err, &source) || errors.Is(err, oci.ErrUnavailable) {
		return nil // says what it is already
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return oci.ErrUnavailable
	}
	switch answer.Code {
	case minio.NoSuchKey:
		return oci.ErrObjectUnknown
	case minio.NoSuchUpload:
		return oci.ErrUploadUnknown
	case minio.PreconditionFailed, "ConditionalRequestConflict":
		return oci.ErrConflict
	case "InvalidRange":
		return oci.ErrRangeInvalid
	case minio.NoSuchBucket:
		return oci.ErrUnavailable
	}
	if answer.StatusCode == http.StatusBadRequest {
		return nil
	}
	return oci.ErrUnavailable
}

// detach drops the types of a network error and keeps its text: a timeout of a single
// request claims to be the end of a context, and callers would take it for their own.
func detach(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New(err.Error())
	}
	return err
}

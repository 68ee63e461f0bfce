package s3

import (
	"context"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/tiers"
)

// List reads one page of the keys under prefix.
func (s *Store) List(ctx context.Context, prefix, after string, n int) ([]tiers.ObjectEntry, error) {
	n = min(max(n, 1), tiers.MaxObjects)
	withoutOwner := false
	opts := minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, MaxKeys: n, Recursive: true, FetchOwner: &withoutOwner}
	page := make([]tiers.ObjectEntry, 0, n)
	err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
		for info := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
			if info.Err != nil {
				return info.Err
			}
			if page = append(page, tiers.ObjectEntry{Key: info.Key, Size: info.Size, ModifiedAt: info.LastModified}); len(page) == n {
				return nil
			}
		}
		return ctx.Err() // of which the client may say nothing
	})
	if err != nil {
		return nil, s.failed(ctx, "list", prefix, err)
	}
	return page, nil
}

// Uploads reads one page of the multipart uploads under prefix. It names no upload id to
// begin behind: versitygw looks for that id among the keys behind its own, and fails.
func (s *Store) Uploads(ctx context.Context, prefix, after string, n int) ([]tiers.OpenUpload, error) {
	n = min(max(n, 1), tiers.MaxObjects)
	var page []tiers.OpenUpload
	for len(page) < n {
		var result minio.ListMultipartUploadsResult
		err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) (err error) {
			result, err = s.core.ListMultipartUploads(ctx, s.bucket, prefix, after, "", "", n-len(page))
			return err
		})
		if err != nil {
			return nil, s.failed(ctx, "list uploads", prefix, err)
		}
		for _, u := range result.Uploads {
			page = append(page, tiers.OpenUpload{Key: u.Key, ID: u.UploadID, StartedAt: u.Initiated})
		}
		if !result.IsTruncated || len(result.Uploads) == 0 {
			break
		}
		after = page[len(page)-1].Key
	}
	return page, nil
}

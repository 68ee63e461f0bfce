package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3response"
)

// durable makes what the storage of the S3 server acknowledges survive a power cut: it
// syncs the finished file, which carries its attributes, and then the directories from it
// up to the root, which hold the new names, before the answer.
//
// Parts are synced too. A client that was told "202" continues behind them after a crash,
// and the object is made of them without another look at their content. Deletes are not:
// an object that comes back after a crash has no record and is collected as a stray.
//
// All paths are absolute. Should anybody change the working directory, on which the
// storage relies, the file is not found here and the request fails.
type durable struct {
	backend.Backend
	root string // absolute path of the directory of buckets
	sync func(path string) error

	// broken is the first sync that failed. The kernel reports a failure once and then
	// takes what it could not write for written, so nothing is acknowledged any more
	// until a new start has read the disk again.
	broken atomic.Pointer[error]
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// finish syncs an object or part of a bucket and the directories above it. The file comes
// first: on journalling file systems that writes the new names too, and what is left to
// do for the directories is next to nothing.
func (d *durable) finish(bucket, key string) error {
	path := filepath.Join(d.root, bucket, key)
	if !strings.HasPrefix(path, d.root+string(filepath.Separator)) {
		return fmt.Errorf("sync %s/%s: outside the storage", bucket, key)
	}
	if broken := d.broken.Load(); broken != nil {
		return *broken
	}
	for ; len(path) >= len(d.root); path = filepath.Dir(path) {
		err := d.sync(path)
		if err == nil {
			continue
		}
		err = fmt.Errorf("sync %s: %w", path, err)
		if !errors.Is(err, fs.ErrNotExist) {
			d.broken.CompareAndSwap(nil, &err)
		}
		return err
	}
	return nil
}

// uploadDir is where the storage keeps the parts of an upload, below the bucket.
func uploadDir(key, uploadID string) string {
	return filepath.Join(posix.MetaTmpMultipartDir, fmt.Sprintf("%x", sha256.Sum256([]byte(key))), uploadID)
}

// CreateBucket makes a bucket.
func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := d.Backend.CreateBucket(ctx, in, acl); err != nil {
		return err
	}
	return d.finish(*in.Bucket, "")
}

// PutObject stores an object, none if the body breaks off.
func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	in.Body = whole(in.Body, in.ContentLength)
	out, err := d.Backend.PutObject(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.finish(*in.Bucket, *in.Key)
}

// CopyObject copies an object.
func (d *durable) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	out, err := d.Backend.CopyObject(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.finish(*in.Bucket, *in.Key)
}

// CreateMultipartUpload opens an upload.
func (d *durable) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	out, err := d.Backend.CreateMultipartUpload(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.finish(*in.Bucket, uploadDir(*in.Key, out.UploadId))
}

// UploadPart stores a part, none if the body breaks off.
func (d *durable) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	in.Body = whole(in.Body, in.ContentLength)
	out, err := d.Backend.UploadPart(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.finishPart(in.Bucket, in.Key, in.UploadId, in.PartNumber)
}

// UploadPartCopy copies a part.
func (d *durable) UploadPartCopy(ctx context.Context, in *s3.UploadPartCopyInput) (s3response.CopyPartResult, error) {
	out, err := d.Backend.UploadPartCopy(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.finishPart(in.Bucket, in.Key, in.UploadId, in.PartNumber)
}

func (d *durable) finishPart(bucket, key, uploadID *string, number *int32) error {
	return d.finish(*bucket, filepath.Join(uploadDir(*key, *uploadID), strconv.Itoa(int(*number))))
}

// CompleteMultipartUpload makes an object of parts. The storage answers a repeated request
// with success while the first is at work; the object is then not there to be synced, and
// the request fails.
func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	out, version, err := d.Backend.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return out, version, err
	}
	return out, version, d.finish(*in.Bucket, *in.Key)
}

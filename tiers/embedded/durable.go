package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api/middlewares"
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
	for ; len(path) >= len(d.root); path = filepath.Dir(path) {
		if err := d.sync(path); err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
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

// whole makes a body that ends early an error: the storage would take it for a shorter
// object. Bodies in signed chunks say themselves whether they are complete.
func whole(body io.Reader, length *int64) io.Reader {
	if _, chunked := body.(middlewares.ChecksumReader); chunked || body == nil || length == nil || *length == 0 {
		return body
	}
	return &wholeReader{body: body, left: *length}
}

type wholeReader struct {
	body io.Reader
	left int64
}

// Read says io.EOF only after the announced number of bytes.
func (r *wholeReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// recoverUploads gives uploads back the names they had before the server was killed while
// it completed them. The storage marks an upload by a name that ends in .inprogress, and
// never looks at one again that a crash has left so: the parts would be lost, though they
// were acknowledged.
func recoverUploads(root string) error {
	marked, err := filepath.Glob(filepath.Join(escape(root), "*", posix.MetaTmpMultipartDir, "*", "*.inprogress"))
	if err != nil {
		return fmt.Errorf("look for interrupted uploads: %w", err)
	}
	for _, path := range marked {
		id, _, _ := strings.Cut(filepath.Base(path), ".")
		err := os.Rename(path, filepath.Join(filepath.Dir(path), id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("recover interrupted upload: %w", err)
		}
	}
	return nil
}

// escape takes the meaning from what Glob would take for a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func isAddrInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || (err != nil && strings.Contains(err.Error(), "address already in use"))
}

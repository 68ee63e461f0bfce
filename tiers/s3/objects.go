package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// bufferLimit is up to what size a body is read before it is sent, so that it can be sent
// again where the server stumbles. Manifests and records are mostly smaller.
const bufferLimit = 64 << 10

// cleanupTimeout bounds what must still be done after a caller has gone.
const cleanupTimeout = 30 * time.Second

// putOptions sends the body as it is: signing each chunk would cost a SHA-256 of every
// byte for a hash that the registry has anyway.
func putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"}
}

// Put stores an object. A body of up to 64 KiB is read first and sent again if need be; a
// larger one is streamed and sent once.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if size < 0 || size > maxPut {
		return fmt.Errorf("put %s: %d bytes: %w", key, size, oci.ErrTooLarge)
	}
	err := s.send(r, size, func(body io.Reader) error {
		info, err := s.core.PutObject(ctx, s.bucket, key, body, size, "", "", putOptions())
		if err == nil && info.ETag == "" {
			return fmt.Errorf("%w: no ETag in the answer", oci.ErrUnavailable)
		}
		return err
	})
	return s.failed(ctx, "put", key, err)
}

// send gives call a body of exactly size bytes of r and prefers the reader's own error to
// what the transport makes of it.
func (s *Store) send(r io.Reader, size int64, call func(io.Reader) error) error {
	exact := newExactReader(r, size)
	if size <= bufferLimit {
		body, err := io.ReadAll(exact)
		if err != nil {
			return err
		}
		return call(bytes.NewReader(body))
	}
	err := call(exact)
	if failure := exact.stop(); failure != nil {
		return failure
	}
	return err
}

// Open reads an object or a range of it. A range that begins behind the end is
// oci.ErrRangeInvalid.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("open %s at %d: %w", key, offset, oci.ErrRangeInvalid)
	}
	if length == 0 {
		return s.openNothing(ctx, key, offset)
	}
	var opts minio.GetObjectOptions
	whole := offset == 0 && length < 0
	if !whole {
		last := int64(0) // to the end
		if length > 0 {
			last = offset + length - 1
		}
		if last < 0 || (offset == 0 && last == 0) {
			opts.Set("Range", "bytes=0-0") // SetRange takes (0, 0) for another thing
		} else if err := opts.SetRange(offset, last); err != nil {
			return nil, fmt.Errorf("open %s at %d: %w", key, offset, oci.ErrRangeInvalid)
		}
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, opts)
	if err != nil {
		return nil, s.failed(ctx, "open", key, err)
	}
	want := length
	if length < 0 {
		want = info.Size
	}
	begin := fmt.Sprintf("bytes %d-", offset)
	if want < 0 || (!whole && !strings.HasPrefix(header.Get("Content-Range"), begin)) {
		body.Close()
		return nil, fmt.Errorf("open %s in %s at %d: %w: the answer is not the range", key, s, offset, oci.ErrUnavailable)
	}
	return &fullReader{body: body, left: want, wrap: func(err error) error {
		return s.failed(ctx, "read", key, err)
	}}, nil
}

// openNothing answers a range without bytes, which HTTP cannot ask for.
func (s *Store) openNothing(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	info, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if offset > info.Size {
		return nil, fmt.Errorf("open %s at %d of %d: %w", key, offset, info.Size, oci.ErrRangeInvalid)
	}
	return io.NopCloser(bytes.NewReader(nil)), nil
}

// Stat reads size and checksum.
func (s *Store) Stat(ctx context.Context, key string) (tiers.ObjectInfo, error) {
	info, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return tiers.ObjectInfo{}, s.failed(ctx, "stat", key, err)
	}
	return tiers.ObjectInfo{Size: info.Size, SHA256: fullSHA256(info)}, nil
}

// fullSHA256 takes the checksum only where the server says that it is of the whole object.
func fullSHA256(info minio.ObjectInfo) string {
	if info.ChecksumMode != minio.ChecksumFullObjectMode.String() {
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(info.ChecksumSHA256)
	if err != nil || len(sum) != 32 {
		return ""
	}
	return hex.EncodeToString(sum)
}

// Delete removes an object.
func (s *Store) Delete(ctx context.Context, key string) error {
	err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	return s.failed(ctx, "delete", key, err)
}

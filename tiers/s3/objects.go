package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// bufferLimit is up to what size a body is read before it is sent, so that it can be sent
// again where the server stumbles. Manifests and records are mostly smaller.
const bufferLimit = 64 << 10

// What must still be done after a caller has gone, and how long it may take.
const (
	abortTimeout   = 30 * time.Second
	discardTimeout = 2 * time.Second
	discardPause   = 100 * time.Millisecond
)

// putOptions sends the body as it is: signing each chunk would cost a SHA-256 of every
// byte for a hash that the registry has anyway.
func putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"}
}

// Put stores an object. A body of up to 64 KiB is read first and sent again if need be; a
// larger one is streamed and sent once.
//
// A call of r.Read that is under way when ctx ends is left behind; r is not touched after
// it returns.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if size < 0 || size > maxPut {
		return fmt.Errorf("put %s: %d bytes: %w", key, size, oci.ErrTooLarge)
	}
	_, err := s.send(ctx, r, size, func(ctx context.Context, body io.Reader, sha256 string) (receipt, error) {
		info, err := s.core.PutObject(ctx, s.bucket, key, body, size, "", sha256, putOptions())
		return receipt{info.ETag, fullSum(info.ChecksumCRC64NVME, info.ChecksumMode)}, err
	})
	if err != nil && size > bufferLimit {
		s.discard(ctx, key, err)
	}
	return s.failed(ctx, "put", key, err)
}

// discard removes what a server may make of a body that broke off: some take the end of
// the connection for the end of the object. The server may get there after the first
// delete, hence the second. What escapes both has no record and is a stray.
func (s *Store) discard(ctx context.Context, key string, cause error) {
	if source := (sourceError{}); !errors.As(cause, &source) && ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTimeout)
	defer cancel()
	_ = s.Delete(ctx, key)
	time.Sleep(discardPause)
	_ = s.Delete(ctx, key)
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
	if err := s.reading.take(ctx); err != nil {
		return nil, s.failed(ctx, "open", key, err)
	}
	body, err := s.open(ctx, key, offset, length)
	if err != nil {
		s.reading.give()
		return nil, err
	}
	body.closed = sync.OnceFunc(s.reading.give)
	return body, nil
}

// open asks for an object or a range of it and returns when the answer begins.
func (s *Store) open(ctx context.Context, key string, offset, length int64) (*fullReader, error) {
	if err := s.asking.take(ctx); err != nil {
		return nil, s.failed(ctx, "open", key, err)
	}
	defer s.asking.give()
	body, err := s.openDirect(ctx, key, offset, length)
	switch {
	case err == nil:
		return body, nil
	case ctx.Err() != nil:
		return nil, s.failed(ctx, "open", key, err)
	case errors.Is(err, os.ErrDeadlineExceeded): // to ask in another way would take as long again
		return nil, s.failed(ctx, "open", key, fmt.Errorf("%w: no answer in %v", oci.ErrUnavailable, s.patience.ask))
	}
	return s.openOrdinary(ctx, key, offset, length)
}

func (s *Store) openOrdinary(ctx context.Context, key string, offset, length int64) (*fullReader, error) {
	whole := offset == 0 && length < 0
	var opts minio.GetObjectOptions
	if !whole {
		opts.Set("Range", rangeHeader(offset, length))
	}
	w := s.patience.watch(ctx)
	body, info, header, err := s.core.GetObject(w.ctx, s.bucket, key, opts)
	if err != nil {
		return nil, errors.Join(s.failed(ctx, "open", key, err), w.Close())
	}
	w.answered(body)
	want := length
	if length < 0 {
		want = info.Size
	}
	begin := fmt.Sprintf("bytes %d-", offset)
	if want < 0 || (!whole && !strings.HasPrefix(header.Get("Content-Range"), begin)) {
		err := fmt.Errorf("open %s in %s at %d: %w: the answer is not the range", key, s, offset, oci.ErrUnavailable)
		return nil, errors.Join(err, w.Close())
	}
	return s.reader(ctx, key, w, want), nil
}

// reader reads exactly want bytes of an answer.
func (s *Store) reader(ctx context.Context, key string, body io.ReadCloser, want int64) *fullReader {
	return &fullReader{body: body, left: want, wrap: func(err error) error { return s.failed(ctx, "read", key, err) }}
}

// openDirect reads over a connection of the store's own. What it cannot do, and what the
// server does not simply answer, is left to the ordinary client.
func (s *Store) openDirect(ctx context.Context, key string, offset, length int64) (*fullReader, error) {
	if s.direct == nil {
		return nil, errIndirect
	}
	u, err := s.core.PresignedGetObject(ctx, s.bucket, key, directExpiry, nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if offset > 0 || length >= 0 {
		req.Header.Set("Range", rangeHeader(offset, length))
		status = http.StatusPartialContent
	}
	body, header, err := s.direct.get(ctx, req, status)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = body.left
	}
	if status == http.StatusPartialContent && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) || body.left > length {
		return nil, errors.Join(errIndirect, body.Close())
	}
	return s.reader(ctx, key, body, length), nil
}

func rangeHeader(offset, length int64) string {
	if length < 0 || offset > math.MaxInt64-length {
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
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

// Presign signs a GET of the object.
func (s *Store) Presign(ctx context.Context, key string) (string, error) {
	u, err := s.core.PresignedGetObject(ctx, s.bucket, key, tiers.PresignedLife, nil)
	if err != nil {
		return "", s.failed(ctx, "presign", key, err)
	}
	return u.String(), nil
}

// Stat reads size and checksum.
func (s *Store) Stat(ctx context.Context, key string) (tiers.ObjectInfo, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return tiers.ObjectInfo{}, err
	}
	return tiers.ObjectInfo{Size: info.Size, SHA256: fullSHA256(info)}, nil
}

func (s *Store) stat(ctx context.Context, key string) (info minio.ObjectInfo, err error) {
	err = s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) (err error) {
		info, err = s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{Checksum: true})
		return err
	})
	return info, s.failed(ctx, "stat", key, err)
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
	err := s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
		return s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	return s.failed(ctx, "delete", key, err)
}

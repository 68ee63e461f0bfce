package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const octetStream = "application/octet-stream"

// getBlob answers "GET" and "HEAD /v2/<name>/blobs/<digest>", whole or in ranges
// (RFC 9110, section 14).
func (s *Server) getBlob(r v2Request) error {
	d, err := oci.ParseDigest(r.route.ref)
	if err != nil {
		return err
	}
	ctx := r.Request().Context()
	blob, err := pull(s, r, func(repo *tiers.Repository) (*tiers.Blob, error) { return s.findBlob(r, repo, d) })
	if err != nil {
		return err
	}
	if r.Request().Method == http.MethodGet {
		if url, err := blob.URL(ctx); err != nil {
			return err
		} else if url != "" {
			r.Response().Header().Set(headerDigest, d.String())
			r.Response().Header().Set("Cache-Control", "no-store") // the address is good for minutes
			return r.Redirect(http.StatusTemporaryRedirect, url)
		}
	}
	content := &blobReader{ctx: ctx, blob: blob, header: r.Response().Header(), timeout: s.config.BodyTimeout,
		control: http.NewResponseController(r.Response().Writer)}
	defer content.close()
	r.describe(ocispec.Descriptor{MediaType: octetStream, Digest: d})
	w := &contentWriter{refusalWriter: refusalWriter{ResponseWriter: r.Response()}, response: r.Response(), content: content,
		get: r.Request().Method == http.MethodGet}
	http.ServeContent(w, plainRange(r.Request(), blob.Size), "", time.Time{}, content)
	if w.refused {
		return fmt.Errorf("%w: %q of %d bytes", errRangeRefused, r.Request().Header.Get("Range"), blob.Size)
	}
	if content.gone {
		return fmt.Errorf("%w: send blob %s: %w", errClientGone, d, content.err)
	}
	if content.err != nil {
		// Fewer bytes came than were announced: the connection must end, so that no
		// client takes them for the blob.
		return fmt.Errorf("read blob %s: %w", d, content.err)
	}
	return nil
}

// findBlob finds the blob that a client asks for. A client that may push and only asks
// whether it is there means to leave out its upload: to that one it is promised.
func (s *Server) findBlob(r v2Request, repo *tiers.Repository, d digest.Digest) (*tiers.Blob, error) {
	ctx := r.Request().Context()
	if r.Request().Method == http.MethodHead && s.allow(r, ActionPush, r.repo.Tier.Name, r.repo.Name) == nil {
		return repo.Promise(ctx, d)
	}
	return repo.Blob(ctx, d)
}

// blobReader lets http.ServeContent seek in a blob: nothing is asked of the store until
// the first byte is read.
type blobReader struct {
	ctx     context.Context // of the request; io.Reader has no place for it
	blob    *tiers.Blob
	header  http.Header // of the response
	control *http.ResponseController
	timeout time.Duration

	offset int64 // where the next read begins
	stream io.ReadCloser
	at     int64 // where the stream stands
	err    error // of the store
	gone   bool  // it was the client's after all: it did not take what it asked for
}

// Seek only remembers where to read.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.blob.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	b.offset = offset
	return offset, nil
}

// Read gives the client time for what was read before: it is called again when that has
// been taken.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.offset >= b.blob.Size {
		return 0, io.EOF
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(b.timeout)) // tests have writers without deadlines
	if b.stream == nil || b.at != b.offset {
		b.close()
		if err := b.open(b.wanted()); err != nil {
			return 0, err
		}
	}
	n, err := b.stream.Read(p)
	b.offset += int64(n)
	b.at = b.offset
	if err == io.EOF && b.offset < b.blob.Size {
		err = nil // the end of the range; a stream that is cut has another error
		b.close()
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// wanted is how many bytes of the blob the response takes from here: ServeContent has
// announced its length by then.
func (b *blobReader) wanted() int64 {
	rest := b.blob.Size - b.offset
	if n, err := strconv.ParseInt(b.header.Get("Content-Length"), 10, 64); err == nil && n > 0 {
		return min(n, rest)
	}
	return rest
}

func (b *blobReader) open(length int64) error {
	if b.blob.Size == 0 {
		return nil
	}
	stream, err := b.blob.Open(b.ctx, b.offset, length)
	if err != nil {
		b.err = err
		return err
	}
	b.stream, b.at = stream, b.offset
	return nil
}

func (b *blobReader) close() {
	if b.stream != nil {
		_ = b.stream.Close() // all that was needed of it was read
		b.stream = nil
	}
}

// A blob is sent in pieces, and the client has BodyTimeout to take each: pieces are as
// small as a slow client needs, and as large as a fast one can do with.
const (
	leastPiece = 64 << 10
	mostPiece  = 4 << 20
	quickPiece = 100 * time.Millisecond // one that took less is followed by one twice as large
	slowPiece  = 5 * time.Second        // one that took longer by the smallest
)

// sendTo writes n bytes from where the reader stands to w, by the shortest way that the
// store's stream knows.
func (b *blobReader) sendTo(w io.Writer, n int64) (sent int64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.stream == nil || b.at != b.offset {
		b.close()
		if err := b.open(n); err != nil {
			return 0, err
		}
	}
	transfer := func(n int64) (int64, error) { return io.CopyN(w, b.stream, n) }
	if direct, ok := b.stream.(tiers.Transferrer); ok {
		transfer = func(n int64) (int64, error) { return direct.TransferTo(w, n) }
	}
	for piece := int64(leastPiece); sent < n; {
		started := time.Now()
		_ = b.control.SetWriteDeadline(time.Now().Add(b.timeout)) // tests have writers without deadlines
		k, err := transfer(min(piece, n-sent))
		switch took := time.Since(started); {
		case took < quickPiece:
			piece = min(2*piece, mostPiece)
		case took > slowPiece:
			piece = leastPiece
		}
		sent += k
		b.offset += k
		b.at = b.offset
		if k == 0 && err == nil {
			err = io.ErrUnexpectedEOF // of a stream that says nothing about its end
		}
		if taker := (tiers.TakerError{}); errors.As(err, &taker) {
			b.gone = true
		}
		if err != nil {
			b.err = err
			return sent, err
		}
	}
	return sent, nil
}

// contentWriter takes the shortest way for what http.ServeContent sends of the content.
type contentWriter struct {
	refusalWriter
	response *echo.Response
	content  *blobReader
	get      bool // the content is sent, not only described
}

// WriteHeader asks the store for the content first: one that does not answer can still be
// reported as such, with none of the headers that describe what does not come.
func (w *contentWriter) WriteHeader(status int) {
	if w.get && (status == http.StatusOK || status == http.StatusPartialContent) && w.content.open(w.content.wanted()) != nil {
		for _, name := range []string{"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", headerDigest} {
			w.Header().Del(name)
		}
		return
	}
	w.refusalWriter.WriteHeader(status)
}

// ReadFrom is what io.CopyN calls for http.ServeContent, with so many bytes of the content.
func (w *contentWriter) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok || limited.R != w.content {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	// Below echo's response lies net/http's, which can take bytes from a connection.
	n, err := w.content.sendTo(w.response.Writer, limited.N)
	limited.N -= n
	w.response.Size += n
	return n, err
}

// deleteBlob answers "DELETE /v2/<name>/blobs/<digest>".
func (s *Server) deleteBlob(r v2Request) error {
	d, err := oci.ParseDigest(r.route.ref)
	if err != nil {
		return err
	}
	if err := r.repo.DeleteBlob(r.Request().Context(), d); err != nil {
		if errors.Is(err, oci.ErrUnsupported) {
			r.Response().Header().Set("Allow", "GET, HEAD")
		}
		return err
	}
	return r.NoContent(http.StatusAccepted)
}

// created answers a request that made a blob readable in the repository.
func (r v2Request) created(d digest.Digest) error {
	r.Response().Header().Set("Location", r.path("blobs", d.String()))
	r.Response().Header().Set(headerDigest, d.String())
	return r.NoContent(http.StatusCreated)
}

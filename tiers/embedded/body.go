package embedded

import (
	"errors"
	"io"

	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3err"
)

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

// Read says io.EOF only after the announced number of bytes. Its error is none of package
// io's: the storage takes io.ErrUnexpectedEOF, too, for the end.
func (r *wholeReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= int64(n)
	if (err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)) && r.left > 0 {
		return n, s3err.GetAPIError(s3err.ErrIncompleteBody)
	}
	return n, err
}

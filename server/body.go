package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// clientBody is the body of a request under a deadline that each byte moves on, so that
// a client that stalls is cut off and one that is only slow is not. It remembers why it
// failed: stores that read from it report only that it did.
type clientBody struct {
	body    io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	limit   int64 // bytes that may still come; negative: any number
	ended   bool
	err     error
}

// guardBody puts the body of every request under its deadline.
func (s *Server) guardBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		control := http.NewResponseController(c.Response().Writer)
		// The last response on this connection may have left its deadline.
		_ = control.SetWriteDeadline(time.Time{})
		if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
			return next(c)
		}
		b := &clientBody{body: r.Body, control: control, timeout: s.config.BodyTimeout, limit: -1}
		// Also for handlers that refuse without reading: net/http then reads the rest.
		b.extend()
		// A copy: net/http looks at the body of its own request to know whether the client
		// still waits to be told to send it.
		guarded := r.WithContext(r.Context())
		guarded.Body = b
		c.SetRequest(guarded)
		err := next(c)
		if err != nil && b.err != nil {
			// What became of it later does not count: when the connection fails, net/http
			// also ends the context.
			return fmt.Errorf("%w (%v)", b.err, err)
		}
		return err
	}
}

func (b *clientBody) extend() {
	// A writer that has no deadlines, as in tests without a connection, has no slow clients.
	_ = b.control.SetReadDeadline(time.Now().Add(b.timeout))
}

// Read translates what can go wrong on the way from the client.
func (b *clientBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.ended {
		return 0, io.EOF
	}
	b.extend()
	n, err := b.body.Read(p)
	if b.limit >= 0 {
		if int64(n) > b.limit {
			b.err = fmt.Errorf("%w: the body is larger than allowed", oci.ErrTooLarge)
			return 0, b.err
		}
		b.limit -= int64(n)
	}
	switch {
	case err == nil:
	case err == io.EOF:
		// From here on net/http watches, without a deadline, whether the client is still
		// there; to set one again would look as if it had gone.
		b.ended = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.err = fmt.Errorf("%w: %v", errSlowClient, b.timeout)
		return n, b.err
	default:
		b.err = fmt.Errorf("%w: the body ended early: %w", oci.ErrSizeInvalid, err)
		return n, b.err
	}
	return n, err
}

// Close leaves the rest to the server.
func (b *clientBody) Close() error { return b.body.Close() }

// limitBody refuses more than n bytes of the request's body, before reading where the
// client says how many come.
func limitBody(c echo.Context, n int64) error {
	r := c.Request()
	if r.ContentLength > n {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", oci.ErrTooLarge, r.ContentLength, n)
	}
	if b, ok := r.Body.(*clientBody); ok {
		b.limit = n
	}
	return nil
}

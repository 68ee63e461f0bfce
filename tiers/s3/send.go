package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"sluice.dev/sluice/oci"
)

// settleTime is how long a request may take to notice that its context has ended.
const settleTime = 200 * time.Millisecond

// sourceError is an error of the reader that a caller gave, not of the server.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// send gives call a body of exactly size bytes of r and returns the ETag that proves that
// it was stored. It prefers the reader's own error to what the transport makes of it.
//
// The transport waits for the body's Read before it gives up, so a reader that hangs would
// hold the caller beyond the end of its context. So the request runs beside the caller and
// is left behind if need be; it ends when that Read does.
//
// What lies in memory needs no such care: it is sent as it is, without another copy, and
// sent again where the server stumbles.
func send(ctx context.Context, r io.Reader, size int64, call func(io.Reader) (string, error)) (string, error) {
	if memory, ok := r.(*bytes.Reader); ok && int64(memory.Len()) == size {
		etag, err := call(memory)
		if err == nil && etag == "" {
			err = fmt.Errorf("%w: no ETag in the answer", oci.ErrUnavailable)
		}
		return etag, err
	}
	exact := newExactReader(r, size)
	type answer struct {
		etag string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		etag, err := sendBody(exact, size, call)
		done <- answer{etag, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		select {
		case a = <-done:
		case <-time.After(settleTime):
			a.err = ctx.Err()
		}
	}
	if failure := exact.stop(); failure != nil {
		return "", sourceError{failure}
	}
	if a.err == nil && a.etag == "" {
		return "", fmt.Errorf("%w: no ETag in the answer", oci.ErrUnavailable)
	}
	return a.etag, a.err
}

func sendBody(exact *exactReader, size int64, call func(io.Reader) (string, error)) (string, error) {
	if size > bufferLimit {
		return call(exact)
	}
	body, err := io.ReadAll(exact)
	if err != nil {
		return "", err // the caller has it from exact
	}
	return call(bytes.NewReader(body))
}

package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"
)

// settleTime is how long a request may take to notice that its context has ended.
const settleTime = 200 * time.Millisecond

// sourceError is an error of the reader that a caller gave, not of the server.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// put stores a body. sha256 is the body's, in hex, where it is sent along; empty: it is not.
type put func(ctx context.Context, body io.Reader, sha256 string) (receipt, error)

// send gives call a body of exactly size bytes of r, in its turn, and returns what proves that
// it was stored, with the sum of the bytes. It prefers the reader's own error to what the
// transport makes of it.
//
// The transport waits for the body's Read before it gives up, so a reader that hangs would
// hold the caller beyond the end of its context. So the request runs beside the caller and
// is left behind if need be; it ends, and with it its turn, when that Read does.
//
// What lies in memory needs no such care: it is sent as it is, without another copy, and
// sent again where the server stumbles.
func (s *Store) send(ctx context.Context, r io.Reader, size int64, call put) (receipt, error) {
	if err := s.sending.take(ctx); err != nil {
		return receipt{}, err
	}
	if memory, ok := r.(*bytes.Reader); ok && int64(memory.Len()) == size && memory.Size() == size {
		defer s.sending.give()
		return s.sendMemory(ctx, memory, call)
	}
	exact := newExactReader(r, size)
	type answer struct {
		receipt
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer s.sending.give()
		stored, err := s.sendBody(ctx, exact, size, call)
		done <- answer{stored, err}
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
		return receipt{}, sourceError{failure}
	}
	return a.receipt, a.err
}

// sendBody streams a body, once, or reads it first where it is small.
func (s *Store) sendBody(ctx context.Context, exact *exactReader, size int64, call put) (receipt, error) {
	if size <= bufferLimit {
		body, err := io.ReadAll(exact)
		if err != nil {
			return receipt{}, err // the caller has it from exact
		}
		return s.sendMemory(ctx, bytes.NewReader(body), call)
	}
	ctx, stop := s.patience.answering(ctx, size)
	defer stop()
	stored, err := call(ctx, exact, "")
	if err != nil {
		return receipt{}, err
	}
	return settled(stored, exact.sentSum())
}

// sendMemory sends what lies in memory.
func (s *Store) sendMemory(ctx context.Context, body *bytes.Reader, call put) (receipt, error) {
	sum, err := sumOf(body)
	if err != nil {
		return receipt{}, err
	}
	proof := ""
	if body.Len() <= bufferLimit {
		if proof, err = sha256Of(body); err != nil {
			return receipt{}, err
		}
	}
	ctx, stop := s.patience.answering(ctx, body.Size())
	defer stop()
	stored, err := call(ctx, body, proof)
	if err != nil {
		return receipt{}, err
	}
	return settled(stored, sum)
}

// settled is the receipt with the sum of what was sent, if it proves that.
func settled(stored receipt, sent string) (receipt, error) {
	if err := stored.proves(sent); err != nil {
		return receipt{}, err
	}
	return receipt{stored.etag, sent}, nil
}

func sha256Of(body *bytes.Reader) (string, error) {
	h := sha256.New()
	if _, err := body.WriteTo(h); err != nil {
		return "", err
	}
	_, err := body.Seek(0, io.SeekStart)
	return hex.EncodeToString(h.Sum(nil)), err
}

func sha256Hex(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

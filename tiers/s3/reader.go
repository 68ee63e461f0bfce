package s3

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// exactReader hands out exactly left bytes of src or fails. The server makes an object as
// soon as it has the announced number of bytes, so the last of them are held back until
// src has proved that nothing follows; until then a failure makes the request too short.
//
// It hides every other method of src: the transport must neither close nor rewind what
// belongs to the caller.
type exactReader struct {
	src     io.Reader
	left    int64
	sum     hash.Hash
	sent    atomic.Pointer[string] // the sum, once all bytes were read
	ended   bool                   // src has said io.EOF
	err     error
	failure atomic.Pointer[error] // what src did wrong, for Put to report
	stopped atomic.Bool
}

func newExactReader(src io.Reader, size int64) *exactReader {
	return &exactReader{src: src, left: size, sum: newSum()}
}

// Read is called by one goroutine at a time, that of the transport, which may outlive the
// request; after stop it no longer touches src.
func (r *exactReader) Read(p []byte) (int, error) {
	if r.stopped.Load() {
		return 0, io.ErrClosedPipe
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, r.end(r.probe())
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	_, _ = r.sum.Write(p[:n]) // never fails
	switch {
	case err == io.EOF && r.left > 0:
		return 0, r.end(fmt.Errorf("%w: %d bytes fewer than announced", oci.ErrSizeInvalid, r.left))
	case err == io.EOF:
		r.ended = true
	case err != nil:
		return 0, r.end(err)
	}
	if r.left == 0 {
		if err := r.probe(); err != io.EOF {
			return 0, r.end(err)
		}
		sum := encodeSum(r.sum)
		r.sent.Store(&sum)
		r.err = io.EOF
	}
	return n, nil
}

// sentSum is the sum of the bytes; empty until all of them were read.
func (r *exactReader) sentSum() string {
	if sum := r.sent.Load(); sum != nil {
		return *sum
	}
	return ""
}

// probe says io.EOF if src ends here.
func (r *exactReader) probe() error {
	if r.ended {
		return io.EOF
	}
	var one [1]byte
	switch n, err := io.ReadFull(r.src, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: more bytes than announced", oci.ErrSizeInvalid)
	case err != nil:
		r.ended = err == io.EOF
		return err
	}
	return io.EOF
}

func (r *exactReader) end(err error) error {
	r.err = err
	if err != io.EOF {
		r.failure.Store(&err)
	}
	return err
}

// stop ends all reading of src but a call that is under way, and returns what src did
// wrong, if anything.
func (r *exactReader) stop() error {
	r.stopped.Store(true)
	if failure := r.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// fullReader reads left bytes of body and says io.EOF only after the last of them, so that
// a connection that broke is never taken for the end of an object.
type fullReader struct {
	body   io.ReadCloser
	left   int64
	wrap   func(error) error
	closed func() // nil: nobody waits for it
	err    error
}

// Read fails with io.ErrUnexpectedEOF where bytes are missing.
func (r *fullReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		r.err = io.EOF
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	switch {
	case err == io.EOF && r.left > 0:
		r.err = r.wrap(fmt.Errorf("%d bytes are missing: %w", r.left, io.ErrUnexpectedEOF))
	case err == io.EOF:
		r.err = io.EOF
	case err != nil:
		r.err = r.wrap(err)
	}
	return n, r.err
}

// TransferTo writes up to n bytes to w, by the shortest way there is.
func (r *fullReader) TransferTo(w io.Writer, n int64) (int64, error) {
	direct, ok := r.body.(tiers.Transferrer)
	if !ok {
		return io.CopyN(w, r, n)
	}
	if r.err != nil {
		return 0, r.err
	}
	want := min(n, r.left)
	sent, err := direct.TransferTo(w, want)
	r.left -= sent
	if err == nil && sent < want { // the store has fewer bytes than it was asked for
		err = fmt.Errorf("%d bytes are missing: %w", r.left, io.ErrUnexpectedEOF)
	}
	if taker := (tiers.TakerError{}); errors.As(err, &taker) {
		r.err = err
	} else if err != nil {
		r.err = r.wrap(err)
	}
	return sent, r.err
}

// Close gives the connection back.
func (r *fullReader) Close() error {
	if r.closed != nil {
		defer r.closed()
	}
	return r.body.Close()
}

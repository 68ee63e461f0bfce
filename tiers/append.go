package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Sizes of parts, in bytes.
const (
	partSize  = 16 << 20 // of an upload whose length is known, at the least
	partClaim = 64       // part numbers that a request of unknown length claims at once
	mostParts = 1000     // of one request of known length; larger ones make larger parts
)

// Append adds what r holds to the upload: length bytes, or all there is where length is
// negative. start is the offset that the client says it begins at, negative where it says
// none; the error wraps oci.ErrRangeInvalid where that is not the upload's offset, or
// where another request was faster. A reader that fails leaves the upload as it was.
func (u *Upload) Append(ctx context.Context, r io.Reader, start, length int64) error {
	if u.state.Done != "" {
		return fmt.Errorf("%w: %s has ended", oci.ErrUploadUnknown, u.ID)
	}
	r, err := u.bounded(ctx, r, length)
	if err != nil {
		return err
	}
	if start >= 0 && start != u.state.Offset {
		return fmt.Errorf("%w: the upload has %d bytes, the chunk begins at %d", oci.ErrRangeInvalid, u.state.Offset, start)
	}
	h, err := u.hash()
	if err != nil {
		return err
	}
	_ = u.cleanOld(ctx) // what stays is named still
	u.retire()
	if u.state.Whole { // a PUT that failed may have written the key, or may yet
		u.state.Old = append(u.state.Old, u.state.Key)
		u.state.Key, u.state.Whole = "blobs/"+u.repo.registry.NewID(), false
	}
	w := &appender{upload: u, state: u.state, hash: h}
	w.state.NextTail = "blobs/" + u.repo.registry.NewID()
	w.number, w.claimed = u.state.NextPart, u.state.NextPart
	if err := w.claim(ctx, w.expected(length)); err != nil {
		return err
	}
	if length >= 0 {
		err = w.known(ctx, r, length)
	} else {
		err = w.unknown(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.ID, err)
	}
	return w.commit(ctx)
}

// cleanOld deletes former tails; those that stay, for the error, are tried again by the next
// request.
func (u *Upload) cleanOld(ctx context.Context) error {
	var left []string
	var failed error
	for _, key := range u.state.Old {
		if err := u.repo.Tier.Bucket.Delete(ctx, key); err != nil {
			left, failed = append(left, key), err
		}
	}
	u.state.Old = left
	return failed
}

// retire lets go of the tail that a request which failed may have written.
func (u *Upload) retire() {
	if u.state.NextTail != "" {
		u.state.Old = append(u.state.Old, u.state.NextTail)
		u.state.NextTail = ""
	}
}

// appender is one request that writes to an upload.
type appender struct {
	upload *Upload
	state  uploadRecord // what the upload becomes
	hash   hash.Hash
	// number is the next part; numbers below claimed belong to this request.
	number, claimed int
}

// expected is how many parts a request of the given length writes at the most.
func (w *appender) expected(length int64) int {
	if length < 0 {
		return partClaim
	}
	return int(min((length+PartMin)/partSize, mostParts)) + 1
}

// claim makes the session this request's own, with n more part numbers. S3 would replace
// a part that came twice under one number, so a number is given once and never again,
// whatever becomes of the request.
func (w *appender) claim(ctx context.Context, n int) error {
	u := w.upload
	if w.claimed+n > MaxParts {
		return fmt.Errorf("%w: the upload would take more than %d parts: send larger chunks", oci.ErrTooLarge, MaxParts)
	}
	w.claimed += n
	// The state that others see keeps its parts: only the claims grow.
	u.state.NextPart, u.state.NextTail = w.claimed, w.state.NextTail
	if u.state.S3ID == "" && w.state.S3ID != "" {
		u.state.S3ID = w.state.S3ID
	}
	return u.save(ctx)
}

// known streams a body of known length, without buffering more than a former tail.
func (w *appender) known(ctx context.Context, r io.Reader, length int64) error {
	before, err := w.readTail(ctx)
	if err != nil {
		return err
	}
	body := io.MultiReader(bytes.NewReader(before), io.TeeReader(r, w.hash))
	total := int64(len(before)) + length
	if total < PartMin {
		data, err := readExactly(body, total)
		if err != nil {
			return err
		}
		w.state.Offset += length
		return w.putTail(ctx, data)
	}
	w.dropTail()
	parts := max(1, min(total/partSize, mostParts))
	for i := range parts {
		// Even parts: a short one at the end would be a tail that has to be sent twice.
		size := total/parts + boolInt(i < total%parts)
		if err := w.putPart(ctx, io.LimitReader(body, size), size); err != nil {
			return err
		}
	}
	w.state.Offset += length
	return nil
}

// smallBody is up to what size in bytes a body of unknown length needs no buffer of a
// part: most are configurations of images, and buffers are few.
const smallBody = 64 << 10

// unknown gathers a body of unknown length.
func (w *appender) unknown(ctx context.Context, r io.Reader) error {
	before, err := w.readTail(ctx)
	if err != nil {
		return err
	}
	begin := make([]byte, smallBody)
	n, ended := fill(r, begin)
	begin = begin[:n]
	if ended == nil {
		return w.parts(ctx, before, io.MultiReader(bytes.NewReader(begin), r))
	}
	if ended != io.EOF {
		return bodyError(ended)
	}
	w.hash.Write(begin)
	w.state.Offset += int64(n)
	return w.rest(ctx, append(before, begin...))
}

// rest keeps the last bytes of a body: as a part, where a former tail makes them enough.
func (w *appender) rest(ctx context.Context, data []byte) error {
	if len(data) < PartMin {
		return w.putTail(ctx, data)
	}
	w.dropTail()
	return w.putPart(ctx, bytes.NewReader(data), int64(len(data)))
}

// parts sends a long body of unknown length part by part, behind a former tail. While one
// part is sent the next is read, where a second buffer is to be had at once.
func (w *appender) parts(ctx context.Context, before []byte, r io.Reader) error {
	registry := w.upload.repo.registry
	buf, err := registry.buffers.take(ctx)
	if err != nil {
		return err
	}
	var sent *sending
	wait := func() error {
		if sent == nil {
			return nil
		}
		<-sent.done
		registry.buffers.release(sent.buf)
		err := sent.err
		sent = nil
		return err
	}
	defer func() {
		_ = wait() // of a request that failed already
		registry.buffers.release(buf)
	}()
	filled := copy(buf, before)
	for {
		n, ended := fill(r, buf[filled:])
		w.hash.Write(buf[filled : filled+n])
		w.state.Offset += int64(n)
		filled += n
		if err := wait(); err != nil {
			return err
		}
		if ended != nil && ended != io.EOF {
			return bodyError(ended)
		}
		if filled >= PartMin {
			w.dropTail()
			sent = w.send(ctx, buf, filled)
			var next []byte
			if ended == nil {
				next = registry.buffers.spare()
			}
			if next != nil {
				buf = next
			} else {
				<-sent.done
				buf, err, sent = sent.buf, sent.err, nil
				if err != nil {
					return err
				}
			}
			filled = 0
		}
		if ended != nil {
			if err := w.putTail(ctx, buf[:filled]); err != nil {
				buf = nil // a request that was given up may still read it
				return err
			}
			return nil
		}
	}
}

// sending is a part that is being sent beside the reading of the next.
type sending struct {
	done chan struct{} // closed when what follows is settled
	buf  []byte        // nil where a request that was given up may still read it
	err  error
}

func (w *appender) send(ctx context.Context, buf []byte, n int) *sending {
	s := &sending{done: make(chan struct{}), buf: buf}
	go func() {
		defer close(s.done)
		if s.err = w.putPart(ctx, bytes.NewReader(buf[:n]), int64(n)); s.err != nil {
			s.buf = nil
		}
	}()
	return s
}

// fill reads until buf is full or r ends. io.ReadFull would call the end of a body
// io.ErrUnexpectedEOF, which is what a body says that was cut off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var read int
		read, err = r.Read(buf[n:])
		n += read
	}
	return n, err
}

// putPart sends the next part.
func (w *appender) putPart(ctx context.Context, r io.Reader, size int64) error {
	bucket := w.upload.repo.Tier.Bucket
	if w.state.S3ID == "" {
		id, err := bucket.Begin(ctx, w.state.Key)
		if err != nil {
			return err
		}
		w.state.S3ID = id
		if err := w.claim(ctx, 0); err != nil { // so that a cancel can abort it
			return errors.Join(err, w.forsake(ctx, id, err))
		}
	}
	if w.number == w.claimed {
		if err := w.claim(ctx, partClaim); err != nil {
			return err
		}
	}
	part, err := bucket.PutPart(ctx, w.state.Key, w.state.S3ID, w.number, r, size)
	if err != nil {
		return bodyError(err)
	}
	w.number++
	w.state.Parts = append(w.state.Parts[:len(w.state.Parts):len(w.state.Parts)], part)
	return nil
}

// forsake aborts a multipart upload that the session does not name because of cause. Where
// nobody knows whether it does, or will, it stays: the next request would go on with an
// upload that is gone, for ever. Garbage collection finds one that nothing names.
func (w *appender) forsake(ctx context.Context, id string, cause error) error {
	if errors.Is(cause, oci.ErrUnavailable) || ctx.Err() != nil {
		return nil
	}
	return w.upload.repo.Tier.Bucket.Abort(ctx, w.state.Key, id)
}

// readTail reads the former tail, which every new byte follows.
func (w *appender) readTail(ctx context.Context) ([]byte, error) {
	if w.state.Tail == nil {
		return nil, nil
	}
	t := w.state.Tail
	rc, err := openVerified(ctx, w.upload.repo.Tier.Bucket, t.Key, t.Size, t.Digest)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data := make([]byte, t.Size)
	if _, err := io.ReadFull(rc, data); err != nil {
		return nil, fmt.Errorf("%w: %w", oci.ErrUnavailable, err) // the store's fault, never the client's
	}
	return data, nil
}

// dropTail says that the former tail went into a part.
func (w *appender) dropTail() {
	if w.state.Tail != nil {
		w.state.Old = append(w.state.Old[:len(w.state.Old):len(w.state.Old)], w.state.Tail.Key)
		w.state.Tail = nil
	}
}

// putTail keeps bytes that are too few for a part.
func (w *appender) putTail(ctx context.Context, data []byte) error {
	if len(data) == 0 || w.state.Tail != nil && w.state.Tail.Size == int64(len(data)) {
		return nil // nothing came
	}
	if err := w.upload.repo.Tier.Bucket.Put(ctx, w.state.NextTail, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	w.dropTail()
	w.state.Tail = &tail{Key: w.state.NextTail, Size: int64(len(data)), Digest: digest.FromBytes(data)}
	w.state.NextTail = ""
	return nil
}

// commit records what was written. Part numbers that were claimed and not used may be
// given to the next request: this one has ended.
func (w *appender) commit(ctx context.Context) error {
	state, err := hashState(w.hash)
	if err != nil {
		return err
	}
	w.state.Hash, w.state.NextPart = state, w.number
	if w.state.NextTail != "" { // named, never written
		w.state.NextTail = ""
	}
	w.upload.state = w.state
	return w.upload.save(ctx)
}

func readExactly(r io.Reader, size int64) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, bodyError(err)
	}
	return data, nil
}

// bodyError says that the client's body ended before it should, where it was not the store
// that did.
func bodyError(err error) error {
	if errors.Is(err, oci.ErrUnavailable) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the body ended early: %w", oci.ErrSizeInvalid, err)
	}
	return err
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// singlePut is up to what size in bytes a whole blob is sent to S3 in one request: the most
// that one may hold (Amazon S3, "Upload and copy limits"). Parts that go one after the
// other are no faster, and a store that keeps files copies them together at the end.
const singlePut = 5 << 30

// Finish adds what r holds, length bytes or all there is where length is negative, and
// ends the upload as the blob want. From nil on the blob is durable and the repository
// may read it. Content that is not want wraps oci.ErrDigestInvalid and leaves nothing.
// Asked again after success, with the same digest, it says so again, also where the first
// request is not answered yet.
func (u *Upload) Finish(ctx context.Context, r io.Reader, start, length int64, want digest.Digest) error {
	err := u.finish(ctx, r, start, length, want)
	if errors.Is(err, errSession) || errors.Is(err, oci.ErrRangeInvalid) {
		return u.overtaken(ctx, want, err)
	}
	return err
}

// overtaken answers a request that ends a session which another one has changed meanwhile:
// often the same request, whose answer the client did not wait for. If that one has made
// the blob, both have.
func (u *Upload) overtaken(ctx context.Context, want digest.Digest, failure error) error {
	now, err := u.repo.Upload(ctx, u.ID)
	if err != nil {
		return err
	}
	*u = *now
	if u.state.Done != "" {
		return u.finished(ctx, want)
	}
	if errors.Is(failure, errSession) {
		return fmt.Errorf("%w: another request wrote to upload %s meanwhile: ask for its status", oci.ErrRangeInvalid, u.ID)
	}
	return failure
}

// finish is Finish of a request that nobody overtakes.
func (u *Upload) finish(ctx context.Context, r io.Reader, start, length int64, want digest.Digest) error {
	if err := u.admit(ctx, length, want); err != nil {
		return u.refused(ctx, err)
	}
	if u.state.Done != "" {
		return u.finished(ctx, want)
	}
	if start >= 0 && start != u.state.Offset {
		return fmt.Errorf("%w: the upload has %d bytes, the chunk begins at %d", oci.ErrRangeInvalid, u.state.Offset, start)
	}
	if u.untouched() && length >= 0 && length <= singlePut {
		if err := u.putWhole(ctx, r, length, want); err != nil {
			return fmt.Errorf("upload %s: %w", u.ID, err)
		}
		return nil
	}
	if length != 0 {
		if err := u.Append(ctx, r, start, length); err != nil {
			return fmt.Errorf("upload %s: %w", u.ID, err)
		}
	}
	got, err := u.complete(ctx, want)
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.ID, err)
	}
	if got != want {
		return u.mismatch(ctx, got, want)
	}
	_, err = u.recordBlob(ctx, object{key: u.state.Key, size: u.state.Offset}, want)
	return err
}

// finished answers a request that ended the session before, or one that came too late.
func (u *Upload) finished(ctx context.Context, want digest.Digest) error {
	if u.state.Done != want {
		return fmt.Errorf("%w: %s ended as %s", oci.ErrUploadUnknown, u.ID, u.state.Done)
	}
	_, err := u.repo.Promise(ctx, want)
	if isUnknown(err) {
		return fmt.Errorf("%w: %s ended as %s, which was removed since: upload it again", oci.ErrUploadUnknown, u.ID, want)
	}
	return err
}

// untouched says that no byte was ever sent to the session.
func (u *Upload) untouched() bool {
	return u.state.Offset == 0 && u.state.Tail == nil && u.state.S3ID == ""
}

// mismatch ends a session whose content is another than was said.
func (u *Upload) mismatch(ctx context.Context, got, want digest.Digest) error {
	u.abandon(ctx)
	return fmt.Errorf("%w: the content is %s, not %s", oci.ErrDigestInvalid, got, want)
}

// abandon drops the session though the client may be gone. A session that another request
// has claimed meanwhile is left to that one.
func (u *Upload) abandon(ctx context.Context) {
	if u.untold && u.record.Revision == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := u.drop(ctx); err != nil && !errors.Is(err, oci.ErrRangeInvalid) {
		u.repo.registry.log.WarnContext(ctx, "an upload is left for garbage collection", "upload", u.ID, "error", err)
	}
}

// putWhole sends a body that is the whole blob to an object that was announced ahead. The
// session is looked at again only when the blob is recorded: of several requests that send
// the whole at once one wins, and the objects of the others go.
func (u *Upload) putWhole(ctx context.Context, r io.Reader, length int64, want digest.Digest) error {
	t, registry := u.repo.Tier, u.repo.registry
	key, err := registry.announcers[t.store].take(ctx)
	if err != nil {
		return err
	}
	s := &Staged{Digest: want, Size: length, registry: registry, tier: t, object: key}
	h := want.Algorithm().Hash()
	body := &counted{r: io.TeeReader(r, h)}
	if err := t.Bucket.Put(ctx, key, body, length); err != nil {
		if body.n.Load() < length {
			s.Discard(ctx) // of less than it was told the store makes nothing
		} else {
			s.Settle(ctx, err) // the store may make the object yet: then its intent stays
		}
		return bodyError(err)
	}
	o := object{key: key, size: length, intent: intentKey(t.store, key)}
	got := digest.NewDigest(want.Algorithm(), h)
	switch {
	case got == want:
		s.recorded, err = u.recordBlob(ctx, o, want)
	case !u.assumed:
		err = u.mismatch(ctx, got, want)
	}
	if u.assumed && (got != want || errors.Is(err, errSession)) {
		s.recorded, err = u.rest(ctx, o, got, want)
	}
	s.Settle(ctx, err)
	return err
}

// counted counts what is read of r. A store that gave up may still be in a Read.
type counted struct {
	r io.Reader
	n atomic.Int64
}

// Read reads on.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// rest is for a body that was taken for a whole blob where the session turns out to have
// begun before: it ended already, perhaps by the same request, or what came is only the
// end of the blob, which then is read back from its object. It returns the key that is
// recorded, if it is that of the object.
func (u *Upload) rest(ctx context.Context, o object, got, want digest.Digest) (string, error) {
	now, err := u.repo.Upload(ctx, u.ID)
	if err != nil {
		return "", err
	}
	*u = *now
	switch {
	case u.state.Done != "":
		return "", u.Finish(ctx, nil, -1, 0, want)
	case u.untouched() && got != want:
		return "", u.mismatch(ctx, got, want)
	case u.untouched():
		return u.recordBlob(ctx, o, want)
	}
	body, err := openVerified(ctx, u.repo.Tier.Bucket, o.key, o.size, got)
	if err != nil {
		return "", err
	}
	defer body.Close()
	return "", u.Finish(ctx, body, -1, o.size, want)
}

// newKey claims the session with a fresh key for an object that is written in one piece:
// an earlier try may have written the former one.
func (u *Upload) newKey(ctx context.Context, key string) error {
	u.retire()
	if u.state.Whole {
		u.state.Old = append(u.state.Old, u.state.Key)
	}
	u.state.Key, u.state.Whole = key, true
	return u.save(ctx)
}

// complete makes one object of what the requests so far have written.
func (u *Upload) complete(ctx context.Context, want digest.Digest) (digest.Digest, error) {
	u.retire()
	if err := u.save(ctx); err != nil { // the claim: no other request writes from here on
		return "", err
	}
	if err := u.assemble(ctx); err != nil {
		return "", err
	}
	if want.Algorithm() != u.algorithm() { // another ran along
		return u.readBack(ctx, want.Algorithm())
	}
	h, err := u.hash()
	if err != nil {
		return "", err
	}
	return digest.NewDigest(u.algorithm(), h), nil
}

// assemble ends the multipart upload. A tail with no part before it is the blob already,
// under a key of its own; the session is told so only by the transaction that records the
// blob, for until then a repeated request must find the tail as a tail.
func (u *Upload) assemble(ctx context.Context) error {
	bucket := u.repo.Tier.Bucket
	if len(u.state.Parts) == 0 {
		if u.state.S3ID != "" { // of a request that failed
			if err := bucket.Abort(ctx, u.state.Key, u.state.S3ID); err != nil {
				return err
			}
			u.state.S3ID = ""
		}
		if u.state.Tail != nil {
			if u.state.Whole {
				u.state.Old = append(u.state.Old, u.state.Key)
			}
			u.state.Key, u.state.Tail = u.state.Tail.Key, nil
			return nil
		}
		if err := u.newKey(ctx, "blobs/"+u.repo.registry.NewID()); err != nil {
			return err
		}
		return bucket.Put(ctx, u.state.Key, bytes.NewReader(nil), 0)
	}
	if u.state.Tail != nil {
		if err := u.tailPart(ctx); err != nil {
			return err
		}
	}
	// An earlier try may have got so far: the same parts are complete then, and the store says so.
	err := bucket.Complete(ctx, u.state.Key, u.state.S3ID, u.state.Parts)
	if err != nil && !errors.Is(err, oci.ErrUploadUnknown) { // also what a store says while another request completes the same
		return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	return err
}

// tailPart sends the tail once more, as the last part, which may be short.
func (u *Upload) tailPart(ctx context.Context) error {
	w := &appender{upload: u, state: u.state, number: u.state.NextPart, claimed: u.state.NextPart}
	if err := w.claim(ctx, 1); err != nil {
		return err
	}
	data, err := w.readTail(ctx)
	if err != nil {
		return err
	}
	w.dropTail()
	if err := w.putPart(ctx, bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	w.state.NextPart = w.number
	u.state = w.state
	return u.save(ctx)
}

// readBack hashes the object as the store gives it, which is compared with what clients have
// sent.
func (u *Upload) readBack(ctx context.Context, algorithm digest.Algorithm) (digest.Digest, error) {
	h, err := u.hash()
	if err != nil {
		return "", err
	}
	rc, err := openVerified(ctx, u.repo.Tier.Bucket, u.state.Key, u.state.Offset, digest.NewDigest(u.algorithm(), h))
	if err != nil {
		return "", err
	}
	defer rc.Close()
	d, err := algorithm.FromReader(rc)
	if err != nil {
		return "", fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	return d, nil
}

// object is an object that is about to become a blob.
type object struct {
	key    string
	size   int64
	intent string // the key of its intent; empty where the session names it
}

// errSession is the conflict of a session that another request changed or ended.
var errSession = fmt.Errorf("%w: another request ended or changed it meanwhile", oci.ErrUploadUnknown)

// recordBlob makes the object the blob and the session the answer to repeated requests,
// in one transaction, and returns the key of the blob's bytes. Where the store has them
// already, those are kept, and the new object is left to the caller, or to the session.
func (u *Upload) recordBlob(ctx context.Context, o object, d digest.Digest) (key string, err error) {
	registry := u.repo.registry
	known := Record{Key: blobKey(u.repo.Tier.store, d)} // most bytes are new: only a conflict makes us look
	err = Retry(ctx, func() error {
		done := u.done(o, d)
		change, blob, err := u.blobChange(o, d, known, &done)
		if err != nil {
			return err
		}
		change.Delete = append(change.Delete, u.closing()...)
		revision, err := u.repo.commitLink(ctx, change, d, blob.Size)
		switch {
		case hasConflict(err, u.record.Key):
			return errSession
		case o.intent != "" && hasConflict(err, o.intent):
			return fmt.Errorf("%w: it took so long that its object was given up", oci.ErrUploadUnknown)
		case errors.Is(err, oci.ErrConflict):
			records, getErr := registry.catalog.Get(ctx, known.Key)
			if getErr != nil {
				return getErr
			}
			known = records[0]
		case err == nil:
			key, u.record.Revision, u.state = blob.Key, revision, done
		}
		return err
	})
	if err == nil {
		u.tidy(ctx)
	}
	return key, u.refused(ctx, err)
}

// done is the session as it stands once o is recorded as the blob d.
func (u *Upload) done(o object, d digest.Digest) uploadRecord {
	done := u.state
	if o.intent != "" { // what failed requests may have left
		old := done.Old[:len(done.Old):len(done.Old)]
		if done.NextTail != "" {
			old = append(old, done.NextTail)
		}
		if done.Whole {
			old = append(old, done.Key)
		}
		done.Old, done.NextTail = old, ""
	}
	done.Key, done.Done, done.Parts, done.Hash, done.Offset = o.key, d, nil, nil, o.size
	return done
}

// blobChange makes the transaction that records the blob. known is its record in the store
// as it was read.
func (u *Upload) blobChange(o object, d digest.Digest, known Record, done *uploadRecord) (change Change, blob blobRecord, err error) {
	t, registry := u.repo.Tier, u.repo.registry
	blob = blobRecord{Key: o.key, Size: o.size, RenewedAt: registry.Now(), Origin: u.repo.FullName()}
	change.If = []Condition{Unchanged(known)}
	expire := sessionMemory
	switch {
	case known.Revision != 0:
		if blob, err = Decode[blobRecord](known); err != nil {
			return change, blob, err
		}
		change.If[0], change.Put = registry.renew(known, blob)
		if o.intent == "" {
			done.Old, expire = append(done.Old[:len(done.Old):len(done.Old)], o.key), 0 // it names the object until that is gone
		}
	default:
		change.Put = []Put{{Key: known.Key, Value: Encode(blob)}}
		if o.intent != "" {
			change.If, change.Delete = append(change.If, Present(o.intent)), []string{o.intent}
		}
	}
	if len(done.Old) > 0 {
		expire = 0
	}
	if !u.untold || u.record.Revision != 0 {
		change.If = append(change.If, Unchanged(u.record))
		change.Put = append(change.Put, Put{Key: u.record.Key, Value: Encode(*done), Expire: expire})
	}
	change.Put = append(change.Put,
		Put{Key: linkKey(t.Name, u.repo.Name, d), Value: Encode(LinkRecord{Size: blob.Size, RenewedAt: registry.Now()})},
		registry.EventPut(Event{Type: EventBlobPushed, Actor: u.repo.Actor, Tier: t.Name, Repository: u.repo.Name,
			Digest: d, Store: t.store, Key: blob.Key, Size: blob.Size}))
	return change, blob, nil
}

// tidy removes what an ended session leaves behind and lets the session expire. What
// fails here is left to garbage collection: the blob is safe.
func (u *Upload) tidy(ctx context.Context) {
	if len(u.state.Old) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := u.clean(ctx); err != nil {
		u.repo.registry.log.WarnContext(ctx, "what an ended upload left behind stays until garbage collection", "upload", u.ID, "error", err)
	}
}

// clean removes the objects that an ended session names and lets it expire.
func (u *Upload) clean(ctx context.Context) error {
	if err := u.cleanOld(ctx); err != nil {
		return err
	}
	_, err := u.repo.registry.catalog.Commit(ctx, Change{
		If:  []Condition{Unchanged(u.record)},
		Put: []Put{{Key: u.record.Key, Value: Encode(u.state), Expire: sessionMemory}},
	})
	return err
}

package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// singlePut is up to what size in bytes a whole blob is sent to S3 in one request.
const singlePut = 64 << 20

// Finish adds what r holds, length bytes or all there is where length is negative, and
// ends the upload as the blob want. From nil on the blob is durable and the repository
// may read it. Content that is not want wraps oci.ErrDigestInvalid and leaves nothing.
// Asked again after success, with the same digest, it says so again.
func (u *Upload) Finish(ctx context.Context, r io.Reader, start, length int64, want digest.Digest) error {
	if u.state.Done != "" {
		if u.state.Done == want {
			return nil
		}
		return fmt.Errorf("%w: %s ended as %s", oci.ErrUploadUnknown, u.ID, u.state.Done)
	}
	if start >= 0 && start != u.state.Offset {
		return fmt.Errorf("%w: the upload has %d bytes, the chunk begins at %d", oci.ErrRangeInvalid, u.state.Offset, start)
	}
	var got digest.Digest
	var err error
	switch {
	case u.state.Offset == 0 && u.state.Tail == nil && u.state.S3ID == "" && length >= 0 && length <= singlePut:
		got, err = u.putWhole(ctx, r, length, want)
	case length == 0:
		got, err = u.complete(ctx, want)
	default:
		if err = u.Append(ctx, r, start, length); err == nil {
			got, err = u.complete(ctx, want)
		}
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.ID, err)
	}
	if got != want {
		u.abandon(ctx)
		return fmt.Errorf("%w: the content is %s, not %s", oci.ErrDigestInvalid, got, want)
	}
	return u.recordBlob(ctx, want)
}

// abandon drops the session though the client may be gone. A session that another request
// has claimed meanwhile is left to that one.
func (u *Upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := u.drop(ctx); err != nil && !errors.Is(err, oci.ErrRangeInvalid) {
		u.repo.registry.log.WarnContext(ctx, "an upload is left for garbage collection", "upload", u.ID, "error", err)
	}
}

// putWhole sends a body that is the whole blob. The digest is known, so it names the key.
func (u *Upload) putWhole(ctx context.Context, r io.Reader, length int64, want digest.Digest) (digest.Digest, error) {
	if err := u.newKey(ctx, objectKey(want, u.repo.registry.NewID())); err != nil {
		return "", err
	}
	h := want.Algorithm().Hash()
	if err := u.repo.Tier.Bucket.Put(ctx, u.state.Key, io.TeeReader(r, h), length); err != nil {
		return "", bodyError(err)
	}
	u.state.Offset = length
	return digest.NewDigest(want.Algorithm(), h), nil
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
	if want.Algorithm() != digest.SHA256 { // only SHA-256 runs along
		return u.readBack(ctx, want.Algorithm())
	}
	h, err := u.hash()
	if err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, h), nil
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
	if info, err := bucket.Stat(ctx, u.state.Key); err == nil && info.Size == u.state.Offset {
		return nil // an earlier try got so far
	}
	if u.state.Tail != nil {
		if err := u.tailPart(ctx); err != nil {
			return err
		}
	}
	if err := bucket.Complete(ctx, u.state.Key, u.state.S3ID, u.state.Parts); errors.Is(err, oci.ErrUploadUnknown) {
		return err
	} else if err != nil { // also what a store says while another request completes the same
		return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	info, err := bucket.Stat(ctx, u.state.Key)
	if err != nil {
		return err
	}
	if info.Size != u.state.Offset {
		return fmt.Errorf("%w: the store made %d bytes of %d", oci.ErrUnavailable, info.Size, u.state.Offset)
	}
	return nil
}

// tailPart sends the tail once more, as the last part, which may be short.
func (u *Upload) tailPart(ctx context.Context) error {
	w := &appender{upload: u, state: u.state, number: u.state.NextPart, claimed: u.state.NextPart}
	if err := w.claim(ctx, 1); err != nil {
		return err
	}
	rc, err := u.repo.Tier.Bucket.Open(ctx, u.state.Tail.Key, 0, u.state.Tail.Size)
	if err != nil {
		return err
	}
	defer rc.Close()
	size := u.state.Tail.Size
	w.dropTail()
	if err := w.putPart(ctx, rc, size); err != nil {
		return err
	}
	w.state.NextPart = w.number
	u.state = w.state
	return u.save(ctx)
}

// readBack hashes the object as the store gives it.
func (u *Upload) readBack(ctx context.Context, algorithm digest.Algorithm) (digest.Digest, error) {
	rc, err := u.repo.Tier.Bucket.Open(ctx, u.state.Key, 0, u.state.Offset)
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

// recordBlob makes the object the blob and the session the answer to repeated requests,
// in one transaction. Where the store has the bytes already, those are kept and the new
// object goes.
func (u *Upload) recordBlob(ctx context.Context, d digest.Digest) error {
	r, t := u.repo.registry, u.repo.Tier
	duplicate := false
	err := Retry(ctx, func() error {
		record, blob, err := r.blobRecord(ctx, t.store, d)
		if err != nil && !errors.Is(err, oci.ErrBlobUnknown) {
			return err
		}
		duplicate = err == nil
		done := u.state
		done.Done, done.Parts, done.Hash = d, nil, nil
		change := Change{If: []Condition{Unchanged(u.record)}}
		if duplicate {
			unchanged, renewed := r.renew(record, blob)
			change.If, change.Put = append(change.If, unchanged), renewed
		} else {
			blob = blobRecord{Key: u.state.Key, Size: u.state.Offset, RenewedAt: r.Now()}
			change.If = append(change.If, Unchanged(record))
			change.Put = []Put{{Key: record.Key, Value: Encode(blob)}}
		}
		session := Put{Key: u.record.Key, Value: Encode(done), Expire: doneExpiry}
		if duplicate || len(done.Old) > 0 {
			session.Expire = 0 // it still names objects that are to go
		}
		change.Put = append(change.Put, session,
			Put{Key: linkKey(t.Name, u.repo.Name, d), Value: Encode(LinkRecord{Size: blob.Size})},
			r.EventPut(Event{Type: EventBlobPushed, Actor: u.repo.Actor, Tier: t.Name, Repository: u.repo.Name,
				Digest: d, Store: t.store, Key: blob.Key, Size: blob.Size}))
		revision, err := r.catalog.Commit(ctx, change)
		if hasConflict(err, u.record.Key) {
			return fmt.Errorf("%w: another request ended or changed upload %s meanwhile", oci.ErrUploadUnknown, u.ID)
		}
		if err == nil {
			u.record.Revision, u.state = revision, done
		}
		return err
	})
	if err != nil {
		return err
	}
	if duplicate {
		u.state.Old = append(u.state.Old, u.state.Key)
	}
	u.tidy(ctx)
	return nil
}

// tidy removes what an ended session leaves behind and lets the session expire. What
// fails here is left to garbage collection: the blob is safe.
func (u *Upload) tidy(ctx context.Context) {
	if len(u.state.Old) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	u.cleanOld(ctx)
	if len(u.state.Old) > 0 {
		u.repo.registry.log.WarnContext(ctx, "objects of an upload are left for garbage collection", "upload", u.ID, "keys", u.state.Old)
		return
	}
	_, err := u.repo.registry.catalog.Commit(ctx, Change{
		If:  []Condition{Unchanged(u.record)},
		Put: []Put{{Key: u.record.Key, Value: Encode(u.state), Expire: doneExpiry}},
	})
	if err != nil {
		u.repo.registry.log.WarnContext(ctx, "an ended upload stays until garbage collection", "upload", u.ID, "error", err)
	}
}

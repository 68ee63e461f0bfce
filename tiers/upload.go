package tiers

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// uploadRecord is the state of an upload, whole: a session that began on one replica goes
// on at any other.
//
// It also is the intent of every object that the upload writes: Key, Tail, Next and Old
// name them before their first byte is sent. A request that writes first claims the
// session, which takes away the claim of any other: the loser's bytes are never recorded,
// because each state change compares the revision that its claim got.
type uploadRecord struct {
	Tier       string    `json:"tier"`
	Repository string    `json:"repository"`
	By         string    `json:"by"`
	StartedAt  time.Time `json:"startedAt"`

	Key      string   `json:"key"`             // of the object that the upload becomes
	S3ID     string   `json:"s3,omitempty"`    // of the multipart upload, once there is one
	Whole    bool     `json:"whole,omitempty"` // Key may have been written in one piece
	Parts    []Part   `json:"parts,omitempty"`
	NextPart int      `json:"nextPart"`       // the first number that nobody has ever claimed
	Tail     *tail    `json:"tail,omitempty"` // bytes behind the last part, too few to be one
	NextTail string   `json:"nextTail,omitempty"`
	Old      []string `json:"old,omitempty"` // former tails and keys, to be deleted
	Offset   int64    `json:"offset"`
	Hash     []byte   `json:"hash,omitempty"` // state of SHA-256 at Offset

	// Done is the digest under which the upload ended; the record then only answers a
	// client that asks again, and expires.
	Done digest.Digest `json:"done,omitempty"`
	// Dropped says that the objects are being removed: the session is over for everybody,
	// and the record stays until they are gone.
	Dropped bool `json:"dropped,omitempty"`
}

// tail is an object of its own, shorter than the least part.
type tail struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
}

// doneExpiry is how long an ended upload answers a repeated request.
const doneExpiry = time.Hour

// Upload is one upload session, as one request has read it.
type Upload struct {
	ID   string
	repo *Repository

	record Record // as read or last written
	state  uploadRecord
}

// Offset is how many bytes the upload has.
func (u *Upload) Offset() int64 { return u.state.Offset }

// Done is the digest under which the upload ended; empty while it is open.
func (u *Upload) Done() digest.Digest { return u.state.Done }

// StartUpload opens an upload session.
func (r *Repository) StartUpload(ctx context.Context) (*Upload, error) {
	if err := r.Writable(""); err != nil {
		return nil, err
	}
	id := r.registry.NewID()
	u := &Upload{ID: id, repo: r, record: Record{Key: uploadKey(id)}, state: uploadRecord{
		Tier: r.Tier.Name, Repository: r.Name, By: r.Actor, StartedAt: r.registry.Now(),
		Key: "blobs/" + id, NextPart: 1,
	}}
	if err := u.save(ctx); err != nil {
		return nil, fmt.Errorf("start upload to %s: %w", r.FullName(), err)
	}
	return u, nil
}

// Upload finds a session of this repository and actor; any other session is as unknown as
// one that never was. The error wraps oci.ErrUploadUnknown.
func (r *Repository) Upload(ctx context.Context, id string) (*Upload, error) {
	if err := r.Writable(""); err != nil {
		return nil, err
	}
	record, err := r.get(ctx, uploadKey(id))
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", id, err)
	}
	unknown := fmt.Errorf("%w: %s in %s: it ended, or was never begun here", oci.ErrUploadUnknown, id, r.FullName())
	if record.Revision == 0 {
		return nil, unknown
	}
	state, err := Decode[uploadRecord](record)
	if err != nil {
		return nil, err
	}
	if state.Dropped || state.Tier != r.Tier.Name || state.Repository != r.Name || state.By != r.Actor {
		return nil, unknown
	}
	return &Upload{ID: id, repo: r, record: record, state: state}, nil
}

// save writes the state if nobody changed the session since it was read. The error wraps
// oci.ErrRangeInvalid where somebody did: another request is ahead of this one.
func (u *Upload) save(ctx context.Context) error {
	value := Encode(u.state)
	revision, err := u.repo.registry.catalog.Commit(ctx, Change{
		If:  []Condition{Unchanged(u.record)},
		Put: []Put{{Key: u.record.Key, Value: value}},
	})
	if errors.Is(err, oci.ErrConflict) {
		return fmt.Errorf("%w: another request wrote to upload %s meanwhile: ask for its status", oci.ErrRangeInvalid, u.ID)
	}
	if err != nil {
		return err
	}
	u.record.Revision, u.record.Value = revision, value
	return nil
}

// Cancel ends the session and removes what it has written.
func (u *Upload) Cancel(ctx context.Context) error {
	if u.state.Done != "" {
		return fmt.Errorf("%w: %s has ended", oci.ErrUploadUnknown, u.ID)
	}
	return u.drop(ctx)
}

// drop removes the objects of the session and then the session, so that a failure in
// between leaves the record that names them. It first closes the session: a request that
// is still writing can no longer record anything, and one that comes now could make a
// blob of an object that is about to go.
func (u *Upload) drop(ctx context.Context) error {
	bucket := u.repo.Tier.Bucket
	u.state.Dropped = true
	if err := u.save(ctx); err != nil {
		return err
	}
	if u.state.S3ID != "" {
		if err := bucket.Abort(ctx, u.state.Key, u.state.S3ID); err != nil {
			return fmt.Errorf("cancel upload %s: %w", u.ID, err)
		}
	}
	keys := append([]string{u.state.Key}, u.state.Old...)
	if u.state.Tail != nil {
		keys = append(keys, u.state.Tail.Key)
	}
	if u.state.NextTail != "" {
		keys = append(keys, u.state.NextTail)
	}
	for _, key := range keys {
		if err := bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("cancel upload %s: %w", u.ID, err)
		}
	}
	_, err := u.repo.registry.catalog.Commit(ctx, Change{If: []Condition{Unchanged(u.record)}, Delete: []string{u.record.Key}})
	return err
}

// hash restores the running SHA-256 at the upload's offset.
func (u *Upload) hash() (hash.Hash, error) {
	h := sha256.New()
	if len(u.state.Hash) == 0 {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.state.Hash); err != nil {
		return nil, fmt.Errorf("upload %s: %w: %w", u.ID, oci.ErrCorrupt, err)
	}
	return h, nil
}

func hashState(h hash.Hash) ([]byte, error) { return h.(encoding.BinaryMarshaler).MarshalBinary() }

package tiers

import (
	"cmp"
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// uploadRecord is the state of an upload, whole: a session that began on one replica goes
// on at any other.
//
// It also is the intent of every object that the upload writes in parts: Key, Tail, Next
// and Old name them before their first byte is sent. A request that writes first claims the
// session, which takes away the claim of any other: the loser's bytes are never recorded,
// because each state change compares the revision that its claim got.
type uploadRecord struct {
	Tier       string    `json:"tier"`
	Repository string    `json:"repository"`
	By         string    `json:"by"`
	StartedAt  time.Time `json:"startedAt"`
	// TouchedAt is when the session was last written to: one that a client still uses is
	// not one that it left behind.
	TouchedAt time.Time `json:"touchedAt,omitzero"`

	Key      string   `json:"key"`             // of the object that the upload becomes
	S3ID     string   `json:"s3,omitempty"`    // of the multipart upload, once there is one
	Whole    bool     `json:"whole,omitempty"` // Key may have been written in one piece
	Parts    []Part   `json:"parts,omitempty"`
	NextPart int      `json:"nextPart"`       // the first number that nobody has ever claimed
	Tail     *tail    `json:"tail,omitempty"` // bytes behind the last part, too few to be one
	NextTail string   `json:"nextTail,omitempty"`
	Old      []string `json:"old,omitempty"` // former tails and keys, to be deleted
	Offset   int64    `json:"offset"`
	Hash     []byte   `json:"hash,omitempty"` // state of the running hash at Offset
	// Algorithm of the running hash; empty: SHA-256.
	Algorithm digest.Algorithm `json:"algorithm,omitempty"`

	// Done is the digest under which the upload ended; the record then only answers a
	// client that asks again, and expires.
	Done digest.Digest `json:"done,omitempty"`
	// Dropped says that the objects are being removed: the session is over for everybody,
	// and the record stays until they are gone.
	Dropped bool `json:"dropped,omitempty"`
}

// tail is an object of its own, shorter than the least part. Its bytes come back into the
// upload behind the running hash, which has seen them before they were stored: so they are
// held against a digest of their own whenever they are read.
type tail struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// Digest of its bytes: the running hash is over what clients have sent, and would not
	// notice if the store gave back others.
	Digest digest.Digest `json:"digest"`
}

// Upload is one upload session, as one request has read it.
type Upload struct {
	ID   string
	repo *Repository

	record Record // as read or last written; Revision 0: none is written yet
	state  uploadRecord
	untold bool // the client does not know the session
	// assumed says that the session was not read: there may be a record of it after all.
	assumed bool
}

// Offset is how many bytes the upload has.
func (u *Upload) Offset() int64 { return u.state.Offset }

// Done is the digest under which the upload ended; empty while it is open.
func (u *Upload) Done() digest.Digest { return u.state.Done }

// save writes the state if nobody changed the session since it was read. The error wraps
// oci.ErrRangeInvalid where somebody did: another request is ahead of this one.
func (u *Upload) save(ctx context.Context) error {
	u.state.TouchedAt = u.repo.registry.Now()
	value := Encode(u.state)
	revision, err := u.commitSession(ctx, Change{
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

// algorithm is that of the running hash.
func (u *Upload) algorithm() digest.Algorithm { return cmp.Or(u.state.Algorithm, digest.SHA256) }

// hash restores the running hash at the upload's offset.
func (u *Upload) hash() (hash.Hash, error) {
	if !u.algorithm().Available() {
		return nil, fmt.Errorf("upload %s: %w: hash algorithm %q", u.ID, oci.ErrCorrupt, u.algorithm())
	}
	h := u.algorithm().Hash()
	if len(u.state.Hash) == 0 {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(u.state.Hash); err != nil {
		return nil, fmt.Errorf("upload %s: %w: %w", u.ID, oci.ErrCorrupt, err)
	}
	return h, nil
}

// touched is when a client last did anything with the session. One that is being dropped is
// nobody's any more.
func (u *uploadRecord) touched() time.Time {
	if u.TouchedAt.After(u.StartedAt) && !u.Dropped {
		return u.TouchedAt
	}
	return u.StartedAt
}

// objects are the keys of all objects that the session names.
func (u *uploadRecord) objects() []string {
	keys := append([]string{u.Key, u.NextTail}, u.Old...)
	if u.Tail != nil {
		keys = append(keys, u.Tail.Key)
	}
	return slices.DeleteFunc(keys, func(key string) bool { return key == "" })
}

func hashState(h hash.Hash) ([]byte, error) { return h.(encoding.BinaryMarshaler).MarshalBinary() }

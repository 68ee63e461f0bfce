package tiers

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// An upload session costs nothing before its first byte: its id says by itself that this
// registry gave it to this actor for this repository, and a record is written only when
// there is something to remember.
const (
	// sessionFresh is how long an id without a record is good for its first request.
	sessionFresh = time.Hour
	// sessionMemory is how long the record of a session that ended stays, to answer a
	// request that is repeated. It outlasts sessionFresh by more than clocks may differ, so
	// that an ended session never looks like a fresh one.
	sessionMemory = 2 * sessionFresh

	sessionMAC = 16 // bytes
)

// sessionID makes an id for a session of the repository and actor: a ULID and what proves
// it, and behind that the algorithm that runs along where it is not SHA-256.
func (r *Repository) sessionID(algorithm digest.Algorithm) string {
	id, suffix := r.registry.NewID(), ""
	if algorithm != "" && algorithm != digest.SHA256 {
		suffix = "." + algorithm.String()
	}
	return id + r.sessionMAC(id, suffix) + suffix
}

func (r *Repository) sessionMAC(id, suffix string) string {
	mac := hmac.New(sha256.New, r.registry.sessionKey)
	for _, part := range []string{id, suffix, r.Tier.Name, r.Name, r.Actor} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:sessionMAC])
}

// sessionProof is how long the proof in an id is.
var sessionProof = base64.RawURLEncoding.EncodedLen(sessionMAC)

// checkSession says whether an id is one that was given out for this repository and
// actor, and whether it may still begin.
func (r *Repository) checkSession(id string) (given, fresh bool) {
	if len(id) < ulid.EncodedSize+sessionProof {
		return false, false
	}
	made, proof, suffix := id[:ulid.EncodedSize], id[ulid.EncodedSize:][:sessionProof], id[ulid.EncodedSize+sessionProof:]
	if !hmac.Equal([]byte(proof), []byte(r.sessionMAC(made, suffix))) {
		return false, false
	}
	at, err := ulid.ParseStrict(made)
	if err != nil {
		return false, false
	}
	return true, r.registry.Now().Sub(ulid.Time(at.Time())) < sessionFresh
}

// sessionAlgorithm is what an id that was given out says of the running hash.
func sessionAlgorithm(id string) digest.Algorithm {
	_, algorithm, _ := strings.Cut(id, ".")
	return digest.Algorithm(algorithm)
}

// sharedSecret reads the key that all replicas share; the first of them makes it. It is as
// secret as the catalog: with it one could forge the id of another's session, not who one
// is.
func (r *Registry) sharedSecret(ctx context.Context) ([]byte, error) {
	var secret []byte
	err := Retry(ctx, func() error {
		records, err := r.catalog.Get(ctx, sessionKeyKey)
		if err != nil {
			return err
		}
		if records[0].Revision != 0 {
			if secret, err = Decode[[]byte](records[0]); err == nil && len(secret) != sha256.Size {
				err = fmt.Errorf("catalog record %s: %w", sessionKeyKey, oci.ErrCorrupt)
			}
			return err
		}
		secret = make([]byte, sha256.Size)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		_, err = r.catalog.Commit(ctx, Change{If: []Condition{Unchanged(records[0])}, Put: []Put{{Key: sessionKeyKey, Value: Encode(secret)}}})
		return err
	})
	return secret, err
}

// StartUpload opens an upload session of a blob that will be named by SHA-256.
func (r *Repository) StartUpload(ctx context.Context) (*Upload, error) {
	return r.StartUploadOf(ctx, "")
}

// StartUploadOf opens an upload session that hashes with the given algorithm while bytes
// arrive; empty: SHA-256. A blob that ends under another algorithm is read back. Nothing
// is written before the first byte, but where the tier limits how many sessions are open.
func (r *Repository) StartUploadOf(ctx context.Context, algorithm digest.Algorithm) (*Upload, error) {
	if algorithm != "" {
		if _, err := oci.ParseAlgorithm(algorithm.String()); err != nil {
			return nil, err
		}
	}
	id := r.sessionID(algorithm)
	if err := r.openSession(ctx, id); err != nil {
		return nil, err
	}
	return r.freshUpload(id), nil
}

func (r *Repository) freshUpload(id string) *Upload {
	return &Upload{ID: id, repo: r, record: Record{Key: uploadKey(id)}, state: uploadRecord{
		Tier: r.Tier.Name, Repository: r.Name, By: r.Actor, StartedAt: r.registry.Now(),
		Key: "blobs/" + r.registry.NewID(), NextPart: 1, Algorithm: sessionAlgorithm(id),
	}}
}

// Upload finds a session of this repository and actor; any other session is as unknown as
// one that never was. The error wraps oci.ErrUploadUnknown.
func (r *Repository) Upload(ctx context.Context, id string) (*Upload, error) {
	if err := r.Writable(""); err != nil {
		return nil, err
	}
	unknown := fmt.Errorf("%w: %s in %s: it ended, or was never begun here", oci.ErrUploadUnknown, id, r.FullName())
	given, fresh := r.checkSession(id)
	if !given {
		return nil, unknown
	}
	record, err := r.get(ctx, uploadKey(id))
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", id, err)
	}
	if record.Revision == 0 {
		if !fresh {
			return nil, unknown
		}
		return r.freshUpload(id), nil
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

// WholeUpload finds a session for a request that sends a whole blob, without reading it:
// such a session is nearly always fresh, and the transaction that records the blob finds
// out. Where the id is too old for that it is Upload.
func (r *Repository) WholeUpload(ctx context.Context, id string) (*Upload, error) {
	if err := r.Writable(""); err != nil {
		return nil, err
	}
	if given, fresh := r.checkSession(id); !given || !fresh {
		return r.Upload(ctx, id)
	}
	u := r.freshUpload(id)
	u.assumed = true
	return u, nil
}

// Cancel ends the session and removes what it has written.
func (u *Upload) Cancel(ctx context.Context) error {
	if u.state.Done != "" {
		return fmt.Errorf("%w: %s has ended", oci.ErrUploadUnknown, u.ID)
	}
	return u.drop(ctx)
}

// drop removes the objects of the session, so that a failure in between leaves the record
// that names them; what stays of it then says for a while that the session is over. It
// first closes the session: a request that is still writing can no longer record
// anything, and one that comes now could make a blob of an object that is about to go.
func (u *Upload) drop(ctx context.Context) error {
	if u.record.Revision == 0 { // nothing was written
		return u.bury(ctx)
	}
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
	for _, key := range u.state.objects() {
		if err := bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("cancel upload %s: %w", u.ID, err)
		}
	}
	return u.bury(ctx)
}

// bury leaves of the session only that it is over.
func (u *Upload) bury(ctx context.Context) error {
	over := uploadRecord{Tier: u.state.Tier, Repository: u.state.Repository, By: u.state.By, StartedAt: u.state.StartedAt, Dropped: true}
	_, err := u.repo.registry.catalog.Commit(ctx, Change{
		If:     []Condition{Unchanged(u.record)},
		Put:    []Put{{Key: u.record.Key, Value: Encode(over), Expire: sessionMemory}},
		Delete: u.closing(),
	})
	if errors.Is(err, oci.ErrConflict) {
		return fmt.Errorf("%w: another request wrote to upload %s meanwhile: ask for its status", oci.ErrRangeInvalid, u.ID)
	}
	return err
}

package tiers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// pinsPerChange is how many pins go into one transaction.
const pinsPerChange = 100

// How says how bytes came into a store.
type How int

// The ways for bytes into a store.
const (
	Linked   How = iota // they were there
	Copied              // the store copied them by itself
	Streamed            // they went through this process, hashed on the way
)

// pinnedRecord is the journal of one batch of pins.
type pinnedRecord struct {
	Store   string          `json:"store"`
	Digests []digest.Digest `json:"digests"`
}

func pinnedPrefix(id string) string { return "pinned/" + id + "/" }

// PinKey is the record that pins a digest in the store of t for id, as Pin does, for who
// writes it and deletes it together with records of his own.
func (t *Tier) PinKey(d digest.Digest, id string) string { return pinKey(t.store, d, id) }

// Pin keeps the bytes of digests in the store of t until Unpin of the same id. With
// present they must be there: the error wraps oci.ErrConflict where some are not any more.
// Without, they are kept from the moment they come. Nothing is pinned unless fence holds in
// the same transaction.
func (r *Registry) Pin(ctx context.Context, t *Tier, digests []digest.Digest, id string, present bool, fence ...Condition) error {
	for len(digests) > 0 {
		n := min(len(digests), pinsPerChange)
		change := Change{If: slices.Clone(fence), Put: []Put{{Key: pinnedPrefix(id) + r.NewID(), Value: Encode(pinnedRecord{Store: t.store, Digests: digests[:n]})}}}
		for _, d := range digests[:n] {
			if present {
				change.If = append(change.If, Present(blobKey(t.store, d)))
			}
			change.Put = append(change.Put, Put{Key: pinKey(t.store, d, id)})
		}
		if _, err := r.catalog.Commit(ctx, change); err != nil {
			return fmt.Errorf("pin in %s: %w", t.Name, err)
		}
		digests = digests[n:]
	}
	return nil
}

// Unpin lets go of everything that was pinned under id, before a crash too.
func (r *Registry) Unpin(ctx context.Context, id string) error {
	for {
		page, err := r.catalog.List(ctx, Query{Prefix: pinnedPrefix(id), Limit: 100})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, record := range page {
			entry, err := Decode[pinnedRecord](record)
			if err != nil {
				return err
			}
			change := Change{Delete: []string{record.Key}}
			for _, d := range entry.Digests {
				change.Delete = append(change.Delete, pinKey(entry.Store, d, id))
			}
			if _, err := r.catalog.Commit(ctx, change); err != nil {
				return fmt.Errorf("unpin %s: %w", id, err)
			}
		}
	}
}

// Store stores a small content of the registry's own, which the caller has pinned.
func (r *Registry) Store(ctx context.Context, t *Tier, d digest.Digest, body []byte) (key string, err error) {
	s, err := r.Stage(ctx, t, d, body)
	if err != nil {
		return "", err
	}
	err = Retry(ctx, func() error {
		var change Change
		if err := s.Change(ctx, &change); err != nil {
			return err
		}
		_, err := r.catalog.Commit(ctx, change)
		return s.failed(err)
	})
	s.Settle(ctx, err)
	return s.Key(), err
}

// KeepRecord makes the write that keeps the bytes of d in the store of t for as long as
// the event named id tells of them: for ever.
func (r *Registry) KeepRecord(t *Tier, d digest.Digest, id string) Put {
	return Put{Key: refPrefix(t.store, d) + ".record/" + id}
}

// HasBytes asks that the store of t has the bytes of d.
func (r *Registry) HasBytes(t *Tier, d digest.Digest) Condition { return Present(blobKey(t.store, d)) }

// Brought is content that Bring has brought.
type Brought struct {
	How  How
	Key  string // in the store it came to
	Size int64
}

// Bring makes the bytes of d, which the store of from has, present in the store of to,
// where the caller has pinned it. The bytes are proven before they are recorded: by the store's
// own SHA-256 of the whole object where it gives one, by reading them back otherwise.
func (r *Registry) Bring(ctx context.Context, from, to *Tier, d digest.Digest, purpose, actor string) (Brought, error) {
	var b Brought
	err := Retry(ctx, func() (err error) {
		b, err = r.bring(ctx, from, to, d, purpose, actor)
		return err
	})
	if err != nil {
		return b, fmt.Errorf("bring %s from %s to %s: %w", d, from.Name, to.Name, err)
	}
	return b, nil
}

func (r *Registry) bring(ctx context.Context, from, to *Tier, d digest.Digest, purpose, actor string) (Brought, error) {
	record, blob, err := r.blobRecord(ctx, to.store, d)
	if err == nil {
		unchanged, renewed := r.renew(record, blob)
		_, err := r.catalog.Commit(ctx, Change{If: []Condition{unchanged}, Put: renewed})
		return Brought{How: Linked, Key: blob.Key, Size: blob.Size}, err
	}
	if !errors.Is(err, oci.ErrBlobUnknown) {
		return Brought{}, err
	}
	_, source, err := r.blobRecord(ctx, from.store, d)
	if err != nil {
		return Brought{}, err
	}
	object, err := r.Announce(ctx, to, d, purpose, actor)
	if err != nil {
		return Brought{}, err
	}
	b := Brought{Key: object, Size: source.Size}
	if b.How, err = transfer(ctx, from, to, source, object, d); err == nil {
		_, err = r.catalog.Commit(ctx, Change{
			If:     []Condition{Unchanged(record), Present(intentKey(to.store, object))},
			Put:    []Put{{Key: record.Key, Value: Encode(blobRecord{Key: object, Size: source.Size, RenewedAt: r.Now()})}},
			Delete: []string{intentKey(to.store, object)},
		})
	}
	if err != nil {
		(&Staged{Digest: d, registry: r, tier: to, object: object}).Settle(ctx, err)
	}
	return b, err
}

// transfer brings the bytes to object and proves them.
func transfer(ctx context.Context, from, to *Tier, source blobRecord, object string, d digest.Digest) (How, error) {
	if !to.Bucket.CanCopyFrom(from.Bucket) {
		return Streamed, stream(ctx, from, to, source, object, d)
	}
	if err := to.Bucket.CopyFrom(ctx, from.Bucket, source.Key, object, source.Size); err != nil {
		return Copied, err
	}
	return Copied, prove(ctx, to.Bucket, object, source.Size, d)
}

// stream sends the bytes through this process; what is not d is not recorded.
func stream(ctx context.Context, from, to *Tier, source blobRecord, object string, d digest.Digest) error {
	rc, err := from.Bucket.Open(ctx, source.Key, 0, source.Size)
	if err != nil {
		return err
	}
	defer rc.Close()
	verifier := d.Verifier()
	if err := to.Bucket.Put(ctx, object, io.TeeReader(rc, verifier), source.Size); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("%w: object %s is not %s", oci.ErrCorrupt, source.Key, d)
	}
	return prove(ctx, to.Bucket, object, source.Size, d)
}

// prove checks that an object is what it should be.
func prove(ctx context.Context, bucket Bucket, object string, size int64, d digest.Digest) error {
	info, err := bucket.Stat(ctx, object)
	if err != nil {
		return err
	}
	if info.Size != size {
		return fmt.Errorf("%w: object %s has %d bytes, not %d", oci.ErrCorrupt, object, info.Size, size)
	}
	if info.SHA256 != "" && d.Algorithm() == digest.SHA256 {
		if info.SHA256 != d.Encoded() {
			return fmt.Errorf("%w: object %s has SHA-256 %s, not %s", oci.ErrCorrupt, object, info.SHA256, d)
		}
		return nil
	}
	return reread(ctx, bucket, object, size, d)
}

// reread checks that the bytes of an object are what they should be, whatever the store
// says of them.
func reread(ctx context.Context, bucket Bucket, object string, size int64, d digest.Digest) error {
	rc, err := bucket.Open(ctx, object, 0, size)
	if err != nil {
		return err
	}
	defer rc.Close()
	got, err := d.Algorithm().FromReader(rc)
	if err != nil {
		return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	if got != d {
		return fmt.Errorf("%w: object %s is %s, not %s", oci.ErrCorrupt, object, got, d)
	}
	return nil
}

package tiers

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// pinsPerChange is how many pins go into one transaction.
const pinsPerChange = 100

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

// Store stores a small content of the registry's own, which the caller has pinned. Nothing
// is recorded unless fence holds in the same transaction.
func (r *Registry) Store(ctx context.Context, t *Tier, d digest.Digest, body []byte, fence ...Condition) (key string, err error) {
	s, err := r.Stage(ctx, t, d, body)
	if err != nil {
		return "", err
	}
	err = retryBehind(ctx, fence, func() error {
		change := Change{If: slices.Clone(fence)}
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

// PullsKey is the reference that keeps the bytes of d in the store of t for the record
// pulls/<id>, for who writes and deletes it together with that.
func (t *Tier) PullsKey(d digest.Digest, id string) string {
	return refPrefix(t.store, d) + kindPulls + "/" + id
}

// HasBytes asks that the store of t has the bytes of d.
func (r *Registry) HasBytes(t *Tier, d digest.Digest) Condition { return Present(blobKey(t.store, d)) }

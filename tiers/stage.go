package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// cleanupTimeout bounds what is tidied up after a request has ended. What it leaves
// behind stays announced by its intent, so garbage collection finds it.
const cleanupTimeout = 10 * time.Second

// Staged is content that is about to be recorded: its bytes are in the bucket already,
// by this caller or somebody before.
//
// A crash before the intent leaves nothing, one behind it leaves an object that the
// intent names. The transaction that records the object takes the intent away, so an
// object has one of them at any time.
type Staged struct {
	Digest digest.Digest
	Size   int64

	registry *Registry
	tier     *Tier
	body     []byte
	object   string // the key that this caller wrote; empty where the bytes were there
	recorded string // the key that the last Change records, or found recorded
}

// Stage stores body in the bucket of t unless its bytes are there already.
func (r *Registry) Stage(ctx context.Context, t *Tier, d digest.Digest, body []byte) (*Staged, error) {
	records, err := r.catalog.Get(ctx, blobKey(t.store, d))
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	return r.stage(ctx, t, d, body, records[0])
}

// stage is Stage where the record of the blob was read already.
func (r *Registry) stage(ctx context.Context, t *Tier, d digest.Digest, body []byte, known Record) (*Staged, error) {
	s := &Staged{Digest: d, Size: int64(len(body)), registry: r, tier: t, body: body}
	if known.Revision != 0 {
		return s, nil
	}
	return s, s.put(ctx)
}

// put stores the body under a key of its own.
func (s *Staged) put(ctx context.Context) (err error) {
	if s.object, err = s.registry.announcers[s.tier.store].take(ctx); err != nil {
		return err
	}
	if err := s.tier.Bucket.Put(ctx, s.object, bytes.NewReader(s.body), s.Size); err != nil {
		s.Settle(ctx, err)
		s.object = ""
		return fmt.Errorf("store %s: %w", s.Digest, err)
	}
	return nil
}

// Change completes the transaction that makes the staged content a fact. It is asked anew
// at every try: where somebody else recorded the same bytes meanwhile, theirs are kept
// and Settle takes ours; where what was there was condemned meanwhile, the bytes are stored
// now.
func (s *Staged) Change(ctx context.Context, change *Change) error {
	records, err := s.registry.catalog.Get(ctx, blobKey(s.tier.store, s.Digest))
	if err != nil {
		return fmt.Errorf("blob %s: %w", s.Digest, err)
	}
	return s.change(ctx, change, records[0])
}

// change is Change where the record of the blob was read just now.
func (s *Staged) change(ctx context.Context, change *Change, record Record) error {
	if record.Revision != 0 {
		blob, err := Decode[blobRecord](record)
		if err != nil {
			return err
		}
		s.recorded = blob.Key
		unchanged, renewed := s.registry.renew(record, blob)
		change.If = append(change.If, unchanged)
		change.Put = append(change.Put, renewed...)
		return nil
	}
	if s.object == "" {
		if err := s.put(ctx); err != nil {
			return err
		}
	}
	s.recorded = s.object
	intent := intentKey(s.tier.store, s.object)
	change.If = append(change.If, Unchanged(record), Present(intent))
	change.Put = append(change.Put, Put{Key: record.Key, Value: Encode(blobRecord{Key: s.object, Size: s.Size, RenewedAt: s.registry.Now()})})
	change.Delete = append(change.Delete, intent)
	return nil
}

// failed is told why a change was not applied. Where it took so long that its object was
// given up, the next change stores the bytes anew.
func (s *Staged) failed(err error) error {
	if s.object != "" && hasConflict(err, intentKey(s.tier.store, s.object)) {
		s.object = ""
	}
	return err
}

// Key is the object that holds the bytes once the last change is applied.
func (s *Staged) Key() string { return s.recorded }

// Settle is told how the last change ended. An object that it did not record is removed
// again. Where nobody knows whether it was applied, the object stays with its intent, and
// garbage collection finds out.
func (s *Staged) Settle(ctx context.Context, err error) {
	if err == nil && s.recorded == s.object || errors.Is(err, oci.ErrUnavailable) || err != nil && ctx.Err() != nil {
		return
	}
	s.Discard(ctx)
}

// Discard removes the object again if it was written for nothing: nobody recorded it. It
// must not be called while a change that records the object may still be under way.
func (s *Staged) Discard(ctx context.Context) {
	if s.object == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := s.registry.Withdraw(ctx, s.tier, s.Digest, s.object); err != nil {
		s.registry.log.WarnContext(ctx, "an object is left for garbage collection", "key", s.object, "error", err)
	}
}

// Withdraw deletes an announced object and then its intent, unless the object has become
// the one that the catalog knows.
func (r *Registry) Withdraw(ctx context.Context, t *Tier, d digest.Digest, object string) error {
	_, blob, err := r.blobRecord(ctx, t.store, d)
	if err != nil && !errors.Is(err, oci.ErrBlobUnknown) {
		return err
	}
	if blob.Key == object {
		return nil
	}
	if err := t.Bucket.Delete(ctx, object); err != nil {
		return err
	}
	_, err = r.catalog.Commit(ctx, Change{Delete: []string{intentKey(t.store, object)}})
	return err
}

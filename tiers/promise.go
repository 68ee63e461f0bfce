package tiers

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// The promise. A client that was told that a blob is here, by the 201 of its upload, by a
// mount or by the answer to its HEAD, relies on it: it sends a manifest next, perhaps hours
// later, and not the blob. So the bytes and the repository's right to read them are kept
// for CollectConfig.Promise from then on, whether or not anything refers to them.
//
// Two records say when that was, the blob's and the link's. Neither is written again while
// it is younger than a grain, a 24th of the promise, so a link may say up to a grain more
// than its blob does. A link is kept for the promise and two grains, one for an answer that
// wrote nothing and one for clocks that differ, and a blob for one more: what a link
// promises is never gone before the link.

// grain is how old a promise may get before it is given anew: a write for every push of a
// shared layer would buy nothing.
func (c CollectConfig) grain() time.Duration { return c.Promise / 24 }

// linkLapsed says whether a link that was renewed at a time is kept for nobody any more.
func (c CollectConfig) linkLapsed(renewed, now time.Time) bool {
	return now.Sub(renewed) > c.Promise+2*c.grain()
}

// blobLapsed is linkLapsed for bytes.
func (c CollectConfig) blobLapsed(renewed, now time.Time) bool {
	return now.Sub(renewed) > c.Promise+3*c.grain()
}

// renew keeps bytes that somebody is about to be told of. The condition fails when they
// were condemned or moved meanwhile.
func (r *Registry) renew(record Record, b blobRecord) (Condition, []Put) {
	if r.Now().Sub(b.RenewedAt) < r.collection.grain() {
		return Unchanged(record), nil
	}
	b.RenewedAt = r.Now()
	return Unchanged(record), []Put{{Key: record.Key, Value: Encode(b)}}
}

// renewLink is renew for the right of a repository to read.
func (r *Registry) renewLink(record Record, l LinkRecord) (Condition, []Put) {
	if r.Now().Sub(l.RenewedAt) < r.collection.grain() {
		return Unchanged(record), nil
	}
	l.RenewedAt = r.Now()
	return Unchanged(record), []Put{{Key: record.Key, Value: Encode(l)}}
}

// Promise is Blob for a client that relies on the answer instead of sending the blob: in a
// tier that clients push to, it stays from now on for as long as the registry promises. The
// error wraps oci.ErrUnavailable where that could not be written down.
func (r *Repository) Promise(ctx context.Context, d digest.Digest) (blob *Blob, err error) {
	err = Retry(ctx, func() error {
		blob, err = r.promise(ctx, d)
		return err
	})
	return blob, err
}

func (r *Repository) promise(ctx context.Context, d digest.Digest) (*Blob, error) {
	found, err := r.blobRecords(ctx, d)
	if err != nil {
		return nil, err
	}
	link, stored := found.link, found.stored
	blob, b, err := r.blobOf(ctx, d, found)
	if err != nil || !r.Tier.Push && !r.own {
		return blob, err
	}
	l, err := Decode[LinkRecord](link)
	if err != nil {
		return nil, err
	}
	linked, renewedLink := r.registry.renewLink(link, l)
	kept, renewed := r.registry.renew(stored, b)
	change := Change{If: []Condition{linked, kept}, Put: append(renewedLink, renewed...)}
	if len(change.Put) == 0 {
		return blob, nil
	}
	// A conflict: it was condemned, or somebody else renewed it. The next look tells.
	if _, err := r.registry.catalog.Commit(ctx, change); err != nil {
		return nil, err
	}
	return blob, nil
}

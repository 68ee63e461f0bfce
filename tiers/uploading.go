package tiers

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// uploadingFor is how long an upload session counts as open once it has begun; before its
// first byte it counts for sessionFresh. The record that counts it expires, so that
// sessions which clients left behind cannot keep everybody out, whether or not garbage
// collection comes by; one that really takes longer is no longer counted.
const uploadingFor = 24 * time.Hour

// uploading is what one replica knows about the sessions of a tier.
type uploading struct {
	begun atomic.Int64 // sessions that are being opened
}

// openSession refuses what could only be refused later, before its first byte, and where
// the tier limits open sessions writes the record that counts this one. The error wraps
// oci.ErrTooManyRequests where there are too many.
//
// A session is first in begun and then in the catalog, and begun is read first, so one
// replica never opens too many. Replicas that open at the same moment may pass the limit
// by as many: the price of no lock across the tier.
func (r *Repository) openSession(ctx context.Context, id string) error {
	if err := r.Pushable(""); err != nil {
		return err
	}
	if err := r.affords(ctx, -1, ""); err != nil {
		return err
	}
	most := r.Tier.Limits.Uploads
	if most <= 0 {
		return nil
	}
	others := r.Tier.uploading.begun.Add(1) - 1
	defer r.Tier.uploading.begun.Add(-1)
	open, err := r.registry.catalog.List(ctx, Query{Prefix: uploadingPrefix(r.Tier.Name), Limit: most})
	if err != nil {
		return fmt.Errorf("count the uploads to %s: %w", r.Tier.Name, err)
	}
	if int64(len(open))+others >= int64(most) {
		return fmt.Errorf("%w: %d uploads to tier %s are open, as many as it takes at once: try again when some have ended", oci.ErrTooManyRequests, most, r.Tier.Name)
	}
	_, err = r.registry.catalog.Commit(ctx, Change{Put: []Put{{Key: uploadingKey(r.Tier.Name, id), Expire: sessionFresh}}})
	if err != nil {
		return fmt.Errorf("open an upload to %s: %w", r.FullName(), err)
	}
	return nil
}

// counted says whether the session is one of those that the tier limits. One that its
// client does not know of ends with its request.
func (u *Upload) counted() bool { return u.repo.Tier.Limits.Uploads > 0 && !u.untold }

// commitSession writes the state of the session. With its first record it begins to count
// for longer.
func (u *Upload) commitSession(ctx context.Context, change Change) (int64, error) {
	if u.counted() && u.record.Revision == 0 {
		change.Put = append(change.Put, Put{Key: uploadingKey(u.repo.Tier.Name, u.ID), Expire: uploadingFor})
	}
	return u.repo.registry.catalog.Commit(ctx, change)
}

// closing is what the transaction that ends the session deletes besides. Whoever ends a
// session that its client left behind deletes the same.
func (u *Upload) closing() []string {
	if !u.counted() {
		return nil // if it was counted before the limit was taken away, that expires
	}
	return []string{uploadingKey(u.repo.Tier.Name, u.ID)}
}

// admit says whether length more bytes, negative where nobody knows, may come to the
// session. A session that has ended takes none anyway.
func (u *Upload) admit(ctx context.Context, length int64, want digest.Digest) error {
	if u.state.Done != "" {
		return nil
	}
	size := u.state.Offset + max(0, length)
	if err := u.repo.Tier.checkBlob(size); err != nil {
		return err
	}
	if length < 0 {
		size++ // some will come
	}
	return u.repo.affords(ctx, size, want)
}

// bounded admits the bytes of r and cuts them off where the blob would grow too large.
func (u *Upload) bounded(ctx context.Context, r io.Reader, length int64) (io.Reader, error) {
	if err := u.admit(ctx, length, ""); err != nil || length >= 0 || u.repo.Tier.Limits.BlobSize <= 0 {
		return r, err
	}
	return &boundedReader{r: r, tier: u.repo.Tier, size: u.state.Offset}, nil
}

// boundedReader fails where more comes than a blob may have.
type boundedReader struct {
	r    io.Reader
	tier *Tier
	size int64 // that the blob has so far
}

// Read gives nothing of what is too much.
func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.size += int64(n)
	if tooLarge := b.tier.checkBlob(b.size); tooLarge != nil {
		return 0, tooLarge
	}
	return n, err
}

// refused ends a session whose blob a quota has no room for: its bytes must not lie about
// uncounted. Any other err leaves it as it is.
func (u *Upload) refused(ctx context.Context, err error) error {
	if isQuota(err) {
		if u.assumed { // what it has already must go with it
			if now, err := u.repo.Upload(ctx, u.ID); err == nil {
				*u = *now
			}
		}
		u.abandon(ctx)
	}
	return err
}

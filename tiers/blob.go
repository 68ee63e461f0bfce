package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Blob is a blob that a repository may read.
type Blob struct {
	Digest digest.Digest
	Size   int64

	key      string
	bucket   Bucket
	redirect bool
}

// Open reads length bytes from offset; length < 0 reads to the end. A stream that is cut
// ends with an error, never with io.EOF.
func (b *Blob) Open(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	rc, err := b.bucket.Open(ctx, b.key, offset, length)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	return rc, nil
}

// URL is where clients read the blob from the store itself, for PresignedLife. It is empty
// where the tier does not redirect.
func (b *Blob) URL(ctx context.Context) (string, error) {
	if !b.redirect || b.Size == 0 {
		return "", nil
	}
	u, err := b.bucket.Presign(ctx, b.key)
	if err != nil {
		return "", fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	return u, nil
}

// Blob finds a blob that the repository holds. Bytes that only other repositories hold
// are unknown here (CVE-2024-39897). The error wraps oci.ErrBlobUnknown. The answer is no
// promise that it stays: Promise is.
func (r *Repository) Blob(ctx context.Context, d digest.Digest) (*Blob, error) {
	found, err := r.blobRecords(ctx, d)
	if err != nil {
		return nil, err
	}
	blob, _, err := r.blobOf(ctx, d, found)
	return blob, err
}

// blobRecords are the repository's link to a blob, the record of its bytes and, where a
// client pulls, the generation of what is in quarantine, of one moment.
type blobRecords struct{ link, stored, generation Record }

// blobRecords reads them in one step.
func (r *Repository) blobRecords(ctx context.Context, d digest.Digest) (blobRecords, error) {
	records, generation, err := r.pulled(ctx, linkKey(r.Tier.Name, r.Name, d), blobKey(r.Tier.store, d))
	if err != nil {
		return blobRecords{}, fmt.Errorf("blob %s@%s: %w", r.FullName(), d, err)
	}
	return blobRecords{records[0], records[1], generation}, nil
}

// blobOf makes of these records the blob, if the repository shows it.
func (r *Repository) blobOf(ctx context.Context, d digest.Digest, found blobRecords) (*Blob, blobRecord, error) {
	link, stored := found.link, found.stored
	unknown := fmt.Errorf("%w: %s@%s", oci.ErrBlobUnknown, r.FullName(), d)
	if link.Revision == 0 || stored.Revision == 0 {
		return nil, blobRecord{}, unknown
	}
	if _, _, ok, err := seen[LinkRecord](ctx, r.registry, link); err != nil || !ok {
		if err == nil {
			err = unknown
		}
		return nil, blobRecord{}, err
	}
	b, err := Decode[blobRecord](stored)
	if err != nil {
		return nil, b, err
	}
	if err := r.refuse(ctx, found.generation, ocispec.Descriptor{Digest: d}); err != nil {
		return nil, b, err
	}
	return &Blob{Digest: d, Size: b.Size, key: b.Key, bucket: r.Tier.Bucket, redirect: r.Tier.Redirect}, b, nil
}

// Mount lets the repository read a blob that from holds, if both lie in one store; ok
// says whether it did. What is in quarantine is refused with a *QuarantinedError.
func (r *Repository) Mount(ctx context.Context, from *Repository, d digest.Digest) (ok bool, err error) {
	if err := r.Pushable(""); err != nil {
		return false, err
	}
	if from.Tier.store != r.Tier.store {
		return false, nil
	}
	err = Retry(ctx, func() error { return r.mount(ctx, from, d) })
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

func (r *Repository) mount(ctx context.Context, from *Repository, d digest.Digest) error {
	if _, err := from.ForPull().Blob(ctx, d); err != nil {
		return err
	}
	record, blob, err := r.registry.blobRecord(ctx, r.Tier.store, d)
	if err != nil {
		return err
	}
	if err := r.Tier.checkBlob(blob.Size); err != nil {
		return err
	}
	unchanged, renewed := r.registry.renew(record, blob)
	_, err = r.commitLink(ctx, Change{
		If: []Condition{unchanged, Present(linkKey(from.Tier.Name, from.Name, d))},
		Put: append(renewed,
			Put{Key: linkKey(r.Tier.Name, r.Name, d), Value: Encode(LinkRecord{Size: blob.Size, RenewedAt: r.registry.Now()})},
			r.registry.EventPut(Event{Type: EventBlobMounted, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name, From: from.FullName(),
				Digest: d, Store: r.Tier.store, Key: blob.Key, Size: blob.Size})),
	}, d, blob.Size)
	return err
}

// DeleteBlob takes the right to read a blob from the repository; the bytes go when
// nothing needs them any more. The error wraps oci.ErrUnsupported while a manifest of the
// repository refers to the blob.
func (r *Repository) DeleteBlob(ctx context.Context, d digest.Digest) error {
	if err := r.Deletable(d.String()); err != nil {
		return err
	}
	return Retry(ctx, func() error { return r.deleteBlob(ctx, d) })
}

func (r *Repository) deleteBlob(ctx context.Context, d digest.Digest) error {
	blob, err := r.Blob(ctx, d)
	if err != nil {
		return err
	}
	refs := refPrefix(r.Tier.store, d) + r.Tier.Name + "/" + r.Name + "@"
	if kept, err := r.prune(ctx, refs, false); err != nil {
		return err
	} else if kept {
		return fmt.Errorf("%w: blob %s@%s belongs to a manifest: delete that first", oci.ErrUnsupported, r.FullName(), d)
	}
	_, err = r.commitUsage(ctx, Change{
		If:     []Condition{Present(linkKey(r.Tier.Name, r.Name, d)), None(refs)},
		Delete: []string{linkKey(r.Tier.Name, r.Name, d)},
		Put: []Put{r.registry.EventPut(Event{Type: EventBlobDeleted, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name,
			Digest: d, Store: r.Tier.store, Key: blob.key, Size: blob.Size})},
	}, -blob.Size)
	return err // of a conflict the next try finds the reason
}

// Exists says whether the repository holds what desc names, as oras-go asks before it
// pushes: a blob that is here stays, as Promise says.
func (r *Repository) Exists(ctx context.Context, desc ocispec.Descriptor) (bool, error) {
	var err error
	if oci.IsManifest(desc.MediaType) {
		_, err = r.Resolve(ctx, desc.Digest.String())
	} else {
		_, err = r.Promise(ctx, desc.Digest)
	}
	if isUnknown(err) {
		return false, nil
	}
	return err == nil, err
}

// Fetch opens a manifest or blob of the repository. Reading fails, with oci.ErrUnavailable,
// where the store does not give the bytes of the digest: what was stored is what the digest
// says, so evidence that cannot be read is never evidence that is wrong.
func (r *Repository) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if oci.IsManifest(desc.MediaType) {
		if _, _, err := r.manifestRecord(ctx, desc.Digest); err != nil {
			return nil, err
		}
		if body, ok := r.registry.bodies.get(desc.Digest); ok {
			return io.NopCloser(bytes.NewReader(body)), nil
		}
		_, b, err := r.registry.blobRecord(ctx, r.Tier.store, desc.Digest)
		if err != nil {
			return nil, err
		}
		return openVerified(ctx, r.Tier.Bucket, b.Key, b.Size, desc.Digest)
	}
	blob, err := r.Blob(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	return openVerified(ctx, r.Tier.Bucket, blob.key, blob.Size, desc.Digest)
}

// isUnknown says whether err is that of content that is not there.
func isUnknown(err error) bool {
	return errors.Is(err, oci.ErrBlobUnknown) || errors.Is(err, oci.ErrManifestUnknown)
}

// hasConflict says whether err is a conflict over key.
func hasConflict(err error, key string) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict) && conflict.Has(key)
}

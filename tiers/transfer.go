package tiers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// streamPart is how many bytes a part of a large content has, at the least, that goes from
// one endpoint to another.
const streamPart = 512 << 20

// transfer brings the bytes to the object and proves them.
func (c *coming) transfer(ctx context.Context, from *Tier) (How, error) {
	how, err := Copied, error(nil)
	if c.tier.Bucket.CanCopyFrom(from.Bucket) {
		err = c.tier.Bucket.CopyFrom(ctx, from.Bucket, c.source.Key, c.object, c.Size)
	} else {
		how, err = Streamed, c.stream(ctx, from)
	}
	if err == nil {
		err = prove(ctx, c.tier.Bucket, c.object, c.Size, c.Digest)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Digest, err)
	}
	return how, err
}

// stream sends the bytes through this process; what is not the digest is not recorded.
func (c *coming) stream(ctx context.Context, from *Tier) error {
	rc, err := from.Bucket.Open(ctx, c.source.Key, 0, c.Size)
	if err != nil {
		return err
	}
	defer rc.Close()
	verifier := c.Digest.Verifier()
	body := io.TeeReader(rc, verifier)
	verified := func() error {
		if !verifier.Verified() {
			return fmt.Errorf("%w: object %s is not %s", oci.ErrCorrupt, c.source.Key, c.Digest)
		}
		return nil
	}
	if c.Size > c.registry.largest {
		return c.streamParts(ctx, body, verified)
	}
	if err := c.tier.Bucket.Put(ctx, c.object, body, c.Size); err != nil {
		return err
	}
	return verified()
}

// streamParts sends what is too large for one request in parts. Whatever fails, the parts
// go: where they do not, the intent of the object stays, and garbage collection finds them.
func (c *coming) streamParts(ctx context.Context, body io.Reader, verified func() error) error {
	bucket := c.tier.Bucket
	id, err := bucket.Begin(ctx, c.object)
	if err != nil {
		return err
	}
	size := max(min(streamPart, c.registry.largest), (c.Size+MaxParts-1)/MaxParts)
	var parts []Part
	for sent := int64(0); sent < c.Size && err == nil; sent += size {
		n := min(size, c.Size-sent)
		var part Part
		if part, err = bucket.PutPart(ctx, c.object, id, len(parts)+1, io.LimitReader(body, n), n); err == nil {
			parts = append(parts, part)
		}
	}
	if err == nil {
		err = verified()
	}
	if err == nil {
		err = bucket.Complete(ctx, c.object, id, parts)
	}
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return errors.Join(err, bucket.Abort(ctx, c.object, id))
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

package tiers

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// removal is what is deleted by a rule: why, and what must hold besides what must hold when
// a client deletes. It is asked at every try, after what is to go was read. The conditions
// that it returns are part of the transaction; an error ends the deletion. A nil removal is
// a client's.
type removal struct {
	cause string // for the event
	// ofManifest is asked of a manifest that is to go with its tags, ofTag of one that loses
	// a tag and stays, and ofTags of the tags themselves.
	ofManifest func(ctx context.Context, d digest.Digest, record Record, m ManifestRecord) (Change, error)
	ofTag      func(ctx context.Context, d digest.Digest) ([]Condition, error)
	ofTags     func(ctx context.Context, d digest.Digest, tags []string) ([]Condition, error)
	// gone is told of the tags that went.
	gone func(d digest.Digest, tags []string)
}

func (by *removal) why() string {
	if by == nil {
		return ""
	}
	return by.cause
}

func (by *removal) manifest(ctx context.Context, d digest.Digest, record Record, m ManifestRecord) (Change, error) {
	if by == nil {
		return Change{}, nil
	}
	return by.ofManifest(ctx, d, record, m)
}

func (by *removal) tag(ctx context.Context, d digest.Digest, tag string) ([]Condition, error) {
	if by == nil {
		return nil, nil
	}
	held, err := by.ofTag(ctx, d)
	if err != nil {
		return nil, err
	}
	own, err := by.ofTags(ctx, d, []string{tag})
	return append(held, own...), err
}

func (by *removal) tags(ctx context.Context, d digest.Digest, tags []string) ([]Condition, error) {
	if by == nil || len(tags) == 0 {
		return nil, nil
	}
	return by.ofTags(ctx, d, tags)
}

func (by *removal) told(d digest.Digest, tags ...string) {
	if by != nil {
		by.gone(d, tags)
	}
}

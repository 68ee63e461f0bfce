package tiers

import (
	"context"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// wouldFollow is takeAlong in a dry run. Where orphaned is no record, d has not gone yet:
// what hangs on it may hang on more that would go, and is told of with the first.
func (k *retaining) wouldFollow(ctx context.Context, d digest.Digest, orphaned Record, f follower, level int) error {
	fate, err := k.fate(ctx, f.digest)
	gone := orphaned.Revision != 0
	switch {
	case err != nil:
		return err
	case k.told[f.digest], fate.stays != nil && fate.stays.kind == staysGone:
		return nil
	case gone && max(f.set.Revision, fate.record.Revision) > orphaned.Revision:
		return nil
	}
	goes := fate.stays == nil && !k.again(fate.manifest) && (gone && fate.first == "" || fate.first == d)
	if f.tag != "" && !(gone && goes) {
		if err := k.tagWouldFollow(ctx, f); err != nil {
			return err
		}
	}
	if !goes {
		return nil
	}
	if gone {
		k.told[f.digest] = true
	}
	return k.wouldGo(ctx, taking{digest: f.digest, fate: fate, why: whyFollows, level: level})
}

func (k *retaining) tagWouldFollow(ctx context.Context, f follower) error {
	if k.repo.Tier.Immutable(f.tag) {
		return nil
	}
	_, err := k.held(ctx, f.digest)
	if asStays(err) != nil {
		return nil
	}
	if err == nil {
		k.tagGoes(f.digest, f.tag)
	}
	return err
}

// wouldGo tells of a manifest that goes, and of what hangs on it.
func (k *retaining) wouldGo(ctx context.Context, t taking) error {
	k.manifestGoes(t)
	if t.fate.attached {
		if err := k.looseTags(ctx, t.digest); err != nil {
			return err
		}
	}
	if t.level >= maxLevels {
		return nil
	}
	children, err := k.children(ctx, t.digest, t.fate.manifest)
	if err != nil {
		return err
	}
	return k.followers(ctx, t.digest, children, func(f follower) error {
		return k.wouldFollow(ctx, t.digest, Record{}, f, t.level+1)
	})
}

// looseTags tells of the tags that go with a manifest and that hang on nothing but itself,
// or on what is gone. All others are told of in their turn.
func (k *retaining) looseTags(ctx context.Context, d digest.Digest) error {
	for last, more := "", true; more; more = last != "" {
		tags, next, err := k.registry.listNames(ctx, taggedPrefix(k.repo.Tier.Name, k.repo.Name, d), last, retainPage)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			begin := oci.AttachedTo(tag)
			if begin == "" {
				continue
			}
			subject, err := k.subjectOf(ctx, begin)
			if err != nil {
				return err
			}
			if subject == "" || subject == d {
				k.tagGoes(d, tag)
			}
		}
		last = next
	}
	return nil
}

package tiers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Tags lists at most n tags after last, in byte order. next is what to ask for as last to
// go on; empty at the end. The error wraps oci.ErrNameUnknown for a repository that never
// held a manifest.
func (r *Repository) Tags(ctx context.Context, last string, n int) (tags []string, next string, err error) {
	prefix := tagPrefix(r.Tier.Name, r.Name)
	page, generation, err := listed(ctx, r, pageKey{list: prefix, last: last, n: n}, func() (tagPage, int, error) {
		names, next, err := r.registry.listNames(ctx, prefix, last, n)
		size := 0
		for _, name := range names {
			size += len(name) + 16 // the string's header
		}
		return tagPage{names, next}, size, err
	})
	if err != nil {
		return nil, "", fmt.Errorf("tags of %s: %w", r.FullName(), err)
	}
	if generation.Revision == 0 {
		return nil, "", fmt.Errorf("%w: %s", oci.ErrNameUnknown, r.FullName())
	}
	return slices.Clone(page.tags), page.next, nil
}

type tagPage struct {
	tags []string
	next string
}

// known says whether the repository has ever held a manifest.
func (r *Repository) known(ctx context.Context) error {
	record, err := r.get(ctx, repoKey(r.Tier.Name, r.Name))
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.FullName(), err)
	}
	if record.Revision == 0 {
		return fmt.Errorf("%w: %s", oci.ErrNameUnknown, r.FullName())
	}
	return nil
}

// TagsOf lists the tags that point at d, at most MaxPage of them.
func (r *Repository) TagsOf(ctx context.Context, d digest.Digest) ([]string, error) {
	tags, _, err := r.registry.listNames(ctx, taggedPrefix(r.Tier.Name, r.Name, d), "", MaxPage)
	return tags, err
}

// TagsThere says which of some tags the repository has, in few reads.
func (r *Repository) TagsThere(ctx context.Context, tags ...string) (there []string, err error) {
	keys := make([]string, len(tags))
	for i, tag := range tags {
		keys[i] = tagKey(r.Tier.Name, r.Name, tag)
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", r.FullName(), err)
	}
	for i, record := range records {
		if record.Revision != 0 {
			there = append(there, tags[i])
		}
	}
	return there, nil
}

// DistinctTags drops tags that stand twice and checks the rest by the grammar. The error
// wraps oci.ErrTooManyTags for more than MaxPushTags, and oci.ErrTagInvalid.
func DistinctTags(tags []string) ([]string, error) {
	var distinct []string
	for _, tag := range tags {
		if slices.Contains(distinct, tag) {
			continue
		}
		if len(distinct) == MaxPushTags {
			return nil, fmt.Errorf("%w: at most %d are set by one push", oci.ErrTooManyTags, MaxPushTags)
		}
		distinct = append(distinct, tag)
	}
	for _, tag := range distinct {
		if err := oci.CheckTag(tag); err != nil {
			return nil, err
		}
	}
	return distinct, nil
}

// setTags adds to change that the tags of a push point at its manifest from now on, and
// begins the events of those that did not.
func (p *push) setTags(ctx context.Context, change *Change) (events []Event, err error) {
	for _, tag := range p.tags {
		var set Change
		previous, err := p.repo.pointTag(&set, p.records[tagKey(p.repo.Tier.Name, p.repo.Name, tag)], tag, p.desc, p.at)
		if err != nil {
			return nil, err
		}
		if previous != "" && previous != p.desc.Digest {
			kept, err := p.repo.loses(ctx, tag, previous, p.manifest)
			if err != nil {
				return nil, err
			}
			set.If = append(set.If, kept...)
		}
		change.If = append(change.If, set.If...)
		if previous == p.desc.Digest {
			continue
		}
		change.Put, change.Delete = append(change.Put, set.Put...), append(change.Delete, set.Delete...)
		events = append(events, Event{Type: EventTagged, Tag: tag, Previous: previous})
	}
	return events, nil
}

// setTag adds to change that tag points at desc from now on, if nobody moves it
// meanwhile, and says where it pointed so far. An empty tag adds nothing. The error wraps
// oci.ErrTagImmutable where clients may not move the tag.
func (r *Repository) setTag(ctx context.Context, change *Change, tag string, desc ocispec.Descriptor, at time.Time) (previous digest.Digest, err error) {
	if tag == "" {
		return "", nil
	}
	record, err := r.get(ctx, tagKey(r.Tier.Name, r.Name, tag))
	if err != nil {
		return "", err
	}
	return r.pointTag(change, record, tag, desc, at)
}

// pointTag is setTag where the tag's record was read already.
func (r *Repository) pointTag(change *Change, record Record, tag string, desc ocispec.Descriptor, at time.Time) (previous digest.Digest, err error) {
	if record.Revision != 0 {
		old, err := Decode[TagRecord](record)
		if err != nil {
			return "", err
		}
		previous = old.Digest
		if previous != desc.Digest {
			if err := r.checkMove(tag, "moved"); err != nil {
				return "", err
			}
			change.Delete = append(change.Delete, taggedPrefix(r.Tier.Name, r.Name, previous)+tag)
		}
	}
	value := TagRecord{Digest: desc.Digest, MediaType: desc.MediaType, Size: desc.Size, UpdatedAt: at, By: r.Actor}
	change.If = append(change.If, Unchanged(record))
	change.Put = append(change.Put,
		Put{Key: record.Key, Value: Encode(value)},
		Put{Key: taggedPrefix(r.Tier.Name, r.Name, desc.Digest) + tag})
	return previous, nil
}

// Tag points a tag at a manifest of the repository, as oras-go asks.
func (r *Repository) Tag(ctx context.Context, desc ocispec.Descriptor, tag string) error {
	if err := r.Pushable(tag); err != nil {
		return err
	}
	if err := oci.CheckTag(tag); err != nil {
		return err
	}
	return Retry(ctx, func() error {
		record, m, err := r.manifestRecord(ctx, desc.Digest)
		if err != nil {
			return err
		}
		change := Change{If: []Condition{Unchanged(record)}}
		now := r.registry.Now()
		previous, err := r.setTag(ctx, &change, tag, m.descriptor(desc.Digest), now)
		if err != nil || previous == desc.Digest {
			return err
		}
		if previous != "" && evidenceSubject(tag) != "" {
			kept, err := r.losesTo(ctx, tag, previous, desc.Digest)
			if err != nil {
				return err
			}
			change.If = append(change.If, kept...)
		}
		change.Put = append(change.Put,
			Put{Key: record.Key, Value: record.Value}, // so that a DELETE of the manifest notices the tag
			Put{Key: repoKey(r.Tier.Name, r.Name), Value: Encode(repositoryRecord{})},
			r.registry.EventPut(Event{Type: EventTagged, Time: now, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name, Tag: tag, Previous: previous,
				Digest: desc.Digest, MediaType: m.MediaType, ArtifactType: m.ArtifactType, Size: m.Size}))
		_, err = r.registry.catalog.Commit(ctx, change)
		return err
	})
}

// DeleteTag removes a tag; its manifest stays. The error wraps oci.ErrTagImmutable for one
// that has to stay.
func (r *Repository) DeleteTag(ctx context.Context, tag string) error {
	if err := r.Deletable(tag); err != nil {
		return err
	}
	return r.deleteTag(ctx, tag, "", nil)
}

// deleteTag removes a tag, by a rule or, where that is nil, for a client; where only is not
// empty, as long as it points there.
func (r *Repository) deleteTag(ctx context.Context, tag string, only digest.Digest, by *removal) error {
	return Retry(ctx, func() error {
		desc, _, err := r.resolveTag(ctx, tag)
		if err != nil || only != "" && desc.Digest != only {
			return err
		}
		if err := r.checkMove(tag, "deleted"); err != nil {
			return err
		}
		kept, err := r.loses(ctx, tag, desc.Digest, nil)
		if err != nil {
			return err
		}
		record, err := r.get(ctx, tagKey(r.Tier.Name, r.Name, tag))
		if err != nil {
			return err
		}
		held, err := by.tag(ctx, desc.Digest, tag)
		if err != nil {
			return err
		}
		tagged := taggedPrefix(r.Tier.Name, r.Name, desc.Digest) + tag
		_, err = r.registry.catalog.Commit(ctx, Change{
			// The second says that the tag still points where it did when resolved.
			If:     append(append(kept, held...), Unchanged(record), Present(record.Key), Present(tagged)),
			Delete: []string{record.Key, tagged},
			Put: []Put{
				{Key: repoKey(r.Tier.Name, r.Name), Value: Encode(repositoryRecord{})},
				r.registry.EventPut(Event{Type: EventUntagged, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name, Tag: tag,
					Previous: desc.Digest, Cause: by.why()}),
			},
		})
		if err == nil {
			by.told(desc.Digest, tag)
		}
		return err
	})
}

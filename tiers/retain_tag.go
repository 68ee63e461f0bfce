package tiers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// findNewest goes through the tags of the repository for those that rules keep as the last
// ones.
func (k *retaining) findNewest(ctx context.Context) error {
	for _, i := range k.rules {
		if n := k.repo.Tier.Retention.Rules[i].KeepLast; n > 0 {
			k.newest[i] = &newest{most: n}
		}
	}
	if len(k.newest) == 0 {
		return nil
	}
	return k.eachTag(ctx, func(tag string, t TagRecord) error {
		if n := k.newest[k.decides(tag)]; n != nil {
			n.add(mark{t.UpdatedAt, tag})
		}
		return nil
	})
}

// tags goes through the tags again and takes what rules do not keep.
func (k *retaining) tags(ctx context.Context) error {
	rules := k.repo.Tier.Retention.Rules
	if !slices.ContainsFunc(k.rules, func(i int) bool { return !rules[i].Keep }) {
		return nil
	}
	return k.eachTag(ctx, func(tag string, t TagRecord) error {
		if !k.dooms(tag, t.UpdatedAt) {
			return nil
		}
		return k.tag(ctx, tag, t)
	})
}

// eachTag calls do for every tag that rules are about.
func (k *retaining) eachTag(ctx context.Context, do func(tag string, t TagRecord) error) error {
	prefix := tagPrefix(k.repo.Tier.Name, k.repo.Name)
	for last, more := "", true; more; more = last != "" {
		records, next, err := k.registry.page(ctx, Query{Prefix: prefix}, last, retainPage)
		if err != nil {
			return err
		}
		for _, record := range records {
			tag := strings.TrimPrefix(record.Key, prefix)
			if k.decides(tag) < 0 {
				continue
			}
			t, err := Decode[TagRecord](record)
			if err != nil {
				return err
			}
			if err := do(tag, t); err != nil {
				return err
			}
		}
		k.tell()
		last = next
	}
	return nil
}

// decides finds the rule that decides about a tag; negative: none does.
func (k *retaining) decides(tag string) int {
	if oci.IsAttachmentTag(tag) {
		return -1
	}
	for _, i := range k.rules {
		if k.repo.Tier.Retention.Rules[i].has(tag) {
			return i
		}
	}
	return -1
}

// dooms says whether a tag goes, by the rules alone, that was set at a time.
func (k *retaining) dooms(tag string, at time.Time) bool {
	i := k.decides(tag)
	if i < 0 {
		return false
	}
	rule := k.repo.Tier.Retention.Rules[i]
	return !rule.Keep &&
		(rule.KeepFor == 0 || k.at.Sub(at) >= rule.KeepFor) &&
		(rule.KeepLast == 0 || k.newest[i] != nil && !k.newest[i].has(mark{at, tag}))
}

// tag takes a tag that its rule does not keep, and its image where it is the last one.
func (k *retaining) tag(ctx context.Context, tag string, t TagRecord) error {
	item := RetainItem{Tag: tag, Digest: t.Digest, Rule: k.rule(k.decides(tag))}
	if k.repo.Tier.Immutable(tag) {
		k.kept(item, &stays{KeptImmutable, "the tag is immutable"})
		return nil
	}
	f, whole, err := k.image(ctx, tag, t.Digest)
	image := taking{digest: t.Digest, fate: f, rule: item.Rule, why: "its last tag goes", cause: item.Rule}
	switch {
	case err != nil:
	case k.options.DryRun:
		k.tagGoes(t.Digest, tag)
		if whole {
			return k.wouldGo(ctx, image)
		}
	case whole:
		err = k.take(ctx, image)
		if s := asStays(err); s == nil || s.kind != staysTagged && s.kind != staysBound {
			break
		}
		fallthrough // something has come to keep the image: the tag goes all the same
	default:
		err = k.takeTag(ctx, tag, t.Digest, item.Rule)
	}
	return k.outcome(item, err)
}

// image looks at where a tag points that its rule does not keep. whole says that the image
// goes with it: no other tag keeps it, and nothing that it belongs to is there. A dry run
// tells of it with the first of its tags. The error is a *stays where the tag does not go.
func (k *retaining) image(ctx context.Context, tag string, d digest.Digest) (f fate, whole bool, err error) {
	if !k.fates.loose[d] {
		if f, err = k.fate(ctx, d); err != nil {
			return f, false, err
		}
		whole = f.stays == nil
		if k.options.DryRun {
			whole = whole && f.first == "" && f.firstTag == tag && !k.told[d]
		}
		if k.options.DryRun || !whole {
			remember(&k.fates.loose, d, true)
		}
	}
	if whole {
		return f, true, nil
	}
	var l look
	if err := k.lookAtTags(ctx, d, []string{tag}, &l); err != nil {
		return f, false, err
	}
	if l.firstTag == "" {
		return f, false, &stays{staysGone, "the tag is not there any more"}
	}
	_, err = k.held(ctx, d)
	return f, false, err
}

// outcome notes what came of a deletion: err says why something stays, or what is wrong.
func (k *retaining) outcome(item RetainItem, err error) error {
	s := asStays(err)
	if s == nil {
		return err
	}
	switch s.kind {
	case KeptImmutable, KeptAbove, KeptPromotion, KeptChanged:
		k.kept(item, s)
	}
	return nil
}

// takeTag deletes a tag; where it points stays.
func (k *retaining) takeTag(ctx context.Context, tag string, d digest.Digest, cause string) error {
	return k.repo.deleteTag(ctx, tag, d, k.removal(cause))
}

// removal is a deletion by a rule. Where what goes is a manifest, take completes it.
func (k *retaining) removal(cause string) *removal {
	return &removal{
		cause: k.cause(cause),
		ofTag: k.held,
		ofTags: func(ctx context.Context, d digest.Digest, tags []string) ([]Condition, error) {
			var l look
			if err := k.lookAtTags(ctx, d, tags, &l); err != nil {
				return nil, err
			}
			if len(l.subjects) > 0 {
				return nil, &stays{staysBound, fmt.Sprintf("what it is attached to, %s, is there", l.subjects[0])}
			}
			if l.immutable != "" {
				return nil, &stays{KeptImmutable, "the tag " + l.immutable + " is immutable"}
			}
			return l.conditions, nil
		},
		gone: func(d digest.Digest, tags []string) {
			for _, tag := range tags {
				k.tagGoes(d, tag)
			}
		},
	}
}

// tagGoes counts a tag.
func (k *retaining) tagGoes(d digest.Digest, tag string) {
	item := RetainItem{Tag: tag, Digest: d, Why: "it goes with what it is attached to"}
	if i := k.decides(tag); i >= 0 {
		item.Rule, item.Why = k.rule(i), "the rule does not keep it"
	}
	k.done.Tags++
	k.item(item)
}

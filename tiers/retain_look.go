package tiers

import (
	"context"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// look is what the tags of a manifest say of it.
type look struct {
	firstTag   string // of those that rules are about
	attached   bool   // it hangs by a tag on another manifest, or on itself
	immutable  string // a tag that is
	subjects   []digest.Digest
	touched    time.Time   // when one by which it hangs on something that is gone was set
	conditions []Condition // that it is so
}

// lookAtAllTags looks at the tags of a manifest page by page, and at what it hangs on by
// them.
func (k *retaining) lookAtAllTags(ctx context.Context, d digest.Digest, f *fate) (look, error) {
	var l look
	for last, more := "", true; more; more = last != "" {
		tags, next, err := k.registry.listNames(ctx, taggedPrefix(k.repo.Tier.Name, k.repo.Name, d), last, fateStep)
		if err != nil {
			return l, err
		}
		if err := k.lookAtTags(ctx, d, tags, &l); err != nil {
			return l, err
		}
		if err := k.bindAll(ctx, f, l.subjects); err != nil {
			return l, err
		}
		l.conditions, l.subjects = nil, nil
		last = next
	}
	return l, nil
}

// lookAtTags looks at some tags of a manifest. The error is a *stays where a tag stays that
// a rule is about, or that none is.
func (k *retaining) lookAtTags(ctx context.Context, d digest.Digest, tags []string, l *look) error {
	var keys []string
	for _, tag := range tags {
		keys = append(keys, tagKey(k.repo.Tier.Name, k.repo.Name, tag), taggedPrefix(k.repo.Tier.Name, k.repo.Name, d)+tag)
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := k.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, tag := range tags {
		set, tagged := records[2*i], records[2*i+1]
		if set.Revision == 0 || tagged.Revision == 0 { // moved meanwhile, which the transaction finds
			continue
		}
		t, err := Decode[TagRecord](set)
		if err != nil {
			return err
		}
		if k.repo.Tier.Immutable(tag) {
			l.immutable = tag
		}
		if begin := oci.AttachedTo(tag); begin != "" {
			err = k.lookAtAttachment(ctx, d, begin, t, l)
		} else {
			err = k.lookAtTag(tag, t, tagged, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *retaining) lookAtTag(tag string, t TagRecord, tagged Record, l *look) error {
	at := t.UpdatedAt
	if len(tagged.Value) > 0 {
		again, err := Decode[taggedRecord](tagged)
		if err != nil {
			return err
		}
		at = latest(at, again.RenewedAt)
	}
	if !k.dooms(tag, at) {
		return &stays{staysTagged, "tag " + tag + " keeps it"}
	}
	if l.firstTag == "" {
		l.firstTag = tag
	}
	l.conditions = append(l.conditions, Unchanged(tagged))
	return nil
}

// lookAtAttachment looks at a tag that belongs to a digest, which begins so. What a manifest
// has attached to itself does not keep it.
func (k *retaining) lookAtAttachment(ctx context.Context, d digest.Digest, begin string, t TagRecord, l *look) error {
	l.attached = true
	if strings.HasPrefix(d.String(), begin) {
		return nil
	}
	subject, err := k.subjectOf(ctx, begin)
	if err != nil {
		return err
	}
	if subject != "" {
		l.subjects = append(l.subjects, subject)
		return nil
	}
	l.touched = latest(l.touched, t.UpdatedAt)
	l.conditions = append(l.conditions, None(manifestPrefix(k.repo.Tier.Name, k.repo.Name)+begin))
	return nil
}

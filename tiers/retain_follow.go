package tiers

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// taking is a manifest that goes.
type taking struct {
	digest digest.Digest
	fate   fate
	rule   string // the one that names it; empty of what goes with another
	why    string
	cause  string        // the rule, for events of this and what follows it
	with   digest.Digest // what it follows; empty: nothing
	level  int           // how many others before it
	// allows, where not nil, is asked at every try.
	allows func(record Record, m ManifestRecord) error
}

// take removes a manifest and what hangs on it. The error is a *stays, as asStays says,
// where it does not go.
func (k *retaining) take(ctx context.Context, t taking) error {
	by := k.removal(along(t.cause, t.with))
	by.ofManifest = func(ctx context.Context, d digest.Digest, record Record, m ManifestRecord) (Change, error) {
		if t.allows != nil {
			if err := t.allows(record, m); err != nil {
				return Change{}, err
			}
		}
		return k.leaves(ctx, d, m, t.cause)
	}
	err := Retry(ctx, func() error { return k.repo.deleteManifest(ctx, t.digest, by) })
	if err != nil {
		return err
	}
	k.manifestGoes(t)
	return k.follow(ctx, t.digest, t.level+1)
}

// leaves makes the conditions on which a manifest goes, and the record of what it leaves
// behind where that is anything.
func (k *retaining) leaves(ctx context.Context, d digest.Digest, m ManifestRecord, cause string) (Change, error) {
	t, name := k.repo.Tier.Name, k.repo.Name
	conditions, err := k.held(ctx, d)
	if err != nil {
		return Change{}, err
	}
	if m.Subject != "" {
		gone := Absent(manifestKey(t, name, m.Subject))
		subject, err := k.repo.get(ctx, gone.Key)
		if err != nil {
			return Change{}, err
		}
		if subject.Revision != 0 {
			return Change{}, &stays{staysBound, "its subject " + m.Subject.String() + " is there"}
		}
		conditions = append(conditions, gone)
	}
	children, err := k.children(ctx, d, m)
	if err != nil {
		return Change{}, err
	}
	attached := []string{referrerPrefix(t, name, d), tagPrefix(t, name) + oci.FallbackTag(d)}
	follows := len(children) > 0
	for _, prefix := range attached {
		names, _, err := k.registry.listNames(ctx, prefix, "", 1)
		if err != nil {
			return Change{}, err
		}
		follows = follows || len(names) > 0
	}
	change := Change{If: conditions}
	if follows {
		change.Put = []Put{{Key: orphanedKey(t, name, d), Value: Encode(orphanedRecord{Cause: cause, Children: children})}}
	} else {
		change.If = append(change.If, None(attached[0]), None(attached[1]))
	}
	return change, nil
}

// children are the manifests of an index, each once. One that cannot be read goes all the
// same, and its children stay until a rule is about them.
func (k *retaining) children(ctx context.Context, d digest.Digest, m ManifestRecord) ([]digest.Digest, error) {
	if !oci.IsIndex(m.MediaType) {
		return nil, nil
	}
	parsed, err := k.repo.parsed(ctx, d)
	if errors.Is(err, oci.ErrCorrupt) || errors.Is(err, oci.ErrObjectUnknown) || errors.Is(err, oci.ErrBlobUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var children []digest.Digest
	for _, c := range parsed.Children {
		children = append(children, c.Digest)
	}
	slices.Sort(children)
	return slices.Compact(children), nil
}

// orphans goes on with what former runs have left to follow.
func (k *retaining) orphans(ctx context.Context) error {
	prefix := orphanedPrefix(k.repo.Tier.Name, k.repo.Name)
	for last, more := "", true; more; more = last != "" {
		records, next, err := k.registry.page(ctx, Query{Prefix: prefix}, last, retainPage)
		if err != nil {
			return err
		}
		for _, record := range records {
			if err := k.settle(ctx, digest.Digest(strings.TrimPrefix(record.Key, prefix)), record, 1); err != nil {
				return err
			}
		}
		last = next
	}
	return nil
}

// follow takes what hung on a manifest that has just gone.
func (k *retaining) follow(ctx context.Context, d digest.Digest, level int) error {
	if level > maxLevels {
		return nil
	}
	orphaned, err := k.repo.get(ctx, orphanedKey(k.repo.Tier.Name, k.repo.Name, d))
	if err != nil || orphaned.Revision == 0 {
		return err
	}
	return k.settle(ctx, d, orphaned, level)
}

// settle takes what hung on a manifest that is gone, and then the record that says so.
// Where the manifest was pushed again, that is all that goes.
func (k *retaining) settle(ctx context.Context, d digest.Digest, orphaned Record, level int) error {
	left, err := Decode[orphanedRecord](orphaned)
	if err != nil {
		return err
	}
	back, err := k.repo.get(ctx, manifestKey(k.repo.Tier.Name, k.repo.Name, d))
	if err != nil {
		return err
	}
	later := false
	if back.Revision == 0 {
		err = k.followers(ctx, d, left.Children, func(f follower) error {
			if k.options.DryRun {
				return k.wouldFollow(ctx, d, orphaned, f, level)
			}
			waits, err := k.takeAlong(ctx, d, orphaned, left, f, level)
			later = later || waits
			return err
		})
	}
	if err != nil || later || k.options.DryRun {
		return err
	}
	_, err = k.registry.catalog.Commit(ctx, Change{If: []Condition{Unchanged(orphaned)}, Delete: []string{orphaned.Key}})
	if errors.Is(err, oci.ErrConflict) { // another run is at it
		return nil
	}
	return err
}

// follower is a manifest that hangs on another.
type follower struct {
	digest digest.Digest
	tag    string // by which it does; empty: as a child or by its subject
	set    Record // the tag
}

// followers calls do for all that hangs on a manifest: what has a tag of it first, since the
// index under the fallback tag names the referrers as its children.
func (k *retaining) followers(ctx context.Context, d digest.Digest, children []digest.Digest, do func(follower) error) error {
	all := tagPrefix(k.repo.Tier.Name, k.repo.Name)
	prefix := all + oci.FallbackTag(d)
	for last, more := "", true; more; more = last != "" {
		records, next, err := k.registry.page(ctx, Query{Prefix: prefix}, last, retainPage)
		if err != nil {
			return err
		}
		for _, record := range records {
			t, err := Decode[TagRecord](record)
			if err != nil {
				return err
			}
			tag := strings.TrimPrefix(record.Key, all)
			if t.Digest == d || !strings.HasPrefix(d.String(), oci.AttachedTo(tag)) {
				continue
			}
			if err := do(follower{t.Digest, tag, record}); err != nil {
				return err
			}
		}
		last = next
	}
	for last, more := "", true; more; more = last != "" {
		names, next, err := k.registry.listNames(ctx, referrerPrefix(k.repo.Tier.Name, k.repo.Name, d), last, retainPage)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := do(follower{digest: digest.Digest(name)}); err != nil {
				return err
			}
		}
		last = next
	}
	for _, child := range children {
		if err := do(follower{digest: child}); err != nil {
			return err
		}
	}
	return nil
}

// takeAlong takes one of them, unless it was set or pushed since the other went. later says
// that it may yet go, so that the record has to stay.
func (k *retaining) takeAlong(ctx context.Context, d digest.Digest, orphaned Record, left orphanedRecord, f follower, level int) (later bool, err error) {
	fate, err := k.fate(ctx, f.digest)
	if err != nil || max(f.set.Revision, fate.record.Revision) > orphaned.Revision {
		return false, err
	}
	if fate.stays == nil {
		err := k.take(ctx, taking{digest: f.digest, fate: fate, why: whyFollows, cause: left.Cause, with: d, level: level,
			allows: func(record Record, m ManifestRecord) error {
				if k.again(m) || record.Revision > orphaned.Revision {
					return &stays{staysAgain, "it was pushed again"}
				}
				return nil
			}})
		if fate.stays = asStays(err); fate.stays == nil {
			return false, err
		}
	}
	if f.tag != "" && fate.stays.kind != staysGone {
		if err := k.takeTag(ctx, f.tag, f.digest, along(left.Cause, d)); err != nil && asStays(err) == nil {
			return false, err
		}
	}
	switch fate.stays.kind {
	case KeptPromotion, KeptChanged, staysAgain:
		later = true
	}
	return later, nil
}

// along is the cause of what goes with something else.
func along(cause string, with digest.Digest) string {
	if with == "" {
		return cause
	}
	return cause + ", with " + with.String()
}

// whyFollows is why goes what no rule names.
const whyFollows = "what it belongs or is attached to goes"

// manifestGoes counts a manifest.
func (k *retaining) manifestGoes(t taking) {
	k.done.Manifests++
	k.done.Bytes += t.fate.manifest.Size
	if t.fate.manifest.Subject != "" || t.fate.attached {
		k.done.Referrers++
	}
	k.item(RetainItem{Digest: t.digest, Rule: t.rule, Why: t.why})
}

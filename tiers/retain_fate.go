package tiers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Bounds of what is known of manifests at once, and of how far anybody looks.
const (
	maxFates  = 4096
	maxLevels = 64 // of what hangs on what; deeper ones are left for the next run
	fateStep  = 50 // tags, or indexes, of one manifest that are looked at in one step
)

// Beside the Kept… constants, which are told: what keeps something that no rule names.
const (
	staysTagged = "tagged"       // a tag keeps it
	staysBound  = "bound"        // an index or a subject does
	staysAgain  = "pushed again" // and may be on its way into an index
	staysYoung  = "young"
	staysGone   = "gone" // it is not there
)

// stays says why something does not go. It is an error, so that it ends a deletion.
type stays struct{ kind, why string }

// Error says why.
func (s *stays) Error() string { return s.why }

// asStays is err as what it says of a deletion that came to nothing; nil where it is about
// something else.
func asStays(err error) *stays {
	var s *stays
	switch {
	case errors.As(err, &s):
		return s
	case errors.Is(err, oci.ErrManifestUnknown):
		return &stays{staysGone, "it is gone"}
	case errors.Is(err, errPart), errors.Is(err, oci.ErrUnsupported), errors.Is(err, oci.ErrTagImmutable):
		return &stays{staysBound, err.Error()}
	case errors.Is(err, oci.ErrConflict):
		return &stays{KeptChanged, "it was changed again and again meanwhile"}
	}
	return nil
}

// fate is what becomes of a manifest.
type fate struct {
	record   Record
	manifest ManifestRecord
	stays    *stays // nil: nothing keeps it
	firstTag string // of its tags, which all go; empty: it has none
	attached bool   // it hangs on another by a tag of that one's
	// first is the first of what it belongs to or is attached to, all of which goes too. Only
	// a dry run finds any: otherwise that is gone before anybody looks.
	first   digest.Digest
	touched time.Time // when it, or the tag that it hangs by, was last pushed
}

// fates are what was found out about manifests that others hang on.
type fates struct {
	goes  map[digest.Digest]bool
	under map[digest.Digest]bool // being looked at: who meets one of them again goes in circles
	loose map[digest.Digest]bool // stays when its tags go, or was told of with the first of them
}

func remember(known *map[digest.Digest]bool, d digest.Digest, is bool) {
	if len(*known) >= maxFates || *known == nil {
		*known = map[digest.Digest]bool{}
	}
	(*known)[d] = is
}

// fate finds out what becomes of a manifest. In a dry run what goes is still there, so that
// something keeps it only if it stays itself.
func (k *retaining) fate(ctx context.Context, d digest.Digest) (fate, error) {
	var f fate
	var err error
	if f.record, f.manifest, err = k.repo.manifestRecord(ctx, d); err != nil {
		if f.stays = asStays(err); f.stays != nil {
			err = nil
		}
		return f, err
	}
	f.touched = latest(f.manifest.CreatedAt, f.manifest.RenewedAt)
	l, err := k.lookAtAllTags(ctx, d, &f)
	f.firstTag, f.attached, f.touched = l.firstTag, l.attached, latest(f.touched, l.touched)
	if err == nil {
		err = k.bound(ctx, d, &f)
	}
	if err == nil && l.immutable != "" {
		err = &stays{KeptImmutable, "its tag " + l.immutable + " is immutable"}
	}
	if err == nil {
		_, err = k.held(ctx, d)
	}
	if f.stays = asStays(err); f.stays != nil {
		err = nil
	}
	return f, err
}

// goes says whether a manifest goes that others hang on.
func (k *retaining) goes(ctx context.Context, d digest.Digest) (bool, error) {
	if k.told[d] {
		return true, nil
	}
	if known, ok := k.fates.goes[d]; ok {
		return known, nil
	}
	if k.fates.under[d] || len(k.fates.under) > 2*maxLevels {
		return false, nil
	}
	if k.fates.under == nil {
		k.fates.under = map[digest.Digest]bool{}
	}
	k.fates.under[d] = true
	f, err := k.fate(ctx, d)
	delete(k.fates.under, d)
	if err != nil {
		return false, err
	}
	is := f.stays == nil && (f.first != "" && !k.again(f.manifest) || f.first == "" && (f.firstTag != "" || k.old(f)))
	remember(&k.fates.goes, d, is)
	return is, nil
}

// bound looks for an index that names the manifest, and for its subject.
func (k *retaining) bound(ctx context.Context, d digest.Digest, f *fate) error {
	prefix := k.repo.parents(d)
	for last, more := "", true; more; more = last != "" {
		names, next, err := k.registry.listNames(ctx, prefix, last, fateStep)
		if err != nil {
			return err
		}
		parents, err := k.there(ctx, names)
		if err != nil {
			return err
		}
		if err := k.bindAll(ctx, f, parents); err != nil {
			return err
		}
		last = next
	}
	if f.manifest.Subject == "" {
		return nil
	}
	subject, err := k.repo.get(ctx, manifestKey(k.repo.Tier.Name, k.repo.Name, f.manifest.Subject))
	if err != nil || subject.Revision == 0 {
		return err
	}
	return k.bindAll(ctx, f, []digest.Digest{f.manifest.Subject})
}

// bindAll says of manifests that another belongs or is attached to whether they keep it.
func (k *retaining) bindAll(ctx context.Context, f *fate, to []digest.Digest) error {
	for _, d := range to {
		goes := false
		if k.options.DryRun {
			var err error
			if goes, err = k.goes(ctx, d); err != nil {
				return err
			}
		}
		if !goes {
			return &stays{staysBound, d.String() + ", which it belongs or is attached to, stays"}
		}
		if f.first == "" {
			f.first = d
		}
	}
	return nil
}

// there says which of the manifests that refer to another are there. One that is being
// pushed will be, and keeps the other.
func (k *retaining) there(ctx context.Context, names []string) (there []digest.Digest, err error) {
	t, name := k.repo.Tier.Name, k.repo.Name
	keys := make([]string, 0, 2*len(names))
	for _, d := range names {
		keys = append(keys, manifestKey(t, name, digest.Digest(d)), pushingKey(t, name, digest.Digest(d)))
	}
	if len(keys) == 0 {
		return nil, nil
	}
	records, err := k.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for i, d := range names {
		switch {
		case records[2*i].Revision != 0:
			there = append(there, digest.Digest(d))
		case records[2*i+1].Revision != 0:
			return nil, &stays{staysBound, "the index " + d + " is being pushed"}
		}
	}
	return there, nil
}

// held says whether anything outside of the tier needs a manifest: the error is a *stays.
// The conditions say that nothing does.
func (k *retaining) held(ctx context.Context, d digest.Digest) ([]Condition, error) {
	if k.options.Keep != nil {
		why, err := k.options.Keep(ctx, k.repo.Tier.Name, k.repo.Name, d)
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, &stays{KeptPromotion, why}
		}
	}
	pins := pinPrefix(k.repo.Tier.store, d)
	names, _, err := k.registry.listNames(ctx, pins, "", 1)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, &stays{KeptPromotion, fmt.Sprintf("promotion %s needs it", names[0])}
	}
	conditions := []Condition{None(pins)}
	if len(k.above) == 0 {
		return conditions, nil
	}
	var keys []string
	for _, t := range k.above {
		keys = append(keys, manifestKey(t.Name, k.repo.Name, d))
		conditions = append(conditions, Absent(manifestKey(t.Name, k.repo.Name, d)))
	}
	records, err := k.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		if record.Revision != 0 {
			return nil, &stays{KeptAbove, "tier " + k.above[i].Name + " has it"}
		}
	}
	return conditions, nil
}

// subjectOf finds the manifest that a tag belongs to, by how its digest begins; empty where
// it is not there.
func (k *retaining) subjectOf(ctx context.Context, begin string) (digest.Digest, error) {
	prefix := manifestPrefix(k.repo.Tier.Name, k.repo.Name) + begin
	names, _, err := k.registry.listNames(ctx, prefix, "", 1)
	if err != nil || len(names) == 0 {
		return "", err
	}
	return digest.Digest(begin + names[0]), nil
}

// again says whether a client has pushed a manifest again lately, although it was there.
func (k *retaining) again(m ManifestRecord) bool {
	return !m.RenewedAt.IsZero() && k.at.Sub(m.RenewedAt) < againFor
}

// old says whether a manifest goes because it has no tag.
func (k *retaining) old(f fate) bool {
	if k.untagged < 0 {
		return false
	}
	rule := k.repo.Tier.Retention.Rules[k.untagged]
	return rule.Untagged > 0 && k.at.Sub(f.touched) >= rule.Untagged && !k.again(f.manifest)
}

package tiers

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"sluice.dev/sluice/oci"
)

// Bounds of what limits may say.
const (
	maxUploads     = MaxPage // they are counted in one page
	maxQuotaNested = 8       // quotas that count one repository: each is a record in its transactions
	maxQuotas      = 1000    // of one tier
)

// Limits are what a tier that clients push to takes from them. The zero value asks for
// nothing beyond the registry's own limits. What is there already is not looked at again:
// a limit that was lowered holds for what comes.
type Limits struct {
	BlobSize     int64 // bytes of one blob; 0: any size
	ManifestSize int64 // bytes of one manifest; 0: oci.MaxManifestSize, which is the most
	NameLength   int   // bytes of a repository name without its tier, for pushes; 0: as long as names may be
	// Uploads is how many upload sessions may be open at once, 10,000 at the most; 0: any
	// number. A blob that is pushed in one request needs none.
	Uploads int
	// ImmutableTags are patterns (path.Match) of the tags that stay where they were first
	// set: they neither move nor go.
	ImmutableTags []string
	NoDelete      bool    // of tags, manifests and blobs
	Quotas        []Quota // see usage.go for what counts
}

// Quota bounds what the repositories under a prefix hold together.
type Quota struct {
	// Prefix is made of whole components of repository names, without the tier: acme is
	// acme and acme/app, not acmeco. Empty: all of the tier.
	Prefix string
	Bytes  int64
}

// covers says whether the quota counts a repository.
func (q Quota) covers(name string) bool {
	return q.Prefix == "" || name == q.Prefix || strings.HasPrefix(name, q.Prefix+"/")
}

// Problem is something that limits must not say.
type Problem struct {
	Field string // as the configuration calls it: blobSize, quotas[1].prefix
	Text  string // what is wrong with it, and what would be right
}

// String says where and what.
func (p Problem) String() string { return strings.TrimSpace(p.Field + " " + p.Text) }

// Problems lists everything that is wrong with the limits of a tier; push says whether
// clients push to it.
func (l Limits) Problems(push bool) []Problem {
	var found []Problem
	add := func(field, format string, args ...any) {
		found = append(found, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
	}
	if !push {
		if !l.none() {
			add("", "limit nothing here: only promotion fills this tier, and what rises was limited in the tier that clients push to: put them there")
		}
		return found
	}
	if l.BlobSize < 0 {
		add("blobSize", "is negative: leave it out for no limit")
	}
	if l.ManifestSize < 0 || l.ManifestSize > oci.MaxManifestSize {
		add("manifestSize", "is %d bytes: want up to %d, which is what the registry takes", l.ManifestSize, oci.MaxManifestSize)
	}
	if l.NameLength < 0 || l.NameLength > oci.MaxNameLength {
		add("nameLength", "is %d: want up to %d, the most that a name has with its tier", l.NameLength, oci.MaxNameLength)
	}
	if l.Uploads < 0 || l.Uploads > maxUploads {
		add("uploads", "is %d: want up to %d, or leave it out for no limit", l.Uploads, maxUploads)
	}
	for i, pattern := range l.ImmutableTags {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			add(fmt.Sprintf("immutableTags[%d]", i), "%q is no pattern: * is any run of characters, ? one", pattern)
		}
	}
	l.quotaProblems(add)
	return found
}

func (l Limits) quotaProblems(add func(field, format string, args ...any)) {
	if len(l.Quotas) > maxQuotas {
		add("quotas", "are %d: want up to %d", len(l.Quotas), maxQuotas)
		return
	}
	for i, q := range l.Quotas {
		at := fmt.Sprintf("quotas[%d]", i)
		if q.Prefix != "" && oci.CheckName(q.Prefix) != nil {
			add(at+".prefix", "%q: want whole components of a repository name without the tier, acme or acme/team say, and no patterns; leave it out for the whole tier", q.Prefix)
			continue
		}
		if q.Bytes <= 0 {
			add(at+".size", "is missing: how much the repositories may hold together, 500GiB say")
		}
		around := 0
		for j, other := range l.Quotas {
			if other.Prefix == q.Prefix && j < i {
				add(at+".prefix", "%q has a quota already", q.Prefix)
			}
			if other.covers(q.Prefix) {
				around++
			}
		}
		if around > maxQuotaNested {
			add(at+".prefix", "%q lies within %d quotas: want up to %d", q.Prefix, around, maxQuotaNested)
		}
	}
}

// none says whether nothing is limited.
func (l Limits) none() bool {
	return l.BlobSize == 0 && l.ManifestSize == 0 && l.NameLength == 0 && l.Uploads == 0 &&
		len(l.ImmutableTags) == 0 && !l.NoDelete && len(l.Quotas) == 0
}

// setLimits checks the limits and makes what they need at run time.
func (t *Tier) setLimits() error {
	var problems []error
	for _, p := range t.Limits.Problems(t.Push) {
		problems = append(problems, fmt.Errorf("tier %q: limits: %s", t.Name, p))
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	t.Limits.ImmutableTags = slices.Clone(t.Limits.ImmutableTags)
	t.Limits.Quotas = slices.Clone(t.Limits.Quotas)
	t.uploading, t.quotas = &uploading{}, newQuotas(t.Name, t.Limits.Quotas)
	return nil
}

// MaxManifest is how many bytes a manifest may have that is pushed to the tier.
func (t *Tier) MaxManifest() int64 {
	if t.Limits.ManifestSize > 0 {
		return t.Limits.ManifestSize
	}
	return oci.MaxManifestSize
}

// checkManifest says whether a manifest of the given size is taken.
func (t *Tier) checkManifest(size int64) error {
	if most := t.MaxManifest(); size > most {
		return fmt.Errorf("%w: the manifest has %d bytes, tier %s takes at most %d", oci.ErrTooLarge, size, t.Name, most)
	}
	return nil
}

// checkBlob says whether a blob of the given size is taken.
func (t *Tier) checkBlob(size int64) error {
	if most := t.Limits.BlobSize; most > 0 && size > most {
		return fmt.Errorf("%w: the blob has %d bytes or more, tier %s takes at most %d", oci.ErrTooLarge, size, t.Name, most)
	}
	return nil
}

// Immutable says whether clients can neither move nor delete tag once it is set.
func (t *Tier) Immutable(tag string) bool { return matches(t.Limits.ImmutableTags, tag) }

// matches says whether one of the patterns, which New has checked, is that of tag.
func matches(patterns []string, tag string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, tag)
		return ok && err == nil
	})
}

// checkMove says whether a tag may leave the manifest that it points at.
func (r *Repository) checkMove(tag, way string) error {
	if !r.Tier.Immutable(tag) {
		return nil
	}
	return fmt.Errorf("%w: %s:%s cannot be %s: tags like it stay where they were first set: push under another tag", oci.ErrTagImmutable, r.FullName(), tag, way)
}

// Pushable says whether clients may bring something new here: it is Writable, and the name
// is not longer than the tier allows. What is under a longer name can still be read and
// deleted.
func (r *Repository) Pushable(reference string) error {
	if err := r.Writable(reference); err != nil && !r.own {
		return err
	}
	if most := r.Tier.Limits.NameLength; most > 0 && len(r.Name) > most {
		return fmt.Errorf("%w: %q has %d bytes, tier %s takes at most %d", oci.ErrNameInvalid, r.Name, len(r.Name), r.Tier.Name, most)
	}
	return nil
}

// Deletable says whether clients may delete here; the error wraps oci.ErrUnsupported where
// the tier allows nobody to.
func (r *Repository) Deletable(reference string) error {
	if err := r.Writable(reference); err != nil {
		return err
	}
	if r.Tier.Limits.NoDelete {
		return fmt.Errorf("%w: deleting is switched off in tier %s", oci.ErrUnsupported, r.Tier.Name)
	}
	return nil
}

package tiers

import (
	"context"
	"fmt"
	"strings"
)

// Facts are what an event has to say of a record of a tier, in words: what a manifest is,
// where a tag points, how long a blob is that a repository may read. Empty of a record that
// is not there, or that nobody sees yet. When it was written, and by whom, is left out.
func (r *Registry) Facts(ctx context.Context, record Record) (string, error) {
	if record.Revision == 0 {
		return "", nil
	}
	kind, _ := KindOf(record.Key)
	switch kind.Family {
	case "tier/*/manifest/":
		_, v, ok, err := seen[ManifestRecord](ctx, r, record)
		if err != nil || !ok {
			return "", err
		}
		text := fmt.Sprintf("a %s of %d bytes", v.MediaType, v.Size)
		if v.ArtifactType != "" {
			text += ", artifact type " + v.ArtifactType
		}
		if v.Subject != "" {
			text += ", about " + v.Subject.String()
		}
		return text, nil
	case "tier/*/tag/":
		v, err := Decode[TagRecord](record)
		return fmt.Sprintf("it points at %s, a %s of %d bytes", v.Digest, v.MediaType, v.Size), err
	case "tier/*/link/":
		_, v, ok, err := seen[LinkRecord](ctx, r, record)
		if err != nil || !ok {
			return "", err
		}
		return fmt.Sprintf("a blob of %d bytes", v.Size), nil
	}
	return string(record.Value), nil
}

// About begins a finding about a record of a tier.
func About(key string) Finding {
	f := Finding{Key: key}
	for _, family := range []string{"manifest/", "tag/", "link/"} {
		tier, name, ok := cutTier(key, family)
		if !ok {
			continue
		}
		f.Tier = tier
		f.Repository, _, _ = strings.Cut(name, ":")
		if repo, d, _, ok := cutKey(name); ok {
			f.Repository, f.Digest = repo, d
		}
	}
	return f
}

// Comparable lists the beginnings of the keys of all records that Facts says anything of.
func (r *Registry) Comparable() (prefixes []string) {
	prefixes = append(prefixes, prefixQuarantine)
	for _, t := range r.tiers {
		prefixes = append(prefixes, manifestsPrefix(t.Name), "tier/"+t.Name+"/tag/", linkPrefix(t.Name))
	}
	return prefixes
}

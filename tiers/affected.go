package tiers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Bounds of the search for what holds a digest.
const (
	maxHolders     = 1000   // manifests in repositories that are named
	maxHolderLooks = 20_000 // references that are looked at for them
	maxHolderTags  = 20     // of one manifest
)

// Affected is a manifest of a repository that is in quarantine with a digest: the digest
// itself, or what holds it.
type Affected struct {
	Tier       string        `json:"tier"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Tags       []string      `json:"tags"` // the first of them
}

// Affected lists where a digest stands and what holds it, in all tiers, by tier from the
// bottom up, repository and digest. truncated says that there may be more: the search is
// bounded. It goes by the references of the catalog, upwards, and reads no bytes.
func (r *Registry) Affected(ctx context.Context, d digest.Digest) (found []Affected, truncated bool, err error) {
	s := upwards{registry: r, mostPlaces: maxHolders}
	if err := s.all(ctx, d); err != nil {
		return nil, false, err
	}
	found, err = s.shown(ctx)
	return found, s.truncated, err
}

// Holders lists d and what holds it now, in whatever tier: the manifests that need the bytes
// of d, and the indexes that these are in, however deep. What is attached to something does
// not hold it. More than most are an error that wraps oci.ErrRequestInvalid: an answer that
// left some out would pass for a whole one.
func (r *Registry) Holders(ctx context.Context, d digest.Digest, most int) ([]digest.Digest, error) {
	s := upwards{registry: r, mostDigests: most}
	if err := s.all(ctx, d); err != nil {
		return nil, err
	}
	if s.truncated || len(s.digests) > most {
		return nil, fmt.Errorf("%w: more than %d manifests hold %s: ask for those that matter", oci.ErrRequestInvalid, most, d)
	}
	return s.digests, nil
}

// holder is a manifest in a repository of a tier.
type holder struct {
	tier, repository string
	digest           digest.Digest
}

// upwards is a search for what holds a digest. It ends early where it has found as much as it
// may, and says so.
type upwards struct {
	registry                *Registry
	mostPlaces, mostDigests int // zero: as many as there are

	places    map[holder]bool
	digests   []digest.Digest // in the order in which they were found
	looks     int
	truncated bool
}

// all goes through all stores.
func (s *upwards) all(ctx context.Context, d digest.Digest) error {
	s.places = map[holder]bool{}
	found := map[digest.Digest]bool{d: true}
	s.digests = []digest.Digest{d}
	for _, p := range s.registry.places() {
		if err := s.store(ctx, p.store, d, found); err != nil {
			return fmt.Errorf("what holds %s: %w", d, err)
		}
	}
	return nil
}

// store goes upwards in a store, from a digest to the manifests that need it and on to the
// indexes that need those.
func (s *upwards) store(ctx context.Context, store string, d digest.Digest, found map[digest.Digest]bool) error {
	looked := map[digest.Digest]bool{d: true}
	for next := []digest.Digest{d}; len(next) > 0; next = next[1:] {
		prefix := refPrefix(store, next[0])
		for last := ""; ; {
			if s.looks >= maxHolderLooks || s.mostPlaces > 0 && len(s.places) >= s.mostPlaces || s.mostDigests > 0 && len(s.digests) > s.mostDigests {
				s.truncated = true
				return nil
			}
			names, more, err := s.registry.listNames(ctx, prefix, last, maxHolders)
			if err != nil {
				return err
			}
			s.looks += len(names)
			for _, name := range names {
				above, ok := s.reference(name, next[0])
				if ok && !looked[above] {
					looked[above] = true
					next = append(next, above)
				}
				if ok && !found[above] {
					found[above] = true
					s.digests = append(s.digests, above)
				}
			}
			if last = more; more == "" {
				break
			}
		}
	}
	return nil
}

// reference takes a reference to d apart: a manifest that needs it, or d itself as a manifest
// of a repository. What is pinned and what events tell of is neither.
func (s *upwards) reference(name string, d digest.Digest) (above digest.Digest, ok bool) {
	self, own := strings.CutPrefix(name, ".manifest/")
	if own {
		name = self + "@" + d.String()
	} else if strings.HasPrefix(name, ".") {
		return "", false
	}
	tier, rest, _ := strings.Cut(name, "/")
	repository, raw, _ := strings.Cut(rest, "@")
	above, err := oci.ParseDigest(raw)
	if err != nil || s.registry.find(tier) == nil {
		return "", false
	}
	s.places[holder{tier, repository, above}] = true
	return above, true
}

// shown are those that can be seen, with their tags.
func (s *upwards) shown(ctx context.Context) ([]Affected, error) {
	order := map[string]int{}
	for i, t := range s.registry.tiers {
		order[t.Name] = i
	}
	places := make([]holder, 0, len(s.places))
	for p := range s.places {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b holder) int {
		return cmp.Or(cmp.Compare(order[a.tier], order[b.tier]), cmp.Compare(a.repository, b.repository), cmp.Compare(a.digest, b.digest))
	})
	found := []Affected{}
	for len(places) > 0 {
		n := 1 // of one repository
		for n < len(places) && places[n].tier == places[0].tier && places[n].repository == places[0].repository {
			n++
		}
		some, err := s.of(ctx, places[:n])
		if err != nil {
			return nil, err
		}
		found, places = append(found, some...), places[n:]
	}
	if len(found) > maxHolders {
		found, s.truncated = found[:maxHolders], true
	}
	return found, nil
}

// of are those of one repository that can be seen.
func (s *upwards) of(ctx context.Context, places []holder) ([]Affected, error) {
	repo, err := s.registry.Repository(places[0].tier, places[0].repository, "")
	if err != nil {
		return nil, err
	}
	digests := make([]digest.Digest, len(places))
	for i, p := range places {
		digests[i] = p.digest
	}
	missing, err := repo.Missing(ctx, digests)
	if err != nil {
		return nil, err
	}
	var found []Affected
	for _, p := range places {
		if slices.Contains(missing, p.digest) {
			continue
		}
		tags, _, err := s.registry.listNames(ctx, taggedPrefix(p.tier, p.repository, p.digest), "", maxHolderTags)
		if err != nil {
			return nil, err
		}
		found = append(found, Affected{Tier: p.tier, Repository: p.repository, Digest: p.digest, Tags: append([]string{}, tags...)})
	}
	return found, nil
}

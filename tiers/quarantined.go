package tiers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
)

// Bounds of the search for what is in quarantine.
const (
	maxHeld   = 50_000 // manifests that one index holds, with those of the indexes in it
	heldReads = 16     // manifests that are read at once
	heldCosts = 110    // bytes that one digest takes in memory, about
)

// quarantined is what is in quarantine as this replica saw it last, and what manifests hold.
type quarantined struct {
	now     atomic.Pointer[quarantinedSet]
	loading chan struct{} // of one: who loads it
	held    *pages
}

// quarantinedSet is all that was in quarantine at one generation, at most maxQuarantines
// digests. Why, the catalog says: only who is refused is told.
type quarantinedSet struct {
	generation int64
	digests    map[digest.Digest]struct{}
}

func (s *quarantinedSet) has(d digest.Digest) bool {
	_, ok := s.digests[d]
	return ok
}

// holdings are what a manifest names. It never changes; generation says for which set it is
// known what it holds of it.
type holdings struct {
	blobs    []digest.Digest
	children []ocispec.Descriptor // media type and digest
	of       digest.Digest        // in quarantine at the generation; empty: nothing is
	missing  bool                 // its bytes, or those of a manifest below, are not there; never kept
}

func newQuarantined() (*quarantined, error) {
	held, err := newPages()
	q := &quarantined{loading: make(chan struct{}, 1), held: held}
	q.now.Store(&quarantinedSet{digests: map[digest.Digest]struct{}{}})
	return q, err
}

// setAt is what is in quarantine at a generation, or at a later one.
func (r *Registry) setAt(ctx context.Context, generation int64) (*quarantinedSet, error) {
	q := r.quarantined
	if s := q.now.Load(); s.generation == generation {
		return s, nil
	}
	select {
	case q.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-q.loading }()
	for range maxTries {
		records, err := r.catalog.Get(ctx, quarantinedKey)
		if err != nil {
			return nil, err
		}
		if s := q.now.Load(); s.generation == records[0].Revision {
			return s, nil // somebody else has loaded it
		}
		s, err := r.loadSet(ctx, records[0].Revision)
		if err != nil {
			return nil, err
		}
		if s != nil {
			q.now.Store(s)
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: what is in quarantine changes all the time", oci.ErrUnavailable)
}

// advance makes of what was in quarantine at one generation what a change has made of it.
func (q *quarantined) advance(from, to int64, change Change) {
	s := q.now.Load()
	if s.generation != from {
		return // the next pull lists it
	}
	next := &quarantinedSet{generation: to, digests: maps.Clone(s.digests)}
	for _, key := range change.Delete {
		delete(next.digests, digest.Digest(strings.TrimPrefix(key, prefixQuarantine)))
	}
	for _, put := range change.Put {
		if d, ok := strings.CutPrefix(put.Key, prefixQuarantine); ok {
			next.digests[digest.Digest(d)] = struct{}{}
		}
	}
	q.now.CompareAndSwap(s, next)
}

// loadSet lists what is in quarantine; nil where that has changed since the generation. The
// list is read in steps, so it counts only if the generation is the same behind it.
func (r *Registry) loadSet(ctx context.Context, generation int64) (*quarantinedSet, error) {
	s := &quarantinedSet{generation: generation, digests: map[digest.Digest]struct{}{}}
	if generation == 0 {
		return s, nil
	}
	for last := ""; ; {
		records, next, err := r.page(ctx, Query{Prefix: prefixQuarantine, KeysOnly: true}, last, MaxPage-1)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			s.digests[digest.Digest(strings.TrimPrefix(record.Key, prefixQuarantine))] = struct{}{}
		}
		if last = next; next == "" {
			break
		}
	}
	records, err := r.catalog.Get(ctx, quarantinedKey)
	if err != nil || records[0].Revision != generation {
		return nil, err
	}
	return s, nil
}

// quarantineIn finds what keeps a manifest or blob from being pulled: itself, or what it
// holds. generation is the record of the generation as it was read with it; nil where
// nothing does.
func (r *Registry) quarantineIn(ctx context.Context, t *Tier, generation Record, desc ocispec.Descriptor) (*Quarantine, error) {
	for range maxTries {
		if generation.Revision == 0 { // nothing ever was
			return nil, nil
		}
		s, err := r.setAt(ctx, generation.Revision)
		if err != nil {
			return nil, err
		}
		if len(s.digests) == 0 {
			return nil, nil
		}
		of, err := r.holdsOf(ctx, t, s, desc)
		if of == "" || err != nil {
			return nil, err
		}
		q, _, all, err := r.quarantine(ctx, of)
		if q != nil {
			return q, nil
		}
		if err != nil && !errors.Is(err, oci.ErrConflict) {
			return nil, err
		}
		// It was lifted, or its time was over: something else may keep it.
		generation = all.record
	}
	return nil, fmt.Errorf("%w: what is in quarantine changes all the time", oci.ErrUnavailable)
}

// holdsOf finds a digest of s that desc is or, of a manifest, holds; empty where there is none.
func (r *Registry) holdsOf(ctx context.Context, t *Tier, s *quarantinedSet, desc ocispec.Descriptor) (digest.Digest, error) {
	if s.has(desc.Digest) {
		return desc.Digest, nil
	}
	if !oci.IsManifest(desc.MediaType) {
		return "", nil
	}
	kept, ok := r.quarantined.held.get(heldKey(desc.Digest))
	if h, is := kept.page.(holdings); ok && is && kept.generation == s.generation {
		return h.of, nil
	}
	w := holding{registry: r, tier: t, set: s, seen: map[digest.Digest]bool{}}
	h, err := w.look(ctx, desc)
	if err != nil {
		return "", fmt.Errorf("what %s holds: %w", desc.Digest, err)
	}
	if !h.missing {
		r.quarantined.keep(desc.Digest, h, s.generation)
	}
	return h.of, nil
}

func heldKey(d digest.Digest) pageKey { return pageKey{list: d.String()} }

// keep remembers what a manifest holds; generation is 0 where it is not known whether
// anything of that is in quarantine.
func (q *quarantined) keep(d digest.Digest, h holdings, generation int64) {
	q.held.put(heldKey(d), keptPage{generation: generation, page: h, size: heldCosts * (len(h.blobs) + 2*len(h.children))})
}

// holding is one look through all that a manifest holds.
type holding struct {
	registry *Registry
	tier     *Tier
	set      *quarantinedSet
	seen     map[digest.Digest]bool
}

// look goes through a manifest, its children and theirs, a level at a time, until something
// is found.
func (w *holding) look(ctx context.Context, root ocispec.Descriptor) (top holdings, err error) {
	w.seen[root.Digest] = true
	for level := []ocispec.Descriptor{root}; len(level) > 0; {
		all, err := w.read(ctx, level)
		if err != nil {
			return top, err
		}
		if level[0].Digest == root.Digest {
			top = all[0]
		}
		var below []ocispec.Descriptor
		for _, h := range all {
			top.missing = top.missing || h.missing
			if top.of = w.among(h); top.of != "" {
				return top, nil
			}
			for _, child := range h.children {
				if !w.seen[child.Digest] && oci.IsManifest(child.MediaType) {
					w.seen[child.Digest] = true
					below = append(below, child)
				}
			}
		}
		if len(w.seen) > maxHeld {
			return top, fmt.Errorf("%w: more than %d manifests, and while anything is in quarantine all of them are looked at", oci.ErrDenied, maxHeld)
		}
		level = below
	}
	return top, nil
}

// among finds what of one manifest is in quarantine.
func (w *holding) among(h holdings) digest.Digest {
	for _, d := range h.blobs {
		if w.set.has(d) {
			return d
		}
	}
	for _, child := range h.children {
		if w.set.has(child.Digest) {
			return child.Digest
		}
	}
	return ""
}

// read finds out what manifests name, from memory where it is there.
func (w *holding) read(ctx context.Context, descs []ocispec.Descriptor) ([]holdings, error) {
	all := make([]holdings, len(descs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(heldReads)
	for i, desc := range descs {
		if kept, ok := w.registry.quarantined.held.get(heldKey(desc.Digest)); ok {
			if h, is := kept.page.(holdings); is {
				all[i] = h
				continue
			}
		}
		group.Go(func() (err error) {
			all[i], err = w.registry.holdings(ctx, w.tier, desc)
			return err
		})
	}
	return all, group.Wait()
}

// holdings reads what a manifest names. One that the store does not have, a child of an
// index that lost it, holds nothing that anybody could pull, until somebody pushes it again.
func (r *Registry) holdings(ctx context.Context, t *Tier, desc ocispec.Descriptor) (holdings, error) {
	body, ok := r.bodies.get(desc.Digest)
	if !ok {
		var err error
		body, err = r.content(ctx, t, desc.Digest, oci.MaxManifestSize)
		if errors.Is(err, oci.ErrBlobUnknown) {
			return holdings{missing: true}, nil
		}
		if err != nil {
			return holdings{}, err
		}
		r.bodies.put(desc.Digest, body)
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		return holdings{}, fmt.Errorf("manifest %s: %w: %w", desc.Digest, oci.ErrCorrupt, err)
	}
	h := holdingsOf(m)
	r.quarantined.keep(desc.Digest, h, 0)
	return h, nil
}

// holdingsOf are what a manifest names, its subject aside: evidence holds nothing of what it
// is about.
func holdingsOf(m *oci.Manifest) (h holdings) {
	if m.Config != nil {
		h.blobs = append(h.blobs, m.Config.Digest)
	}
	for _, layer := range m.Layers {
		h.blobs = append(h.blobs, layer.Digest)
	}
	for _, child := range m.Children {
		h.children = append(h.children, ocispec.Descriptor{MediaType: child.MediaType, Digest: child.Digest})
	}
	return h
}

// Quarantines says of manifests of the repository, in their order, what keeps each from being
// pulled: nil where nothing does.
func (r *Repository) Quarantines(ctx context.Context, descs ...ocispec.Descriptor) ([]*Quarantine, error) {
	all := make([]*Quarantine, len(descs))
	generation, err := r.get(ctx, quarantinedKey)
	if err != nil || generation.Revision == 0 {
		return all, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(heldReads)
	for i, desc := range descs {
		group.Go(func() (err error) {
			all[i], err = r.registry.quarantineIn(ctx, r.Tier, generation, desc)
			return err
		})
	}
	return all, group.Wait()
}

// Quarantined is what was in quarantine at one moment: what a decision about much rests on.
type Quarantined struct {
	registry *Registry
	set      *quarantinedSet
}

// Quarantined sees what is in quarantine now.
func (r *Registry) Quarantined(ctx context.Context) (*Quarantined, error) {
	records, err := r.catalog.Get(ctx, quarantinedKey)
	if err != nil {
		return nil, fmt.Errorf("what is in quarantine: %w", err)
	}
	set, err := r.setAt(ctx, records[0].Revision)
	if err != nil {
		return nil, fmt.Errorf("what is in quarantine: %w", err)
	}
	return &Quarantined{r, set}, nil
}

// None says that nothing is in quarantine.
func (q *Quarantined) None() bool { return len(q.set.digests) == 0 }

// Unchanged asks that nothing was put in quarantine or lifted since.
func (q *Quarantined) Unchanged() Condition {
	return Condition{Key: quarantinedKey, Revision: q.set.generation}
}

// Among finds the first of some digests that is in quarantine still; nil where none is.
func (q *Quarantined) Among(ctx context.Context, digests ...digest.Digest) (*Quarantine, error) {
	for _, d := range digests {
		if !q.set.has(d) {
			continue
		}
		found, err := q.registry.QuarantineOf(ctx, d)
		if err == nil {
			return &found, nil
		}
		if !errors.Is(err, oci.ErrQuarantineUnknown) {
			return nil, err
		}
	}
	return nil, nil
}

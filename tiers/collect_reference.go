package tiers

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/opencontainers/go-digest"
)

// aliveMost is how many manifests a sweep remembers to be there: each is needed by many
// digests.
const aliveMost = 200_000

// orphanRefs is how many references of one manifest go in one transaction.
const orphanRefs = 100

// reference is the key of a reference, taken apart.
type reference struct {
	key      string
	digest   digest.Digest // whose bytes are needed
	tier     string
	repo     string
	manifest digest.Digest // that needs them; the digest itself where a manifest refers to its own bytes
}

// parseReference takes the key of a reference apart; ok is false of what is no manifest's.
func parseReference(prefix, key string) (ref reference, ok bool) {
	d, rest, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	ref = reference{key: key, digest: digest.Digest(d), manifest: digest.Digest(d)}
	own, isOwn := strings.CutPrefix(rest, ".manifest/")
	if !isOwn && strings.HasPrefix(rest, ".") {
		return ref, false
	}
	if isOwn {
		ref.tier, ref.repo, ok = strings.Cut(own, "/")
		return ref, ok
	}
	name, manifest, ok := strings.Cut(rest, "@")
	if !ok {
		return ref, false
	}
	ref.manifest = digest.Digest(manifest)
	ref.tier, ref.repo, ok = strings.Cut(name, "/")
	return ref, ok
}

// orphans are the references of one manifest that does not exist.
type orphans struct {
	first  reference
	marker Record // of a push that writes them
	keys   []string
}

// sweepReferences takes away references of manifests that do not exist: of pushes that were
// cut off, and of deleted manifests that had more than fit a transaction. It is prune for
// the whole store, where clients push: what an arrival stages has no manifest yet and is
// taken back by whoever ends the arrival.
//
// A push of many references that is under way has a marker. One that is older than
// CollectConfig.Intent is taken for cut off. The transaction deletes it with the references,
// so if the push lives after all it notices, and begins anew.
func (c *collector) sweepReferences(ctx context.Context, p *place) error {
	prefix := storePrefix(p.store, "ref")
	alive := manifestMemory{seed: maphash.MakeSeed(), seen: map[uint64]bool{}}
	return c.pages(ctx, Query{Prefix: prefix, Limit: collectPage, KeysOnly: true}, func(page []Record) error {
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		unknown := map[string][]reference{}
		for _, record := range page {
			ref, ok := parseReference(prefix, record.Key)
			if !ok {
				continue
			}
			if t := c.find(ref.tier); t == nil || !t.Push {
				continue
			}
			if key := manifestKey(ref.tier, ref.repo, ref.manifest); !alive.has(key) {
				unknown[key] = append(unknown[key], ref)
			}
		}
		absent, err := c.absentManifests(ctx, unknown, &alive)
		if err != nil {
			return err
		}
		return c.prune(ctx, p, absent)
	})
}

// absentManifests finds the manifests that are not there and that no push is about to make.
func (c *collector) absentManifests(ctx context.Context, unknown map[string][]reference, alive *manifestMemory) ([]*orphans, error) {
	conditions := make([]Condition, 0, len(unknown))
	for key := range unknown {
		conditions = append(conditions, Present(key))
	}
	failed, err := c.probe(ctx, conditions)
	if err != nil {
		return nil, err
	}
	var absent []*orphans
	var markers []string
	for key, refs := range unknown {
		if !failed[key] {
			alive.add(key)
			continue
		}
		o := &orphans{first: refs[0]}
		for _, ref := range refs {
			o.keys = append(o.keys, ref.key)
		}
		absent = append(absent, o)
		markers = append(markers, pushingKey(o.first.tier, o.first.repo, o.first.manifest))
	}
	records, err := c.catalog.Get(ctx, markers...)
	if err != nil {
		return nil, err
	}
	dead := absent[:0]
	for i, o := range absent {
		o.marker = records[i]
		if !c.isPushing(o.marker) {
			dead = append(dead, o)
		}
	}
	return dead, nil
}

// isPushing says whether the marker is that of a push that may still be under way.
func (c *collector) isPushing(marker Record) bool {
	if marker.Revision == 0 || len(marker.Value) == 0 {
		return false
	}
	pushing, err := Decode[pushingRecord](marker)
	if err != nil {
		c.problem("", marker.Key, err.Error())
		return true
	}
	return c.began.Sub(pushing.StartedAt) <= c.collection.Intent
}

// prune deletes references in rounds, so many of each manifest in one. With the first of
// them the marker goes, and those that follow ask that there is none.
func (c *collector) prune(ctx context.Context, p *place, dead []*orphans) error {
	for len(dead) > 0 {
		var round []clearing
		left := dead[:0]
		for _, o := range dead {
			n := min(len(o.keys), orphanRefs)
			change := Change{If: []Condition{Absent(manifestKey(o.first.tier, o.first.repo, o.first.manifest)), Unchanged(o.marker)}, Delete: o.keys[:n]}
			if o.marker.Revision != 0 {
				change.Delete = append([]string{o.marker.Key}, change.Delete...)
			}
			round = append(round, clearing{change: change, item: CollectItem{Store: p.store, Tier: o.first.tier, Repository: o.first.repo, Digest: o.first.manifest,
				Why: fmt.Sprintf("%d references of a manifest that does not exist", n)}})
			o.keys, o.marker.Revision = o.keys[n:], 0
			if len(o.keys) > 0 {
				left = append(left, o)
			}
		}
		if err := c.remove(ctx, round, nil); err != nil {
			return err
		}
		dead = left
	}
	return nil
}

// manifestMemory remembers keys of manifests by their hashes. Two that are alike make a
// manifest look as if it were there, which only keeps its references for another time.
type manifestMemory struct {
	seed maphash.Seed
	seen map[uint64]bool
}

func (m *manifestMemory) has(key string) bool { return m.seen[maphash.String(m.seed, key)] }

func (m *manifestMemory) add(key string) {
	if len(m.seen) >= aliveMost {
		clear(m.seen)
	}
	m.seen[maphash.String(m.seed, key)] = true
}

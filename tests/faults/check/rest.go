package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

type uploadRecord struct {
	Key  string `json:"key"`
	Tail *struct {
		Key string `json:"key"`
	} `json:"tail"`
	NextTail string   `json:"nextTail"`
	Old      []string `json:"old"`
	Tier     string   `json:"tier"`
	Done     string   `json:"done"`
}

// rest checks that nothing is left of what has ended.
func (s *state) rest() {
	for what, left := range map[string]records{"open promotions": s.catalog.open, "pins": s.catalog.pinned,
		"staged manifests": s.catalog.staged, "marks of arrivals": s.catalog.committed} {
		s.report.Open += len(left)
		if len(left) > 0 {
			s.violation("%d %s are left though nothing is under way: %v", len(left), what, slices.Sorted(maps.Keys(left))[:1])
		}
	}
}

// untracked finds the objects, and the multipart uploads, that nothing names (I8): not when
// the catalog was read, and not behind the listing. At rest too replicas write who pulled
// what before.
func (s *state) untracked(collected bool) error {
	later := newCatalog()
	if err := later.family(s.ctx, s.etcd, root+"store/"); err != nil {
		return fmt.Errorf("read store/ again: %w", err)
	}
	for store, objects := range s.objects {
		named, begun := s.names(store)
		for _, name := range later.storeNames(store) {
			named[name] = true
		}
		for key := range objects {
			if strings.HasPrefix(key, "blobs/") && !named[key] {
				s.report.Untracked = append(s.report.Untracked, s.buckets[store]+"/"+key)
			}
		}
		for _, upload := range s.parts[store] {
			if key, _, _ := strings.Cut(upload, " "); !begun[key] {
				s.report.Untracked = append(s.report.Untracked, s.buckets[store]+"/"+upload)
			}
		}
	}
	if collected {
		for _, name := range s.report.Untracked {
			s.violation("I8: nothing names %s", name)
		}
	}
	return nil
}

// storeNames are the objects that the records of a store name.
func (c *catalog) storeNames(store string) (keys []string) {
	for _, value := range c.blobs[store] {
		if b, err := decode[blobRecord](value); err == nil {
			keys = append(keys, b.Key)
		}
	}
	return slices.AppendSeq(slices.AppendSeq(keys, maps.Keys(c.intents[store])), maps.Keys(c.condemned[store]))
}

// names collects what the catalog says of a store's objects, and of its multipart uploads: a
// session that has no blob yet, or an intent, names whatever was begun under its key, one
// whose id was lost on the way back too.
func (s *state) names(store string) (keys, begun map[string]bool) {
	keys, begun = map[string]bool{}, map[string]bool{}
	for _, key := range s.catalog.storeNames(store) {
		keys[key] = true
	}
	for key := range s.catalog.intents[store] {
		begun[key] = true
	}
	for _, value := range s.catalog.uploads {
		u, err := decode[uploadRecord](value)
		if err != nil || s.stores[u.Tier] != store {
			continue
		}
		keys[u.Key], keys[u.NextTail], begun[u.Key] = true, true, begun[u.Key] || u.Done == ""
		for _, key := range u.Old {
			keys[key] = true
		}
		if u.Tail != nil {
			keys[u.Tail.Key] = true
		}
	}
	return keys, begun
}

package check

import (
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

// untracked finds the objects, and the multipart uploads, that nothing names (I8).
func (s *state) untracked(collected bool) {
	for store, objects := range s.objects {
		named, begun := s.names(store)
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
}

// names collects what the catalog says of a store's objects, and of its multipart uploads: a
// session, or an intent, names whatever was begun under its key, one whose id was lost on
// the way back too. The record of an ended session does so for two hours more.
func (s *state) names(store string) (keys, begun map[string]bool) {
	keys, begun = map[string]bool{}, map[string]bool{}
	for _, value := range s.catalog.blobs[store] {
		if b, err := decode[blobRecord](value); err == nil {
			keys[b.Key] = true
		}
	}
	for key := range s.catalog.intents[store] {
		keys[key], begun[key] = true, true
	}
	for key := range s.catalog.condemned[store] {
		keys[key] = true
	}
	for _, value := range s.catalog.uploads {
		u, err := decode[uploadRecord](value)
		if err != nil || s.stores[u.Tier] != store {
			continue
		}
		keys[u.Key], keys[u.NextTail], begun[u.Key] = true, true, true
		for _, key := range u.Old {
			keys[key], begun[key] = true, true
		}
		if u.Tail != nil {
			keys[u.Tail.Key] = true
		}
	}
	return keys, begun
}

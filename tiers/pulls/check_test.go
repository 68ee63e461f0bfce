package pulls_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
)

// A check finds what is wrong with segments, and mends what it can. Who asks is told rather
// than given a part.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.flushed(w.log, pull("alice", "app"))
	key := w.segments()[0]
	id := strings.TrimPrefix(key, "pulls/")
	list := func(prefix string) tiers.Record {
		t.Helper()
		records, err := w.catalog.List(t.Context(), tiers.Query{Prefix: prefix, Limit: tiers.MaxPage})
		w.must(err)
		i := slices.IndexFunc(records, func(r tiers.Record) bool { return strings.Contains(prefix, "/blob/") || strings.HasSuffix(r.Key, id) })
		if i < 0 {
			t.Fatalf("nothing under %s", prefix)
		}
		return records[i]
	}
	change := func(c tiers.Change) {
		t.Helper()
		_, err := w.catalog.Commit(t.Context(), c)
		w.must(err)
	}
	release, err := w.registry.Tier("release")
	w.must(err)
	store := "store/" + release.Store()
	ref, blob, record := list(store+"/ref/"), list(store+"/blob/"), list("pulls/")

	change(tiers.Change{Delete: []string{ref.Key}})
	w.checked(false, "reference-missing false")
	w.checked(true, "reference-missing true")
	w.checked(false)
	change(tiers.Change{Delete: []string{record.Key}})
	w.checked(false, "reference-orphan false")
	w.checked(true, "reference-orphan true")
	w.checked(false)
	change(tiers.Change{Put: []tiers.Put{{Key: ref.Key}, {Key: record.Key, Value: record.Value}}})
	w.checked(false)
	for _, value := range []string{"{", strings.Replace(string(record.Value), "sha256:", "sha256:0", 1)} {
		change(tiers.Change{Put: []tiers.Put{{Key: record.Key, Value: []byte(value)}}})
		w.checked(false, "record-invalid false")
		if _, _, err := w.log.Find(t.Context(), pulls.Query{N: 1}); !errors.Is(err, oci.ErrCorrupt) {
			t.Errorf("of %s: %v", value, err)
		}
	}
	change(tiers.Change{Put: []tiers.Put{{Key: record.Key, Value: record.Value}}})
	change(tiers.Change{Put: []tiers.Put{{Key: "pulls/2026", Value: record.Value}}})
	w.checked(false, "record-invalid false")
	change(tiers.Change{Delete: []string{"pulls/2026"}})

	for name, value := range map[string]string{"more rows": strings.Replace(string(record.Value), `"rows":1`, `"rows":2`, 1), "another bucket": strings.Replace(string(record.Value), release.Store(), "other", 1)} {
		change(tiers.Change{Put: []tiers.Put{{Key: record.Key, Value: []byte(value)}}})
		if _, _, err := w.log.Find(t.Context(), pulls.Query{N: 1}); !errors.Is(err, oci.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	change(tiers.Change{Put: []tiers.Put{{Key: record.Key, Value: record.Value}}, Delete: []string{blob.Key}})
	w.checked(false, "blob-missing false", "stray-object false") // of its object
	if _, _, err := w.log.Find(t.Context(), pulls.Query{N: 1}); !errors.Is(err, oci.ErrCorrupt) || errors.Is(err, oci.ErrConflict) {
		t.Errorf("of bytes that are gone: %v", err)
	}
	// One that cannot be read is no reason to leave the others as they are.
	w.flushed(w.log, pull("bob", "app"))
	w.flushed(w.log, pull("bob", "web"))
	w.forward(24 * time.Hour)
	w.must(w.log.Tidy(t.Context()))
	if n := len(w.segments()); n != 2 {
		t.Errorf("there are %d segments", n)
	}
}

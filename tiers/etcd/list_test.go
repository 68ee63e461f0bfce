package etcd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// A family that is large enough for fences is listed whole and in order, in pages of every
// size, from anywhere, also when keys go and come after the fences were learned.
func TestListLargeFamily(t *testing.T) {
	c := stores.Catalog(t)
	const n = 25_000
	keys := make([]string, n)
	var group errgroup.Group
	group.SetLimit(4) // all at once they would take longer on a busy machine than one may
	for i := range keys {
		keys[i] = fmt.Sprintf("large/%06d", 3*i)
	}
	for part := range slices.Chunk(keys, tiers.MaxOps) {
		group.Go(func() error {
			change := tiers.Change{}
			for _, key := range part {
				change.Put = append(change.Put, tiers.Put{Key: key, Value: []byte("v")})
			}
			_, err := c.Commit(t.Context(), change)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "large", Value: nil}, {Key: "large0", Value: nil}, {Key: "largf", Value: nil}}}); err != nil {
		t.Fatal(err)
	}
	walk := func(after string, limit int) []string {
		var got []string
		for {
			page, err := c.List(t.Context(), tiers.Query{Prefix: "large/", After: after, Limit: limit, KeysOnly: limit%2 == 0})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				got = append(got, r.Key)
				if (limit%2 == 0) != (len(r.Value) == 0) {
					t.Fatalf("%s: value %q", r.Key, r.Value)
				}
			}
			if len(page) < limit {
				return got
			}
			after = got[len(got)-1]
		}
	}
	for _, limit := range []int{10_000, 1000, 999, 501} {
		if got := walk("", limit); !slices.Equal(got, keys) {
			t.Fatalf("pages of %d: %d keys, want %d", limit, len(got), n)
		}
	}
	if page, err := c.List(t.Context(), tiers.Query{Prefix: "large/", Limit: 100}); err != nil || len(page) != 100 || page[99].Key != keys[99] {
		t.Errorf("the first page holds %d, %v", len(page), err)
	}
	if got := walk(keys[12_345], 700); !slices.Equal(got, keys[12_346:]) {
		t.Errorf("from the middle: %d keys", len(got))
	}
	// Nearly everything between some fences goes, and more than fit comes in between others.
	gone := map[string]bool{}
	for part := range slices.Chunk(keys[2000:6000], tiers.MaxOps) {
		if _, err := c.Commit(t.Context(), tiers.Change{Delete: part}); err != nil {
			t.Fatal(err)
		}
		for _, key := range part {
			gone[key] = true
		}
	}
	var fresh []string
	for i := range 2000 {
		fresh = append(fresh, fmt.Sprintf("%s-%05d", keys[8000], i))
	}
	for part := range slices.Chunk(fresh, tiers.MaxOps) {
		change := tiers.Change{}
		for _, key := range part {
			change.Put = append(change.Put, tiers.Put{Key: key, Value: []byte("v")})
		}
		if _, err := c.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	want := slices.DeleteFunc(append(slices.Clone(keys), fresh...), func(key string) bool { return gone[key] })
	slices.SortFunc(want, strings.Compare)
	for _, limit := range []int{3000, 700, 499} {
		if got := walk("", limit); !slices.Equal(got, want) {
			t.Fatalf("changed, pages of %d: %d keys, want %d", limit, len(got), len(want))
		}
	}
	last, err := c.List(t.Context(), tiers.Query{Prefix: "large/", Limit: 2, Descending: true})
	if err != nil || len(last) != 2 || last[0].Key != keys[n-1] || last[1].Key != keys[n-2] {
		t.Errorf("from the end: %v, %v", last, err)
	}
}

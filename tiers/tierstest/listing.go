package tierstest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
)

// testListObjects reads all keys in pages of every size, in order, and none of another prefix.
func testListObjects(t *testing.T, b tiers.Bucket) {
	if page, err := b.List(t.Context(), "blobs/", "", 10); err != nil || len(page) != 0 {
		t.Fatalf("an empty bucket lists %v, %v", page, err)
	}
	var want []string
	for i := range 7 {
		key := newKey()
		put(t, b, key, content(uint64(i), i))
		want = append(want, key)
		flat := fmt.Sprintf("blobs/01%d", i)
		put(t, b, flat, content(uint64(i), 1))
		want = append(want, flat)
	}
	put(t, b, "other/key", content(1, 1))
	slices.Sort(want)
	for n := 1; n <= len(want)+1; n++ {
		var got []string
		for after := ""; ; {
			page, err := b.List(t.Context(), "blobs/", after, n)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range page {
				got = append(got, entry.Key)
				if age := time.Since(entry.ModifiedAt); age < -time.Hour || age > time.Hour {
					t.Errorf("%s was modified %v ago", entry.Key, age)
				}
			}
			if len(page) < n {
				break
			}
			after = page[len(page)-1].Key
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", n, got, want)
		}
	}
}

// testListUploads finds multipart uploads that were begun, until they end.
func testListUploads(t *testing.T, b tiers.Bucket) {
	begun := map[string]string{}
	for range 5 {
		key := newKey()
		id, err := b.Begin(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		begun[key] = id
	}
	list := func(n int) map[string]string {
		got := map[string]string{}
		for after := ""; ; {
			page, err := b.Uploads(t.Context(), "blobs/", after, n)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page {
				if _, twice := got[u.Key]; twice {
					t.Errorf("%s is listed twice", u.Key)
				}
				got[u.Key] = u.ID
			}
			if len(page) < n {
				return got
			}
			after = page[len(page)-1].Key
		}
	}
	for _, n := range []int{1, 2, 5, 100} {
		if got := list(n); fmt.Sprint(got) != fmt.Sprint(begun) {
			t.Errorf("in pages of %d: %v, want %v", n, got, begun)
		}
	}
	for key, id := range begun {
		if err := b.Abort(t.Context(), key, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(10); len(got) != 0 {
		t.Errorf("after they ended: %v", got)
	}
}

package tierstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// TestCatalog runs the suite of tiers.Catalog. Every call of open must give an empty
// catalog of its own.
func TestCatalog(t *testing.T, open func(t *testing.T) tiers.Catalog) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, c tiers.Catalog)
	}{
		{"Get", testGet},
		{"GetMany", testGetMany},
		{"List", testList},
		{"ListLimits", testListLimits},
		{"Conditions", testConditions},
		{"ConflictKeys", testConflictKeys},
		{"ConflictChangesNothing", testConflictChangesNothing},
		{"Revisions", testRevisions},
		{"TooLarge", testTooLarge},
		{"Twice", testTwice},
		{"Expire", testExpire},
		{"Atomic", testAtomic},
		{"CompareAndSwap", testCompareAndSwap},
		{"ReadYourWrites", testReadYourWrites},
		{"Cancelled", testCatalogCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func commit(t *testing.T, c tiers.Catalog, change tiers.Change) int64 {
	t.Helper()
	revision, err := c.Commit(t.Context(), change)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return revision
}

// fill writes records whose values are their keys.
func fill(t *testing.T, c tiers.Catalog, keys ...string) int64 {
	t.Helper()
	var change tiers.Change
	for _, key := range keys {
		change.Put = append(change.Put, tiers.Put{Key: key, Value: []byte(key)})
	}
	return commit(t, c, change)
}

func get(t *testing.T, c tiers.Catalog, keys ...string) []tiers.Record {
	t.Helper()
	records, err := c.Get(t.Context(), keys...)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if len(records) != len(keys) {
		t.Fatalf("%d records for %d keys", len(records), len(keys))
	}
	for i, r := range records {
		if r.Key != keys[i] {
			t.Fatalf("record %d is of %q, want %q", i, r.Key, keys[i])
		}
	}
	return records
}

func list(t *testing.T, c tiers.Catalog, q tiers.Query) []string {
	t.Helper()
	records, err := c.List(t.Context(), q)
	if err != nil {
		t.Fatalf("list %+v: %v", q, err)
	}
	keys := make([]string, len(records))
	for i, r := range records {
		if keys[i] = r.Key; string(r.Value) != r.Key || r.Revision == 0 {
			t.Errorf("record %+v", r)
		}
	}
	return keys
}

func testGet(t *testing.T, c tiers.Catalog) {
	fill(t, c, "b", "a")
	commit(t, c, tiers.Change{Put: []tiers.Put{{Key: "empty"}}})
	for _, r := range get(t, c, "a", "missing", "b", "a", "empty") {
		switch {
		case r.Key == "missing":
			if r.Revision != 0 || r.Created != 0 || len(r.Value) != 0 {
				t.Errorf("a missing record is %+v", r)
			}
		case r.Revision == 0 || r.Created == 0:
			t.Errorf("record %+v has no revision", r)
		case r.Key != "empty" && string(r.Value) != r.Key, r.Key == "empty" && len(r.Value) != 0:
			t.Errorf("record %+v has another value", r)
		}
	}
	if r := get(t, c, "a")[0]; string(r.Value) != "a" || r.Revision == 0 {
		t.Errorf("one alone: %+v", r)
	}
	if r := get(t, c, "missing")[0]; r.Revision != 0 {
		t.Errorf("a missing one alone: %+v", r)
	}
	get(t, c)
}

func testGetMany(t *testing.T, c tiers.Catalog) {
	keys := make([]string, 3*tiers.MaxOps+1)
	for i := range keys {
		keys[i] = fmt.Sprintf("k/%04d", len(keys)-i)
		if i%2 == 0 {
			fill(t, c, keys[i])
		}
	}
	for i, r := range get(t, c, keys...) {
		if (r.Revision != 0) != (i%2 == 0) {
			t.Errorf("record %d: %+v", i, r)
		}
	}
}

func testList(t *testing.T, c tiers.Catalog) {
	fill(t, c, "a", "p", "p/", "p/1", "p/10", "p/2", "p/\xff", "p0", "z")
	all := []string{"p/", "p/1", "p/10", "p/2", "p/\xff"}
	down := slices.Clone(all)
	slices.Reverse(down)
	for name, c2 := range map[string]struct {
		q    tiers.Query
		want []string
	}{
		"prefix":             {tiers.Query{Prefix: "p/", Limit: 100}, all},
		"no prefix":          {tiers.Query{Limit: 2}, []string{"a", "p"}},
		"limit":              {tiers.Query{Prefix: "p/", Limit: 2}, all[:2]},
		"after":              {tiers.Query{Prefix: "p/", After: "p/1", Limit: 2}, all[2:4]},
		"after what is not":  {tiers.Query{Prefix: "p/", After: "p/11", Limit: 2}, all[3:5]},
		"after the last":     {tiers.Query{Prefix: "p/", After: "p/\xff", Limit: 2}, nil},
		"after all of it":    {tiers.Query{Prefix: "p/", After: "z", Limit: 2}, nil},
		"after, before it":   {tiers.Query{Prefix: "p/", After: "a", Limit: 1}, all[:1]},
		"nothing":            {tiers.Query{Prefix: "q", Limit: 2}, nil},
		"down":               {tiers.Query{Prefix: "p/", Descending: true, Limit: 100}, down},
		"down, limit":        {tiers.Query{Prefix: "p/", Descending: true, Limit: 2}, down[:2]},
		"down, after":        {tiers.Query{Prefix: "p/", After: "p/2", Descending: true, Limit: 2}, down[2:4]},
		"down, after first":  {tiers.Query{Prefix: "p/", After: "p/", Descending: true, Limit: 2}, nil},
		"down, after beyond": {tiers.Query{Prefix: "p/", After: "z", Descending: true, Limit: 1}, down[:1]},
		"down, after before": {tiers.Query{Prefix: "p/", After: "a", Descending: true, Limit: 1}, nil},
	} {
		if got := list(t, c, c2.q); !slices.Equal(got, c2.want) {
			t.Errorf("%s: %q, want %q", name, got, c2.want)
		}
	}
}

func testListLimits(t *testing.T, c tiers.Catalog) {
	for _, limit := range []int{-1, 0, tiers.MaxPage + 1} {
		if _, err := c.List(t.Context(), tiers.Query{Prefix: "p", Limit: limit}); !errors.Is(err, oci.ErrRequestInvalid) {
			t.Errorf("limit %d: %v, want %v", limit, err, oci.ErrRequestInvalid)
		}
	}
	var want []string
	for i := 0; i < 300; i += 100 {
		var keys []string
		for j := range 100 {
			keys = append(keys, fmt.Sprintf("p/%04d", i+j))
		}
		fill(t, c, keys...)
		want = append(want, keys...)
	}
	for _, q := range []tiers.Query{{Limit: 7}, {Limit: 299}, {Limit: 300}, {Limit: tiers.MaxPage}, {Limit: 70, Descending: true}} {
		q.Prefix = "p/"
		var got []string
		for {
			page := list(t, c, q)
			if len(page) == 0 {
				break
			}
			got, q.After = append(got, page...), page[len(page)-1]
		}
		if q.Descending {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %d records, want %d", q.Limit, len(got), len(want))
		}
	}
}

func testConditions(t *testing.T, c tiers.Catalog) {
	old := tiers.Record{Key: "there", Revision: fill(t, c, "there", "p/1")}
	now := tiers.Record{Key: "there", Revision: fill(t, c, "there")}
	latest := fill(t, c, "p/2")
	gone := tiers.Record{Key: "gone"}
	for name, c2 := range map[string]struct {
		cond  tiers.Condition
		holds bool
	}{
		"absent, absent":     {tiers.Absent("gone"), true},
		"absent, there":      {tiers.Absent("there"), false},
		"present, there":     {tiers.Present("there"), true},
		"present, absent":    {tiers.Present("gone"), false},
		"unchanged":          {tiers.Unchanged(now), true},
		"changed":            {tiers.Unchanged(old), false},
		"still absent":       {tiers.Unchanged(gone), true},
		"came":               {tiers.Unchanged(tiers.Record{Key: "there"}), false},
		"went":               {tiers.Unchanged(tiers.Record{Key: "gone", Revision: now.Revision}), false},
		"none":               {tiers.None("q/"), true},
		"some":               {tiers.None("p/"), false},
		"the key itself":     {tiers.None("there"), false},
		"none below the key": {tiers.None("there/"), true},
		"none since":         {tiers.NoneSince("p/", latest), true},
		"one since":          {tiers.NoneSince("p/", latest-1), false},
		"all since":          {tiers.NoneSince("p/", 1), false},
		"nothing there":      {tiers.NoneSince("q/", 1), true},
	} {
		_, err := c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{c2.cond}, Put: []tiers.Put{{Key: "written/" + name}}})
		written := get(t, c, "written/"+name)[0].Revision != 0
		switch {
		case c2.holds && (err != nil || !written):
			t.Errorf("%s: %v, written %v", name, err, written)
		case !c2.holds && (!errors.Is(err, oci.ErrConflict) || written):
			t.Errorf("%s: %v, written %v", name, err, written)
		}
	}
	// A change of conditions alone is a question.
	if _, err := c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{tiers.Unchanged(now), tiers.None("q/")}}); err != nil {
		t.Errorf("conditions alone: %v", err)
	}
	if _, err := c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{tiers.Unchanged(old)}}); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("conditions alone: %v, want %v", err, oci.ErrConflict)
	}
}

// The error names the conditions that failed and no other.
func testConflictKeys(t *testing.T, c tiers.Catalog) {
	revision := fill(t, c, "a", "b", "p/1")
	fill(t, c, "b")
	_, err := c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{
		tiers.Present("a"), tiers.Absent("a2"), {Key: "b", Revision: revision}, tiers.None("p/"), tiers.None("q/"), tiers.Present("c"), {Key: "a", Revision: revision},
		tiers.NoneSince("p", revision-1), tiers.NoneSince("p/1", revision),
	}})
	var conflict *tiers.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("%v, want a conflict", err)
	}
	if want := []string{"b", "p/", "c", "p"}; !slices.Equal(conflict.Keys, want) {
		t.Errorf("keys %q, want %q", conflict.Keys, want)
	}
	if !conflict.Has("c") || conflict.Has("a") {
		t.Error("Has says otherwise")
	}
}

func testConflictChangesNothing(t *testing.T, c tiers.Catalog) {
	before := fill(t, c, "keep", "same")
	_, err := c.Commit(t.Context(), tiers.Change{
		If: []tiers.Condition{tiers.Present("keep"), tiers.Absent("same")}, Delete: []string{"keep"},
		Put: []tiers.Put{{Key: "same", Value: []byte("other")}, {Key: "new"}},
	})
	if !errors.Is(err, oci.ErrConflict) {
		t.Fatalf("%v, want %v", err, oci.ErrConflict)
	}
	records := get(t, c, "keep", "same", "new")
	if records[0].Revision != before || records[1].Revision != before || records[2].Revision != 0 {
		t.Errorf("a refused change has changed %+v", records)
	}
}

func testRevisions(t *testing.T, c tiers.Catalog) {
	first := fill(t, c, "a", "b")
	second := fill(t, c, "a")
	commit(t, c, tiers.Change{Delete: []string{"b", "never"}})
	third := fill(t, c, "b")
	if !(first < second && second < third) {
		t.Errorf("revisions %d, %d, %d do not grow", first, second, third)
	}
	records := get(t, c, "a", "b")
	if a := records[0]; a.Revision != second || a.Created != first {
		t.Errorf("changed: %+v, want revision %d, created %d", a, second, first)
	}
	if b := records[1]; b.Revision != third || b.Created != third {
		t.Errorf("made anew: %+v, want revision and created %d", b, third)
	}
}

// What does not fit a change is refused as such, at once, and changes nothing. What just
// fits is applied.
func testTooLarge(t *testing.T, c tiers.Catalog) {
	var puts []tiers.Put
	var conds []tiers.Condition
	var deletes []string
	for i := range tiers.MaxOps + 1 {
		key := fmt.Sprintf("k/%d", i)
		puts, conds, deletes = append(puts, tiers.Put{Key: key}), append(conds, tiers.Absent(key)), append(deletes, key)
	}
	for name, change := range map[string]tiers.Change{
		"puts":             {Put: puts},
		"conditions":       {If: conds, Put: puts[:1]},
		"deletes":          {Delete: deletes},
		"puts and deletes": {Put: puts[:65], Delete: deletes[65:]},
		"2 MiB":            {Put: []tiers.Put{{Key: "k/0", Value: make([]byte, 2<<20)}}},
		"8 MiB":            {Put: []tiers.Put{{Key: "k/0", Value: make([]byte, 8<<20)}}},
		"half and half":    {Put: []tiers.Put{{Key: "k/0", Value: make([]byte, tiers.MaxChange/2)}, {Key: "k/1", Value: make([]byte, tiers.MaxChange/2)}}},
	} {
		if _, err := c.Commit(t.Context(), change); !errors.Is(err, oci.ErrTooLarge) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrTooLarge)
		}
	}
	if got := list(t, c, tiers.Query{Prefix: "k/", Limit: 10}); len(got) != 0 {
		t.Errorf("refused changes have written %q", got)
	}
	commit(t, c, tiers.Change{If: conds[:tiers.MaxOps], Put: puts[:tiers.MaxOps]})
	large := bytes.Repeat([]byte("x"), tiers.MaxChange-4096)
	commit(t, c, tiers.Change{Put: []tiers.Put{{Key: "large", Value: large}}})
	if r := get(t, c, "large")[0]; !bytes.Equal(r.Value, large) {
		t.Errorf("%d bytes came back of %d", len(r.Value), len(large))
	}
}

func testTwice(t *testing.T, c tiers.Catalog) {
	for name, change := range map[string]tiers.Change{
		"put twice":       {Put: []tiers.Put{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}},
		"put and deleted": {Put: []tiers.Put{{Key: "a"}}, Delete: []string{"a"}},
	} {
		if _, err := c.Commit(t.Context(), change); err == nil || errors.Is(err, oci.ErrUnavailable) || errors.Is(err, oci.ErrConflict) {
			t.Errorf("%s: %v, want an error of the caller", name, err)
		}
	}
	if r := get(t, c, "a")[0]; r.Revision != 0 {
		t.Errorf("a refused change has written %+v", r)
	}
}

// A record vanishes after its time and not before, unless it was written again for good.
func testExpire(t *testing.T, c tiers.Catalog) {
	start := time.Now()
	commit(t, c, tiers.Change{Put: []tiers.Put{{Key: "short", Expire: time.Second}, {Key: "kept", Expire: time.Second},
		{Key: "long", Expire: time.Hour}, {Key: "ever"}}})
	commit(t, c, tiers.Change{Put: []tiers.Put{{Key: "kept"}}})
	for {
		records, now := get(t, c, "short", "kept", "long", "ever"), time.Now()
		for _, r := range records[1:] {
			if r.Revision == 0 {
				t.Fatalf("%s has vanished", r.Key)
			}
		}
		if records[0].Revision == 0 {
			if age := now.Sub(start); age < time.Second {
				t.Errorf("gone after %v", age)
			}
			return
		}
		if now.Sub(start) > 20*time.Second {
			t.Fatal("still there after 20 s")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Readers see all of a change or nothing of it.
func testAtomic(t *testing.T, c tiers.Catalog) {
	keys := []string{"a", "b", "p/c"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range 60 {
			change := tiers.Change{Delete: keys}
			if i%3 != 2 {
				change = tiers.Change{}
				for _, key := range keys {
					change.Put = append(change.Put, tiers.Put{Key: key, Value: fmt.Append(nil, i)})
				}
			}
			if _, err := c.Commit(t.Context(), change); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				records, err := c.Get(t.Context(), keys...)
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range records[1:] {
					if r.Revision != records[0].Revision || string(r.Value) != string(records[0].Value) {
						t.Errorf("a part of a change was seen: %+v", records)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// Counters that many raise by comparing lose nothing.
func testCompareAndSwap(t *testing.T, c tiers.Catalog) {
	const writers, rounds = 4, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				records, err := c.Get(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{tiers.Unchanged(records[0])},
					Put: []tiers.Put{{Key: "counter", Value: append(records[0].Value, 'x')}}})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, oci.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if r := get(t, c, "counter")[0]; string(r.Value) != strings.Repeat("x", writers*rounds) {
		t.Errorf("%d of %d changes are left", len(r.Value), writers*rounds)
	}
}

// What was acknowledged to one is seen by another who asks afterwards.
func testReadYourWrites(t *testing.T, c tiers.Catalog) {
	for i := range 30 {
		key := fmt.Sprintf("k/%02d", i)
		revision := fill(t, c, key)
		seen := make(chan error, 1)
		go func() {
			records, err := c.Get(t.Context(), key)
			if err == nil && records[0].Revision != revision {
				err = fmt.Errorf("got revision %d, want %d", records[0].Revision, revision)
			}
			page, listErr := c.List(t.Context(), tiers.Query{Prefix: "k/", Limit: 100})
			if err == nil && listErr == nil && len(page) != i+1 {
				err = fmt.Errorf("listed %d, want %d", len(page), i+1)
			}
			seen <- errors.Join(err, listErr)
		}()
		if err := <-seen; err != nil {
			t.Fatal(err)
		}
	}
}

func testCatalogCancelled(t *testing.T, c tiers.Catalog) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := c.Get(ctx, "a")
	_, manyErr := c.Get(ctx, "a", "b")
	_, listErr := c.List(ctx, tiers.Query{Limit: 1})
	_, commitErr := c.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "a"}}})
	_, expireErr := c.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "a", Expire: time.Minute}}})
	for i, err := range []error{getErr, manyErr, listErr, commitErr, expireErr} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("call %d: %v, want %v alone", i, err, context.Canceled)
		}
	}
	if r := get(t, c, "a")[0]; r.Revision != 0 {
		t.Errorf("a cancelled change has written %+v", r)
	}
}

package tierstest

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// putParts uploads data in three parts with gaps in their numbers, two of them at once.
func putParts(t *testing.T, b tiers.Bucket, key, id string, data []byte) []tiers.Part {
	t.Helper()
	numbers := []int{2, 5, 9_999}
	sizes := []int{tiers.PartMin, tiers.PartMin + 77, len(data) - 2*tiers.PartMin - 77}
	parts := make([]tiers.Part, len(numbers))
	var wg sync.WaitGroup
	for i := range numbers {
		chunk := data[:sizes[i]]
		data = data[sizes[i]:]
		wg.Go(func() {
			part, err := b.PutPart(t.Context(), key, id, numbers[i], bytes.NewReader(chunk), int64(len(chunk)))
			if err != nil {
				t.Errorf("part %d: %v", numbers[i], err)
			}
			if part.Number != numbers[i] || part.Size != int64(len(chunk)) || part.ETag == "" {
				t.Errorf("part %d: %+v", numbers[i], part)
			}
			parts[i] = part
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return parts
}

func begin(t *testing.T, b tiers.Bucket, key string) string {
	t.Helper()
	id, err := b.Begin(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func testMultipart(t *testing.T, b tiers.Bucket) {
	key, data := newKey(), content(6, 2*tiers.PartMin+77+1000)
	id := begin(t, b, key)
	parts := putParts(t, b, key, id, data)
	absent(t, b, key)
	if err := b.Complete(t.Context(), key, id, parts); err != nil {
		t.Fatal(err)
	}
	holds(t, b, key, data)

	// Parts that are not named do not become part of the object.
	key = newKey()
	id = begin(t, b, key)
	parts = putParts(t, b, key, id, data)
	if err := b.Complete(t.Context(), key, id, parts[:2]); err != nil {
		t.Fatal(err)
	}
	holds(t, b, key, data[:2*tiers.PartMin+77])
}

func testMultipartWrongLength(t *testing.T, b tiers.Bucket) {
	key, data := newKey(), content(7, 300_000)
	id := begin(t, b, key)
	for number, size := range map[int]int64{1: 299_999, 2: 300_001} {
		if _, err := b.PutPart(t.Context(), key, id, number, bytes.NewReader(data), size); !errors.Is(err, oci.ErrSizeInvalid) {
			t.Errorf("part of 300000 bytes as %d: %v, want %v", size, err, oci.ErrSizeInvalid)
		}
	}
	for _, number := range []int{0, -1, tiers.MaxParts + 1} {
		if _, err := b.PutPart(t.Context(), key, id, number, bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("part %d was taken", number)
		}
	}
	// What came before does not harm: the session goes on with the next number.
	part, err := b.PutPart(t.Context(), key, id, 3, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Complete(t.Context(), key, id, nil); err == nil {
		t.Error("an object of no parts was made")
	}
	if err := b.Complete(t.Context(), key, id, []tiers.Part{{Number: 4, Size: 1, ETag: part.ETag}}); err == nil {
		t.Error("an object of a part that never came was made")
	}
	absent(t, b, key)
	if err := b.Complete(t.Context(), key, id, []tiers.Part{part}); err != nil {
		t.Fatal(err)
	}
	holds(t, b, key, data)
}

// testCompleteAgain is what happens when an answer is lost and the request is repeated.
func testCompleteAgain(t *testing.T, b tiers.Bucket) {
	key, data := newKey(), content(8, 2*tiers.PartMin+77+5)
	id := begin(t, b, key)
	parts := putParts(t, b, key, id, data)
	var wg sync.WaitGroup
	results := make([]error, 3)
	for i := range results {
		wg.Go(func() { results[i] = b.Complete(t.Context(), key, id, parts) })
	}
	wg.Wait()
	if !slices.Contains(results, nil) {
		t.Fatalf("of three that completed at once none succeeded: %v", results)
	}
	for range 2 {
		if err := b.Complete(t.Context(), key, id, parts); err != nil {
			t.Fatalf("completed again: %v", err)
		}
	}
	holds(t, b, key, data)
}

func testAbort(t *testing.T, b tiers.Bucket) {
	key, data := newKey(), content(9, 1000)
	id := begin(t, b, key)
	part, err := b.PutPart(t.Context(), key, id, 1, bytes.NewReader(data), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Abort(t.Context(), key, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.PutPart(t.Context(), key, id, 2, bytes.NewReader(data), 1000); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("part of an aborted upload: %v, want %v", err, oci.ErrUploadUnknown)
	}
	if err := b.Complete(t.Context(), key, id, []tiers.Part{part}); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("complete an aborted upload: %v, want %v", err, oci.ErrUploadUnknown)
	}
	absent(t, b, key)
}

// otherObjects is a store of another kind.
type otherObjects struct{ tiers.Objects }

func testCopy(t *testing.T, from, to tiers.Bucket) {
	if !to.CanCopyFrom(from) || !from.CanCopyFrom(from) {
		t.Fatal("two buckets of one server cannot copy")
	}
	if to.CanCopyFrom(otherObjects{from}) {
		t.Error("claims to copy from a store of another kind")
	}
	if err := to.CopyFrom(t.Context(), otherObjects{from}, "a", "b", 1); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("copy from another kind: %v, want %v", err, oci.ErrUnsupported)
	}
	for _, n := range []int{0, 1000, 6 << 20} {
		src, data := newKey(), content(uint64(10+n), n)
		put(t, from, src, data)
		for _, dst := range []tiers.Bucket{from, to} {
			key := newKey()
			if err := dst.CopyFrom(t.Context(), from, src, key, int64(n)); err != nil {
				t.Fatalf("copy of %d bytes: %v", n, err)
			}
			holds(t, dst, key, data)
		}
		absent(t, to, src)
	}
	// An object that was made of parts is one object like any other.
	src, data := newKey(), content(11, 2*tiers.PartMin+77+10)
	id := begin(t, from, src)
	if err := from.Complete(t.Context(), src, id, putParts(t, from, src, id, data)); err != nil {
		t.Fatal(err)
	}
	key := newKey()
	if err := to.CopyFrom(t.Context(), from, src, key, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	holds(t, to, key, data)
}

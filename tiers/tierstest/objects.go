package tierstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// TestBucket runs the suite of tiers.Bucket. Every call of open must give an empty bucket
// of its own; two buckets of one test must be able to copy from each other.
func TestBucket(t *testing.T, open func(t *testing.T) tiers.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, b tiers.Bucket)
	}{
		{"PutOpenStatDelete", testPutOpenStatDelete},
		{"Ranges", testRanges},
		{"Unknown", testUnknown},
		{"WrongLength", testWrongLength},
		{"BrokenReader", testBrokenReader},
		{"Cancelled", testCancelled},
		{"Large", testLarge},
		{"Multipart", testMultipart},
		{"MultipartWrongLength", testMultipartWrongLength},
		{"CompleteAgain", testCompleteAgain},
		{"Abort", testAbort},
		{"Concurrent", testConcurrent},
		{"Identity", testIdentity},
		{"ListObjects", testListObjects},
		{"ListUploads", testListUploads},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
	t.Run("Copy", func(t *testing.T) { testCopy(t, open(t), open(t)) })
	t.Run("IdentitiesDiffer", func(t *testing.T) { testIdentitiesDiffer(t, open(t), open(t)) })
}

// newKey makes a key as the registry does: never used before.
func newKey() string { return "blobs/sha256/" + ulid.Make().String() + "/" + ulid.Make().String() }

// content makes n bytes that no other seed gives.
func content(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func put(t *testing.T, b tiers.Bucket, key string, data []byte) {
	t.Helper()
	// MultiReader leaves nothing but Read, so no store can rewind.
	if err := b.Put(t.Context(), key, io.MultiReader(bytes.NewReader(data)), int64(len(data))); err != nil {
		t.Fatalf("put %d bytes: %v", len(data), err)
	}
}

func read(t *testing.T, b tiers.Bucket, key string, offset, length int64) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("open at %d, length %d: %v", offset, length, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read at %d, length %d: %v", offset, length, err)
	}
	return data
}

// holds checks the whole object, its size, and its checksum where the store gives one.
func holds(t *testing.T, b tiers.Bucket, key string, want []byte) {
	t.Helper()
	if got := read(t, b, key, 0, -1); !bytes.Equal(got, want) {
		t.Fatalf("object has %d bytes that differ from the %d put", len(got), len(want))
	}
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(len(want)) {
		t.Fatalf("size is %d, want %d", info.Size, len(want))
	}
	sum := sha256.Sum256(want)
	if info.SHA256 != "" && info.SHA256 != hex.EncodeToString(sum[:]) {
		t.Fatalf("SHA-256 is %s, want %x", info.SHA256, sum)
	}
}

func absent(t *testing.T, b tiers.Bucket, key string) {
	t.Helper()
	if _, err := b.Stat(t.Context(), key); !errors.Is(err, oci.ErrObjectUnknown) {
		t.Fatalf("stat of an absent object: %v, want %v", err, oci.ErrObjectUnknown)
	}
}

func testPutOpenStatDelete(t *testing.T, b tiers.Bucket) {
	for _, n := range []int{0, 1, 100, 64 << 10, 64<<10 + 1, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			key, data := newKey(), content(uint64(n), n)
			put(t, b, key, data)
			holds(t, b, key, data)
			for range 2 { // the second time there is nothing, and that is no error
				if err := b.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			absent(t, b, key)
		})
	}
}

func testRanges(t *testing.T, b tiers.Bucket) {
	const n = 1000
	key, data := newKey(), content(1, n)
	put(t, b, key, data)
	for _, c := range []struct{ offset, length int64 }{
		{0, -1}, {0, n}, {0, 1}, {0, 2}, {1, 1}, {1, -1}, {999, 1}, {999, -1}, {500, 250}, {0, 0}, {10, 0}, {n, 0},
	} {
		end := int64(n)
		if c.length >= 0 {
			end = c.offset + c.length
		}
		if got := read(t, b, key, c.offset, c.length); !bytes.Equal(got, data[c.offset:end]) {
			t.Errorf("range at %d, length %d: wrong %d bytes", c.offset, c.length, len(got))
		}
	}
	for _, c := range []struct{ offset, length int64 }{{n, -1}, {n, 1}, {n + 5, 3}, {n + 1, 0}, {-1, 4}} {
		r, err := b.Open(t.Context(), key, c.offset, c.length)
		if !errors.Is(err, oci.ErrRangeInvalid) {
			t.Errorf("range at %d, length %d of %d: %v, want %v", c.offset, c.length, n, err, oci.ErrRangeInvalid)
		}
		if err == nil {
			r.Close()
		}
	}
	// A range that goes on behind the object gives what there is and then fails: it must
	// not look complete.
	r, err := b.Open(t.Context(), key, 990, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if !bytes.Equal(got, data[990:]) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("range behind the end: %d bytes and %v, want 10 and %v", len(got), err, io.ErrUnexpectedEOF)
	}
}

func testUnknown(t *testing.T, b tiers.Bucket) {
	key := newKey()
	absent(t, b, key)
	for _, length := range []int64{-1, 0, 5} {
		if _, err := b.Open(t.Context(), key, 0, length); !errors.Is(err, oci.ErrObjectUnknown) {
			t.Errorf("open, length %d: %v, want %v", length, err, oci.ErrObjectUnknown)
		}
	}
	if err := b.CopyFrom(t.Context(), b, key, newKey(), 5); !errors.Is(err, oci.ErrObjectUnknown) {
		t.Errorf("copy: %v, want %v", err, oci.ErrObjectUnknown)
	}
	if err := b.Delete(t.Context(), key); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := b.Abort(t.Context(), key, "00000000-0000-4000-8000-000000000000"); err != nil {
		t.Errorf("abort: %v", err)
	}
}

func testWrongLength(t *testing.T, b tiers.Bucket) {
	for _, c := range []struct {
		has  int
		size int64
	}{
		{0, 1}, {1, 0}, {10, 9}, {10, 11}, {10, 100_000},
		{200_000, 199_999}, {200_000, 200_001}, {200_000, 400_000}, {200_000, 100_000},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain": func(r io.Reader) io.Reader { return r },
			// the last bytes come together with io.EOF
			"eager": iotest.DataErrReader,
		} {
			key := newKey()
			err := b.Put(t.Context(), key, wrap(bytes.NewReader(content(2, c.has))), c.size)
			if !errors.Is(err, oci.ErrSizeInvalid) {
				t.Errorf("%s put of %d bytes as %d: %v, want %v", name, c.has, c.size, err, oci.ErrSizeInvalid)
			}
			absent(t, b, key)
		}
	}
}

func testBrokenReader(t *testing.T, b tiers.Bucket) {
	broken := errors.New("the client went away")
	for _, n := range []int{0, 10, 200_000} {
		key := newKey()
		r := io.MultiReader(bytes.NewReader(content(3, n)), iotest.ErrReader(broken))
		err := b.Put(t.Context(), key, r, int64(n)+10)
		// It is the reader that failed, not the store.
		if !errors.Is(err, broken) || errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("put after %d bytes: %v, want %v", n, err, broken)
		}
		absent(t, b, key)
	}
}

func testCancelled(t *testing.T, b tiers.Bucket) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	key, data := newKey(), content(4, 200_000)
	for name, call := range map[string]func() error{
		"put":      func() error { return b.Put(ended, key, bytes.NewReader(data), int64(len(data))) },
		"open":     func() error { _, err := b.Open(ended, key, 0, -1); return err },
		"stat":     func() error { _, err := b.Stat(ended, key); return err },
		"delete":   func() error { return b.Delete(ended, key) },
		"begin":    func() error { _, err := b.Begin(ended, key); return err },
		"copy":     func() error { return b.CopyFrom(ended, b, key, newKey(), 5) },
		"identity": func() error { _, err := b.Identity(ended); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) || errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	// A put that hangs on its reader ends with its context.
	late, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stalled, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write(data[:100_000]) }()
	done := make(chan error, 1)
	go func() { done <- b.Put(late, key, stalled, int64(len(data))) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stalled put: %v, want %v", err, context.DeadlineExceeded)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a stalled put outlives its context")
	}
	absent(t, b, key)
}

func testLarge(t *testing.T, b tiers.Bucket) {
	key, data := newKey(), content(5, 5<<20+12345)
	put(t, b, key, data)
	holds(t, b, key, data)
	if got := read(t, b, key, 5<<20, -1); !bytes.Equal(got, data[5<<20:]) {
		t.Error("the tail differs")
	}
}

func testConcurrent(t *testing.T, b tiers.Bucket) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			key, data := newKey(), content(uint64(100+i), 20_000+i*10_000)
			if err := b.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
				t.Errorf("put: %v", err)
				return
			}
			r, err := b.Open(t.Context(), key, 0, -1)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read: %d bytes, %v", len(got), err)
			}
			if i%2 == 0 { // deletes beside puts, as the collector does
				if err := b.Delete(t.Context(), key); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func testIdentity(t *testing.T, b tiers.Bucket) {
	ids := make([]string, 12)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, err := b.Identity(t.Context())
			if err != nil {
				t.Errorf("identity: %v", err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("callers that race got different identities: %q", ids)
		}
	}
}

func testIdentitiesDiffer(t *testing.T, a, b tiers.Bucket) {
	first, err := a.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Fatalf("two buckets have one identity: %s", first)
	}
}

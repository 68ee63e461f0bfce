package s3_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/s3"
	"sluice.dev/sluice/tiers/tierstest"
)

// startS3 returns what makes an empty bucket of the S3 server of a data directory.
func startS3(t *testing.T) func(t *testing.T) *s3.Store {
	t.Helper()
	servers, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := servers.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	endpoint, access, secret, region := servers.S3()
	return func(t *testing.T) *s3.Store {
		t.Helper()
		store, err := s3.New(s3.Config{
			Endpoint: endpoint, Bucket: "test-" + strings.ToLower(ulid.Make().String()),
			Region: region, AccessKey: access, SecretKey: secret,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		if err := store.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store
	}
}

// There is one embedded server in a process, so the tests that need it share it.
func TestStore(t *testing.T) {
	open := startS3(t)
	tierstest.TestBucket(t, func(t *testing.T) tiers.Bucket { return open(t) })
	t.Run("CopySum", func(t *testing.T) { testCopySum(t, open(t), open(t)) })
	t.Run("CopyInParts", func(t *testing.T) { testCopyInParts(t, open(t), open(t)) })
	t.Run("Memory", func(t *testing.T) { testMemory(t, open(t)) })
	t.Run("Bucket", func(t *testing.T) { testBucket(t, open(t)) })
	t.Run("CorruptIdentity", func(t *testing.T) { testCorruptIdentity(t, open(t)) })
}

// testCopySum copies what was put whole and what was put in parts: of both the store gives
// the SHA-256 of the copy, so that nobody has to read it back.
func testCopySum(t *testing.T, from, to *s3.Store) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	want := fmt.Sprintf("%x", sha256.Sum256(data))
	if err := from.Put(t.Context(), "whole", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	id, err := from.Begin(t.Context(), "parts")
	if err != nil {
		t.Fatal(err)
	}
	part, err := from.PutPart(t.Context(), "parts", id, 1, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Complete(t.Context(), "parts", id, []tiers.Part{part}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"whole", "parts"} {
		if err := to.CopyFrom(t.Context(), from, key, key, int64(len(data))); err != nil {
			t.Fatal(err)
		}
		if info, err := to.Stat(t.Context(), key); err != nil || info.SHA256 != want {
			t.Errorf("%s: %+v, %v, want SHA-256 %s", key, info, err, want)
		}
	}
}

func testCopyInParts(t *testing.T, from, to *s3.Store) {
	data := bytes.Repeat([]byte("0123456789"), 1_200_000) // 12 MB: three parts, the last one short
	if err := from.Put(t.Context(), "src", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	to.LimitCopies(tiers.PartMin, tiers.PartMin)
	if err := to.CopyFrom(t.Context(), from, "src", "dst", int64(len(data))); err != nil {
		t.Fatal(err)
	}
	r, err := to.Open(t.Context(), "dst", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("copy has %d bytes, %v", len(got), err)
	}
	if err := to.CopyFrom(t.Context(), from, "absent", "dst-2", int64(len(data))); !errors.Is(err, oci.ErrObjectUnknown) {
		t.Errorf("copy of nothing in parts: %v, want %v", err, oci.ErrObjectUnknown)
	}
}

// zeros is endless and keeps nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A large object passes through; only buffers of the connection are kept, here and, as it
// is the same process, in the server.
func testMemory(t *testing.T, store *s3.Store) {
	const size = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := store.Put(t.Context(), "large", io.LimitReader(zeros{}, size), size); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("a put of %d MiB allocated %d MiB", size>>20, got>>20)
	}
}

func testBucket(t *testing.T, store *s3.Store) {
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Errorf("ensure again: %v", err)
	}
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

// An identity that was damaged is not replaced by a new one.
func testCorruptIdentity(t *testing.T, store *s3.Store) {
	if err := store.Put(t.Context(), "sluice-identity", strings.NewReader(strings.Repeat("\x00", 26)), 26); err != nil {
		t.Fatal(err)
	}
	if id, err := store.Identity(t.Context()); !errors.Is(err, oci.ErrCorrupt) {
		t.Errorf("identity %q, %v, want %v", id, err, oci.ErrCorrupt)
	}
}

func TestNew(t *testing.T) {
	good := s3.Config{Endpoint: "https://s3.example.com", Bucket: "dev", AccessKey: "a", SecretKey: "s"}
	for name, change := range map[string]func(*s3.Config){
		"no endpoint":     func(c *s3.Config) { c.Endpoint = "" },
		"no scheme":       func(c *s3.Config) { c.Endpoint = "s3.example.com" },
		"other scheme":    func(c *s3.Config) { c.Endpoint = "ftp://s3.example.com" },
		"path":            func(c *s3.Config) { c.Endpoint = "https://s3.example.com/dev" },
		"user":            func(c *s3.Config) { c.Endpoint = "https://u:p@s3.example.com" },
		"query":           func(c *s3.Config) { c.Endpoint = "https://s3.example.com?x=y" },
		"no bucket":       func(c *s3.Config) { c.Bucket = "" },
		"no access key":   func(c *s3.Config) { c.AccessKey = "" },
		"no secret":       func(c *s3.Config) { c.SecretKey = "" },
		"unreadable host": func(c *s3.Config) { c.Endpoint = "https://[::1" },
	} {
		cfg := good
		change(&cfg)
		if _, err := s3.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a, err := s3.New(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*s3.Config)
		want   bool
	}{
		"other bucket": {func(c *s3.Config) { c.Bucket = "stable" }, true},
		"same in case": {func(c *s3.Config) { c.Endpoint = "https://S3.example.com/" }, true},
		"other host":   {func(c *s3.Config) { c.Endpoint = "https://s4.example.com" }, false},
		"other scheme": {func(c *s3.Config) { c.Endpoint = "http://s3.example.com" }, false},
		"other region": {func(c *s3.Config) { c.Region = "eu-west-1" }, false},
		"other key":    {func(c *s3.Config) { c.AccessKey = "b" }, false},
		"other secret": {func(c *s3.Config) { c.SecretKey = "t" }, false},
	} {
		cfg := good
		c.change(&cfg)
		b, err := s3.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.CanCopyFrom(b); got != c.want {
			t.Errorf("%s: can copy is %t", name, got)
		}
	}
}

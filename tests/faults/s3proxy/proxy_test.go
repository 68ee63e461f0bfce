package s3proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/faults/s3proxy"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/s3"
	"sluice.dev/sluice/tiers/tierstest"
)

// world is a bucket that is reached through a proxy, and straight.
type world struct {
	proxy         *s3proxy.Proxy
	through, past *s3.Store
}

func open(t *testing.T, endpoint, bucket, access, secret string) *s3.Store {
	t.Helper()
	store, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: bucket, AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// worlds starts a server and returns what makes worlds on it.
func worlds(t *testing.T) func(t *testing.T) world {
	endpoint, access, secret := stores.StartS3(t)
	return func(t *testing.T) world {
		proxy, err := s3proxy.Start(endpoint, 7)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { proxy.Close() })
		bucket := "test-" + strings.ToLower(ulid.Make().String())
		return world{proxy, open(t, proxy.URL(), bucket, access, secret), open(t, endpoint, bucket, access, secret)}
	}
}

// Without rules the proxy is a server like the one behind it, for all that the registry does.
func TestTransparent(t *testing.T) {
	endpoint, access, secret := stores.StartS3(t)
	proxy, err := s3proxy.Start(endpoint, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	tierstest.TestBucket(t, func(t *testing.T) tiers.Bucket {
		return open(t, proxy.URL(), "test-"+strings.ToLower(ulid.Make().String()), access, secret)
	})
}

func only(f s3proxy.Fault) s3proxy.Rules {
	return s3proxy.Rules{Rates: map[s3proxy.Fault]float64{f: 1}, SlowFor: 50 * time.Millisecond}
}

// Each fault fails a write, and leaves of it what its name says.
func TestWrites(t *testing.T) {
	world := worlds(t)
	for _, tt := range []struct {
		fault   s3proxy.Fault
		applied bool
	}{
		{s3proxy.SlowDown, false}, {s3proxy.InternalError, false}, {s3proxy.ResetBefore, false},
		{s3proxy.ResetAfter, true}, {s3proxy.LostReply, true}, {s3proxy.FailedAfter, true},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			t.Parallel()
			w := world(t)
			w.proxy.SetRules(only(tt.fault))
			if err := w.through.Put(t.Context(), "k", strings.NewReader("content"), 7); !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("put: %v, want %v", err, oci.ErrUnavailable)
			}
			if _, err := w.past.Stat(t.Context(), "k"); (err == nil) != tt.applied {
				t.Errorf("the object: %v, want applied %v", err, tt.applied)
			}
			if w.proxy.Counts()[tt.fault] == 0 {
				t.Errorf("counted %v", w.proxy.Counts())
			}
		})
	}
}

func TestOKErrors(t *testing.T) {
	world := worlds(t)
	for _, tt := range []struct {
		fault   s3proxy.Fault
		applied bool
	}{{s3proxy.OKError, false}, {s3proxy.OKErrorApplied, true}} {
		t.Run(string(tt.fault), func(t *testing.T) {
			t.Parallel()
			w := world(t)
			if err := w.through.Put(t.Context(), "k", strings.NewReader("content"), 7); err != nil {
				t.Fatal(err)
			}
			w.proxy.SetRules(only(tt.fault))
			if err := w.through.CopyFrom(t.Context(), w.through, "k", "copy", 7); !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("copy: %v, want %v", err, oci.ErrUnavailable)
			}
			if _, err := w.past.Stat(t.Context(), "copy"); (err == nil) != tt.applied {
				t.Errorf("the copy: %v, want applied %v", err, tt.applied)
			}
			id, err := w.through.Begin(t.Context(), "parts")
			if err != nil {
				t.Fatal(err)
			}
			part, err := w.through.PutPart(t.Context(), "parts", id, 1, strings.NewReader("content"), 7)
			if err != nil {
				t.Fatal(err)
			}
			err = w.through.Complete(t.Context(), "parts", id, []tiers.Part{part})
			if _, statErr := w.past.Stat(t.Context(), "parts"); (statErr == nil) != tt.applied {
				t.Errorf("the object of parts: %v, want applied %v", statErr, tt.applied)
			}
			if !tt.applied && err == nil {
				t.Error("a completion that failed is taken for one")
			}
		})
	}
}

// A read that is cut fails; one with wrong bytes does not, which is why they are hashed.
func TestReads(t *testing.T) {
	world := worlds(t)
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	for _, tt := range []struct {
		fault  s3proxy.Fault
		whole  bool // as many bytes as there are
		failed bool
	}{
		{s3proxy.ShortRead, false, true}, {s3proxy.Truncated, false, true}, {s3proxy.WrongBytes, true, false}, {s3proxy.Slow, true, false},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			t.Parallel()
			w := world(t)
			if err := w.through.Put(t.Context(), "k", bytes.NewReader(content), int64(len(content))); err != nil {
				t.Fatal(err)
			}
			w.proxy.SetRules(only(tt.fault))
			var got []byte
			rc, err := w.through.Open(t.Context(), "k", 0, int64(len(content)))
			if err == nil {
				got, err = io.ReadAll(rc)
				rc.Close()
			}
			if (err != nil) != tt.failed || (len(got) == len(content)) != tt.whole {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if spoilt := !bytes.Equal(got, content); tt.whole && spoilt != (tt.fault == s3proxy.WrongBytes) {
				t.Errorf("the bytes are others: %v", spoilt)
			}
		})
	}
}

// A key that two operations write is found; a write that is sent again is one.
func TestTwice(t *testing.T) {
	w := worlds(t)(t)
	put := func(key, content string) error {
		return w.through.Put(context.Background(), key, strings.NewReader(content), int64(len(content)))
	}
	w.proxy.SetRules(s3proxy.Rules{Rates: map[s3proxy.Fault]float64{s3proxy.FailedAfter: 0.5}})
	for range 20 {
		if err := put("blobs/"+ulid.Make().String(), "content"); err != nil && !errors.Is(err, oci.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if twice := w.proxy.Twice(nil); len(twice) != 0 {
		t.Errorf("what was sent again counts as %v", twice)
	}
	w.proxy.SetRules(s3proxy.Rules{})
	for _, content := range []string{"a", "a", "b"} {
		if err := put("twice", content); err != nil {
			t.Fatal(err)
		}
	}
	if twice := w.proxy.Twice(nil); len(twice) != 2 {
		t.Errorf("got %q, want the second and the third", twice)
	}
	if twice := w.proxy.Twice(func(path string) bool { return strings.Contains(path, "/twice") }); len(twice) != 0 {
		t.Errorf("got %q in spite of the exception", twice)
	}
}

package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/s3"
)

// What a server says of the bytes that it has stored is compared with those that were sent.
func TestSumOfPut(t *testing.T) {
	const of100k = "m0nypWpUsto=" // of 100,000 zeros
	for name, c := range map[string]struct {
		sum, kind string
		want      error
	}{
		"none":      {"", "", nil},
		"right":     {of100k, "FULL_OBJECT", nil},
		"no kind":   {of100k, "", nil},
		"wrong":     {"AAAAAAAAAAA=", "FULL_OBJECT", oci.ErrUnavailable},
		"of parts":  {"AAAAAAAAAAA=", "COMPOSITE", nil},
		"nonsense":  {"?", "", oci.ErrUnavailable},
		"truncated": {of100k[:4], "", oci.ErrUnavailable},
	} {
		store := against(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("X-Amz-Checksum-Crc64nvme", c.sum)
			w.Header().Set("X-Amz-Checksum-Type", c.kind)
		})
		for way, body := range map[string]io.Reader{
			"streamed": io.LimitReader(zeros{}, 100_000), "in memory": bytes.NewReader(make([]byte, 100_000)),
		} {
			if err := store.Put(t.Context(), "k", body, 100_000); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", name, way, err, c.want)
			}
		}
	}
}

// A server that says that it has stored what it never read is not believed.
func TestAnsweredEarly(t *testing.T) {
	store := against(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"e"`)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	})
	const size = 1 << 30
	if err := store.Put(t.Context(), "k", io.LimitReader(zeros{}, size), size); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put: %v, want %v", err, oci.ErrUnavailable)
	}
}

// Small bodies are sent with their SHA-256.
func TestSmallBodiesAreSigned(t *testing.T) {
	want := sha256.Sum256([]byte("manifest"))
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != hex.EncodeToString(want[:]) {
			t.Errorf("the request says %s", got)
		}
		w.Header().Set("ETag", `"e"`)
	})
	for _, body := range []io.Reader{bytes.NewReader([]byte("manifest")), io.MultiReader(bytes.NewReader([]byte("manifest")))} {
		if err := store.Put(t.Context(), "k", body, 8); err != nil {
			t.Error(err)
		}
	}
}

// flippedWire is a real S3 server behind something that changes a bit of every body, as a
// bad network card does.
func flippedWire(t *testing.T) (store *s3.Store, flip *atomic.Bool) {
	t.Helper()
	endpoint, access, secret := stores.StartS3(t)
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	flip = &atomic.Bool{}
	wire := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		if r.In.Method == http.MethodPut && flip.Load() {
			r.Out.Body = io.NopCloser(&flipped{r: r.In.Body})
		}
	}})
	t.Cleanup(wire.Close)
	if store, err = s3.New(s3.Config{Endpoint: wire.URL, Bucket: "dev", AccessKey: access, SecretKey: secret}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, flip
}

type flipped struct {
	r    io.Reader
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 && !f.done {
		f.done = true
		p[n-1] ^= 4
	}
	return n, err
}

// Whatever is stored, a bit that changed on its way is noticed before it is acknowledged.
func TestFlippedBit(t *testing.T) {
	store, flip := flippedWire(t)
	parts := func(key string) error {
		id, err := store.Begin(t.Context(), key)
		if err != nil {
			return err
		}
		var list []tiers.Part
		for i, size := range []int{tiers.PartMin, tiers.PartMin + 1, 10} {
			part, err := store.PutPart(t.Context(), key, id, 2*i+1, io.LimitReader(zeros{}, int64(size)), int64(size))
			if err != nil {
				return err
			}
			list = append(list, part)
		}
		return store.Complete(t.Context(), key, id, list)
	}
	calls := map[string]func(key string) error{
		"small":    func(key string) error { return store.Put(t.Context(), key, bytes.NewReader([]byte("manifest")), 8) },
		"streamed": func(key string) error { return store.Put(t.Context(), key, io.LimitReader(zeros{}, 1<<20), 1<<20) },
		"in memory": func(key string) error {
			return store.Put(t.Context(), key, bytes.NewReader(make([]byte, 1<<20)), 1<<20)
		},
		"parts": parts,
	}
	for name, call := range calls {
		for _, bad := range []bool{false, true} {
			flip.Store(bad)
			if err := call(fmt.Sprintf("%s %t", name, bad)); (err != nil) != bad {
				t.Errorf("%s, flipped %t: %v", name, bad, err)
			}
		}
	}
}

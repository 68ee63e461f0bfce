package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/s3"
)

// impatient returns a store that waits for nothing longer than a moment, of a server that
// answers as answer does and hangs where that hangs.
func impatient(t *testing.T, answer http.HandlerFunc) *s3.Store {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return impatientAt(t, server.URL)
}

func impatientAt(t *testing.T, endpoint string) *s3.Store {
	t.Helper()
	store, err := s3.NewImpatient(s3.Config{Endpoint: endpoint, Bucket: "dev", AccessKey: "a", SecretKey: "s"}, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// hang answers nothing until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// A server that does not answer is unavailable, whatever it is asked, and is not asked again:
// that would take as long each time.
func TestNoAnswer(t *testing.T) {
	var requests atomic.Int64
	store := impatient(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		hang(w, r)
	})
	part := []tiers.Part{{Number: 1, Size: 1, ETag: "e"}}
	large := make([]byte, 1<<20)
	for name, call := range map[string]func() error{
		"open":       func() error { _, err := store.Open(t.Context(), "k", 0, 10); return err },
		"open whole": func() error { _, err := store.Open(t.Context(), "k", 0, -1); return err },
		"stat":       func() error { _, err := store.Stat(t.Context(), "k"); return err },
		"delete":     func() error { return store.Delete(t.Context(), "k") },
		"begin":      func() error { _, err := store.Begin(t.Context(), "k"); return err },
		"abort":      func() error { return store.Abort(t.Context(), "k", "u") },
		"complete":   func() error { return store.Complete(t.Context(), "k", "u", part) },
		"copy":       func() error { return store.CopyFrom(t.Context(), store, "a", "b", 10) },
		"ping":       func() error { return store.Ping(t.Context()) },
		"identity":   func() error { _, err := store.Identity(t.Context()); return err },
		"small put":  func() error { return store.Put(t.Context(), "k", strings.NewReader("x"), 1) },
		"put": func() error {
			return store.Put(t.Context(), "k", io.MultiReader(bytes.NewReader(large)), int64(len(large)))
		},
		"part": func() error {
			_, err := store.PutPart(t.Context(), "k", "u", 1, bytes.NewReader(large), int64(len(large)))
			return err
		},
	} {
		requests.Store(0)
		if err := call(); !errors.Is(err, oci.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUnavailable)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

// A body that is not taken on ends, though the client goes on to send it.
func TestBodyNotTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close() // with nothing read
		}
	}()
	store := impatientAt(t, "http://"+listener.Addr().String())
	const size = 1 << 30 // more than any buffer between
	if err := store.Put(t.Context(), "k", io.LimitReader(zeros{}, size), size); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put: %v, want %v", err, oci.ErrUnavailable)
	}
}

// An answer that stands still ends with an error, however it is read and wherever it stands.
func TestStalledBody(t *testing.T) {
	for name, begun := range map[string]int{"behind the head": 0, "in the middle": 70_000} {
		answer := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-99999/100000")
			w.Header().Set("Content-Length", "100000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, begun))
			w.(http.Flusher).Flush()
			hang(w, r)
		}
		for way, read := range map[string]func(io.ReadCloser) error{
			"read": func(rc io.ReadCloser) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{rc}); return err },
			"transfer": func(rc io.ReadCloser) error {
				_, err := rc.(tiers.Transferrer).TransferTo(&bytes.Buffer{}, 100_000)
				return err
			},
		} {
			for _, indirect := range []bool{false, true} {
				store := impatient(t, answer)
				if indirect {
					store.Indirect()
				}
				rc, err := store.Open(t.Context(), "k", 0, 100_000)
				if err != nil {
					t.Fatal(err)
				}
				if err := read(rc); !errors.Is(err, oci.ErrUnavailable) || errors.Is(err, context.Canceled) {
					t.Errorf("%s, %s, indirect %t: %v, want %v", name, way, indirect, err, oci.ErrUnavailable)
				}
				rc.Close()
			}
		}
	}
}

// A server that is slow and goes on is waited for, far longer than one that stands still.
func TestSlowBody(t *testing.T) {
	for _, indirect := range []bool{false, true} {
		store := impatient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-19/20")
			w.Header().Set("Content-Length", "20")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusPartialContent)
			for range 20 {
				_, _ = w.Write([]byte("."))
				w.(http.Flusher).Flush()
				time.Sleep(30 * time.Millisecond)
			}
		})
		if indirect {
			store.Indirect()
		}
		rc, err := store.Open(t.Context(), "k", 0, 20)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || len(got) != 20 {
			t.Errorf("indirect %t: %d bytes, %v", indirect, len(got), err)
		}
		rc.Close()
	}
}

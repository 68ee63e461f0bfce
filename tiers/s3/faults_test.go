package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

// against returns a store of a server that misbehaves as answer does.
func against(t *testing.T, answer http.HandlerFunc) *s3.Store {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	store, err := s3.New(s3.Config{Endpoint: server.URL, Bucket: "dev", AccessKey: "a", SecretKey: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

const errorBody = `<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>`

func fail(code string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		fmt.Fprintf(w, errorBody, code)
	}
}

// Every answer becomes an error of the registry.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		want   error
	}{
		{"NoSuchKey", 404, oci.ErrObjectUnknown},
		{"NoSuchUpload", 404, oci.ErrUploadUnknown},
		{"NoSuchBucket", 404, oci.ErrUnavailable},
		{"AccessDenied", 403, oci.ErrUnavailable},
		{"SignatureDoesNotMatch", 403, oci.ErrUnavailable},
		{"InternalError", 500, oci.ErrUnavailable},
		{"SlowDown", 503, oci.ErrUnavailable},
		{"", 502, oci.ErrUnavailable},
		{"PreconditionFailed", 412, oci.ErrConflict},
	} {
		t.Run(fmt.Sprint(c.code, c.status), func(t *testing.T) {
			t.Parallel() // those that are sent again wait in between
			store := against(t, fail(c.code, c.status))
			part := []tiers.Part{{Number: 1, Size: 1, ETag: "e"}}
			if err := store.Complete(t.Context(), "k", "u", part); !errors.Is(err, c.want) {
				t.Errorf("complete: %v, want %v", err, c.want)
			}
			if err := store.Put(t.Context(), "k", strings.NewReader("x"), 1); !errors.Is(err, c.want) {
				t.Errorf("put: %v, want %v", err, c.want)
			}
		})
	}
}

// Requests are repeated a few times and never for ever; a streamed body goes once.
func TestRetries(t *testing.T) {
	var requests atomic.Int32
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		fail("SlowDown", 503)(w, r)
	})
	if _, err := store.Stat(t.Context(), "k"); err == nil {
		t.Error("stat succeeded")
	}
	if n := requests.Swap(0); n != 3 {
		t.Errorf("stat was sent %d times, want 3", n)
	}
	body := io.MultiReader(bytes.NewReader(make([]byte, 100_000)))
	if err := store.Put(t.Context(), "k", body, 100_000); err == nil {
		t.Error("put succeeded")
	}
	if n := requests.Swap(0); n != 1 {
		t.Errorf("a streamed put was sent %d times, want 1", n)
	}
}

// A 200 is no proof of a copy: the failure may be in the body.
func TestCopyUnproved(t *testing.T) {
	for name, body := range map[string]string{
		"error":     fmt.Sprintf(errorBody, "InternalError"),
		"no ETag":   `<CopyObjectResult><LastModified>2026-01-01T00:00:00.000Z</LastModified></CopyObjectResult>`,
		"part":      `<CopyPartResult><LastModified>2026-01-01T00:00:00.000Z</LastModified></CopyPartResult>`,
		"no answer": ``,
	} {
		var aborted atomic.Bool
		store := against(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				aborted.Store(r.URL.Query().Get("uploadId") == "u")
				w.WriteHeader(http.StatusNoContent)
			case r.Method == http.MethodPost:
				fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
			default:
				fmt.Fprint(w, body)
			}
		})
		if err := store.CopyFrom(t.Context(), store, "a", "b", 10); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: copy: %v, want %v", name, err, oci.ErrUnavailable)
		}
		if aborted.Load() {
			t.Errorf("%s: a copy that has no upload aborted one", name)
		}
		store.LimitCopies(5, 5)
		if err := store.CopyFrom(t.Context(), store, "a", "b", 10); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: copy in parts: %v, want %v", name, err, oci.ErrUnavailable)
		}
		if !aborted.Load() {
			t.Errorf("%s: the upload of a failed copy was not aborted", name)
		}
	}
}

// A put without an ETag in the answer is not taken for stored.
func TestPutUnproved(t *testing.T) {
	store := against(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	if err := store.Put(t.Context(), "k", strings.NewReader("x"), 1); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put: %v, want %v", err, oci.ErrUnavailable)
	}
}

// A completion that was answered with success must have made the object.
func TestCompleteUnproved(t *testing.T) {
	done := `<CompleteMultipartUploadResult><Bucket>dev</Bucket><Key>k</Key><ETag>"e"</ETag></CompleteMultipartUploadResult>`
	for name, c := range map[string]struct {
		answer http.HandlerFunc // to the completion
		size   string           // of the object; empty: there is none
		want   error
	}{
		"done":                 {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, done) }, "10", nil},
		"done but absent":      {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, done) }, "", oci.ErrUnavailable},
		"done but short":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, done) }, "9", oci.ErrUnavailable},
		"answer lost":          {fail("NoSuchUpload", 404), "10", nil},
		"upload unknown":       {fail("NoSuchUpload", 404), "", oci.ErrUploadUnknown},
		"upload of other size": {fail("NoSuchUpload", 404), "11", oci.ErrUploadUnknown},
		"error in a 200":       {fail("InternalError", 200), "10", oci.ErrUnavailable},
	} {
		store := against(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPost:
				c.answer(w, r)
			case c.size == "":
				w.WriteHeader(http.StatusNotFound)
			default:
				w.Header().Set("Content-Length", c.size)
				w.Header().Set("ETag", `"e"`)
				w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			}
		})
		err := store.Complete(t.Context(), "k", "u", []tiers.Part{{Number: 1, Size: 6, ETag: "a"}, {Number: 2, Size: 4, ETag: "b"}})
		if !errors.Is(err, c.want) || (c.want == nil && err != nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// object answers a GET with headers of its own and then body, and breaks the connection.
func object(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// Bytes that are missing are an error, never the end.
func TestShortRead(t *testing.T) {
	for name, c := range map[string]struct {
		answer         http.HandlerFunc
		offset, length int64
	}{
		"broken off": {object(200, map[string]string{"Content-Length": "100"}, "ten bytes."), 0, -1},
		"broken range": {object(206, map[string]string{"Content-Length": "50", "Content-Range": "bytes 50-99/100"},
			"ten bytes."), 50, 50},
		"range cut by the server": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 50-59/60")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.WriteHeader(206)
			fmt.Fprint(w, "ten bytes.")
		}, 50, 50},
	} {
		r, err := against(t, c.answer).Open(t.Context(), "k", c.offset, c.length)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(r)
		r.Close()
		if len(got) != 10 || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %d bytes and %v, want 10 and %v", name, len(got), err, io.ErrUnexpectedEOF)
		}
	}
}

// A server that sends another range than the one asked for is not believed.
func TestWrongRange(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"whole object": object(200, map[string]string{"Content-Length": "10"}, "ten bytes."),
		"other offset": object(206, map[string]string{"Content-Length": "10", "Content-Range": "bytes 0-9/10"}, "ten bytes."),
	} {
		if _, err := against(t, answer).Open(t.Context(), "k", 5, 5); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUnavailable)
		}
	}
}

// Only a checksum of the whole object is one.
func TestChecksum(t *testing.T) {
	const sum = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
	for name, c := range map[string]struct{ kind, sum, want string }{
		"full":      {"FULL_OBJECT", sum, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
		"composite": {"COMPOSITE", sum, ""},
		"of parts":  {"COMPOSITE", sum + "-3", ""},
		"no kind":   {"", sum, ""},
		"short":     {"FULL_OBJECT", "LPJNug==", ""},
		"garbage":   {"FULL_OBJECT", "?", ""},
		"none":      {"FULL_OBJECT", "", ""},
	} {
		asked := false
		store := against(t, func(w http.ResponseWriter, r *http.Request) {
			asked = r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED"
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("X-Amz-Checksum-Type", c.kind)
			w.Header().Set("X-Amz-Checksum-Sha256", c.sum)
		})
		info, err := store.Stat(t.Context(), "k")
		if err != nil || info.SHA256 != c.want || info.Size != 5 || !asked {
			t.Errorf("%s: %+v, %v, asked for: %t", name, info, err, asked)
		}
	}
}

// A deadline of a single request is the store's fault, not the end of the caller's context.
func TestHangingServer(t *testing.T) {
	release := make(chan struct{})
	store := against(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := store.Stat(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("stat: %v, want %v", err, context.DeadlineExceeded)
	}
	if err := store.Put(ctx, "k", strings.NewReader("x"), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put: %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

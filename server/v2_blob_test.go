package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// brittle is a bucket whose streams break off after a number of bytes, or do not open.
type brittle struct {
	tiers.Bucket
	after atomic.Int64 // negative: does not open
}

func (b *brittle) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	after := b.after.Load()
	if after < 0 {
		return nil, fmt.Errorf("dial 10.0.0.7: %w", oci.ErrUnavailable)
	}
	rc, err := b.Bucket.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	cut := io.MultiReader(io.LimitReader(rc, after), broken{})
	return struct {
		io.Reader
		io.Closer
	}{cut, rc}, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) {
	return 0, errors.Join(oci.ErrUnavailable, io.ErrUnexpectedEOF)
}

// over puts wrap around the bucket of dev.
func over(t *testing.T, wrap func(tiers.Bucket) tiers.Bucket) func(*Config) {
	return func(c *Config) {
		registry, err := tiers.New(t.Context(), tiers.Config{Catalog: c.Registry.Catalog(), Log: slog.New(slog.DiscardHandler),
			Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: wrap(c.Registry.Tiers()[0].Bucket)}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Registry = registry
	}
}

// TestBrokenStore must never give a client fewer bytes as if they were all.
func TestBrokenStore(t *testing.T) {
	bucket := &brittle{}
	f := newFixture(t, over(t, func(b tiers.Bucket) tiers.Bucket { bucket.Bucket = b; return bucket }))
	content := random(100_000)
	d := f.push("dev/app", content)
	path := "/v2/dev/app/blobs/" + d.String()
	for _, after := range []int64{0, 1, 4096, 99_999} {
		bucket.after.Store(after)
		for name, headers := range map[string][]string{"whole": nil, "range": {"Range", "bytes=0-99998"}, "ranges": {"Range", "bytes=0-49999,50000-99999"}} {
			if after == 99_999 && name != "whole" {
				continue // enough for the range
			}
			if got := f.try("GET", path, nil, headers...); got.err == nil {
				t.Errorf("%s, cut after %d: the answer %d with %d bytes looks whole", name, after, got.status, len(got.body))
			}
		}
	}
	if logs := f.logs.String(); !strings.Contains(logs, "read blob "+d.String()) {
		t.Errorf("the cause is not in the log: %s", logs)
	}
	bucket.after.Store(-1)
	got := f.want(f.do("GET", path, nil), 503, "UNAVAILABLE")
	if got.header.Get("Retry-After") == "" || strings.Contains(string(got.body), "10.0.0.7") {
		t.Errorf("got %s %v", got.body, got.header)
	}
	for _, name := range []string{"ETag", "Docker-Content-Digest", "Accept-Ranges"} {
		if v := got.header.Get(name); v != "" {
			t.Errorf("the error has %s %q", name, v)
		}
	}
	f.want(f.do("HEAD", path, nil), 200, "") // needs nothing of the bucket
}

// TestClientThatDoesNotRead is cut off, so that it holds no connection to the store.
func TestClientThatDoesNotRead(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	content := random(33 << 20)
	d := digest.FromString(content)
	f.want(f.do("POST", "/v2/dev/app/blobs/uploads/?digest="+d.String(), strings.NewReader(content)), 201, "")
	conn := f.dial()
	fmt.Fprintf(conn, "GET /v2/dev/app/blobs/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", d)
	time.Sleep(time.Second)
	if n, _ := io.Copy(io.Discard, conn); n >= int64(len(content)) {
		t.Errorf("got all %d bytes", n)
	}
}

// A tier that redirects sends a GET to the store and answers everything else itself.
func TestBlobRedirect(t *testing.T) {
	f := newFixture(t, nil)
	content := random(3000)
	d := f.push("dev/app", content)
	empty := f.push("dev/app", "")
	dev, err := f.server.registry.Tier("dev")
	if err != nil {
		t.Fatal(err)
	}
	dev.Redirect = true
	path := "/v2/dev/app/blobs/" + d.String()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(f.url + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Docker-Content-Digest") != d.String() || !strings.Contains(resp.Header.Get("Location"), "X-Amz-Signature") {
		t.Fatalf("got %s, %v", resp.Status, resp.Header)
	}
	if got := f.want(f.do("GET", path, nil), 200, ""); string(got.body) != content { // follows
		t.Errorf("got %d other bytes", len(got.body))
	}
	if got := f.want(f.do("GET", path, nil, "Range", "bytes=10-19"), 206, ""); string(got.body) != content[10:20] {
		t.Errorf("got %q", got.body)
	}
	for _, path := range []string{"/v2/dev/app/blobs/" + empty.String(), "/v2/dev/other/blobs/" + d.String()} {
		resp, err := client.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := map[bool]int{true: 404, false: 200}[strings.Contains(path, "other")]; resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	head, err := client.Head(f.url + path)
	if err != nil {
		t.Fatal(err)
	}
	head.Body.Close()
	if head.StatusCode != 200 || head.ContentLength != 3000 {
		t.Errorf("HEAD: %s, %d", head.Status, head.ContentLength)
	}
}

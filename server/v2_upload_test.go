package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// begin opens an upload and returns its location.
func (f *fixture) begin(repo string) string {
	f.Helper()
	got := f.want(f.do("POST", "/v2/"+repo+"/blobs/uploads/", nil), 202, "")
	location := got.header.Get("Location")
	if !strings.HasPrefix(location, "/v2/"+repo+"/blobs/uploads/") || got.header.Get("Docker-Upload-UUID") == "" || got.header.Get("Range") != "0-0" {
		f.Fatalf("got %v", got.header)
	}
	return location
}

// unknownLength hides how long a body is, so that it is sent in chunks of HTTP.
func unknownLength(content string) io.Reader { return struct{ io.Reader }{strings.NewReader(content)} }

func (f *fixture) wantBlob(repo, content string) {
	f.Helper()
	d := digest.FromString(content)
	got := f.want(f.do("GET", "/v2/"+repo+"/blobs/"+d.String(), nil), 200, "")
	if string(got.body) != content || got.header.Get("Docker-Content-Digest") != d.String() || got.header.Get("ETag") != `"`+d.String()+`"` {
		f.Fatalf("got %d bytes, %v", len(got.body), got.header)
	}
}

func (f *fixture) wantNoBlob(repo string, d digest.Digest) {
	f.Helper()
	f.want(f.do("GET", "/v2/"+repo+"/blobs/"+d.String(), nil), 404, "BLOB_UNKNOWN")
}

// random makes content that no other test has.
func random(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return string(b)
}

// TestUploads goes every way in, with small, empty and large content, under sha256 and
// sha512.
func TestUploads(t *testing.T) {
	f := newFixture(t, nil)
	const mib = 1 << 20
	for _, size := range []int{0, 1, 100, 5*mib - 1, 5 * mib, 12*mib + 7, 33 * mib, 65 * mib} {
		content := random(size)
		d := digest.FromString(content)
		ways := map[string]func(f *fixture, repo string) reply{
			"single POST": func(f *fixture, repo string) reply {
				return f.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), strings.NewReader(content))
			},
			"single POST of unknown length": func(f *fixture, repo string) reply {
				return f.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), unknownLength(content))
			},
			"POST, PUT": func(f *fixture, repo string) reply {
				return f.do("PUT", f.begin(repo)+"?digest="+d.String(), strings.NewReader(content))
			},
			"POST, PUT of unknown length": func(f *fixture, repo string) reply {
				return f.do("PUT", f.begin(repo)+"?digest="+d.String(), unknownLength(content))
			},
			"streamed PATCH": func(f *fixture, repo string) reply {
				at := f.want(f.do("PATCH", f.begin(repo), unknownLength(content)), 202, "").header.Get("Location")
				return f.do("PUT", at+"?digest="+d.String(), nil)
			},
			"PATCH of known length": func(f *fixture, repo string) reply {
				at := f.want(f.do("PATCH", f.begin(repo), strings.NewReader(content)), 202, "").header.Get("Location")
				return f.do("PUT", at+"?digest="+d.String(), nil)
			},
			"chunks": func(f *fixture, repo string) reply { return f.chunks(repo, content, d) },
		}
		if size > 16*mib { // large enough for several parts where the length is known
			delete(ways, "single POST of unknown length")
			delete(ways, "POST, PUT of unknown length")
			delete(ways, "streamed PATCH")
			delete(ways, "chunks")
		}
		if size > 64*mib { // and too large for one piece
			delete(ways, "PATCH of known length")
			delete(ways, "single POST")
		}
		if size == 0 {
			delete(ways, "chunks")
		}
		for name, way := range ways {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				f := *f
				f.T = t
				repo := "dev/" + strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(name))
				got := f.want(way(&f, repo), 201, "")
				if got.header.Get("Location") != "/v2/"+repo+"/blobs/"+d.String() || got.header.Get("Docker-Content-Digest") != d.String() {
					t.Errorf("got %v", got.header)
				}
				f.wantBlob(repo, content)
			})
		}
	}
}

// chunks sends content in three parts with ranges, the last with the PUT.
func (f *fixture) chunks(repo, content string, d digest.Digest) reply {
	at, third := f.begin(repo), len(content)/3
	from := 0
	for _, to := range []int{third, 2 * third} {
		if to == from {
			continue
		}
		got := f.want(f.do("PATCH", at, strings.NewReader(content[from:to]), "Content-Range", fmt.Sprintf("%d-%d", from, to-1)), 202, "")
		if got.header.Get("Range") != fmt.Sprintf("0-%d", to-1) {
			f.Fatalf("got Range %q", got.header.Get("Range"))
		}
		at, from = got.header.Get("Location"), to
		if status := f.want(f.do("GET", at, nil), 204, ""); status.header.Get("Range") != fmt.Sprintf("0-%d", to-1) || status.header.Get("Location") != at {
			f.Fatalf("got status %v", status.header)
		}
	}
	return f.do("PUT", at+"?digest="+d.String(), strings.NewReader(content[from:]), "Content-Range", fmt.Sprintf("%d-%d", from, len(content)-1))
}

func TestSHA512(t *testing.T) {
	f := newFixture(t, nil)
	for name, content := range map[string]string{"whole": "abc", "large": random(6 << 20)} {
		d := digest.SHA512.FromString(content)
		f.want(f.do("PUT", f.begin("dev/"+name)+"?digest="+d.String(), strings.NewReader(content)), 201, "")
		at := f.begin("dev/patched-" + name)
		f.want(f.do("PATCH", at, unknownLength(content)), 202, "")
		f.want(f.do("PUT", at+"?digest="+d.String(), nil), 201, "")
		if got := f.want(f.do("GET", "/v2/dev/patched-"+name+"/blobs/"+d.String(), nil), 200, ""); string(got.body) != content {
			t.Errorf("%s: got %d bytes", name, len(got.body))
		}
	}
}

func TestUploadRefusals(t *testing.T) {
	f := newFixture(t, nil)
	other := digest.FromString("something else")
	at := f.begin("dev/app")
	f.want(f.do("PATCH", at, strings.NewReader("0123456789")), 202, "")
	chunk := func(r string) []string { return []string{"Content-Range", r} }
	f.exchanges(t, []exchange{
		{"gap", "PATCH", at, "x", chunk("11-11"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"overlap", "PATCH", at, "x", chunk("9-9"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"from the beginning", "PATCH", at, "0123456789", chunk("0-9"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"no range", "PATCH", at, "x", chunk("ten-eleven"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"with a unit", "PATCH", at, "x", chunk("bytes 10-10/11"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"negative", "PATCH", at, "x", chunk("-1-10"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"backwards", "PATCH", at, "x", chunk("10-9"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"huge", "PATCH", at, "x", chunk("10-99999999999999999999"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"longer than its range", "PATCH", at, "xx", chunk("10-10"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"shorter than its range", "PATCH", at, "x", chunk("10-11"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"PUT out of order", "PUT", at + "?digest=" + other.String(), "x", chunk("12-12"), 416, "BLOB_UPLOAD_INVALID", ""},
		{"PUT without digest", "PUT", at, "", nil, 400, "DIGEST_INVALID", ""},
		{"PUT with a malformed digest", "PUT", at + "?digest=sha256:abc", "", nil, 400, "DIGEST_INVALID", ""},
		{"unknown session", "PATCH", "/v2/dev/app/blobs/uploads/01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"tampered session", "PATCH", at + "x", "x", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"session with slashes", "GET", at + "/../x", "", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"session with NUL", "GET", at + "%00", "", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"session of another repository", "PATCH", strings.Replace(at, "dev/app", "dev/other", 1), "x", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"status in another repository", "GET", strings.Replace(at, "dev/app", "dev/other", 1), "", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"cancel in another repository", "DELETE", strings.Replace(at, "dev/app", "dev/other", 1), "", nil, 404, "BLOB_UPLOAD_UNKNOWN", ""},
	})
	// A chunk of unknown length is held to its range too.
	for r, body := range map[string]string{"10-10": "xx", "10-11": "x"} {
		f.want(f.do("PATCH", at, unknownLength(body), "Content-Range", r), 400, "SIZE_INVALID")
	}
	got := f.want(f.do("PATCH", at, strings.NewReader("x"), "Content-Range", "3-3"), 416, "BLOB_UPLOAD_INVALID")
	if got.header.Get("Range") != "0-9" || got.header.Get("Location") != at {
		t.Errorf("got %v, want where to go on", got.header)
	}
	// None of it did any harm.
	f.want(f.do("PUT", at+"?digest="+digest.FromString("0123456789abc").String(), unknownLength("abc"), "Content-Range", "10-12"), 201, "")
	f.wantBlob("dev/app", "0123456789abc")
}

func TestWrongContent(t *testing.T) {
	f := newFixture(t, nil)
	for _, content := range []string{"", "wrong", random(6 << 20)} {
		want := digest.FromString("right" + content)
		f.want(f.do("POST", "/v2/dev/app/blobs/uploads/?digest="+want.String(), strings.NewReader(content)), 400, "DIGEST_INVALID")
		f.want(f.do("PUT", f.begin("dev/app")+"?digest="+want.String(), strings.NewReader(content)), 400, "DIGEST_INVALID")
		at := f.begin("dev/app")
		f.want(f.do("PATCH", at, strings.NewReader(content)), 202, "")
		f.want(f.do("PUT", at+"?digest="+want.String(), nil), 400, "DIGEST_INVALID")
		f.wantNoBlob("dev/app", want)
		f.wantNoBlob("dev/app", digest.FromString(content))
	}
}

func TestReplayedPut(t *testing.T) {
	f := newFixture(t, nil)
	d, other := digest.FromString("abc"), digest.FromString("abcd")
	at := f.begin("dev/app")
	f.want(f.do("PATCH", at, strings.NewReader("abc")), 202, "")
	for range 3 {
		got := f.want(f.do("PUT", at+"?digest="+d.String(), nil), 201, "")
		if got.header.Get("Location") != "/v2/dev/app/blobs/"+d.String() {
			t.Errorf("got %v", got.header)
		}
	}
	f.want(f.do("PUT", at+"?digest="+other.String(), nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("PATCH", at, strings.NewReader("d")), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("GET", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("DELETE", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.wantBlob("dev/app", "abc")
	f.wantNoBlob("dev/app", other)
}

func TestCancel(t *testing.T) {
	f := newFixture(t, nil)
	at := f.begin("dev/app")
	f.want(f.do("PATCH", at, unknownLength(random(6<<20))), 202, "")
	f.want(f.do("DELETE", at, nil), 204, "")
	f.want(f.do("DELETE", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.want(f.do("PATCH", at, strings.NewReader("x")), 404, "BLOB_UPLOAD_UNKNOWN")
}

func TestTwoPatchesAtOneOffset(t *testing.T) {
	f := newFixture(t, nil)
	for range 5 {
		at := f.begin("dev/app")
		var wg sync.WaitGroup
		got := make([]reply, 2)
		for i := range got {
			wg.Go(func() {
				got[i] = f.do("PATCH", at, strings.NewReader(fmt.Sprint("content ", i)), "Content-Range", "0-8")
			})
		}
		wg.Wait()
		if a, b := got[0].status, got[1].status; min(a, b) != 202 || max(a, b) != 416 {
			t.Fatalf("got %d and %d, want one 202 and one 416\n%s%s", a, b, got[0].body, got[1].body)
		}
	}
}

func TestMount(t *testing.T) {
	f := newFixture(t, nil)
	d := f.push("dev/from", "to be mounted")
	f.promoted("stable", "acme/app", "1", "in stable")
	mount := func(query string, status int) reply {
		t.Helper()
		return f.want(f.do("POST", "/v2/dev/to/blobs/uploads/?"+query, nil), status, "")
	}
	for _, from := range []string{"dev/other", "nowhere", "DEV/../x", "dev", "acme/app"} {
		mount("mount="+d.String()+"&from="+from, 202)
	}
	mount("mount="+digest.FromString("in stable").String()+"&from=stable/acme/app", 202) // another bucket
	mount("mount="+zeros+"&from=dev/from", 202)
	f.wantNoBlob("dev/to", d)
	got := mount("mount="+d.String()+"&from=dev/from", 201)
	if got.header.Get("Location") != "/v2/dev/to/blobs/"+d.String() || got.header.Get("Docker-Content-Digest") != d.String() {
		t.Errorf("got %v", got.header)
	}
	f.wantBlob("dev/to", "to be mounted")
}

// TestSharedBlob pushes the same content to two repositories: neither may be read
// through the other before.
func TestSharedBlob(t *testing.T) {
	f := newFixture(t, nil)
	d := f.push("dev/one", "shared")
	f.wantNoBlob("dev/two", d)
	f.want(f.do("HEAD", "/v2/dev/two/blobs/"+d.String(), nil), 404, "")
	f.push("dev/two", "shared")
	f.wantBlob("dev/two", "shared")
	f.want(f.do("DELETE", "/v2/dev/one/blobs/"+d.String(), nil), 202, "")
	f.wantNoBlob("dev/one", d)
	f.wantBlob("dev/two", "shared")
	f.want(f.do("DELETE", "/v2/dev/one/blobs/"+d.String(), nil), 404, "BLOB_UNKNOWN")
}

func TestBlobRanges(t *testing.T) {
	f := newFixture(t, nil)
	content := "0123456789"
	path := "/v2/dev/app/blobs/" + f.push("dev/app", content).String()
	for _, tt := range []struct {
		said, want, contentRange string
		status                   int
	}{
		{"bytes=0-3", "0123", "bytes 0-3/10", 206},
		{"bytes=4-", "456789", "bytes 4-9/10", 206},
		{"bytes=-2", "89", "bytes 8-9/10", 206},
		{"bytes=-20", content, "bytes 0-9/10", 206},
		{"bytes=9-9", "9", "bytes 9-9/10", 206},
		{"bytes=8-100", "89", "bytes 8-9/10", 206},
		{"bytes=10-", "", "bytes */10", 416},
		{"bytes=5-4", "", "", 416},
		{"bytes=-0", "", "bytes */10", 416},
		{"bytes=x-", "", "bytes */10", 416},
		{"bytes=+1-2", "", "bytes */10", 416},
		{"BYTES=0-3", "0123", "bytes 0-3/10", 206},
		{"bytes=7-99999999999999999999", "789", "bytes 7-9/10", 206},
		{"bytes=-99999999999999999999", content, "bytes 0-9/10", 206},
	} {
		got := f.do("GET", path, nil, "Range", tt.said)
		if got.status != tt.status || tt.status == 206 && string(got.body) != tt.want || tt.contentRange != "" && got.header.Get("Content-Range") != tt.contentRange {
			t.Errorf("%s: got %d %q %q", tt.said, got.status, got.body, got.header.Get("Content-Range"))
		}
		if tt.status == 416 && got.code() != "RANGE_INVALID" {
			t.Errorf("%s: got %s, want an envelope", tt.said, got.body)
		}
	}
	for _, said := range []string{"bytes=0-1,8-9", "chapters=1-2", "bytes"} { // not served, so ignored
		if got := f.do("GET", path, nil, "Range", said); got.status != 200 || string(got.body) != content {
			t.Errorf("%s: got %d %q, want all", said, got.status, got.body)
		}
	}
	if got := f.do("HEAD", path, nil, "Range", "bytes=0-1"); got.status != 200 || got.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD of a range: got %d %v", got.status, got.header)
	}
	etag := f.want(f.do("HEAD", path, nil), 200, "").header.Get("ETag")
	f.want(f.do("GET", path, nil, "If-None-Match", etag), 304, "")
	if got := f.do("GET", path, nil, "Range", "bytes=2-3", "If-Range", etag); got.status != 206 || string(got.body) != "23" {
		t.Errorf("got %d %q", got.status, got.body)
	}
	head := f.want(f.do("HEAD", path, nil), 200, "")
	if head.header.Get("Content-Length") != "10" || head.header.Get("Content-Type") != "application/octet-stream" || head.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("got %v", head.header)
	}
	if http.DetectContentType([]byte("<html>")) == head.header.Get("Content-Type") || head.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("a blob could be taken for a page")
	}
}

// forgetful stores an object and then says that it did not, once.
type forgetful struct {
	tiers.Bucket
	armed atomic.Bool
}

func (b *forgetful) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	err := b.Bucket.Put(ctx, key, r, size)
	if err == nil && b.armed.Swap(false) {
		return fmt.Errorf("put %s: %w", key, oci.ErrUnavailable)
	}
	return err
}

// TestUploadAfterALostAnswer goes on, with other content of the same size, in a session
// whose first PUT was stored although nobody knows. A blob must never get its bytes.
func TestUploadAfterALostAnswer(t *testing.T) {
	bucket := &forgetful{}
	f := newFixture(t, over(t, func(b tiers.Bucket) tiers.Bucket { bucket.Bucket = b; return bucket }))
	first, second := random(6<<20), random(6<<20)
	for name, then := range map[string]string{"the same": first, "other content": second} {
		at := f.begin("dev/app")
		bucket.armed.Store(true)
		f.want(f.do("PUT", at+"?digest="+digest.FromString(first).String(), strings.NewReader(first)), 503, "UNAVAILABLE")
		f.want(f.do("PATCH", at, strings.NewReader(then)), 202, "")
		if got := f.do("PUT", at+"?digest="+digest.FromString(then).String(), nil); got.status != 201 {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
			continue
		}
		f.wantBlob("dev/app", then)
	}
}

package server

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// readings are all ways to take a path apart into an endpoint, a name and a reference that
// are within their grammars. They are found by trying every place to cut.
func readings(path string) []v2Route {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return nil
	}
	var found []v2Route
	isDigest := func(s string) bool { _, err := oci.ParseDigest(s); return err == nil }
	for i := range len(rest) {
		name, end := rest[:i], rest[i:]
		if oci.CheckName(name) != nil {
			continue
		}
		add := func(kind v2Kind, ref string) { found = append(found, v2Route{kind, name, ref}) }
		after := func(marker string) string { ref, _ := strings.CutPrefix(end, marker); return ref }
		switch {
		case end == "/tags/list":
			add(kindTags, "")
		case end == "/blobs/uploads", end == "/blobs/uploads/":
			add(kindUploads, "")
		case strings.HasPrefix(end, "/blobs/uploads/") && !strings.Contains(after("/blobs/uploads/"), "/"):
			add(kindUpload, after("/blobs/uploads/"))
		case strings.HasPrefix(end, "/blobs/") && isDigest(after("/blobs/")):
			add(kindBlob, after("/blobs/"))
		case strings.HasPrefix(end, "/referrers/") && isDigest(after("/referrers/")):
			add(kindReferrers, after("/referrers/"))
		case strings.HasPrefix(end, "/manifests/") && (isDigest(after("/manifests/")) || oci.CheckTag(after("/manifests/")) == nil):
			add(kindManifest, after("/manifests/"))
		}
	}
	return found
}

// render puts a route together again.
func render(r v2Route) []string {
	at := "/v2/" + r.name
	switch r.kind {
	case kindProbe:
		return []string{"/v2", "/v2/"}
	case kindCatalog:
		return []string{"/v2/_catalog"}
	case kindTags:
		return []string{at + "/tags/list"}
	case kindReferrers:
		return []string{at + "/referrers/" + r.ref}
	case kindManifest:
		return []string{at + "/manifests/" + r.ref}
	case kindBlob:
		return []string{at + "/blobs/" + r.ref}
	case kindUploads:
		return []string{at + "/blobs/uploads", at + "/blobs/uploads/"}
	}
	return []string{at + "/blobs/uploads/" + r.ref}
}

// FuzzParseV2: a path that parses is the one that its parts make, and where the parts are
// within their grammars there is no second way to read it.
func FuzzParseV2(f *testing.F) {
	for _, path := range []string{
		"/v2", "/v2/", "/v2/_catalog", "/v2/dev/app/manifests/1", "/v2/dev/app/blobs/" + zeros, "/v2/dev/app/referrers/" + zeros, "/v2/dev/app/tags/list", "/v2/dev/app/blobs/uploads/", "/v2/dev/app/blobs/uploads/x",
		"/v2/dev/blobs/uploads/blobs/uploads/x", "/v2/dev/manifests/manifests/manifests", "/v2/dev/tags/list/tags/list", "/v2/a/blobs/uploads/manifests/x", "/v2/a/manifests/blobs/uploads", "/v2/a/manifests/tags/list",
		"/v2//tags/list", "/v2/a/manifests/b/c", "/v2/../tags/list", "/v2/a/blobs/uploads//", "/v2/a/manifests/", "/v2/a/b", "/v2a/tags/list", "/v2/a/blobs/../../b/manifests/1", "/v2/a/manifests/../../b/blobs/" + zeros,
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		route, err := parseV2(path)
		all := readings(path)
		if len(all) > 1 {
			t.Fatalf("%q reads as any of %+v", path, all)
		}
		if len(all) == 1 && (err != nil || route != all[0]) {
			t.Fatalf("%q became %+v, %v, want %+v", path, route, err, all[0])
		}
		if err != nil {
			if !errors.Is(err, errRouteUnknown) {
				t.Fatalf("%q: got %v", path, err)
			}
			return
		}
		for _, again := range render(route) {
			if again == path {
				return
			}
		}
		t.Fatalf("%q became %+v, which is %v", path, route, render(route))
	})
}

// FuzzChunk: a Content-Range is start-end and nothing else, and no more and no less than
// it says can be read of the body.
func FuzzChunk(f *testing.F) {
	for _, said := range []string{"", "0-0", "0-9", "10-19", "9-10", "10-9", "-1-10", "0-", "-", "bytes 0-9/10", "0-99999999999999999999", " 0-9", "00-009", "0-9,10-19", "999999999999999999-999999999999999999"} {
		f.Add(said, []byte("0123456789"), true)
		f.Add(said, []byte("x"), false)
	}
	f.Fuzz(func(t *testing.T, said string, content []byte, known bool) {
		request := httptest.NewRequest("PATCH", "/v2/dev/app/blobs/uploads/x", bytes.NewReader(content))
		if !known {
			request.ContentLength = -1
		}
		request.Header["Content-Range"] = []string{said}
		r := v2Request{Context: echo.New().NewContext(request, httptest.NewRecorder())}
		body, start, length, err := r.chunk()
		if said == "" {
			if err != nil || start != -1 || length != request.ContentLength {
				t.Fatalf("got %d, %d, %v", start, length, err)
			}
			return
		}
		from, end, ok := naiveRange(said)
		size := end - from + 1
		if want := ok && size > 0 && (!known || size == int64(len(content))); (err == nil) != want {
			t.Fatalf("%q of %d bytes: got %v, want ok=%v", said, len(content), err, want)
		}
		if err != nil {
			if !errors.Is(err, oci.ErrRangeInvalid) {
				t.Fatalf("%q: got %v", said, err)
			}
			return
		}
		data, err := io.ReadAll(body)
		if start != from || (err == nil) != (size == int64(len(content))) || err == nil && !bytes.Equal(data, content) {
			t.Fatalf("%q: got %d bytes at %d, %v", said, len(data), start, err)
		}
	})
}

// naiveRange reads two numbers of at most 18 digits with a dash between them.
func naiveRange(s string) (from, end int64, ok bool) {
	first, second, _ := strings.Cut(s, "-")
	for _, digits := range []string{first, second} {
		if len(digits) == 0 || len(digits) > 18 {
			return 0, 0, false
		}
		for _, c := range []byte(digits) {
			if c < '0' || c > '9' {
				return 0, 0, false
			}
		}
	}
	for _, c := range []byte(first) {
		from = from*10 + int64(c-'0')
	}
	for _, c := range []byte(second) {
		end = end*10 + int64(c-'0')
	}
	return from, end, true
}

// FuzzPageParams: a page is never larger than the largest, whatever is asked, and the link
// to the next asks for as many, with all else as it was.
func FuzzPageParams(f *testing.F) {
	for _, query := range []string{"", "n=10", "n=0", "n=-1", "n=1e9", "n=1000000000", "n=99999999999999999999", "n=5&n=-1", "n=%31", "n", "n=&last=a", "last=%00", "last=a&last=b", "artifactType=a%2Fb&n=3", "n=1;last=2", "%zz", "n=+1", "n=1&digest=%26n=2"} {
		f.Add(query, "next")
		f.Add(query, "a&n=7\x00<>\"")
	}
	f.Fuzz(func(t *testing.T, query, next string) {
		request := httptest.NewRequest("GET", "/v2/dev/app/tags/list", nil)
		request.URL.RawQuery = query
		c := echo.New().NewContext(request, httptest.NewRecorder())
		n, last, err := pageParams(c, 100)
		asked := request.URL.Query()
		if err != nil {
			if !errors.Is(err, oci.ErrRequestInvalid) || strings.Trim(asked.Get("n"), "0123456789") == "" && asked.Get("n") != "" {
				t.Fatalf("%q: got %v", query, err)
			}
			return
		}
		if want := naivePage(asked, 100); n != want || last != asked.Get("last") {
			t.Fatalf("%q: got %d after %q, want %d", query, n, last, want)
		}
		linkNext(c, "/v2/dev/app/tags/list", n, next)
		link := c.Response().Header().Get("Link")
		target, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		u, parseErr := url.Parse(target)
		if !ok || parseErr != nil || u.Path != "/v2/dev/app/tags/list" || strings.ContainsAny(target, "<> \"\r\n") {
			t.Fatalf("%q: got Link %q, %v", query, link, parseErr)
		}
		asked.Set("n", strconv.Itoa(n))
		asked.Set("last", next)
		if u.Query().Encode() != asked.Encode() {
			t.Fatalf("%q: got Link %q, want %q", query, link, asked.Encode())
		}
	})
}

// naivePage counts digits rather than parse them: whatever has too many is too large.
func naivePage(q url.Values, most int) int {
	if !q.Has("n") {
		return most
	}
	digits := strings.TrimLeft(q.Get("n"), "0")
	if len(digits) > 5 {
		return largestPage
	}
	n := 0
	for _, c := range []byte(digits) {
		n = n*10 + int(c-'0')
	}
	return min(n, largestPage)
}

package server

import (
	"net/http"
	"strings"
	"testing"
)

// exchange is one request and the answer owed.
type exchange struct {
	name, method, path string
	body               string
	headers            []string
	status             int
	code               string
	message            string // part of the body
}

func (f *fixture) exchanges(t *testing.T, tests []exchange) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := *f
			f.T = t
			got := f.do(tt.method, tt.path, strings.NewReader(tt.body), tt.headers...)
			code := tt.code
			if tt.method == http.MethodHead {
				code = ""
				if len(got.body) > 0 {
					t.Errorf("HEAD has a body: %s", got.body)
				}
			}
			f.want(got, tt.status, code)
			if !strings.Contains(string(got.body), tt.message) {
				t.Errorf("got %s, want %q in it", got.body, tt.message)
			}
			if tt.status == 405 && got.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestNames(t *testing.T) {
	f := newFixture(t, nil)
	var tests []exchange
	for _, name := range []string{
		"dev/../app", "dev/acme/../../app", "%2e%2e/app", "dev/%2e%2e/app", "dev/%2E./app", "dev//app", "/dev/app", "dev/app/",
		"dev/a%00b", "dev/%00", "dev/App", "DEV/app", "dev/" + strings.Repeat("a", 252), strings.Repeat("a/", 140) + "a",
		"dev/a..b", "dev/-a", "dev/a_", "dev/%20", "dev/a%0ab", "dev/%c3%bc", "dev/a:b", "dev/a@b",
	} {
		tests = append(tests,
			exchange{"get " + name, "GET", "/v2/" + name + "/manifests/1", "", nil, 400, "NAME_INVALID", ""},
			exchange{"put " + name, "PUT", "/v2/" + name + "/manifests/1", "{}", nil, 400, "NAME_INVALID", ""},
			exchange{"head blob " + name, "HEAD", "/v2/" + name + "/blobs/" + zeros, "", nil, 400, "NAME_INVALID", ""},
			exchange{"post " + name, "POST", "/v2/" + name + "/blobs/uploads/", "", nil, 400, "NAME_INVALID", ""},
			exchange{"patch " + name, "PATCH", "/v2/" + name + "/blobs/uploads/x", "", nil, 400, "NAME_INVALID", ""},
			exchange{"tags " + name, "GET", "/v2/" + name + "/tags/list", "", nil, 400, "NAME_INVALID", ""},
			exchange{"referrers " + name, "GET", "/v2/" + name + "/referrers/" + zeros, "", nil, 400, "NAME_INVALID", ""})
	}
	f.exchanges(t, tests)
}

func TestNamesWithoutTier(t *testing.T) {
	f := newFixture(t, nil)
	f.exchanges(t, []exchange{
		{"one component", "GET", "/v2/app/manifests/1", "", nil, 404, "NAME_UNKNOWN", "dev, stable, release"},
		{"two components", "PUT", "/v2/acme/app/manifests/1", "{}", nil, 404, "NAME_UNKNOWN", "dev/acme/app"},
		{"upload", "POST", "/v2/app/blobs/uploads/", "", nil, 404, "NAME_UNKNOWN", "dev, stable, release"},
		{"library", "GET", "/v2/library/alpine/tags/list", "", nil, 404, "NAME_UNKNOWN", "dev, stable, release"},
		{"only a tier", "GET", "/v2/dev/manifests/1", "", nil, 404, "NAME_UNKNOWN", "dev/acme/app"},
		{"only a promoted tier", "PUT", "/v2/release/manifests/1", "{}", nil, 404, "NAME_UNKNOWN", "release/acme/app"},
	})
}

func TestRoutes(t *testing.T) {
	f := newFixture(t, nil)
	f.exchanges(t, []exchange{
		{"probe", "GET", "/v2/", "", nil, 200, "", "{}"},
		{"probe without slash", "GET", "/v2", "", nil, 200, "", ""},
		{"probe head", "HEAD", "/v2/", "", nil, 200, "", ""},
		{"probe post", "POST", "/v2/", "", nil, 405, "UNSUPPORTED", ""},
		{"unknown", "GET", "/v2/dev/app", "", nil, 404, "NOT_FOUND", ""},
		{"unknown deep", "GET", "/v2/dev/app/layers/x", "", nil, 404, "NOT_FOUND", ""},
		{"unknown root", "GET", "/nothing/here", "", nil, 404, "NOT_FOUND", ""},
		{"post a manifest", "POST", "/v2/dev/app/manifests/1", "", nil, 405, "UNSUPPORTED", "GET, HEAD, PUT, DELETE"},
		{"put a blob", "PUT", "/v2/dev/app/blobs/" + zeros, "", nil, 405, "UNSUPPORTED", ""},
		{"get the uploads", "GET", "/v2/dev/app/blobs/uploads/", "", nil, 405, "UNSUPPORTED", ""},
		{"delete the tags", "DELETE", "/v2/dev/app/tags/list", "", nil, 405, "UNSUPPORTED", ""},
		{"put referrers", "PUT", "/v2/dev/app/referrers/" + zeros, "", nil, 405, "UNSUPPORTED", ""},
		{"post the catalog", "POST", "/v2/_catalog", "", nil, 405, "UNSUPPORTED", ""},
		{"unheard of method", "BREW", "/v2/dev/app/manifests/1", "", nil, 405, "UNSUPPORTED", ""},
		// Components of names may be called as the endpoints are.
		{"repository called manifests", "GET", "/v2/dev/manifests/manifests/1", "", nil, 404, "MANIFEST_UNKNOWN", "dev/manifests:1"},
		{"repository called blobs/uploads", "GET", "/v2/dev/blobs/uploads/manifests/1", "", nil, 404, "MANIFEST_UNKNOWN", "dev/blobs/uploads:1"},
		{"repository called tags/list", "GET", "/v2/dev/tags/list/tags/list", "", nil, 404, "NAME_UNKNOWN", "dev/tags/list"},
		{"repository called referrers", "POST", "/v2/dev/referrers/blobs/uploads/", "", nil, 202, "", ""},
	})
}

func TestTagsAndDigestsInPaths(t *testing.T) {
	f := newFixture(t, nil)
	var tests []exchange
	for _, tag := range []string{".a", "-a", "a%20b", "a%0a", "%00", "%c3%bc", strings.Repeat("a", 129), "a/b", "../../etc", "%2e%2e", ""} {
		path := "/v2/dev/app/manifests/" + tag
		tests = append(tests,
			exchange{"get tag " + tag, "GET", path, "", nil, 404, "MANIFEST_UNKNOWN", ""},
			exchange{"head tag " + tag, "HEAD", path, "", nil, 404, "MANIFEST_UNKNOWN", ""},
			exchange{"delete tag " + tag, "DELETE", path, "", nil, 404, "MANIFEST_UNKNOWN", ""},
			exchange{"put tag " + tag, "PUT", path, image("x", ""), []string{"Content-Type", typeImage}, 400, "MANIFEST_INVALID", ""})
	}
	for _, d := range []string{
		"sha256:", "sha256:ab", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("0", 65), "sha256:" + strings.Repeat("g", 64),
		"md5:d41d8cd98f00b204e9800998ecf8427e", "sha384:" + strings.Repeat("0", 96), "sha256:../../../etc/passwd", "foo:bar", ":", zeros + "%00",
		"SHA256:" + strings.Repeat("0", 64), "sha512:" + strings.Repeat("0", 64),
	} {
		tests = append(tests,
			exchange{"get " + d, "GET", "/v2/dev/app/manifests/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"put " + d, "PUT", "/v2/dev/app/manifests/" + d, image("x", ""), []string{"Content-Type", typeImage}, 400, "DIGEST_INVALID", ""},
			exchange{"delete " + d, "DELETE", "/v2/dev/app/manifests/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"blob " + d, "GET", "/v2/dev/app/blobs/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"head blob " + d, "HEAD", "/v2/dev/app/blobs/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"delete blob " + d, "DELETE", "/v2/dev/app/blobs/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"referrers " + d, "GET", "/v2/dev/app/referrers/" + d, "", nil, 400, "DIGEST_INVALID", ""},
			exchange{"post " + d, "POST", "/v2/dev/app/blobs/uploads/?digest=" + d, "x", nil, 400, "DIGEST_INVALID", ""},
			exchange{"mount " + d, "POST", "/v2/dev/app/blobs/uploads/?from=dev/b&mount=" + d, "", nil, 400, "DIGEST_INVALID", ""})
	}
	f.exchanges(t, tests)
}

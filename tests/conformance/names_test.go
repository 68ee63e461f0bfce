package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// rowNames: what is no repository name is 400 NAME_INVALID at every endpoint.
func rowNames(s *suite) {
	long := strings.Repeat("a", 252)
	for _, name := range []string{
		"dev/../app", "dev/acme/../../app", "../dev/app", "dev/./app", "dev/app/..",
		"%2e%2e/app", "dev/%2e%2e/app", "dev/%2E%2e/%2e%2E/app", "dev/.%2e/app", "dev/%2e/app", "dev/%2e%2e%2f%2e%2e/app",
		"dev//app", "/dev/app", "dev/app/", "dev///app", "dev/%2fapp", "//dev/app",
		"dev/a%00b", "dev/%00", "%00dev/app", "dev/app%00",
		"dev/App", "DEV/app", "dev/aPP", "Dev/Acme/App", "dev/%41pp",
		"dev/" + long, "dev/" + long + "/" + long, "dev" + strings.Repeat("/a", 127), strings.Repeat("b", 4000),
		"dev/a..b", "dev/.a", "dev/a.", "dev/-a", "dev/a-", "dev/_a", "dev/a_", "dev/a___b", "dev/a._b",
		"dev/%20", "dev/a%0ab", "dev/a%0d%0ab", "dev/%c3%bc", "dev/%ff", "dev/a:b", "dev/a@b", "dev/a%5cb", "dev/~a", "dev/a+b", "dev/$a", "dev/a%25", "dev/a%3fb", "dev/a;b",
	} {
		s.test(fmt.Sprintf("%.40q", name), func(t *testing.T) {
			at := "/v2/" + name
			for _, e := range []exchange{
				{method: "GET", target: at + "/manifests/1"},
				{method: "HEAD", target: at + "/manifests/1"},
				{method: "PUT", target: at + "/manifests/1", body: image("x", ""), headers: []string{"Content-Type", typeImage}},
				{method: "DELETE", target: at + "/manifests/1"},
				{method: "GET", target: at + "/manifests/" + zeros},
				{method: "GET", target: at + "/blobs/" + zeros},
				{method: "HEAD", target: at + "/blobs/" + zeros},
				{method: "DELETE", target: at + "/blobs/" + zeros},
				{method: "POST", target: at + "/blobs/uploads/"},
				{method: "POST", target: at + "/blobs/uploads/?digest=" + digest.FromString("x").String(), body: "x"},
				{method: "PATCH", target: at + "/blobs/uploads/1", body: "x"},
				{method: "PUT", target: at + "/blobs/uploads/1?digest=" + zeros},
				{method: "GET", target: at + "/blobs/uploads/1"},
				{method: "DELETE", target: at + "/blobs/uploads/1"},
				{method: "GET", target: at + "/tags/list"},
				{method: "GET", target: at + "/referrers/" + zeros},
			} {
				e.status, e.code = 400, "NAME_INVALID"
				s.open.want(t, e)
			}
		})
	}
	// A request line that HTTP itself forbids never becomes a request.
	for name, target := range map[string]string{"bare NUL": "/v2/dev/a\x00b/tags/list", "bare control": "/v2/dev/a\x01/tags/list", "broken escape": "/v2/dev/a%0/tags/list"} {
		s.test(name, func(t *testing.T) { s.open.is(t, 400, s.open.do(t, "GET", target, "")) })
	}
	for _, name := range []string{"dev/a", "dev/" + strings.Repeat("a", 251), "dev" + strings.Repeat("/a", 126), "dev/a.b_c__d---e/0", "dev/%61pp"} {
		s.test(fmt.Sprintf("%.40q is one", name), func(t *testing.T) {
			s.open.is(t, 202, s.open.do(t, "POST", "/v2/"+name+"/blobs/uploads/", ""))
		})
	}
}

// rowTags: nothing is stored under what is no tag, and nothing is found.
func rowTags(s *suite) {
	for _, tag := range []string{
		".a", "-a", ".", "..", "%2e%2e", "../../etc/passwd", "%2e%2e%2f%2e%2e", "a%20b", "%20", "a%0a", "a%0d%0ab", "%00", "a%00", "%c3%bc", "%ff",
		strings.Repeat("a", 129), strings.Repeat("a", 4000), "a/b", "a%2fb", "a//b", "/a", "a+b", "a@b", "a~1", "a%5cb", "a*", "a%25", "%7bx%7d", "",
	} {
		s.test(fmt.Sprintf("%.40q", tag), func(t *testing.T) {
			at := "/v2/dev/tags-row/manifests/" + tag
			put := exchange{method: "PUT", target: at, body: image("x", ""), headers: []string{"Content-Type", typeImage}, status: 400, code: "MANIFEST_INVALID"}
			s.open.want(t, put)
			for _, method := range []string{"GET", "HEAD", "DELETE"} {
				s.open.want(t, exchange{method: method, target: at, status: 404, code: "MANIFEST_UNKNOWN"})
			}
		})
	}
	for _, tag := range []string{"_", "A", "0", "1.0-rc.1_x", "a..b", "a--", strings.Repeat("z", 128), "latest", "%61"} {
		s.test(fmt.Sprintf("%.40q is one", tag), func(t *testing.T) {
			s.open.image(t, "dev/good-tags", tag, "layer")
			s.open.is(t, 200, s.open.do(t, "HEAD", "/v2/dev/good-tags/manifests/"+tag, ""))
		})
	}
}

// rowDigests: what is no digest is 400 DIGEST_INVALID wherever one is asked for, and both
// algorithms are first-class.
func rowDigests(s *suite) {
	hex := strings.Repeat("0a", 32)
	for _, d := range []string{
		"sha256:", "sha256:ab", "sha256:" + hex[:63], "sha256:" + hex + "0", "sha256:" + strings.ToUpper(hex), "sha256:" + hex[:63] + "A",
		"sha256:" + strings.Repeat("g", 64), "sha256:" + hex[:63] + "%00", "sha256:" + hex + "%00", "sha256:" + hex + "%0a", "sha256:%20" + hex, "sha256:../../../../etc/passwd",
		"sha512:" + hex, "sha512:" + strings.ToUpper(hex+hex), "sha512:", "SHA256:" + hex, "Sha512:" + hex + hex,
		"sha384:" + hex + hex[:32], "sha1:" + hex[:40], "md5:" + hex[:32], "blake3:" + hex, "sha256+b64:" + hex, "foo:bar", "sha256:baddigeststring",
		":", ":" + hex, "sha256::" + hex, "sha256:sha256:" + hex, "sha256:" + hex + "@sha256:" + hex,
	} {
		s.test(fmt.Sprintf("%.60q", d), func(t *testing.T) {
			at := "/v2/dev/digests"
			upload := s.open.begin(t, "dev/digests")
			for _, e := range []exchange{
				{method: "GET", target: at + "/manifests/" + d},
				{method: "HEAD", target: at + "/manifests/" + d},
				{method: "PUT", target: at + "/manifests/" + d, body: image("x", ""), headers: []string{"Content-Type", typeImage}},
				{method: "PUT", target: at + "/manifests/1?digest=" + d, body: image("x", ""), headers: []string{"Content-Type", typeImage}},
				{method: "DELETE", target: at + "/manifests/" + d},
				{method: "GET", target: at + "/blobs/" + d},
				{method: "HEAD", target: at + "/blobs/" + d},
				{method: "DELETE", target: at + "/blobs/" + d},
				{method: "GET", target: at + "/referrers/" + d},
				{method: "POST", target: at + "/blobs/uploads/?digest=" + d, body: "x"},
				{method: "POST", target: at + "/blobs/uploads/?from=dev/other&mount=" + d},
				{method: "PUT", target: upload + "?digest=" + d, body: "x"},
			} {
				e.status, e.code = 400, "DIGEST_INVALID"
				s.open.want(t, e)
			}
		})
	}
	for _, d := range []string{"", hex, "latest", "sha256"} {
		s.test(fmt.Sprintf("%.60q for a blob", d), func(t *testing.T) {
			for _, target := range []string{"/v2/dev/digests/blobs/" + d, "/v2/dev/digests/referrers/" + d} {
				s.open.want(t, exchange{method: "GET", target: target, status: 400, code: "DIGEST_INVALID"})
			}
			s.open.want(t, exchange{method: "POST", target: "/v2/dev/digests/blobs/uploads/?digest=" + d, body: "x", status: 400, code: "DIGEST_INVALID"})
		})
	}
	for _, algorithm := range algorithms() {
		s.test(algorithm.String()+" is first-class", func(t *testing.T) {
			content := random(100)
			d := algorithm.FromString(content)
			for _, way := range uploadWays() {
				c := s.open
				c.is(t, 201, way.push(t, c, "dev/"+way.name+"-"+algorithm.String(), content, d))
				got := c.is(t, 200, c.do(t, "GET", "/v2/dev/"+way.name+"-"+algorithm.String()+"/blobs/"+d.String(), ""))
				if string(got.body) != content || got.header.Get("Docker-Content-Digest") != d.String() {
					t.Errorf("%s: got %d bytes, %v", way.name, len(got.body), got.header)
				}
			}
			escaped := strings.Replace(d.String(), ":", "%3A", 1)
			s.open.is(t, 200, s.open.do(t, "HEAD", "/v2/dev/single-post-"+algorithm.String()+"/blobs/"+escaped, ""))
		})
	}
}

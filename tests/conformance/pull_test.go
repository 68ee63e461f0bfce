package conformance_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// algorithms are those that content may be addressed by.
func algorithms() []digest.Algorithm {
	return []digest.Algorithm{digest.SHA256, digest.SHA512}
}

// TestProbe is end-1.
func TestProbe(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, target := range []string{"/v2/", "/v2"} {
		for _, method := range []string{"GET", "HEAD"} {
			if got := c.is(t, 200, c.do(t, method, target, "")); got.header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
				t.Errorf("got %v", got.header)
			}
		}
	}
}

// TestBlobRanges is end-2 in parts (RFC 9110, section 14).
func TestBlobRanges(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo, size = "dev/ranges", 2048
	content := random(size)
	for _, algorithm := range algorithms() {
		d := algorithm.FromString(content)
		c.is(t, 201, uploadWays()[0].push(t, c, repo, content, d))
		target := "/v2/" + repo + "/blobs/" + d.String()
		for _, tt := range []struct {
			asked     string
			from, end int // of the answer, the end not in it
		}{
			{"500-1499", 500, 1500}, {"500-", 500, size}, {"-500", size - 500, size}, {"2000-5000", 2000, size}, {"0-0", 0, 1}, {"0-", 0, size}, {"2047-2047", 2047, size}, {"-1", size - 1, size}, {"-5000", 0, size}, {"0-2047", 0, size},
		} {
			got := c.is(t, 206, c.do(t, "GET", target, "", "Range", "bytes="+tt.asked))
			if string(got.body) != content[tt.from:tt.end] {
				t.Errorf("%s: got %d other bytes", tt.asked, len(got.body))
			}
			for header, want := range map[string]string{
				"Content-Range": fmt.Sprintf("bytes %d-%d/%d", tt.from, tt.end-1, size), "Content-Length": strconv.Itoa(tt.end - tt.from),
				"Content-Type": typeOctet, "Docker-Content-Digest": d.String(), "Accept-Ranges": "bytes",
			} {
				if got.header.Get(header) != want {
					t.Errorf("%s: got %s %q, want %q", tt.asked, header, got.header.Get(header), want)
				}
			}
		}
		for _, asked := range []string{"500-0", "5000-10000", "2048-", "2048-2048"} {
			got := c.want(t, exchange{method: "GET", target: target, headers: []string{"Range", "bytes=" + asked}, status: 416, code: "RANGE_INVALID"})
			if asked != "500-0" && got.header.Get("Content-Range") != "bytes */2048" {
				t.Errorf("%s: got Content-Range %q", asked, got.header.Get("Content-Range"))
			}
		}
		if got := c.is(t, 200, c.do(t, "HEAD", target, "")); got.header.Get("Content-Length") != "2048" || got.header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("got %v", got.header)
		}
	}
}

// TestManifestRanges: ranges are for blobs, but they are right for manifests too.
func TestManifestRanges(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	c.image(t, "dev/ranges", "1", "layer")
	body := image("layer", "")
	got := c.is(t, 206, c.do(t, "GET", "/v2/dev/ranges/manifests/1", "", "Range", "bytes=2-9"))
	if string(got.body) != body[2:10] || got.header.Get("Content-Range") != fmt.Sprintf("bytes 2-9/%d", len(body)) || got.header.Get("Content-Type") != typeImage {
		t.Errorf("got %q, %v", got.body, got.header)
	}
	c.want(t, exchange{method: "GET", target: "/v2/dev/ranges/manifests/1", headers: []string{"Range", "bytes=100000-"}, status: 416, code: "RANGE_INVALID"})
	for _, method := range []string{"GET", "HEAD"} {
		c.is(t, 200, c.do(t, method, "/v2/dev/ranges/manifests/1", "", "Range", "lines=1-2"))
	}
}

// TestPullOfNothing is end-2 and end-3 where there is nothing, in a repository that is and
// in one that never was.
func TestPullOfNothing(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	c.image(t, "dev/known", "1", "layer")
	for _, repo := range []string{"dev/known", "dev/never-was"} {
		for _, method := range []string{"GET", "HEAD"} {
			c.want(t, exchange{method: method, target: "/v2/" + repo + "/manifests/none", status: 404, code: "MANIFEST_UNKNOWN"})
			for _, algorithm := range algorithms() {
				d := algorithm.FromString("never pushed").String()
				c.want(t, exchange{method: method, target: "/v2/" + repo + "/manifests/" + d, status: 404, code: "MANIFEST_UNKNOWN"})
				c.want(t, exchange{method: method, target: "/v2/" + repo + "/blobs/" + d, status: 404, code: "BLOB_UNKNOWN"})
			}
			c.want(t, exchange{method: method, target: "/v2/" + repo + "/manifests/sha256:baddigeststring", status: 400, code: "DIGEST_INVALID"})
			c.want(t, exchange{method: method, target: "/v2/" + repo + "/blobs/sha256:baddigeststring", status: 400, code: "DIGEST_INVALID"})
		}
	}
	// A blob is no manifest, and the reverse.
	c.want(t, exchange{method: "GET", target: "/v2/dev/known/manifests/" + digest.FromString("layer").String(), status: 404, code: "MANIFEST_UNKNOWN"})
	c.want(t, exchange{method: "GET", target: "/v2/dev/known/blobs/" + digest.FromString(image("layer", "")).String(), status: 404, code: "BLOB_UNKNOWN"})
}

// TestAccept: a digest has one type, so a manifest is answered as it is, whatever types the
// client would like; the tag and the digest of the other algorithm stay apart.
func TestAccept(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	c.image(t, "dev/accept", "1", "layer")
	for _, accept := range []string{"", "*/*", typeImage, typeIndex, "application/json;q=0.1", strings.Repeat(typeIndex+", ", 50) + typeImage} {
		for _, method := range []string{"GET", "HEAD"} {
			got := c.is(t, 200, c.do(t, method, "/v2/dev/accept/manifests/1", "", "Accept", accept))
			if got.header.Get("Content-Type") != typeImage {
				t.Errorf("Accept %q: got %v", accept, got.header)
			}
		}
	}
	c.want(t, exchange{method: "GET", target: "/v2/dev/accept/manifests/" + digest.SHA512.FromString(image("layer", "")).String(), status: 404, code: "MANIFEST_UNKNOWN"})
}

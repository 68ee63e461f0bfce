package conformance_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestUploadWays is end-4a, end-4b, end-5 and end-6, with content of every size that a
// store could treat in its own way.
func TestUploadWays(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, algorithm := range algorithms() {
		for _, way := range uploadWays() {
			for _, size := range []int{0, 2, 2048, 5 << 20, 12<<20 + 7} {
				t.Run(fmt.Sprint(way.name, " ", algorithm, " ", size), func(t *testing.T) {
					content := random(size)
					if size == 2 {
						content = "{}"
					}
					d, repo := algorithm.FromString(content), "dev/ways/"+way.name
					got := c.is(t, 201, way.push(t, c, repo, content, d))
					if at := location(t, got); at != "/v2/"+repo+"/blobs/"+d.String() || got.header.Get("Docker-Content-Digest") != d.String() {
						t.Errorf("got %v", got.header)
					}
					blob := c.is(t, 200, c.do(t, "GET", location(t, got), ""))
					if string(blob.body) != content || blob.header.Get("Docker-Content-Digest") != d.String() {
						t.Errorf("got %d bytes, %v", len(blob.body), blob.header)
					}
				})
			}
		}
	}
}

// TestOutOfOrder sends the second chunk first, and then asks where to go on (end-13).
func TestOutOfOrder(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/order"
	for _, algorithm := range algorithms() {
		content := random(3000)
		d := algorithm.FromString(content)
		at := c.begin(t, repo)
		send := func(from, to, status int) answer {
			t.Helper()
			return c.is(t, status, c.do(t, "PATCH", at, content[from:to], "Content-Type", typeOctet, "Content-Range", fmt.Sprintf("%d-%d", from, to-1)))
		}
		status := func(want string) {
			t.Helper()
			got := c.is(t, 204, c.do(t, "GET", at, ""))
			if got.header.Get("Range") != want {
				t.Errorf("got Range %q, want %q", got.header.Get("Range"), want)
			}
			at = location(t, got)
		}
		at = location(t, send(1000, 2000, 416))
		at = location(t, send(0, 1000, 202))
		status("0-999")
		for _, wrong := range [][2]int{{0, 1000}, {999, 2000}, {2000, 3000}, {1001, 2000}} {
			at = location(t, send(wrong[0], wrong[1], 416))
			status("0-999")
		}
		at = location(t, send(1000, 2000, 202))
		status("0-1999")
		c.is(t, 201, c.do(t, "PUT", withQuery(at, "digest="+d.String()), content[2000:], "Content-Type", typeOctet, "Content-Range", "2000-2999"))
		got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/blobs/"+d.String(), ""))
		if string(got.body) != content {
			t.Error("the chunks were put together in another way")
		}
	}
}

// TestMount is end-11.
func TestMount(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, algorithm := range algorithms() {
		content := random(100)
		d, to := algorithm.FromString(content), "dev/to-"+algorithm.String()
		target := "/v2/" + to + "/blobs/uploads/?mount="
		c.is(t, 201, uploadWays()[0].push(t, c, "dev/from", content, d))
		missing := c.is(t, 202, c.do(t, "POST", target+algorithm.FromString("never pushed").String()+"&from=dev/from", ""))
		c.wantNoBlob(t, to, d)
		got := c.is(t, 201, c.do(t, "POST", target+d.String()+"&from=dev/from", ""))
		if location(t, got) != "/v2/"+to+"/blobs/"+d.String() || got.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("got %v", got.header)
		}
		blob := c.is(t, 200, c.do(t, "GET", location(t, got), ""))
		if string(blob.body) != content {
			t.Errorf("got %d bytes", len(blob.body))
		}
		c.is(t, 202, c.do(t, "DELETE", "/v2/dev/from/blobs/"+d.String(), "")) // the one is not the other
		c.is(t, 200, c.do(t, "HEAD", location(t, got), ""))
		// A mount that failed is an upload that has begun.
		other := random(100)
		c.is(t, 201, c.do(t, "PUT", withQuery(location(t, missing), "digest="+algorithm.FromString(other).String()), other))
	}
}

// TestCancel is DELETE of an upload, at every stage.
func TestCancel(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/cancel"
	for name, at := range map[string]string{"new": c.begin(t, repo), "small": c.patched(t, repo, "abc"), "large": c.patched(t, repo, random(6<<20))} {
		c.is(t, 204, c.do(t, "DELETE", at, ""))
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			c.want(t, exchange{name: name, method: method, target: at, status: 404, code: "BLOB_UPLOAD_UNKNOWN"})
		}
		c.want(t, exchange{method: "PUT", target: withQuery(at, "digest="+digest.FromString("abc").String()), status: 404, code: "BLOB_UPLOAD_UNKNOWN"})
	}
	c.wantNoBlob(t, repo, digest.FromString("abc"))
	c.settled(t)
}

// TestManifestPush is end-7 with what must be refused, and with a tag that moves.
func TestManifestPush(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/manifests"
	first := c.image(t, repo, "1", "layer")
	headers := []string{"Content-Type", typeImage}
	for _, algorithm := range algorithms() {
		d := algorithm.FromString("other").String()
		c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/" + d, body: image("layer", ""), headers: headers, status: 400, code: "DIGEST_INVALID"})
	}
	c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/sha256:baddigeststring", body: image("layer", ""), headers: headers, status: 400, code: "DIGEST_INVALID"})
	for range 2 { // the same again changes nothing
		c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/1", image("layer", ""), headers...))
	}
	second := c.image(t, repo, "1", "another layer")
	for reference, want := range map[string]digest.Digest{"1": second, first.String(): first, second.String(): second} {
		got := c.is(t, 200, c.do(t, "HEAD", "/v2/"+repo+"/manifests/"+reference, ""))
		if got.header.Get("Docker-Content-Digest") != want.String() {
			t.Errorf("%s is %s, want %s", reference, got.header.Get("Docker-Content-Digest"), want)
		}
	}
	// A Content-Type with a parameter is the same type, and comes back without it.
	c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/2", image("layer", ""), "Content-Type", typeImage+"; charset=utf-8"))
	if got := c.is(t, 200, c.do(t, "HEAD", "/v2/"+repo+"/manifests/2", "")); got.header.Get("Content-Type") != typeImage {
		t.Errorf("got %q", got.header.Get("Content-Type"))
	}
}

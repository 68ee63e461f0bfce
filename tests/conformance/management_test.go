package conformance_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestDelete is end-9 and end-10: what goes is gone at once, and nothing else is.
func TestDelete(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/delete"
	d := c.image(t, repo, "one", "layer")
	for _, tag := range []string{"two", "three"} {
		c.manifest(t, repo, tag, typeImage, image("layer", ""))
	}
	manifests, blobs := "/v2/"+repo+"/manifests/", "/v2/"+repo+"/blobs/"
	c.is(t, 202, c.do(t, "DELETE", manifests+"one", ""))
	c.is(t, 404, c.do(t, "HEAD", manifests+"one", ""))
	c.is(t, 200, c.do(t, "HEAD", manifests+"two", ""))
	c.is(t, 200, c.do(t, "HEAD", manifests+d.String(), ""))
	c.is(t, 202, c.do(t, "DELETE", manifests+d.String(), "")) // takes its tags along
	for _, reference := range []string{"two", "three", d.String()} {
		c.is(t, 404, c.do(t, "HEAD", manifests+reference, ""))
		c.want(t, exchange{method: "DELETE", target: manifests + reference, status: 404, code: "MANIFEST_UNKNOWN"})
	}
	if got := names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/tags/list", "")).body); len(got) > 0 {
		t.Errorf("got tags %v", got)
	}
	c.wantBlob(t, repo, "layer")
	layer := digest.FromString("layer").String()
	c.is(t, 202, c.do(t, "DELETE", blobs+layer, ""))
	c.is(t, 404, c.do(t, "HEAD", blobs+layer, ""))
	c.want(t, exchange{method: "DELETE", target: blobs + layer, status: 404, code: "BLOB_UNKNOWN"})
	c.want(t, exchange{method: "PUT", target: manifests + "one", body: image("layer", ""), headers: []string{"Content-Type", typeImage}, status: 404, code: "MANIFEST_BLOB_UNKNOWN"})
	if again := c.image(t, repo, "one", "layer"); again != d { // and all of it may come back
		t.Errorf("got %s, want %s", again, d)
	}
	c.is(t, 200, c.do(t, "HEAD", manifests+"one", ""))
}

// TestDeleteInRepositories: the same content of two repositories goes from one of them.
func TestDeleteInRepositories(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	d := c.image(t, "dev/one", "1", "layer")
	c.image(t, "dev/two", "1", "layer")
	c.is(t, 202, c.do(t, "DELETE", "/v2/dev/one/manifests/"+d.String(), ""))
	c.is(t, 202, c.do(t, "DELETE", "/v2/dev/one/blobs/"+digest.FromString("layer").String(), ""))
	c.is(t, 404, c.do(t, "HEAD", "/v2/dev/one/manifests/1", ""))
	c.is(t, 200, c.do(t, "GET", "/v2/dev/two/manifests/1", ""))
	c.wantBlob(t, "dev/two", "layer")
}

// TestDeleteReferrer: a referrer that goes leaves the list at once, its subject stays; a
// subject that goes leaves its referrers.
func TestDeleteReferrer(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/delete-referrer"
	subject := c.image(t, repo, "1", "layer")
	var all []string
	for i := range 3 {
		body := image("layer", fmt.Sprintf(`,"artifactType":"a/b","annotations":{"n":"%d"},"subject":%s`, i, sized(typeImage, subject.String(), fmt.Sprint(len(image("layer", ""))))))
		all = append(all, c.manifest(t, repo, digest.FromString(body).String(), typeImage, body).String())
	}
	slices.Sort(all)
	listed := func(want []string) {
		t.Helper()
		if got := names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/referrers/"+subject.String(), "")).body); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	listed(all)
	c.is(t, 202, c.do(t, "DELETE", "/v2/"+repo+"/manifests/"+all[1], ""))
	all = slices.Delete(all, 1, 2)
	listed(all)
	c.is(t, 202, c.do(t, "DELETE", "/v2/"+repo+"/manifests/"+subject.String(), ""))
	listed(all)
}

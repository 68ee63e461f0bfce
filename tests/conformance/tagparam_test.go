package conformance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestTagParameters is end-7b: a manifest is pushed under its digest, of either algorithm,
// and gets its tags in the same request.
func TestTagParameters(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	headers := []string{"Content-Type", typeImage}
	for _, algorithm := range algorithms() {
		for i, tags := range [][]string{{"a"}, {"a", "b"}, {"b", "a", "1.0", "latest"}, {"a", "a"}} {
			t.Run(fmt.Sprint(algorithm, tags), func(t *testing.T) {
				repo := fmt.Sprintf("dev/tagged-%s-%d", algorithm, i)
				c.image(t, repo, "a", "before") // moves
				c.blob(t, repo, "layer")
				d := algorithm.FromString(image("layer", ""))
				target := "/v2/" + repo + "/manifests/" + d.String() + "?tag=" + strings.Join(tags, "&tag=")
				want := slices.Compact(slices.Sorted(slices.Values(tags)))
				for range 2 { // again is no change
					got := c.is(t, 201, c.do(t, "PUT", target, image("layer", ""), headers...))
					if said := slices.Compact(slices.Sorted(slices.Values(got.header.Values("OCI-Tag")))); !slices.Equal(said, want) {
						t.Errorf("got OCI-Tag %v, want %v", said, want)
					}
					if got.header.Get("Docker-Content-Digest") != d.String() || location(t, got) != "/v2/"+repo+"/manifests/"+d.String() {
						t.Errorf("got %v", got.header)
					}
				}
				for _, reference := range append(want, d.String()) {
					got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/"+reference, ""))
					if string(got.body) != image("layer", "") || got.header.Get("Docker-Content-Digest") != d.String() {
						t.Errorf("%s: got %v", reference, got.header)
					}
				}
				if got := names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/tags/list", "")).body); !slices.Equal(got, want) {
					t.Errorf("got tags %v, want %v", got, want)
				}
			})
		}
	}
}

// TestTagParametersRefused: one bad tag among good ones, or bad content, and nothing is
// stored.
func TestTagParametersRefused(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/tagged"
	c.blob(t, repo, "{}")
	c.blob(t, repo, "layer")
	for _, algorithm := range algorithms() {
		d, other := algorithm.FromString(image("layer", "")), algorithm.FromString("other")
		for _, e := range []exchange{
			{target: d.String() + "?tag=good&tag=.bad", code: "MANIFEST_INVALID"}, {target: d.String() + "?tag=good&tag=a%2Fb", code: "MANIFEST_INVALID"}, {target: d.String() + "?tag=good&tag=" + strings.Repeat("a", 129), code: "MANIFEST_INVALID"},
			{target: d.String() + "?tag=good&tag=a:b", code: "MANIFEST_INVALID"}, {target: other.String() + "?tag=good", code: "DIGEST_INVALID"}, {target: "sha256:bad?tag=good", code: "DIGEST_INVALID"},
		} {
			e.method, e.status, e.target, e.body, e.headers = "PUT", 400, "/v2/"+repo+"/manifests/"+e.target, image("layer", ""), []string{"Content-Type", typeImage}
			c.want(t, e)
		}
		for _, reference := range []string{"good", d.String(), other.String()} {
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/" + reference, status: 404, code: "MANIFEST_UNKNOWN"})
		}
	}
	c.want(t, exchange{method: "PUT", target: "/v2/stable/tagged/manifests/" + zeros + "?tag=a", body: image("layer", ""), headers: []string{"Content-Type", typeImage}, status: 403, code: "DENIED"})
}

// TestAnonymousMount is end-11 without from: a blob that the client may read somewhere in
// the tier's store is found by itself, and one that it may not read is not.
func TestAnonymousMount(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, algorithm := range algorithms() {
		content := random(100)
		d := algorithm.FromString(content)
		c.is(t, 201, uploadWays()[0].push(t, c, "dev/holder", content, d))
		got := c.is(t, 201, c.do(t, "POST", "/v2/dev/mounted/blobs/uploads/?mount="+d.String(), ""))
		blob := c.is(t, 200, c.do(t, "GET", location(t, got), ""))
		if string(blob.body) != content || got.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("got %d bytes, %v", len(blob.body), got.header)
		}
		c.is(t, 202, c.do(t, "POST", "/v2/dev/mounted/blobs/uploads/?mount="+algorithm.FromString("never pushed").String(), ""))
	}
	authed := newRegistry(t, withUsers(t))
	alice, bob := client{authed, "alice"}, client{authed, "bob"}
	secret := bob.blob(t, "dev/bob/app", "only bob may read this")
	alice.is(t, 202, alice.do(t, "POST", "/v2/dev/alice/app/blobs/uploads/?mount="+secret.String(), ""))
	alice.wantNoBlob(t, "dev/alice/app", secret)
	bob.is(t, 201, bob.do(t, "POST", "/v2/dev/bob/other/blobs/uploads/?mount="+secret.String(), ""))
}

// TestLargeReferrers has referrers with annotations that no transaction of the catalog
// holds; each is listed with all of them, whatever JSON makes of their letters.
func TestLargeReferrers(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, algorithm := range algorithms() {
		k := &kind{algorithm: algorithm, tags: map[string]digest.Digest{}}
		subject := k.platform("amd64", typeOctet, "image")
		k.referrer(subject, 1)
		for i, value := range []string{strings.Repeat("x", 3_000_000), strings.Repeat("<", 500_000), strings.Repeat("x", 20_000)} {
			k.image(ocispec.Manifest{ArtifactType: fmt.Sprint(referrerType, i), Config: k.empty(), Layers: []ocispec.Descriptor{k.empty()},
				Subject: &subject, Annotations: map[string]string{"large": value, "small": "x"}})
		}
		l := &life{T: t, client: c, kind: k, repo: "dev/large-" + algorithm.String()}
		l.push()
		l.pull()
		l.wantReferrers(subject.Digest)
		l.remove()
	}
}

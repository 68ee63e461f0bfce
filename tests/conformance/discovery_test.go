package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestTagOrder is end-8: lexical order is that of bytes, and last need not be a tag.
func TestTagOrder(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/tags"
	tags := []string{"latest", "1.10", "1.9", "1.9.1", "A", "a", "_x", "Z", "0", "v1-rc", "v1.rc", "v1_rc", "10"}
	for _, tag := range tags {
		c.image(t, repo, tag, "layer")
	}
	slices.Sort(tags)
	list := func(query string) []string {
		t.Helper()
		return names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/tags/list"+query, "")).body)
	}
	if got := list(""); !slices.Equal(got, tags) {
		t.Errorf("got %v, want %v", got, tags)
	}
	for _, last := range append([]string{"1.", "B", "zzz", "~", "1.9.0"}, tags...) {
		i, found := slices.BinarySearch(tags, last)
		if found {
			i++
		}
		if got := list("?last=" + url.QueryEscape(last)); !slices.Equal(got, tags[i:]) {
			t.Errorf("last=%s: got %v, want %v", last, got, tags[i:])
		}
		if got, want := list("?n=3&last="+url.QueryEscape(last)), tags[i:min(i+3, len(tags))]; !slices.Equal(got, want) {
			t.Errorf("n=3&last=%s: got %v, want %v", last, got, want)
		}
	}
}

// TestNeverWas asks about a repository that never was.
func TestNeverWas(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	c.want(t, exchange{method: "GET", target: "/v2/dev/never/was/tags/list", status: 404, code: "NAME_UNKNOWN"})
	for _, algorithm := range algorithms() {
		for _, query := range []string{"", "?artifactType=application%2Fvnd.test"} {
			got := c.is(t, 200, c.do(t, "GET", "/v2/dev/never/was/referrers/"+algorithm.FromString("x").String()+query, ""))
			var index struct {
				SchemaVersion int
				MediaType     string
				Manifests     *[]ocispec.Descriptor
			}
			if err := json.Unmarshal(got.body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != typeIndex || index.Manifests == nil || len(*index.Manifests) > 0 {
				t.Errorf("got %s", got.body)
			}
			if got.header.Get("Content-Type") != typeIndex || (got.header.Get("OCI-Filters-Applied") == "artifactType") != (query != "") {
				t.Errorf("got %v", got.header)
			}
		}
	}
}

// TestReferrersAcrossAlgorithms has referrers under either algorithm about subjects under
// either, and a subject that comes after its referrers.
func TestReferrersAcrossAlgorithms(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/agile"
	c.blob(t, repo, "{}")
	c.blob(t, repo, "layer")
	subject := image("layer", "")
	headers := []string{"Content-Type", typeImage}
	for _, of := range algorithms() {
		about := of.FromString(subject)
		var want []string
		for _, by := range algorithms() {
			body := image("layer", fmt.Sprintf(`,"artifactType":"a/b","annotations":{"by":%q},"subject":%s`, by, sized(typeImage, about.String(), fmt.Sprint(len(subject)))))
			c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/"+by.FromString(body).String(), body, headers...))
			want = append(want, by.FromString(body).String())
		}
		c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/"+about.String(), subject, headers...))
		got := names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/referrers/"+about.String(), "")).body)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("of %s: got %v, want %v", of, got, want)
		}
	}
}

// TestFallbackTag: clients that keep the fallback tag as well find both as they left them.
func TestFallbackTag(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	const repo = "dev/fallback"
	subject := c.image(t, repo, "1", "layer")
	referrer := image("layer", `,"artifactType":"a/b","subject":`+sized(typeImage, subject.String(), fmt.Sprint(len(image("layer", "")))))
	d := c.manifest(t, repo, digest.FromString(referrer).String(), typeImage, referrer)
	index := indexOf("", strings.Replace(sized(typeImage, d.String(), fmt.Sprint(len(referrer))), "{", `{"artifactType":"a/b",`, 1))
	tag := strings.Replace(subject.String(), ":", "-", 1)
	c.manifest(t, repo, tag, typeIndex, index)
	if got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/"+tag, "")); string(got.body) != index {
		t.Errorf("got %s", got.body)
	}
	if got := names(t, c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/referrers/"+subject.String(), "")).body); !slices.Equal(got, []string{d.String()}) {
		t.Errorf("got %v", got)
	}
}

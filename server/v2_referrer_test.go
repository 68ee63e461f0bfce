package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func about(subject digest.Digest) string {
	return fmt.Sprintf(`,"subject":{"mediaType":"%s","digest":"%s","size":%d}`, typeImage, subject, len(image("layer", "")))
}

// TestLargeReferrers lists annotations of several MiB: each answer stays bounded, and the
// links lead to all of them.
func TestLargeReferrers(t *testing.T) {
	f := newFixture(t, nil)
	subject := f.pushImage("dev/app", "1", "layer", "")
	const each = 1500 << 10
	var want []string
	for i := range 7 {
		// "<" is what an encoder for web pages would blow up.
		body := image("layer", fmt.Sprintf(`,"artifactType":"a/%d","annotations":{"number":"%d","large":"%s"}`, i%2, i, strings.Repeat("<", each))+about(subject))
		d := digest.FromString(body)
		f.want(f.do("PUT", "/v2/dev/app/manifests/"+d.String(), strings.NewReader(body), "Content-Type", typeImage), 201, "")
		want = append(want, d.String())
	}
	slices.Sort(want)
	for query, count := range map[string]int{"": 7, "?artifactType=a/0": 4, "?artifactType=a%2F1&n=2": 3} {
		got, pages := f.follow("/v2/dev/app/referrers/"+subject.String()+query, func(body []byte) (digests []string) {
			var index ocispec.Index
			if err := json.Unmarshal(body, &index); err != nil || len(body) > 5<<20 {
				t.Errorf("%q: got %d bytes, %v", query, len(body), err)
			}
			for _, m := range index.Manifests {
				if len(m.Annotations["large"]) != each {
					t.Errorf("%s has %d bytes of annotations", m.Digest, len(m.Annotations["large"]))
				}
				digests = append(digests, m.Digest.String())
			}
			return digests
		})
		if len(got) != count || query == "" && !slices.Equal(got, want) || pages < 2 {
			t.Errorf("%q: got %v on %d pages, want %d", query, got, pages, count)
		}
	}
}

// TestFallbackTagBesideReferrers does what notation does: it attaches a manifest with a
// subject and keeps the fallback tag as well, although the registry needs none.
func TestFallbackTagBesideReferrers(t *testing.T) {
	f := newFixture(t, nil)
	subject := f.pushImage("dev/app", "1", "layer", "")
	manifests := "/v2/dev/app/manifests/"
	fallback := manifests + strings.Replace(subject.String(), ":", "-", 1)
	var list []string
	var attached, indexes []digest.Digest
	for i := range 3 {
		extra := fmt.Sprintf(`,"artifactType":"application/vnd.example.report","annotations":{"number":"%d"}`, i)
		body := image("layer", extra+about(subject))
		d := digest.FromString(body)
		if got := f.want(f.do("PUT", manifests+d.String(), strings.NewReader(body), "Content-Type", typeImage), 201, ""); got.header.Get("OCI-Subject") != subject.String() {
			t.Errorf("got %v", got.header)
		}
		attached = append(attached, d)
		list = append(list, fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":%d%s}`, typeImage, d, len(body), extra))
		index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}`, typeIndex, strings.Join(list, ","))
		got := f.want(f.do("PUT", fallback, strings.NewReader(index), "Content-Type", typeIndex), 201, "")
		if got.header.Get("Warning") != "" || got.header.Get("OCI-Subject") != "" {
			t.Errorf("got %v", got.header)
		}
		indexes = append(indexes, digest.FromString(index))
		if back := f.want(f.do("GET", fallback, nil), 200, ""); string(back.body) != index {
			t.Errorf("got %s under the fallback tag", back.body)
		}
	}
	listed := func() (digests []string) {
		var index ocispec.Index
		if err := json.Unmarshal(f.want(f.do("GET", "/v2/dev/app/referrers/"+subject.String(), nil), 200, "").body, &index); err != nil {
			t.Fatal(err)
		}
		for _, m := range index.Manifests {
			digests = append(digests, m.Digest.String())
		}
		return digests
	}
	if got := listed(); len(got) != 3 { // the index is no referrer itself
		t.Errorf("the API lists %v", got)
	}
	// Clients that take a signature away write the shorter index first and delete the old
	// ones; what still stands in one stays.
	f.want(f.do("DELETE", manifests+attached[2].String(), nil), 405, "UNSUPPORTED")
	f.want(f.do("DELETE", manifests+indexes[2].String(), nil), 202, "")
	f.want(f.do("GET", fallback, nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("DELETE", manifests+attached[2].String(), nil), 202, "")
	if got := listed(); len(got) != 2 || slices.Contains(got, attached[2].String()) {
		t.Errorf("the API lists %v", got)
	}
	for _, d := range []digest.Digest{indexes[1], indexes[0], attached[0], attached[1], subject} {
		f.want(f.do("DELETE", manifests+d.String(), nil), 202, "")
	}
	if got := listed(); len(got) != 0 {
		t.Errorf("the API lists %v", got)
	}
}

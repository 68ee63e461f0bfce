package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestPushTags sends tags beside a digest ("Pushing Manifests", end-7b).
func TestPushTags(t *testing.T) {
	f := newFixture(t, nil)
	f.pushImage("dev/app", "old", "layer", "")
	body := image("layer", `,"annotations":{"a":"b"}`)
	put := func(d digest.Digest, query string) reply {
		return f.do("PUT", "/v2/dev/app/manifests/"+d.String()+query, strings.NewReader(body), "Content-Type", typeImage)
	}
	sha256, sha512 := digest.FromString(body), digest.SHA512.FromString(body)
	var ten []string
	for i := range 10 {
		ten = append(ten, fmt.Sprintf("t%d", i))
	}
	all := "?tag=" + strings.Join(ten, "&tag=")
	for _, tt := range []struct {
		name  string
		d     digest.Digest
		query string
		tags  []string
	}{
		{"new", sha256, "?tag=1&tag=latest&tag=old", []string{"1", "latest", "old"}},
		{"there already", sha256, "?tag=1&tag=2", []string{"1", "2"}},
		{"twice", sha256, "?tag=x&tag=x&tag=X", []string{"x", "X"}},
		{"as many as may be", sha256, all + "&tag=t0", ten},
		{"sha512", sha512, "?tag=1&tag=other", []string{"1", "other"}},
		{"none", sha512, "", nil},
	} {
		got := f.want(put(tt.d, tt.query), 201, "")
		if !slices.Equal(got.header.Values("OCI-Tag"), tt.tags) || got.header.Get("Docker-Content-Digest") != tt.d.String() {
			t.Errorf("%s: got %v", tt.name, got.header)
		}
		for _, tag := range tt.tags {
			if d := f.want(f.do("HEAD", "/v2/dev/app/manifests/"+tag, nil), 200, "").header.Get("Docker-Content-Digest"); d != tt.d.String() {
				t.Errorf("%s: %s is %s", tt.name, tag, d)
			}
		}
	}
	zero := digest.FromString("something else").String()
	f.exchanges(t, []exchange{
		{"too many", "PUT", "/v2/dev/app/manifests/" + sha256.String() + all + "&tag=t10", body, []string{"Content-Type", typeImage}, 414, "UNSUPPORTED", "at most 10"},
		{"too many before the grammar", "PUT", "/v2/dev/app/manifests/" + sha256.String() + all + "&tag=-", body, []string{"Content-Type", typeImage}, 414, "UNSUPPORTED", "at most 10"},
		{"grammar", "PUT", "/v2/dev/app/manifests/" + sha256.String() + "?tag=good&tag=-bad", body, []string{"Content-Type", typeImage}, 400, "MANIFEST_INVALID", "-bad"},
		{"empty", "PUT", "/v2/dev/app/manifests/" + sha256.String() + "?tag=", body, []string{"Content-Type", typeImage}, 400, "MANIFEST_INVALID", ""},
		{"digest as tag", "PUT", "/v2/dev/app/manifests/" + sha256.String() + "?tag=" + zero, body, []string{"Content-Type", typeImage}, 400, "MANIFEST_INVALID", ""},
		{"beside a tag", "PUT", "/v2/dev/app/manifests/v9?tag=good", body, []string{"Content-Type", typeImage}, 400, "MANIFEST_INVALID", "v9"},
		{"other content", "PUT", "/v2/dev/app/manifests/" + zero + "?tag=good", body, []string{"Content-Type", typeImage}, 400, "DIGEST_INVALID", ""},
		{"promoted tier", "PUT", "/v2/stable/app/manifests/" + sha256.String() + "?tag=good", body, []string{"Content-Type", typeImage}, 403, "DENIED", "promote"},
		{"nothing was set", "GET", "/v2/dev/app/manifests/good", "", nil, 404, "MANIFEST_UNKNOWN", ""},
	})
}

// TestHeadIsGet compares the headers of GET and HEAD, whatever Accept says.
func TestHeadIsGet(t *testing.T) {
	f := newFixture(t, nil)
	d := f.pushImage("dev/app", "1", "layer", "")
	for _, path := range []string{"manifests/1", "manifests/" + d.String(), "blobs/" + digest.FromString("layer").String()} {
		for _, accept := range []string{typeImage, typeIndex, "text/html", "*/*"} {
			get := f.want(f.do("GET", "/v2/dev/app/"+path, nil, "Accept", accept), 200, "")
			head := f.want(f.do("HEAD", "/v2/dev/app/"+path, nil, "Accept", accept), 200, "")
			if len(head.body) != 0 || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) {
				t.Errorf("%s: HEAD has %d bytes and says %s, want %d", path, len(head.body), head.header.Get("Content-Length"), len(get.body))
			}
			for _, h := range []reply{get, head} {
				h.header.Del("X-Request-Id")
				h.header.Del("Date")
			}
			if fmt.Sprint(get.header) != fmt.Sprint(head.header) {
				t.Errorf("%s: GET has %v\nHEAD has %v", path, get.header, head.header)
			}
		}
		etag := f.do("HEAD", "/v2/dev/app/"+path, nil).header.Get("ETag")
		for _, method := range []string{"GET", "HEAD"} {
			f.want(f.do(method, "/v2/dev/app/"+path, nil, "If-None-Match", etag), 304, "")
		}
	}
}

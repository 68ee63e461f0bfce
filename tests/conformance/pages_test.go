package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// listing is an endpoint that answers in pages.
type listing struct {
	path string
	all  []string // what it lists, in order
	cost int      // records that a page may read beyond what it shows
}

// names are the entries of a page of any listing.
func names(tb testing.TB, body []byte) []string {
	tb.Helper()
	var page struct {
		Tags, Repositories []string
		Manifests          []struct{ Digest string }
	}
	if err := json.Unmarshal(body, &page); err != nil {
		tb.Fatalf("%v: %s", err, body)
	}
	all := append(page.Tags, page.Repositories...)
	for _, m := range page.Manifests {
		all = append(all, m.Digest)
	}
	return all
}

// newListings fills a registry of its own with 30 of everything.
func newListings(tb testing.TB) (client, []listing) {
	tb.Helper()
	c := client{registry: newRegistry(tb, nil)}
	repo := "dev/pages"
	c.image(tb, repo, "tag-00", "layer")
	tags, repositories, referrers := listing{path: "/v2/" + repo + "/tags/list", cost: 2}, listing{path: "/v2/_catalog", cost: 8}, listing{path: "/v2/" + repo + "/referrers/" + zeros, cost: 2}
	for i := range 30 {
		tag := fmt.Sprintf("tag-%02d", i)
		c.manifest(tb, repo, tag, typeImage, image("layer", ""))
		tags.all = append(tags.all, tag)
		repositories.all = append(repositories.all, fmt.Sprintf("dev/page-%02d", i))
		c.image(tb, repositories.all[i], "1", "layer")
		body := image("layer", fmt.Sprintf(`,"artifactType":"application/vnd.test.%d","subject":%s,"annotations":{"n":"%d"}`, i%3, sized(typeImage, zeros, "5"), i))
		c.manifest(tb, repo, digest.FromString(body).String(), typeImage, body)
		referrers.all = append(referrers.all, digest.FromString(body).String())
	}
	repositories.all = append(repositories.all, repo)
	slices.Sort(repositories.all)
	slices.Sort(referrers.all)
	return c, []listing{tags, repositories, referrers}
}

// rowPages: whatever the parameters of a page are, the answer is a page or 400, and no
// more is read than it shows.
func rowPages(s *suite) {
	c, listings := newListings(s)
	for _, l := range listings {
		at := l.path + " "
		for _, n := range []string{"-1", "-0", "+1", "%2B1", "1e9", "1.5", "0x10", "", "%20", "1%20", "%201", "ten", "1,000", "NaN", "Infinity", "%00", "1%00", "%ff", "-9223372036854775809", "%D9%A1", "1_000", "true", "null"} {
			s.test(at+"n="+n, func(t *testing.T) {
				c.want(t, exchange{method: "GET", target: l.path + "?n=" + n, status: 400, code: "REQUEST_INVALID"})
			})
		}
		for _, n := range []string{"1000000000", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", strings.Repeat("9", 1000), "100", "0031"} {
			s.test(at+"n="+n[:min(len(n), 25)], func(t *testing.T) { c.page(t, l, "n="+n, "", 1<<30) })
		}
		for _, n := range []int{0, 1, 2, 29, 30, 31} {
			s.test(fmt.Sprint(at, "n=", n), func(t *testing.T) { c.page(t, l, fmt.Sprint("n=", n), "", n) })
		}
		for _, last := range []string{
			"\x00", "\xff", "\xff\xfe", "../../etc/passwd", "..", "/", "//", "%", "%00", " ", "\n", "tag-1", "tag-10", "tag-10\x00", "tag-99", "dev", "dev/", "dev/page-1", "dev/page-10", "dev0", "stable/", "zzz", "ü", ":", "@",
			l.all[3], l.all[len(l.all)-1], strings.ToUpper(l.all[2]), "sha256:", "sha256:5", "sha256:ffff", zeros, strings.Repeat("a", 10_000), "{}", "' OR 1=1", "-1",
		} {
			s.test(fmt.Sprintf("%slast=%.20q", at, last), func(t *testing.T) {
				for _, n := range []int{4, 1000} {
					c.page(t, l, fmt.Sprintf("n=%d&last=%s", n, url.QueryEscape(last)), last, n)
				}
			})
		}
		s.test(at+"followed to its end", func(t *testing.T) {
			var all []string
			for target := l.path + "?n=7"; target != ""; {
				got := c.is(t, 200, c.do(t, "GET", target, ""))
				all = append(all, names(t, got.body)...)
				if target = nextPage(t, got); len(all) > len(l.all) {
					t.Fatalf("got %v", all)
				}
			}
			if !slices.Equal(all, l.all) {
				t.Errorf("got %v, want %v", all, l.all)
			}
		})
		s.test(at+"nowhere", func(t *testing.T) {
			c.is(t, 200, c.do(t, "GET", l.path+"?last=%zz&n=1;n=2", ""))
		})
	}
}

// page asks for a page and holds it against what a scan of everything would have found.
func (c client) page(tb testing.TB, l listing, query, last string, n int) {
	tb.Helper()
	before := c.reads.listed.Load()
	got := c.is(tb, 200, c.do(tb, "GET", l.path+"?"+query, ""))
	read := int(c.reads.listed.Load() - before)
	var want []string
	for _, name := range l.all {
		if name > last && len(want) < n {
			want = append(want, name)
		}
	}
	if page := names(tb, got.body); !slices.Equal(page, want) {
		tb.Errorf("got %v, want %v", page, want)
	}
	if read > len(want)+l.cost {
		tb.Errorf("%d records were read to show %d", read, len(want))
	}
	more := len(want) > 0 && want[len(want)-1] != l.all[len(l.all)-1]
	if link := got.header.Get("Link"); (link != "") != more {
		tb.Errorf("got Link %q", link)
	}
}

// nextPage is where the Link of an answer leads, empty at the end.
func nextPage(tb testing.TB, got answer) string {
	tb.Helper()
	link := got.header.Get("Link")
	if link == "" {
		return ""
	}
	target, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || strings.ReplaceAll(rest, " ", "") != `;rel="next"` {
		tb.Fatalf("got Link %q", link)
	}
	return target
}

package conformance_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// rowChunks: chunks follow each other without gap or overlap, whatever a client says.
func rowChunks(s *suite) {
	c, repo := s.open, "dev/chunks"
	const first = "0123456789"
	refused := exchange{method: "PATCH", status: 416, code: "BLOB_UPLOAD_INVALID"}
	for _, tt := range []struct{ chunkRange, body string }{
		{"11-11", "x"}, {"20-29", first}, {"9223372036854775806-9223372036854775807", "xx"}, {"999999999999999999-999999999999999999", "x"},
		{"9-9", "x"}, {"9-10", "xx"}, {"0-9", first}, {"0-0", "x"}, {"1-9", first[1:]}, {"0-19", first + first}, {"5-14", first},
		{"10-9", ""}, {"10-9", "x"}, {"10-0", "x"}, {"-1-10", "x"}, {"-10", "x"}, {"10-", "x"}, {"10", "x"}, {"-", "x"}, {"a-b", "x"}, {"10-1a", "x"}, {"0x0a-0x0a", "x"}, {"+10-+10", "x"}, {"1e1-1e1", "x"},
		{"10-10, 11-11", "xx"}, {"10 - 10", "x"}, {"10-99999999999999999999", "x"}, {"99999999999999999999-99999999999999999999", "x"}, {"bytes 10-10/11", "x"}, {"bytes=10-10", "x"}, {"bytes 10-10/*", "x"},
		{"10-10", "xx"}, {"10-11", "x"}, {"10-10", ""}, {"10-19", first[:9]},
	} {
		s.test(fmt.Sprintf("%s with %d bytes", tt.chunkRange, len(tt.body)), func(t *testing.T) {
			at := c.begin(t, repo)
			at = location(t, c.is(t, 202, c.do(t, "PATCH", at, first, "Content-Range", "0-9")))
			for _, method := range []string{"PATCH", "PUT"} {
				e := refused
				e.method, e.target, e.body, e.headers = method, at, tt.body, []string{"Content-Range", tt.chunkRange}
				if method == "PUT" {
					e.target = withQuery(at, "digest="+digest.FromString(first+tt.body).String())
				}
				got := c.want(t, e)
				if got.header.Get("Range") != "0-9" || location(t, got) != at {
					t.Errorf("%s: got %v, want where to go on", method, got.header)
				}
			}
			status := c.is(t, 204, c.do(t, "GET", at, ""))
			if status.header.Get("Range") != "0-9" {
				t.Errorf("got Range %q", status.header.Get("Range"))
			}
			// None of it did any harm.
			content := first + random(5)
			c.is(t, 201, c.do(t, "PUT", withQuery(at, "digest="+digest.FromString(content).String()), content[10:], "Content-Range", "10-14"))
			c.wantBlob(t, repo, content)
		})
	}
	s.test("the first chunk not at 0", func(t *testing.T) {
		at := c.begin(t, repo)
		for _, chunkRange := range []string{"1-1", "10-10", "1000000-1000000"} {
			e := refused
			e.target, e.body, e.headers = at, "x", []string{"Content-Range", chunkRange}
			c.want(t, e)
		}
		c.is(t, 202, c.do(t, "PATCH", at, "x", "Content-Range", "0-0"))
	})
	for _, body := range []string{"x", "xxx"} {
		s.test(fmt.Sprintf("%d of 2 bytes of unknown length", len(body)), func(t *testing.T) {
			at := c.begin(t, repo)
			check(t, exchange{method: "PATCH", status: 400, code: "SIZE_INVALID"}, c.doChunked(t, "PATCH", at, body, "Content-Range", "0-1"))
			if got := c.is(t, 204, c.do(t, "GET", at, "")); got.header.Get("Range") != "0-0" {
				t.Errorf("got Range %q", got.header.Get("Range"))
			}
			c.is(t, 202, c.doChunked(t, "PATCH", at, "xx", "Content-Range", "0-1"))
		})
	}
	large := random(6 << 20)
	for i := range 8 {
		s.test(fmt.Sprint("two at one offset ", i), func(t *testing.T) { c.race(t, repo, i, large) })
	}
}

// race sends two chunks of one offset at once: one of them is the upload's, the other is
// told where to go on. Odd numbers race after a first chunk, large ones as parts of S3.
func (c client) race(t *testing.T, repo string, number int, large string) {
	before, contents := "", [2]string{"first one", "secondone"}
	at := c.begin(t, repo)
	if number%2 == 1 {
		before = "before"
		c.is(t, 202, c.do(t, "PATCH", at, before))
	}
	if number >= 6 {
		contents = [2]string{"a" + large, "b" + large}
	}
	headers := []string{"Content-Range", fmt.Sprintf("%d-%d", len(before), len(before)+len(contents[0])-1)}
	var got [2]answer
	var both sync.WaitGroup
	for i := range got {
		both.Go(func() {
			if number%4 < 2 {
				got[i] = c.do(t, "PATCH", at, contents[i], headers...)
			} else {
				got[i] = c.doChunked(t, "PATCH", at, contents[i], headers...)
			}
		})
	}
	both.Wait()
	won := 0
	if got[1].status == 202 {
		won = 1
	}
	c.is(t, 202, got[won])
	check(t, exchange{method: "PATCH", status: 416, code: "BLOB_UPLOAD_INVALID"}, got[1-won])
	content := before + contents[won]
	c.is(t, 201, c.do(t, "PUT", withQuery(at, "digest="+digest.FromString(content).String()), ""))
	c.wantBlob(t, repo, content)
}

// rowSessions: a session is unknown to everyone but its user and its repository.
func rowSessions(s *suite) {
	unknown := func(t *testing.T, c client, at string) {
		t.Helper()
		for _, e := range []exchange{
			{method: "GET", target: at}, {method: "PATCH", target: at, body: "x"}, {method: "PATCH", target: at, body: "x", headers: []string{"Content-Range", "0-0"}},
			{method: "PUT", target: withQuery(at, "digest="+digest.FromString("x").String()), body: "x"}, {method: "PUT", target: withQuery(at, "digest="+zeros)}, {method: "DELETE", target: at},
		} {
			e.status, e.code = 404, "BLOB_UPLOAD_UNKNOWN"
			c.want(t, e)
		}
	}
	open := s.open
	at := open.begin(s, "dev/session")
	id := at[strings.LastIndex(at, "/")+1:]
	for _, repo := range []string{"dev/other", "dev/session/deeper", "dev/sessio", "dev/dev/session"} {
		s.test("in "+repo, func(t *testing.T) { unknown(t, open, strings.Replace(at, "dev/session", repo, 1)) })
	}
	flipped := "0"
	if strings.HasSuffix(id, "0") {
		flipped = "1"
	}
	for name, tampered := range map[string]string{
		"cut": id[:len(id)-1], "longer": id + "0", "last letter": id[:len(id)-1] + flipped, "lower case": strings.ToLower(id), "escaped slash": id + "%2f", "slash": id + "/x", "parent": "../uploads/" + id, "dots": "..", "escaped dots": "%2e%2e",
		"NUL": id + "%00", "space": id + "%20", "of zeros": strings.Repeat("0", 26), "never begun": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "not UTF-8": "%ff", "a digest": zeros, "very long": strings.Repeat("A", 5000), "another family": "../event/" + id, "a prefix": id[:1],
	} {
		s.test(name, func(t *testing.T) { unknown(t, open, strings.TrimSuffix(at, id)+tampered) })
	}
	alice, bob := s.as("alice"), s.as("bob")
	for _, repo := range []string{"dev/shared/one", "dev/shared/two"} {
		s.test("of another user in "+repo, func(t *testing.T) {
			at := alice.begin(t, repo)
			alice.is(t, 202, alice.do(t, "PATCH", at, "secret"))
			unknown(t, bob, at)
			alice.is(t, 201, alice.do(t, "PUT", withQuery(at, "digest="+digest.FromString("secret").String()), ""))
			unknown(t, bob, at) // nor may its end be seen
		})
	}
	s.test("in a repository that the user may not write to", func(t *testing.T) {
		at := alice.begin(t, "dev/alice/app")
		bob.want(t, exchange{method: "PATCH", target: at, body: "x", status: 403, code: "DENIED"})
		unknown(t, bob, strings.Replace(at, "alice/app", "bob/app", 1))
	})
	s.test("after a cancel", func(t *testing.T) {
		at := open.begin(t, "dev/session")
		open.is(t, 202, open.do(t, "PATCH", at, random(100)))
		open.is(t, 204, open.do(t, "DELETE", at, ""))
		unknown(t, open, at)
	})
	s.test("none of it did harm", func(t *testing.T) {
		open.is(t, 201, open.do(t, "PUT", withQuery(at, "digest="+digest.FromString("abc").String()), "abc"))
	})
}

// rowReplays: the last PUT may be asked again, because its answer may have been lost.
func rowReplays(s *suite) {
	c, repo := s.open, "dev/replay"
	for _, algorithm := range algorithms() {
		for name, begin := range map[string]func(tb testing.TB, content string) (at, rest string){
			"whole":       func(tb testing.TB, content string) (string, string) { return c.begin(tb, repo), content },
			"after PATCH": func(tb testing.TB, content string) (string, string) { return c.patched(tb, repo, content), "" },
			"last chunk": func(tb testing.TB, content string) (string, string) {
				return c.patched(tb, repo, content[:len(content)/2]), content[len(content)/2:]
			},
		} {
			for _, size := range []int{2, 1000, 6 << 20} {
				s.test(fmt.Sprint(algorithm, " ", name, " ", size), func(t *testing.T) {
					content := random(size)
					d := algorithm.FromString(content)
					at, rest := begin(t, content)
					target := withQuery(at, "digest="+d.String())
					first := c.is(t, 201, c.do(t, "PUT", target, rest))
					for _, body := range []string{rest, rest, "", "something else"} {
						again := c.is(t, 201, c.do(t, "PUT", target, body))
						for _, header := range []string{"Location", "Docker-Content-Digest"} {
							if again.header.Get(header) != first.header.Get(header) {
								t.Errorf("%s: got %q, first %q", header, again.header.Get(header), first.header.Get(header))
							}
						}
					}
					c.notReplayed(t, repo, at, rest, d)
					got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/blobs/"+d.String(), ""))
					if string(got.body) != content {
						t.Errorf("got %d bytes, want %d", len(got.body), len(content))
					}
				})
			}
		}
	}
	s.test("after a mismatch", func(t *testing.T) {
		at := c.patched(t, repo, "abc")
		wrong := exchange{method: "PUT", target: withQuery(at, "digest="+digest.FromString("never").String()), status: 400, code: "DIGEST_INVALID"}
		c.want(t, wrong)
		wrong.status, wrong.code = 404, "BLOB_UPLOAD_UNKNOWN"
		c.want(t, wrong)
	})
}

// patched begins an upload with a first PATCH.
func (c client) patched(tb testing.TB, repo, content string) string {
	tb.Helper()
	return location(tb, c.is(tb, 202, c.do(tb, "PATCH", c.begin(tb, repo), content)))
}

// notReplayed: nothing but the same PUT is answered by a session that has ended.
func (c client) notReplayed(t *testing.T, repo, at, rest string, d digest.Digest) {
	t.Helper()
	other := digest.FromString("other")
	for _, e := range []exchange{
		{method: "PUT", target: withQuery(at, "digest="+other.String()), body: rest}, {method: "PUT", target: withQuery(at, "digest="+other.String()), body: "other"},
		{method: "PATCH", target: at, body: "more"}, {method: "GET", target: at}, {method: "DELETE", target: at},
		{method: "PUT", target: withQuery(strings.Replace(at, repo, "dev/elsewhere", 1), "digest="+d.String())},
	} {
		e.status, e.code = 404, "BLOB_UPLOAD_UNKNOWN"
		c.want(t, e)
	}
	c.wantNoBlob(t, repo, other)
	c.wantNoBlob(t, "dev/elsewhere", d)
}

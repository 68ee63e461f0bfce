package conformance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

// rowLimits: what is over a limit is refused before it is stored.
func rowLimits(s *suite) {
	c, repo := s.limited, "dev/limits"
	for _, way := range uploadWays() {
		for _, size := range []int{smallBlob + 1, 10 * smallBlob} {
			s.test(fmt.Sprint(way.name, " ", size), func(t *testing.T) {
				content := random(size)
				got := c.tooLarge(t, way.name, repo, content)
				check(t, exchange{method: "PUT", target: way.name, status: 413, code: "SIZE_INVALID"}, got)
				c.wantNoBlob(t, repo, digest.FromString(content))
			})
		}
		s.test(way.name+" at the limit", func(t *testing.T) {
			content := random(smallBlob)
			c.is(t, 201, way.push(t, c, repo, content, digest.FromString(content)))
			c.wantBlob(t, repo, content)
		})
	}
	for name, headers := range map[string][]string{"announced": {"Content-Length", "1099511627776"}, "without end": {"Transfer-Encoding", "chunked"}} {
		for method, target := range map[string]string{
			"POST": "/v2/" + repo + "/blobs/uploads/?digest=" + zeros, "PUT": withQuery(c.begin(s, repo), "digest="+zeros), "PATCH": c.begin(s, repo),
		} {
			s.test(method+" "+name, func(t *testing.T) {
				got, taken := c.endless(t, method, target, headers...)
				check(t, exchange{method: method, target: target, status: 413, code: "SIZE_INVALID"}, got)
				if taken > mostTaken {
					t.Errorf("%d bytes were taken", taken)
				}
			})
		}
	}
	s.test("a session goes on below the limit", func(t *testing.T) {
		at, content := c.patched(t, repo, strings.Repeat("a", smallBlob-1)), strings.Repeat("a", smallBlob)
		for _, body := range []string{"aa", content} {
			c.want(t, exchange{method: "PATCH", target: at, body: body, status: 413, code: "SIZE_INVALID"})
			check(t, exchange{method: "PATCH", target: at, status: 413, code: "SIZE_INVALID"}, c.doChunked(t, "PATCH", at, body))
		}
		c.is(t, 201, c.do(t, "PUT", withQuery(at, "digest="+digest.FromString(content).String()), "a"))
		c.wantBlob(t, repo, content)
	})
	limitsOfTiers(s)
}

// limitsOfTiers holds the cases of what a tier limits by itself beside the size of blobs:
// manifests, and how many sessions are open.
func limitsOfTiers(s *suite) {
	const most, smallManifest = 2, 600
	c, repo := client{registry: newRegistry(s, nil, tiers.Limits{Uploads: most, ManifestSize: smallManifest})}, "dev/sessions"
	c.blob(s, repo, "{}")
	c.blob(s, repo, "layer")
	large := image("layer", fmt.Sprintf(`,"annotations":{"a":%q}`, strings.Repeat("x", smallManifest)))
	s.exchanges(c, []exchange{
		{name: "manifest by tag", method: "PUT", target: "/v2/" + repo + "/manifests/1", body: large, headers: []string{"Content-Type", typeImage}, status: 413, code: "SIZE_INVALID"},
		{name: "manifest by digest", method: "PUT", target: "/v2/" + repo + "/manifests/" + digest.FromString(large).String(), body: large, headers: []string{"Content-Type", typeImage}, status: 413, code: "SIZE_INVALID"},
		{name: "manifest below", method: "PUT", target: "/v2/" + repo + "/manifests/1", body: image("layer", ""), headers: []string{"Content-Type", typeImage}, status: 201},
	})
	open := make([]string, most)
	for i := range open {
		open[i] = c.begin(s, repo)
	}
	full := exchange{method: "POST", status: 429, code: "TOOMANYREQUESTS"}
	for _, name := range []string{repo, "dev/another", "dev/never/was"} {
		s.test("a session too many in "+name, func(t *testing.T) {
			for _, query := range []string{"", "?mount=" + zeros + "&from=dev/none"} { // which ends in a session
				full.target = "/v2/" + name + "/blobs/uploads/" + query
				if got := c.want(t, full); got.header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			}
		})
	}
	s.test("one request needs no session", func(t *testing.T) { c.blob(t, repo, "in one request") })
	s.test("open sessions go on", func(t *testing.T) {
		c.is(t, 202, c.do(t, "PATCH", open[0], "abc"))
		c.want(t, full)
		c.is(t, 201, c.do(t, "PUT", withQuery(open[0], "digest="+digest.FromString("abc").String()), ""))
		open[0] = c.begin(t, repo)
		c.want(t, full)
		c.is(t, 204, c.do(t, "DELETE", open[1], ""))
		open[1] = c.begin(t, repo)
		c.want(t, full)
	})
}

// tooLarge uploads content past the limit in the manner of a way and returns the refusal.
func (c client) tooLarge(tb testing.TB, name, repo, content string) answer {
	tb.Helper()
	target := "/v2/" + repo + "/blobs/uploads/?digest=" + digest.FromString(content).String()
	switch name {
	case "single-post":
		return c.do(tb, "POST", target, content)
	case "single-post-of-unknown-length":
		return c.doChunked(tb, "POST", target, content)
	case "post-put":
		return c.do(tb, "PUT", withQuery(c.begin(tb, repo), "digest="+digest.FromString(content).String()), content)
	case "post-put-of-unknown-length":
		return c.doChunked(tb, "PUT", withQuery(c.begin(tb, repo), "digest="+digest.FromString(content).String()), content)
	case "streamed-patch":
		return c.doChunked(tb, "PATCH", c.begin(tb, repo), content)
	case "patch":
		return c.do(tb, "PATCH", c.begin(tb, repo), content)
	}
	at := c.patched(tb, repo, content[:smallBlob-1])
	headers := []string{"Content-Range", fmt.Sprintf("%d-%d", smallBlob-1, len(content)-1)}
	if name == "last-chunk-in-put" {
		return c.do(tb, "PUT", withQuery(at, "digest="+digest.FromString(content).String()), content[smallBlob-1:], headers...)
	}
	return c.do(tb, "PATCH", at, content[smallBlob-1:], headers...)
}

// slowHeaders is a connection that never completes the head of its request.
type slowHeaders struct {
	name     string
	answered chan string // what came until the connection ended
	failed   chan error  // it did not
}

// startSlowHeaders opens them before the other rows, which take the time that the server
// gives such clients.
func startSlowHeaders(tb testing.TB, c client) []*slowHeaders {
	tb.Helper()
	var all []*slowHeaders
	for name, head := range map[string]string{
		"nothing": "", "half a line": "GET /v2/", "no end": "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n", "half a header": "PUT /v2/dev/app/manifests/1 HTTP/1.1\r\nHost: local", "no host": "POST /v2/dev/app/blobs/uploads/ HTTP/1.1\r\n",
	} {
		slow := &slowHeaders{name: name, answered: make(chan string, 1), failed: make(chan error, 1)}
		conn := c.dial(tb) // with a deadline well past that of the server
		if _, err := io.WriteString(conn, head); err != nil {
			tb.Fatal(err)
		}
		go func() {
			data, err := io.ReadAll(conn)
			if err != nil {
				slow.failed <- err
				return
			}
			slow.answered <- string(data)
		}()
		all = append(all, slow)
	}
	return all
}

// rowSlow: a client that sends nothing is cut off, one that is only slow is not.
func rowSlow(s *suite) {
	c := s.limited
	type stalled struct {
		name string
		conn net.Conn
	}
	var all []stalled // at once, so that the row takes the time of one
	for name, target := range map[string]func() string{
		"PUT of a manifest": func() string { return "PUT /v2/dev/slow/manifests/1" },
		"PATCH":             func() string { return "PATCH " + c.begin(s, "dev/slow") },
		"PUT":               func() string { return "PUT " + withQuery(c.begin(s, "dev/slow"), "digest="+zeros) },
		"POST":              func() string { return "POST /v2/dev/slow/blobs/uploads/?digest=" + zeros },
	} {
		for _, framing := range []string{"Content-Length: 900\r\n\r\n", "Content-Length: 900\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "Transfer-Encoding: chunked\r\n\r\nff\r\nab"} {
			conn := c.dial(s)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s", target(), typeImage, framing)
			all = append(all, stalled{fmt.Sprintf("%s %q", name, framing), conn})
		}
	}
	for _, client := range all {
		s.test(client.name, func(t *testing.T) {
			reader := bufio.NewReader(client.conn)
			check(t, exchange{method: "PUT", target: client.name, status: 408, code: "TIMEOUT"}, readAnswer(reader, "PUT"))
			if _, err := io.Copy(io.Discard, reader); err != nil {
				t.Errorf("the connection stays open: %v", err)
			}
		})
	}
	s.test("a slow client", func(t *testing.T) {
		const content = "abcdefgh"
		conn := c.dial(t)
		fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", c.begin(t, "dev/slow"), len(content))
		for _, b := range []byte(content) {
			time.Sleep(shortTimeout / 4) // in all twice what a pause may take
			if _, err := conn.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		c.is(t, 202, readAnswer(conn, "PATCH"))
	})
	for _, slow := range s.slow {
		s.test("headers: "+slow.name, func(t *testing.T) {
			select {
			case err := <-slow.failed:
				t.Errorf("the connection stays open: %v", err)
			case text := <-slow.answered:
				if text != "" && !strings.HasPrefix(text, "HTTP/1.1 408") && !strings.HasPrefix(text, "HTTP/1.1 400") {
					t.Errorf("got %q", text)
				}
			}
		})
	}
}

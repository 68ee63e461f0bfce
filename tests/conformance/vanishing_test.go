package conformance_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// cut is one request that ends with its connection, in the middle of its body.
type cut struct {
	name   string
	before string // what the session has when the request comes
	target func(at string, d digest.Digest) (method, target string)
	head   []string
	chunks bool // of HTTP
}

func cuts() []cut {
	patch := func(at string, _ digest.Digest) (string, string) { return "PATCH", at }
	put := func(at string, d digest.Digest) (string, string) {
		return "PUT", withQuery(at, "digest="+d.String())
	}
	post := func(at string, d digest.Digest) (string, string) {
		return "POST", at[:strings.LastIndex(at, "/")+1] + "?digest=" + d.String()
	}
	return []cut{
		{"single POST", "", post, nil, false}, {"single POST in chunks of HTTP", "", post, nil, true},
		{"PUT", "", put, nil, false}, {"PUT in chunks of HTTP", "", put, nil, true},
		{"PATCH", "", patch, nil, false}, {"streamed PATCH", "", patch, nil, true},
		{"later chunk", "0123456789", patch, []string{"Content-Range", "10-%d"}, false}, {"last chunk in the PUT", "0123456789", put, []string{"Content-Range", "10-%d"}, false},
	}
}

// rowVanishing: wherever a client breaks off, there is no blob, nothing that can be seen,
// and a session that can be cancelled, after which every object is accounted for.
func rowVanishing(s *suite) {
	c := client{registry: newRegistry(s, nil)}
	const repo = "dev/vanishing"
	for _, size := range []int{1000, 6 << 20} {
		content := random(size)
		for _, cut := range cuts() {
			for _, sent := range []int{0, 1, size / 2, size - 1} {
				if s.Failed() {
					return // what one case left every other would find
				}
				s.test(fmt.Sprintf("%s %d of %d", cut.name, sent, size), func(t *testing.T) {
					d := digest.FromString(cut.before + content)
					at := c.begin(t, repo)
					if cut.before != "" {
						c.is(t, 202, c.do(t, "PATCH", at, cut.before))
					}
					c.vanish(t, cut, at, d, content, sent)
					c.wantNoBlob(t, repo, d)
					c.cancel(t, at)
					c.wantNoBlob(t, repo, d)
					c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/tags/list", status: 404, code: "NAME_UNKNOWN"})
					c.settled(t)
				})
			}
		}
	}
	s.test("a manifest", func(t *testing.T) {
		c.blob(t, repo, "{}")
		c.blob(t, repo, "layer")
		body := image("layer", "")
		for sent := 0; sent < len(body); sent += 50 {
			for _, reference := range []string{"tag", digest.FromString(body).String()} {
				head := c.head("PUT", "/v2/"+repo+"/manifests/"+reference, "Content-Type", typeImage, "Content-Length", fmt.Sprint(len(body)))
				c.cutOff(t, "PUT", head+body[:sent])
			}
		}
		for _, reference := range []string{"tag", digest.FromString(body).String()} {
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/" + reference, status: 404, code: "MANIFEST_UNKNOWN"})
		}
		c.settled(t)
	})
	s.test("none of it is in the way", func(t *testing.T) {
		content := random(6 << 20)
		for _, way := range uploadWays() {
			c.is(t, 201, way.push(t, c, repo, content, digest.FromString(content)))
		}
		c.wantBlob(t, repo, content)
	})
}

// vanish sends a part of the body and is cut off.
func (c client) vanish(t *testing.T, cut cut, at string, d digest.Digest, content string, sent int) {
	t.Helper()
	method, target := cut.target(at, d)
	headers := []string{"Content-Length", fmt.Sprint(len(content))}
	body := content[:sent]
	if cut.chunks {
		headers, body = []string{"Transfer-Encoding", "chunked"}, fmt.Sprintf("%x\r\n%s", len(content), body)
	}
	if cut.head != nil {
		headers = append(headers, cut.head[0], fmt.Sprintf(cut.head[1], len(cut.before)+len(content)-1))
	}
	c.cutOff(t, method, c.head(method, target, headers...)+body)
}

// cutOff sends a request that is not whole, ends the connection, and waits until the server
// knows: whatever it says, it is the client's fault.
func (c client) cutOff(t *testing.T, method, request string) {
	t.Helper()
	conn := c.dial(t)
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	// Half of the connection first: the server has the end of it before this returns.
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := readAnswer(conn, method); got.status != 0 && got.status/100 != 4 {
		t.Errorf("half a body was answered %d %s", got.status, got.body)
	}
}

// cancel ends a session, also one that its last request has claimed meanwhile.
func (c client) cancel(t *testing.T, at string) {
	t.Helper()
	got := c.do(t, "DELETE", at, "")
	for deadline := time.Now().Add(patience); got.status == 416 && time.Now().Before(deadline); {
		got = c.do(t, "DELETE", at, "")
	}
	c.is(t, 204, got)
}

// tidyTime is what a server may take to clean up after a client that has gone.
const tidyTime = 15 * time.Second

// settled waits until no session is left and every object is that of a record.
func (c client) settled(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(tidyTime); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if left = c.unsettled(t); len(left) == 0 {
			return
		}
	}
	t.Errorf("left: %v", left)
}

// unsettled lists sessions that are open and objects that belong to nothing. A session that
// has ended is remembered for a while, with its blob or with no object at all.
func (c client) unsettled(t *testing.T) (left []string) {
	t.Helper()
	var recorded strings.Builder
	for _, record := range append(c.records(t, "store/"), c.records(t, "upload/")...) {
		ended := strings.Contains(string(record.Value), `"done":`) || strings.Contains(string(record.Value), `"key":""`)
		switch {
		case strings.Contains(record.Key, "/blob/") || ended:
			recorded.Write(record.Value)
		case strings.HasPrefix(record.Key, "upload/"):
			left = append(left, record.Key)
		}
	}
	for _, key := range c.bytes[0].left() {
		if strings.HasPrefix(key, "catalogs/") { // the mark of the catalog, which stays
			continue
		}
		if !strings.Contains(recorded.String(), `"`+key+`"`) {
			left = append(left, key)
		}
	}
	return left
}

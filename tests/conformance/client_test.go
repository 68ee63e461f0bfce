package conformance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// patience is how long an answer may take before the test gives up on it.
const patience = 30 * time.Second

// client sends requests exactly as they are written, each on a connection of its own.
type client struct {
	*registry
	user string // empty: nobody
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading it, or of an answer that never came
}

// problem is the only error of an envelope; nothing where it has no text.
func (a answer) problem() (p struct{ Code, Message string }) {
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(a.body, &e) == nil && len(e.Errors) == 1 && e.Errors[0].Message != "" {
		p = e.Errors[0]
	}
	return p
}

func (a answer) code() string    { return a.problem().Code }
func (a answer) message() string { return a.problem().Message }

// exchange is one request and the answer owed.
type exchange struct {
	name, method, target string
	headers              []string // name, value, …
	body                 string
	status               int
	code                 string // empty: not an error, or HEAD
	says                 string // part of the error's message
}

func (c client) dial(tb testing.TB) net.Conn {
	tb.Helper()
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// head is the request up to its body.
func (c client) head(method, target string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target)
	if c.user != "" {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(c.user, password(c.user))
		fmt.Fprintf(&b, "Authorization: %s\r\n", r.Header.Get("Authorization"))
	}
	for i := 0; i < len(headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], headers[i+1])
	}
	return b.String() + "\r\n"
}

func readAnswer(conn io.Reader, method string) answer {
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body, err}
}

// do sends a request with a body of known length and reads its answer.
func (c client) do(tb testing.TB, method, target, body string, headers ...string) answer {
	tb.Helper()
	return c.send(tb, method, target, body, append(headers, "Content-Length", strconv.Itoa(len(body)))...)
}

// doChunked sends a body whose length is not announced.
func (c client) doChunked(tb testing.TB, method, target, body string, headers ...string) answer {
	tb.Helper()
	framed := "0\r\n\r\n"
	if body != "" {
		framed = fmt.Sprintf("%x\r\n%s\r\n%s", len(body), body, framed)
	}
	return c.send(tb, method, target, framed, append(headers, "Transfer-Encoding", "chunked")...)
}

// send writes while it reads: an answer may come before the body has gone.
func (c client) send(tb testing.TB, method, target, body string, headers ...string) answer {
	tb.Helper()
	conn := c.dial(tb)
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		// A server that has answered need not take the rest.
		_, _ = io.WriteString(conn, c.head(method, target, headers...)+body)
	}()
	got := readAnswer(conn, method)
	conn.Close()
	<-sent
	return got
}

// want sends the request of e and checks the answer.
func (c client) want(tb testing.TB, e exchange) answer {
	tb.Helper()
	got := c.do(tb, e.method, e.target, e.body, e.headers...)
	check(tb, e, got)
	return got
}

func check(tb testing.TB, e exchange, got answer) {
	tb.Helper()
	code := e.code
	if e.method == http.MethodHead {
		code = ""
		if len(got.body) > 0 {
			tb.Errorf("HEAD has a body: %s", got.body)
		}
	}
	if got.err != nil || got.status != e.status || got.code() != code {
		tb.Fatalf("%s %s: got %d %q %v, want %d %q\n%.500s", e.method, e.target, got.status, got.code(), got.err, e.status, code, got.body)
	}
	if !strings.Contains(got.message(), e.says) {
		tb.Errorf("%s %s: got %q, want %q in it", e.method, e.target, got.message(), e.says)
	}
	if e.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
		tb.Error("405 without Allow")
	}
}

// is checks the status alone, of an answer that is no error.
func (c client) is(tb testing.TB, status int, got answer) answer {
	tb.Helper()
	if got.err != nil || got.status != status {
		tb.Fatalf("got %d %v, want %d\n%.500s", got.status, got.err, status, got.body)
	}
	return got
}

// begin opens an upload and returns its path.
func (c client) begin(tb testing.TB, repo string) string {
	tb.Helper()
	got := c.is(tb, 202, c.do(tb, "POST", "/v2/"+repo+"/blobs/uploads/", ""))
	return location(tb, got)
}

// location is where an answer says to go on, without the host that it may name.
func location(tb testing.TB, got answer) string {
	tb.Helper()
	u, err := url.Parse(got.header.Get("Location"))
	if err != nil || u.Path == "" {
		tb.Fatalf("got Location %q", got.header.Get("Location"))
	}
	return u.RequestURI()
}

// withQuery adds a parameter to a location that may have some.
func withQuery(location, query string) string {
	if strings.Contains(location, "?") {
		return location + "&" + query
	}
	return location + "?" + query
}

// blob uploads content, under SHA-256, and returns its digest.
func (c client) blob(tb testing.TB, repo, content string) digest.Digest {
	tb.Helper()
	d := digest.FromString(content)
	c.is(tb, 201, c.do(tb, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), content))
	return d
}

// manifest pushes a document and returns its digest.
func (c client) manifest(tb testing.TB, repo, reference, mediaType, body string) digest.Digest {
	tb.Helper()
	c.is(tb, 201, c.do(tb, "PUT", "/v2/"+repo+"/manifests/"+reference, body, "Content-Type", mediaType))
	return digest.FromString(body)
}

// image uploads an image of one layer under a tag.
func (c client) image(tb testing.TB, repo, tag, layer string) digest.Digest {
	tb.Helper()
	c.blob(tb, repo, "{}")
	c.blob(tb, repo, layer)
	return c.manifest(tb, repo, tag, typeImage, image(layer, ""))
}

func (c client) wantBlob(tb testing.TB, repo, content string) {
	tb.Helper()
	got := c.is(tb, 200, c.do(tb, "GET", "/v2/"+repo+"/blobs/"+digest.FromString(content).String(), ""))
	if string(got.body) != content {
		tb.Errorf("got %d bytes, want %d", len(got.body), len(content))
	}
}

func (c client) wantNoBlob(tb testing.TB, repo string, d digest.Digest) {
	tb.Helper()
	c.want(tb, exchange{method: "GET", target: "/v2/" + repo + "/blobs/" + d.String(), status: 404, code: "BLOB_UNKNOWN"})
}

package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"
)

// dial opens a connection that speaks no HTTP of its own.
func (f *fixture) dial() net.Conn {
	f.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		f.Fatal(err)
	}
	return conn
}

func (f *fixture) statusOf(conn net.Conn) int {
	f.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestStalledBody(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 300 * time.Millisecond })
	for name, target := range map[string]string{
		"manifest": "PUT /v2/dev/app/manifests/1", "PUT": "PUT " + f.begin("dev/app") + "?digest=" + zeros, "POST": "POST /v2/dev/app/blobs/uploads/?digest=" + zeros,
		"PATCH": "PATCH " + f.begin("dev/app"),
	} {
		for _, length := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
			conn := f.dial()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n%s\r\n\r\n3\r\nabc\r\n", target, typeImage, length)
			if status := f.statusOf(conn); status != 408 {
				t.Errorf("%s, %s: got %d, want 408", name, length, status)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("%s, %s: the connection stays open: %v", name, length, err)
			}
		}
	}
}

// TestSlowBody sends for longer than the deadline, never silent for as long.
func TestSlowBody(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 400 * time.Millisecond })
	content := "abcdefghij"
	at := f.begin("dev/app")
	conn := f.dial()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", at, len(content))
	for _, c := range content {
		time.Sleep(100 * time.Millisecond)
		fmt.Fprintf(conn, "%c", c)
	}
	if status := f.statusOf(conn); status != 202 {
		t.Fatalf("got %d, want 202", status)
	}
	// The connection is as good as new after a pause longer than the deadline.
	time.Sleep(600 * time.Millisecond)
	fmt.Fprintf(conn, "PUT %s?digest=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", at, digest.FromString(content))
	if status := f.statusOf(conn); status != 201 {
		t.Fatalf("got %d, want 201", status)
	}
}

// TestDeadlineEndsWithTheBody has a handler that takes longer than the deadline once it
// has the body: the client is still there.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 200 * time.Millisecond })
	f.server.echo.POST("/-/work", func(c echo.Context) error {
		if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
			return err
		}
		if _, err := c.Request().Body.Read(make([]byte, 1)); err != io.EOF { // as careful readers do
			return err
		}
		select {
		case <-c.Request().Context().Done():
			return c.Request().Context().Err()
		case <-time.After(600 * time.Millisecond):
			return c.NoContent(http.StatusNoContent)
		}
	})
	f.want(f.do("POST", "/-/work", strings.NewReader("body")), 204, "")
	f.want(f.do("POST", "/-/work", unknownLength("body")), 204, "")
}

func TestSlowHeaders(t *testing.T) {
	f := newFixture(t, nil)
	if got := f.server.HTTPServer("127.0.0.1:0"); got.ReadHeaderTimeout != 10*time.Second || got.MaxHeaderBytes != 64<<10 {
		t.Errorf("got %v, %d", got.ReadHeaderTimeout, got.MaxHeaderBytes)
	}
}

// TestVanishingClient cuts the connection at several bytes of an upload.
func TestVanishingClient(t *testing.T) {
	f := newFixture(t, nil)
	content := random(1 << 20)
	d := digest.FromString(content)
	for _, sent := range []int{0, 1, 1000, len(content) - 1} {
		at := f.begin("dev/app")
		for _, request := range []string{"PATCH " + at, "PUT " + at + "?digest=" + d.String(), "POST /v2/dev/app/blobs/uploads/?digest=" + d.String()} {
			conn := f.dial()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", request, len(content), content[:sent])
			conn.Close()
		}
	}
	time.Sleep(200 * time.Millisecond)
	f.wantNoBlob("dev/app", d)
	f.push("dev/app", content) // and nothing is in the way
	f.wantBlob("dev/app", content)
}

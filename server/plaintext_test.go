package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestTLSToPlainPort speaks TLS to the port: the client learns that it speaks HTTP, the
// log says so once.
func TestTLSToPlainPort(t *testing.T) {
	f := newFixture(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := f.server.HTTPServer("")
	done := make(chan error, 1)
	go func() { done <- srv.Serve(f.server.Plaintext(ln)) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for range 3 {
		_, err := client.Get("https://" + ln.Addr().String() + "/v2/")
		if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			t.Errorf("got %v", err)
		}
	}
	f.url = "http://" + ln.Addr().String()
	f.want(f.do("GET", "/v2/", nil), 200, "")
	f.push("dev/app", random(1<<20))
	if n := strings.Count(f.logs.String(), "spoke TLS to this port"); n != 1 {
		t.Errorf("told %d times\n%s", n, f.logs)
	}
}

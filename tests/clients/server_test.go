package clients_test

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve starts a server and returns its host and port.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// tarball is a layer with one file. Writing to memory cannot fail.
func tarball() []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	data := []byte("hello\n")
	_ = w.WriteHeader(&tar.Header{Name: "hello.txt", Mode: 0o644, Size: int64(len(data))})
	_, _ = w.Write(data)
	_ = w.Close()
	return buf.Bytes()
}

package stores

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The credentials of the S3 servers that tests start.
const (
	accessKey = "sluice-tests"
	secretKey = "sluice-tests-secret"
)

// StartS3 starts an S3 server without buckets and returns its URL and the credentials of
// its root account, which may do anything.
func StartS3(tb testing.TB) (endpoint, access, secret string) {
	tb.Helper()
	endpoint, _ = StartS3Process(tb)
	return endpoint, accessKey, secretKey
}

// StartS3Process is StartS3 for a test that kills the server.
func StartS3Process(tb testing.TB) (endpoint string, server *Process) {
	tb.Helper()
	root := filepath.Join(tb.TempDir(), "objects")
	if err := os.Mkdir(root, 0o700); err != nil {
		tb.Fatal(err)
	}
	var err error
	for range startAttempts {
		addr := freePorts(tb, 1)[0]
		endpoint = "http://" + addr
		env := []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}
		server, err = start(tb, "versitygw", env, func() bool { return answers(endpoint + "/healthz") },
			"--port", addr, "--keep-alive", "--quiet", "--health", "/healthz", "posix", root)
		if err == nil {
			return endpoint, server
		}
	}
	tb.Fatal(err)
	return "", nil
}

func answers(url string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

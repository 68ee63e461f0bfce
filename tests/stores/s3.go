package stores

import (
	"os"
	"path/filepath"
)

// The credentials of the S3 servers that tests start.
const (
	accessKey = "sluice-tests"
	secretKey = "sluice-tests-secret"
)

// StartS3 starts an S3 server without buckets and returns its URL and the credentials of
// its root account, which may do anything.
func StartS3(o Owner) (endpoint, access, secret string) {
	o.Helper()
	endpoint, _ = StartS3Process(o)
	access, secret = S3Credentials()
	return endpoint, access, secret
}

// S3Credentials are those of the root account of every S3 server that is started here.
func S3Credentials() (access, secret string) { return accessKey, secretKey }

// StartS3Process is StartS3 for a test that kills the server.
func StartS3Process(o Owner) (endpoint string, server *Process) {
	o.Helper()
	root := filepath.Join(o.TempDir(), "objects")
	if err := os.Mkdir(root, 0o700); err != nil {
		o.Fatal(err)
	}
	var err error
	for range startAttempts {
		addr := FreePorts(o, 1)[0]
		endpoint = "http://" + addr
		env := []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}
		server, err = Start(o, "versitygw", env, func() bool { return Answers(endpoint + "/healthz") },
			"--port", addr, "--keep-alive", "--quiet", "--health", "/healthz", "posix", root)
		if err == nil {
			return endpoint, server
		}
	}
	o.Fatal(err)
	return "", nil
}

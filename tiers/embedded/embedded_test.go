package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/s3"
)

func start(t *testing.T, dir string) *embedded.Servers {
	t.Helper()
	began := time.Now()
	servers, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := servers.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return servers
}

func bucket(t *testing.T, s *embedded.Servers, name string) *s3.Store {
	t.Helper()
	endpoint, access, secret, region := s.S3()
	return open(t, s3.Config{Endpoint: endpoint, Bucket: name, Region: region, AccessKey: access, SecretKey: secret})
}

func open(t *testing.T, cfg s3.Config) *s3.Store {
	t.Helper()
	store, err := s3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func etcdClient(t *testing.T, s *embedded.Servers) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.EtcdEndpoints(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What was stored is there after a stop and a start, with the same credentials.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var identity string
	for round := range 2 {
		servers := start(t, dir)
		store, etcd := bucket(t, servers, "dev"), etcdClient(t, servers)
		id, err := store.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			identity = id
			if err := store.Put(t.Context(), "blobs/a", strings.NewReader("bytes"), 5); err != nil {
				t.Fatal(err)
			}
			if _, err := etcd.Put(t.Context(), "fact", "true"); err != nil {
				t.Fatal(err)
			}
		}
		if id != identity {
			t.Errorf("identity is %s, was %s", id, identity)
		}
		if info, err := store.Stat(t.Context(), "blobs/a"); err != nil || info.Size != 5 {
			t.Errorf("object: %+v, %v", info, err)
		}
		if got, err := etcd.Get(t.Context(), "fact"); err != nil || len(got.Kvs) != 1 {
			t.Errorf("fact: %v, %v", got, err)
		}
		began := time.Now()
		etcd.Close()
		if err := servers.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("closed after %v", time.Since(began).Round(time.Millisecond))
		if err, open := <-servers.Done(); open {
			t.Errorf("a server that was closed is reported: %v", err)
		}
	}
	if after, err := os.Getwd(); err != nil || after != before {
		t.Errorf("working directory is %s, was %s (%v)", after, before, err)
	}
}

// No other user of the machine gets at the stores.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	servers := start(t, dir)
	for path, want := range map[string]fs.FileMode{
		"run": 0o700, "run/etcd.sock": 0o600, "run/peer.sock": 0o600, "s3-credentials": 0o600,
		"etcd": 0o700, "objects": 0o700, "lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	endpoint, access, secret, _ := servers.S3()
	if host, _, err := net.SplitHostPort(strings.TrimPrefix(endpoint, "http://")); err != nil || host != "127.0.0.1" {
		t.Errorf("the S3 server listens on %s", endpoint)
	}
	if len(secret) < 40 {
		t.Errorf("the secret has %d characters", len(secret))
	}
	bucket(t, servers, "dev")
	for method, path := range map[string]string{"GET": "/dev", "PUT": "/dev/object", "DELETE": "/dev", "HEAD": "/dev"} {
		req, err := http.NewRequestWithContext(t.Context(), method, endpoint+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s without credentials: %d, want 403", method, path, resp.StatusCode)
		}
	}
	wrong, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: "dev", AccessKey: access, SecretKey: "guess" + secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := wrong.Put(t.Context(), "k", strings.NewReader("x"), 1); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put with a wrong secret: %v", err)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second start: %v", err)
	}
}

// A socket's path has little room; a data directory may be deep all the same.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 60), strings.Repeat("e", 60))
	servers := start(t, dir)
	socket := strings.TrimPrefix(servers.EtcdEndpoints()[0], "unix://")
	if strings.HasPrefix(socket, dir) {
		t.Fatalf("socket is %s", socket)
	}
	if info, err := os.Stat(filepath.Dir(socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory of the socket: %v, %v", info, err)
	}
	client := etcdClient(t, servers)
	if _, err := client.Put(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
	client.Close()
	if err := servers.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory of the socket is left: %v", err)
	}
}

// A start that fails leaves nothing that hinders the next.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	if _, err := embedded.Start(t.Context(), embedded.Config{}); err == nil {
		t.Error("started without a directory")
	}
	if err := os.WriteFile(filepath.Join(dir, "s3-credentials"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(t.Context(), embedded.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "s3-credentials") {
		t.Errorf("start with empty credentials: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "s3-credentials")); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ended, embedded.Config{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with an ended context: %v", err)
	}
	start(t, dir)
}

// The ordinary life of the servers prints no warnings, and no error when they stop.
func TestQuiet(t *testing.T) {
	var log bytes.Buffer
	servers, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcdClient(t, servers).Put(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
	if err := servers.Close(); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", log.String())
	}
}

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
	"sluice.dev/sluice/tests/stores"
)

// built is the binary that all tests of the package share.
var built struct {
	once sync.Once
	dir  string
	path string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "sluice-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
		built.path = clients.Sluice(t, dir)
	})
	if built.path == "" {
		t.Fatal("the binary was not built")
	}
	return built.path
}

// server is a running sluice process.
type server struct {
	*testing.T
	cmd  *exec.Cmd
	url  string // http://127.0.0.1:port
	host string // 127.0.0.1:port
	data string
	args []string
	log  *lockedBuffer
	gone chan error
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is the log without the requests, of which there are many.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept []string
	for line := range strings.Lines(b.buf.String()) {
		if !strings.Contains(line, " level=INFO msg=request ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// serve starts sluice and waits until it says that it is ready. It is stopped, and has to
// stop cleanly, when the test ends.
func serve(t *testing.T, data string, args ...string) *server {
	t.Helper()
	s := &server{T: t, data: data, args: append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)}
	s.start()
	t.Cleanup(func() {
		if s.cmd != nil {
			s.stop()
		}
	})
	return s
}

func (s *server) start() {
	s.Helper()
	s.log, s.gone = &lockedBuffer{}, make(chan error, 1)
	s.cmd = exec.Command(binary(s.T), s.args...)
	s.cmd.Env = append(os.Environ(), "HOME="+s.TempDir())
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(io.TeeReader(stdout, s.log))
		for lines.Scan() {
			if url, ok := strings.CutPrefix(lines.Text(), "sluice is ready on "); ok {
				ready <- url
			}
		}
		s.gone <- s.cmd.Wait()
	}()
	select {
	case s.url = <-ready:
		s.host = strings.TrimPrefix(s.url, "http://")
	case err := <-s.gone:
		s.Fatalf("sluice ended: %v\n%s", err, s.log)
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		s.Fatalf("sluice is not ready after a minute\n%s", s.log)
	}
}

// stop sends SIGTERM and expects a clean end.
func (s *server) stop() {
	s.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatalf("stop: %v\n%s", err, s.log)
	}
	select {
	case err := <-s.gone:
		if err != nil {
			s.Errorf("sluice did not stop cleanly: %v\n%s", err, s.log)
		}
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		s.Errorf("sluice did not stop in 30 s\n%s", s.log)
	}
	s.cmd = nil
	if log := s.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		s.Errorf("the log tells of a fault:\n%s", log)
	}
}

// kill ends the process as a power cut would.
func (s *server) kill() {
	s.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.Fatal(err)
	}
	<-s.gone
	s.cmd = nil
}

// sluice runs a client verb and returns what it printed and its exit code.
func (s *server) sluice(args ...string) (out string, code int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(s.T), args...)
	// The race detector would have each of the many commands sleep for a second at its end.
	cmd.Env = append(os.Environ(), "HOME="+s.TempDir(), "GORACE=atexit_sleep_ms=20")
	data, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.Fatalf("sluice %v: %v", args, err)
	}
	return string(data), cmd.ProcessState.ExitCode()
}

// run is sluice with the exit code that it must have.
func (s *server) run(code int, args ...string) string {
	s.Helper()
	out, got := s.sluice(args...)
	if got != code {
		s.Fatalf("sluice %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

// external makes a configuration that names an etcd and an S3 server of their own, and
// where the sample key is.
func external(t *testing.T, etcd []string, endpoint, access, secret string) (config, dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := clients.New(t)
	h.Run("cosign", "generate-key-pair", "--output-key-prefix", filepath.Join(h.Dir(), "ci"))
	for name, from := range map[string]string{
		"policies/stable.yaml":  "../../deploy/policies/dev-to-stable.yaml",
		"policies/release.yaml": "../../deploy/policies/stable-to-release.yaml",
		"keys/ci.key":           filepath.Join(h.Dir(), "ci.key"),
		"keys/ci.pub":           filepath.Join(h.Dir(), "ci.pub"),
	} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(content))
	}
	write("access", access)
	write("secret", secret)
	s3 := func(bucket string) string {
		return fmt.Sprintf("{endpoint: %q, bucket: %s, region: us-east-1, accessKeyFile: access, secretKeyFile: secret}", endpoint, bucket)
	}
	write("sluice.yaml", fmt.Sprintf(`etcd: {endpoints: [%s]}
data: data
tiers:
  - {name: dev, push: true, s3: %s}
  - {name: stable, from: dev, policy: policies/stable.yaml, movingTags: [latest], s3: %s}
  - {name: release, from: stable, policy: policies/release.yaml, movingTags: [latest], s3: %s}
`, strings.Join(etcd, ", "), s3("e2e-dev"), s3("e2e-stable"), s3("e2e-release")))
	return filepath.Join(dir, "sluice.yaml"), dir
}

// serveEmbedded starts sluice as a newcomer does.
func serveEmbedded(t *testing.T) *server {
	data := filepath.Join(t.TempDir(), "data")
	return serve(t, data, "--data", data)
}

// serveExternal starts sluice over an etcd and an S3 server that are processes of their own.
func serveExternal(t *testing.T) *server {
	etcd, _ := stores.StartEtcd(t)
	endpoint, access, secret := stores.StartS3(t)
	config, dir := external(t, etcd, endpoint, access, secret)
	return serve(t, dir, "--config", config)
}

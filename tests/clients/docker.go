package clients

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// dockerTimeout bounds the start of dockerd and its end. Either takes about a second.
const dockerTimeout = 30 * time.Second

// StartDocker starts a docker daemon that belongs to the test, and the docker commands of
// this home use it. It needs root. All it keeps is in the home, its images plainly in
// folders (vfs), and it touches neither the network nor the firewall of the machine: it
// builds from scratch, pushes and pulls, and is not meant to run anything. (Docker 20 makes
// itself an /etc/docker/key.json all the same, which newer ones do not.) It is stopped and
// waited for when the test ends.
func (h *Home) StartDocker() {
	h.tb.Helper()
	socket := filepath.Join(h.runtime, "docker.sock")
	root := dockerRoot(h.tb)
	cmd := exec.Command(Path(h.tb, "dockerd"),
		"--config-file", h.write(".docker/daemon.json", []byte("{}")), // not the machine's
		"--data-root", filepath.Join(h.dir, "docker"),
		"--exec-root", filepath.Join(h.runtime, "docker"),
		"--pidfile", filepath.Join(h.runtime, "docker.pid"),
		"--host", "unix://"+socket,
		"--storage-driver", "vfs",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
	)
	cmd.Dir = h.Dir()
	// It finds its own containerd and runc, not the machine's.
	path := filepath.Join(root, "usr", "bin") + ":" + filepath.Join(root, "usr", "sbin") + ":" + os.Getenv("PATH")
	cmd.Env = append(h.env[:len(h.env):len(h.env)], "PATH="+path)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = isolated() // containerd in turn dies with dockerd
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		h.tb.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log tells more than the exit code
		close(gone)
	}()
	h.tb.Cleanup(func() { stopDocker(h.tb, cmd.Process, gone) })

	for deadline := time.Now().Add(dockerTimeout); !pings(h.tb.Context(), socket); {
		select {
		case <-gone:
			h.tb.Fatalf("dockerd ended while starting:\n%s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			<-gone
			h.tb.Fatalf("dockerd was not ready in %v:\n%s", dockerTimeout, log.String())
		}
	}
	h.Setenv("DOCKER_HOST", "unix://"+socket)
}

// pings tells whether a daemon answers on the socket.
func pings(ctx context.Context, socket string) bool {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: transport, Timeout: time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stopDocker ends the daemon in order, so that its containerd ends with it.
func stopDocker(tb testing.TB, daemon *os.Process, gone <-chan struct{}) {
	_ = daemon.Signal(syscall.SIGTERM) // fails only if it has ended already
	select {
	case <-gone:
	case <-time.After(dockerTimeout):
		_ = daemon.Kill()
		<-gone
		tb.Errorf("dockerd did not stop in %v", dockerTimeout)
	}
}

package stores

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Owner is what a server is started for and ends with: a test, or a program that plays one.
// Fatal does not return.
type Owner interface {
	Helper()
	Fatal(args ...any)
	TempDir() string
	Cleanup(func())
}

const (
	startAttempts = 3 // a port that was free may be taken before the server has it
	startTimeout  = 20 * time.Second
	logTail       = 4 << 10
)

// Process is a server that a test started.
type Process struct {
	path  string
	args  []string
	env   []string
	log   string // the file of what it prints
	ready func() bool

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// Kill ends the process at once, as a crash would, and waits until it is gone. Calling it
// again does nothing.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Kill() // fails only if it has ended already
	<-p.gone
}

// Restart starts the process again as it was started, on its old data, and returns once it
// is ready. It must have been killed.
func (p *Process) Restart() error {
	if err := p.run(); err != nil {
		return err
	}
	return p.await()
}

// Again is Restart that does not wait: a member of a cluster is ready only with others.
func (p *Process) Again() error { return p.run() }

// PID is the id of the process.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Log is the end of what the process has printed so far.
func (p *Process) Log() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-logTail):]))
}

// Start runs a binary of tests/tools, or one at an absolute path, until its owner ends and
// returns once ready says so. The error holds the last of what it printed.
func Start(o Owner, name string, env []string, ready func() bool, args ...string) (*Process, error) {
	o.Helper()
	p := &Process{path: Binary(o, name), args: args, env: append(os.Environ(), env...), log: filepath.Join(o.TempDir(), "log"), ready: ready}
	if err := p.run(); err != nil {
		return nil, err
	}
	o.Cleanup(p.Kill)
	if err := p.await(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Process) run() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.env, log, log, DieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // always "killed" when the test ends
		close(gone)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.gone = cmd, gone
	return nil
}

// await waits until the process is ready.
func (p *Process) await() error {
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	name, deadline := filepath.Base(p.path), time.After(startTimeout)
	for {
		if p.ready() {
			return nil
		}
		select {
		case <-gone:
			return fmt.Errorf("%s ended while starting:\n%s", name, p.Log())
		case <-deadline:
			p.Kill()
			return fmt.Errorf("%s was not ready in %v:\n%s", name, startTimeout, p.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Binary finds a tool, or fails the test.
func Binary(o Owner, name string) string {
	o.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	root, err := ModuleRoot()
	if err != nil {
		o.Fatal(err)
	}
	path := filepath.Join(root, "tests", "tools", "bin", name)
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		o.Fatal(path + " is missing: run `make tools` first")
	}
	return path
}

// ModuleRoot is where go.mod is. The place of this file is asked before the working
// directory, which an embedded S3 server changes.
func ModuleRoot() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		return filepath.Join(filepath.Dir(file), "..", ".."), nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module root: %w", err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tests", "tools", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("find module root: no tests/tools above the working directory")
}

// FreePorts finds n loopback addresses that nobody listens on.
func FreePorts(o Owner, n int) []string {
	o.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			o.Fatal(err)
		}
		defer l.Close() // all stay open until all are found, so that they differ
		addrs[i] = l.Addr().String()
	}
	return addrs
}

// Answers tells whether url answers 200: what to wait for with Start.
func Answers(url string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

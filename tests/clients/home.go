package clients

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// timeout bounds every command. The slowest, podman's, take seconds.
const timeout = 2 * time.Minute

// Home is where the clients of one test live: their configuration, credentials, caches,
// storage and working directory. It goes when the test ends. One Home may be used by
// several goroutines, except for podman and buildah, whose storage they would wait for.
type Home struct {
	tb      testing.TB
	dir     string
	runtime string // for sockets and the like
	env     []string
}

// New makes an empty home: no credentials, no proxies, trust in any image.
func New(tb testing.TB) *Home {
	tb.Helper()
	h := &Home{tb: tb, dir: tb.TempDir(), runtime: shortDir(tb)}
	for _, dir := range []string{"work", "tmp", ".docker", ".config/containers", ".cache", ".local/share"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	h.write(".config/containers/policy.json", []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`))
	h.write(".config/containers/registries.conf", []byte("unqualified-search-registries = []\n"))
	// podman fails where DOCKER_CONFIG names a folder without this file.
	h.write(".docker/config.json", []byte("{}"))
	h.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + h.dir,
		"TMPDIR=" + filepath.Join(h.dir, "tmp"),
		"DOCKER_CONFIG=" + filepath.Join(h.dir, ".docker"),
		"XDG_CONFIG_HOME=" + filepath.Join(h.dir, ".config"),
		"XDG_CACHE_HOME=" + filepath.Join(h.dir, ".cache"),
		"XDG_DATA_HOME=" + filepath.Join(h.dir, ".local/share"),
		"XDG_RUNTIME_DIR=" + h.runtime,
		"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(h.dir, ".config/containers/registries.conf"),
		"COSIGN_PASSWORD=",
		"NO_PROXY=*",
	}
	return h
}

// shortDir makes a folder whose path leaves podman room: it refuses one of more than 50
// characters, and tb.TempDir holds the name of the test.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// Setenv sets a variable for the commands that follow.
func (h *Home) Setenv(key, value string) { h.env = append(h.env, key+"="+value) }

// Dir is the working directory of the commands.
func (h *Home) Dir() string { return filepath.Join(h.dir, "work") }

// File writes a file that commands find under its name, and returns its path.
func (h *Home) File(name string, data []byte) string {
	h.tb.Helper()
	return h.write(filepath.Join("work", name), data)
}

func (h *Home) write(name string, data []byte) string {
	h.tb.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		h.tb.Fatal(err)
	}
	return path
}

// Login gives every client the credentials for a registry (host:port), in docker's
// configuration, which all of them read. It replaces earlier ones.
func (h *Home) Login(registry, user, password string) {
	h.tb.Helper()
	type entry struct {
		Auth string `json:"auth"`
	}
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config, err := json.Marshal(map[string]map[string]entry{"auths": {registry: {Auth: auth}}})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.write(".docker/config.json", config)
}

// Run runs a client and returns what it printed on standard output. A client that fails
// fails the test, which shows the command and all it printed.
func (h *Home) Run(name string, args ...string) string {
	h.tb.Helper()
	return h.Input("", name, args...)
}

// Input is Run with something to read on standard input.
func (h *Home) Input(input, name string, args ...string) string {
	h.tb.Helper()
	stdout, stderr, err := h.run(input, name, args)
	if err != nil {
		h.tb.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// Refused runs a client that has to fail by itself, and returns all that it printed.
func (h *Home) Refused(name string, args ...string) string {
	h.tb.Helper()
	stdout, stderr, err := h.run("", name, args)
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) || exit.ExitCode() < 0 {
		h.tb.Fatalf("%s %s: %v, where it had to be refused\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout + stderr
}

func (h *Home) run(input, name string, args []string) (stdout, stderr string, err error) {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tb.Context(), timeout)
	defer cancel()

	args = append(h.storageFlags(name), args...)
	cmd := exec.CommandContext(ctx, Path(h.tb, name), args...)
	cmd.Dir = h.Dir()
	cmd.Env = h.env
	if input != "" {
		cmd.Stdin = strings.NewReader(input)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// podman starts helpers: all of them have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second

	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("%w after %v", ctx.Err(), timeout)
	}
	return out.String(), errs.String(), err
}

// storageFlags keep the storage of podman and buildah in the home, plainly in folders
// (vfs): no mounts, no kernel modules, no daemon.
func (h *Home) storageFlags(name string) []string {
	if name != "podman" && name != "buildah" {
		return nil
	}
	flags := []string{
		"--root", filepath.Join(h.dir, name),
		"--runroot", filepath.Join(h.runtime, name),
		"--storage-driver", "vfs",
		"--log-level", "error",
	}
	if name == "podman" {
		flags = append(flags, "--tmpdir", filepath.Join(h.runtime, "libpod"), "--cgroup-manager", "cgroupfs", "--events-backend", "none")
	}
	return flags
}

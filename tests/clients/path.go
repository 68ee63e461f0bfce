package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Path finds a program: one that tests/tools pins or, for Debian's, one on the PATH, or of
// docker's the one that is unpacked in tests/tools/docker. It fails the test where there is
// none.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	if filepath.IsAbs(name) {
		return name // built by the test
	}
	switch name {
	case "docker":
		return unpacked(tb, filepath.Join(dockerRoot(tb), "usr", "bin", name))
	case "dockerd":
		return unpacked(tb, filepath.Join(dockerRoot(tb), "usr", "sbin", name))
	}
	pinned := filepath.Join(moduleRoot(tb), "tests", "tools", "bin", name)
	if info, err := os.Stat(pinned); err == nil && info.Mode()&0o111 != 0 {
		return pinned
	}
	if debian(name) {
		path, err := exec.LookPath(name)
		if err != nil {
			tb.Fatalf("%s is missing: run `make setup` as root, or install it", name)
		}
		return path
	}
	tb.Fatalf("%s is missing: run `make tools` first", pinned)
	return ""
}

// dockerRoot is where docker's packages are unpacked. A docker that the machine happens to
// have is never used: it is of any version and talks to a daemon of its own.
func dockerRoot(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(moduleRoot(tb), "tests", "tools", "docker")
}

func unpacked(tb testing.TB, path string) string {
	tb.Helper()
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%s is missing: run `make setup` first", path)
	}
	return path
}

// debian tells the programs that come from packages. Any other is taken from tests/tools
// alone, so that no version but the pinned one is tried.
func debian(name string) bool {
	switch name {
	case "skopeo", "podman", "buildah", "chromium":
		return true
	}
	return false
}

// Sluice builds the command with the race detector into dir and returns its path. It takes
// some seconds, so share the result.
//
// go test answers from its cache unless what a test opened has changed, and cannot see what
// the go command reads here. So the folders of the sources are read first, and a change in
// any of them runs the test again.
func Sluice(tb testing.TB, dir string) string {
	tb.Helper()
	Observe(tb)
	root := moduleRoot(tb)
	path := filepath.Join(dir, "sluice")
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-race", "-o", path, "./cmd/sluice")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build sluice: %v\n%s", err, out)
	}
	return path
}

// Observe has the test run again when a source of the command has changed, for a test that
// builds it by itself.
func Observe(tb testing.TB) {
	tb.Helper()
	root := moduleRoot(tb)
	for _, sources := range []string{"cmd", "server", "web", "promote", "tiers", "oci"} {
		if err := observe(filepath.Join(root, sources)); err != nil {
			tb.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			tb.Fatal(err)
		}
	}
}

// observe lists a folder and those below it; go test then notes the names, sizes and times
// of what is in them.
func observe(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("observe sources: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := observe(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleRoot is where go.mod is. The place of this file is asked before the working
// directory, which an embedded S3 server changes.
func moduleRoot(tb testing.TB) string {
	tb.Helper()
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		return filepath.Join(filepath.Dir(file), "..", "..")
	}
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tests", "tools", "go.mod")); err == nil {
			return dir
		}
	}
	tb.Fatal("no module above the working directory")
	return ""
}

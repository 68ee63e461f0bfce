package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
)

// TestReadme does what the section "By hand" of README.md says, to the letter but for the
// port, in an empty folder.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## By hand\n")
	if !ok {
		t.Fatal("README.md has no section By hand")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		script.WriteString(block[1])
	}
	s := serveEmbedded(t) // its port is free once it has stopped
	host := s.host
	s.stop()
	text := strings.ReplaceAll(script.String(), "127.0.0.1:5000", host)
	text, ok = strings.CutPrefix(text, "go build -o sluice ./cmd/sluice\n")
	if !ok {
		t.Fatalf("the section does not begin with the build:\n%s", script.String())
	}
	dir := t.TempDir()
	if err := os.Symlink(binary(t), filepath.Join(dir, "sluice")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", text+"\nkill %1; wait\n")
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	path := os.Getenv("PATH")
	for _, name := range []string{"oras", "cosign"} {
		path = filepath.Dir(clients.Path(t, name)) + ":" + path
	}
	cmd.Env = append(os.Environ(), "PATH="+path, "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"no attestation https://slsa.dev/provenance/v1", "PASSED", "stands in release"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in what the commands printed:\n%s", want, out)
		}
	}
	pulled, err := os.ReadFile(filepath.Join(dir, "pulled", "hello.txt"))
	if err != nil || string(pulled) != "hello\n" {
		t.Errorf("pulled %q, %v", pulled, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "summary.json")); err != nil || info.Size() == 0 {
		t.Errorf("cosign gave no summary: %v", err)
	}
}

// TestDemo runs the demo to its end.
func TestDemo(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary(t), "demo")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"refused", "denied", "byte for byte", "PASSED"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in what the demo printed:\n%s", want, out)
		}
	}
}

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The demonstration is the product's promise: it runs whole, in time, and leaves nothing.
func TestDemo(t *testing.T) {
	tmp := t.TempDir()
	began := time.Now()
	p := spawn(t, []string{"TMPDIR=" + tmp}, "demo")
	output := p.until(t, "Every check above was real.")
	if code := p.wait(); code != exitDone {
		t.Fatalf("exit code %d\n%s", code, &p.stderr)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, want := range []string{"✗  provenance", "✗  sbom", "✗  tested", "denied", "✓  recent-provenance", "stable/acme/app stands in stable",
		"release/acme/app stands in release", "byte for byte", "PASSED"} {
		if !strings.Contains(output, want) {
			t.Errorf("%q is missing in\n%s", want, output)
		}
	}
	if strings.Contains(output, "\x1b") {
		t.Error("the output is coloured although it is no terminal")
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestDemoKeep(t *testing.T) {
	tmp := t.TempDir()
	p := spawn(t, []string{"TMPDIR=" + tmp}, "demo", "--keep")
	output := p.until(t, "Ctrl-C stops it")
	_, rest, _ := strings.Cut(output, "ready on http://")
	host, _, _ := strings.Cut(rest, " ")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	expect(t, exitDone, "stands in release", "status", host+"/acme/app")
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitDone {
		t.Errorf("Ctrl-C ends it with %d\n%s", code, &p.stderr)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 1 {
		t.Errorf("the data should stay, there is %v, %v", left, err)
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/promote"
)

// A registry that has lost its etcd is made whole by the command, and serves what it served.
func TestRebuild(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	attestSample(t, host, data)
	promoteSample(t, host)
	sealedPromotion(t, host)
	expect(t, exitFailed, "is in use by process", "rebuild", "--data", data)
	if code := server.stop(t); code != exitDone {
		t.Fatalf("it ends with %d\n%s", code, &server.stderr)
	}
	expect(t, exitUsage, "--config is missing", "rebuild")
	expect(t, exitFailed, "the catalog is not empty", "rebuild", "--data", data)
	if err := os.RemoveAll(filepath.Join(data, "etcd")); err != nil {
		t.Fatal(err)
	}
	server = spawn(t, nil, "serve", "--data", data, "--listen", host)
	if code := server.wait(); code != exitFailed {
		t.Fatalf("it serves an empty catalog beside a ledger, or ends with %d", code)
	}
	var done promote.Rebuilt
	out := expect(t, exitDone, "", "rebuild", "--data", data, "-o", "json")
	if err := json.Unmarshal([]byte(out), &done); err != nil || !done.Ledger.Sound || done.Records == 0 {
		t.Fatalf("%v in %s", err, out)
	}
	server = spawn(t, nil, "serve", "--data", data, "--listen", host)
	server.until(t, readyText)
	verifySample(t, host)
	expect(t, exitFailed, "run sluice fsck first", "gc", "--registry", host)
	expect(t, exitDone, "nothing is wrong", "fsck", "--registry", host)
	expect(t, exitDone, "", "gc", "--registry", host)
	expect(t, exitDone, "0 differences", "ledger", "verify", "--registry", host, "--catalog")
	if code := server.stop(t); code != exitDone {
		t.Errorf("it ends with %d\n%s", code, &server.stderr)
	}
}

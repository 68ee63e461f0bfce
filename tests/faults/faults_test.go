package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
	"sluice.dev/sluice/tests/faults/cluster"
	"sluice.dev/sluice/tests/stores"
)

// sliceDuration is how long each of the two seeds of TestFaults runs: what CI spends on
// faults is about twice as much. SLUICE_FAULTS_SLICE names another, 30s say.
const sliceDuration = 4 * time.Minute

// fixedSeed is the one that every run of the tests has.
const fixedSeed = 7

// built is the binary that all tests of the package share.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
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
	clients.Observe(t)
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sluice-faults-"); built.err == nil {
			built.path, built.err = cluster.Build(built.dir, false)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// TestFaultsExternal is a slice of what `make faults` does: one seed that is always the same
// and one that is not.
func TestFaultsExternal(t *testing.T) {
	duration := sliceDuration
	if text := os.Getenv("SLUICE_FAULTS_SLICE"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SLUICE_FAULTS_SLICE: %v", err)
		}
	}
	for _, seed := range []int64{fixedSeed, time.Now().UnixNano() % 1_000_000} {
		figures, err := storm(t.Context(), t, options{seed: seed, duration: duration, round: 30 * time.Second, calm: 5 * time.Second, clients: 10, binary: binary(t), log: t.Output()})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		figures.print(t.Output())
		for _, violation := range figures.Violations {
			t.Errorf("seed %d: %s", seed, violation)
		}
		if total(figures.Points, "kill ") == 0 || total(figures.S3, "") == 0 || total(figures.Etcd, "") == 0 {
			t.Errorf("seed %d: nothing was broken", seed)
		}
	}
}

// A release has no failpoints, and the binary that the harness builds has them.
func TestRelease(t *testing.T) {
	clients.Observe(t)
	root, err := stores.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	const failpoint = "sluice.dev/sluice/tiers/failpoint"
	for _, args := range [][]string{{"list", "-deps", "./cmd/sluice"}, {"list", "-deps", "-tags", "faults", "./cmd/sluice"}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if has := slices.Contains(strings.Fields(string(out)), failpoint); has != slices.Contains(args, "faults") {
			t.Errorf("go %v: failpoints are in it: %v", args, has)
		}
	}
}

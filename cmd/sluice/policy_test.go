package main

import (
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/policy"
)

// What policy get prints is the policy that it was asked for.
func TestReadable(t *testing.T) {
	dir := t.TempDir()
	if _, err := writeSamples(dir); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "policies", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		want, err := loadPolicy(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := readable(string(want.Canonical()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := policy.Load([]byte(text), nil)
		if err != nil || got.Digest() != want.Digest() {
			t.Errorf("%s: %v, another policy than it was:\n%s", file, err, text)
		}
		if strings.HasPrefix(text, "{") || !strings.Contains(text, " -----BEGIN PUBLIC KEY-----\n") {
			t.Errorf("not for reading:\n%s", text)
		}
	}
}

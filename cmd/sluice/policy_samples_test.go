package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/attest"
)

// The samples of deploy/policies load without a warning once the files that they name are
// there.
func TestSamplePolicies(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", "policies", "samples", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	// A trusted root as cosign writes it.
	root, err := os.ReadFile(filepath.Join("..", "..", "promote", "attest", "testdata", "keyless-root.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, named := range regexp.MustCompile(`\{file: ([a-z0-9-]+\.pub)\}`).FindAllStringSubmatch(string(text), -1) {
				_, public, err := attest.GenerateKey(nil)
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir, named[1], string(public))
			}
			write(t, dir, "trusted_root.json", string(root))
			write(t, dir, "policy.yaml", string(text))
			code, out, stderr := sluice(t, "policy", "lint", filepath.Join(dir, "policy.yaml"))
			if code != exitDone || strings.Contains(out, "!") || stderr != "" {
				t.Errorf("exit code %d\n%s%s", code, out, stderr)
			}
		})
	}
}

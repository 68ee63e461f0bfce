package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// slow are tests that take long and look at nothing that is broken here: bounds on large
// documents, and files of private keys. A mutant that one of them is to notice names it.
const slow = "^Test(GenerateKey|LoadPrivateKey|LargeSBOM|LayoutBounds|VEXBounds|ReadScanBounds)$"

// quick compiles the broken package without optimising it: most of the time is compiling.
const quick = "-gcflags=-N -l -dwarf=false"

// mutant is one place of the source with what it becomes.
type mutant struct {
	file   string // from the root of the module
	breaks string // what is no longer checked
	old    string // stands in the file once
	new    string
	run    string // which tests to run, where all of the package take long; empty for all
}

// broken is the text of the file with the mutant in it.
func (m mutant) broken() ([]byte, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return nil, fmt.Errorf("%s: %q stands there %d times, it has to be once", m.file, m.old, n)
	}
	return []byte(strings.Replace(string(source), m.old, m.new, 1)), nil
}

// overlay writes the broken file and the overlay that go build puts it in place with.
func (m mutant) overlay(dir string) (string, error) {
	text, err := m.broken()
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		return "", err
	}
	path, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	if text, err = json.Marshal(map[string]any{"Replace": map[string]string{path: broken}}); err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// tests is the package whose tests are to notice the mutant: its own, but for what is only
// whole together with the packages above.
func (m mutant) tests() string {
	switch m.file {
	case "tiers/replay.go", "tiers/replay_complete.go", "tiers/rebuild.go", "tiers/check_run.go", "tiers/check_report.go", "tiers/ledger/rebuild.go":
		return "./promote"
	}
	return "./" + filepath.ToSlash(filepath.Dir(m.file))
}

// test runs the tests of the package and names the first that failed; empty where none
// did. A mutant that does not compile proves nothing and is an error. vet is left out: what
// it finds in a mutant, no test has found.
func (m mutant) test(ctx context.Context, overlay string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args := []string{"test", "-failfast", "-vet=off", quick, "-overlay", overlay}
	if m.run != "" {
		args = append(args, "-run", m.run)
	} else {
		args = append(args, "-skip", slow)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, m.tests())...)
	out, err := cmd.CombinedOutput()
	text := string(out)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "they do not end", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return "", fmt.Errorf("it does not compile:\n%s", text)
	case err == nil:
		return "", nil
	}
	failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`).FindAllStringSubmatch(text, -1)
	if len(failed) == 0 {
		return "the package panics", nil
	}
	return failed[len(failed)-1][1], nil
}

// unbroken makes sure that the tests hold without any mutant: a test that is red anyway
// notices nothing.
func unbroken(ctx context.Context, picked []mutant) error {
	runs := map[string][]string{}
	for _, m := range picked {
		runs[m.tests()] = append(runs[m.tests()], m.run)
	}
	for dir, wanted := range runs {
		expression := strings.Join(wanted, "|")
		if slices.Contains(wanted, "") {
			expression = ""
		}
		out, err := exec.CommandContext(ctx, "go", "test", "-vet=off", quick, "-run", expression, dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", dir, err, out)
		}
	}
	return nil
}

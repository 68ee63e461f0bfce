package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// limit is how long the tests of one mutant may take: one that hangs is noticed as well.
const limit = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "run the mutants whose file or description matches this `expression`")
	list := flag.Bool("list", false, "list the mutants and check that each can be made")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	killed, alive := 0, 0
	for _, m := range mutants() {
		if !chosen.MatchString(m.file + " " + m.breaks) {
			continue
		}
		overlay, err := m.overlay(dir)
		switch {
		case err != nil:
			return err
		case *list:
			fmt.Printf("%-40s %s\n", m.file, m.breaks)
			continue
		}
		test, err := m.test(ctx, overlay)
		if err != nil {
			return err
		}
		if test == "" {
			alive++
			fmt.Printf("ALIVE  %-40s %s\n", m.file, m.breaks)
			continue
		}
		killed++
		fmt.Printf("killed %-40s %s: %s\n", m.file, m.breaks, test)
	}
	fmt.Printf("%d killed, %d alive\n", killed, alive)
	if alive > 0 {
		return errors.New("no test notices these")
	}
	return nil
}

// mutant is one place of the source with what it becomes.
type mutant struct {
	file   string // from the root of the module
	breaks string // what is no longer checked
	old    string // stands in the file once
	new    string
}

// overlay writes the broken file and the overlay that go build puts it in place with.
func (m mutant) overlay(dir string) (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("%s: %q stands there %d times, it has to be once", m.file, m.old, n)
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	path, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// test runs the tests of the package and names the first that failed; empty where none
// did. A mutant that does not compile proves nothing and is an error.
func (m mutant) test(ctx context.Context, overlay string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-failfast", "-overlay", overlay, "./"+filepath.Dir(m.file))
	out, err := cmd.CombinedOutput()
	text := string(out)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "they do not end", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return "", fmt.Errorf("%s: the mutant %q does not compile:\n%s", m.file, m.breaks, text)
	case err == nil:
		return "", nil
	}
	failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`).FindAllStringSubmatch(text, -1)
	if len(failed) == 0 {
		return "the package panics", nil
	}
	return failed[len(failed)-1][1], nil
}

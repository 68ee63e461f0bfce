package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is one line of go test -json, as go doc cmd/test2json describes it. Build events
// carry ImportPath in place of Package.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// subject is what an event is about: a test, or with an empty name its whole package.
type subject struct{ pkg, test string }

// tally counts, and holds each test's output back until it is known whether it matters.
type tally struct {
	out     io.Writer
	verbose bool
	must    *regexp.Regexp

	held                    map[subject][]string
	passed, failed, skipped int
	packages                int
	broken                  bool // something failed that is no test: a build, a package
	mustRan                 bool
	skips                   []string
}

func newTally(out io.Writer, verbose bool, must *regexp.Regexp) *tally {
	return &tally{out: out, verbose: verbose, must: must, held: map[subject][]string{}}
}

// read consumes events until the input ends. A line that is no event is printed as it is.
func (t *tally) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				t.add(e)
			} else {
				fmt.Fprint(t.out, line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (t *tally) add(e event) {
	at := subject{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "build-fail":
		t.broken = true
	case "output":
		t.output(at, e.Output)
	case "pass", "fail", "skip":
		t.finish(at, e.Action)
	}
}

// output prints at once what is wanted in any case and keeps the rest.
func (t *tally) output(at subject, line string) {
	switch {
	case t.verbose,
		at.test == "" && strings.HasPrefix(line, "ok "),
		!strings.Contains(at.test, "/") && strings.HasPrefix(line, "--- PASS"):
		fmt.Fprint(t.out, line)
	default:
		t.held[at] = append(t.held[at], line)
	}
}

func (t *tally) finish(at subject, action string) {
	if at.test == "" {
		t.finishPackage(at, action)
		return
	}
	name := at.pkg + "." + at.test
	switch action {
	case "pass":
		t.passed++
		t.mustRan = t.mustRan || t.must != nil && t.must.MatchString(name)
	case "fail":
		t.failed++
		t.release(at)
	case "skip":
		t.skipped++
		t.skips = append(t.skips, name)
		t.release(at)
	}
	delete(t.held, at)
}

// finishPackage releases, when the package failed, also what its tests still hold: after
// a panic or a timeout they never finish. A package without tests reports "skip", which
// is no skipped test.
func (t *tally) finishPackage(at subject, action string) {
	if action != "skip" {
		t.packages++
	}
	if action == "fail" {
		t.broken = true
		for held := range t.held {
			if held.pkg == at.pkg && held.test != "" {
				t.release(held)
			}
		}
		t.release(at)
	}
	for held := range t.held {
		if held.pkg == at.pkg {
			delete(t.held, held)
		}
	}
}

func (t *tally) release(at subject) {
	for _, line := range t.held[at] {
		fmt.Fprint(t.out, line)
	}
	delete(t.held, at)
}

// conclude prints the counts and what is wrong beyond failed tests, and returns the exit
// code.
func (t *tally) conclude() int {
	code := 0
	fmt.Fprintf(t.out, "%d tests passed, %d failed, %d skipped, in %d packages\n", t.passed, t.failed, t.skipped, t.packages)
	if t.failed > 0 || t.broken {
		code = 1
	}
	for _, name := range t.skips {
		fmt.Fprintf(t.out, "skipped, which counts as a failure: %s\n", name)
		code = 1
	}
	if t.must != nil && !t.mustRan {
		fmt.Fprintf(t.out, "no test that matches %q passed, and one must\n", t.must)
		code = 1
	}
	if t.passed == 0 && code == 0 {
		fmt.Fprintln(t.out, "no test ran")
		code = 1
	}
	return code
}

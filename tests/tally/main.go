// Command tally reads the events of go test -json from standard input, prints what a
// person wants of them, and says at the end how many tests passed, failed and were
// skipped.
//
//	go test -json ./... | go run ./tests/tally [-v] [-must-run REGEXP]
//
// It exists because go test calls a skipped test a success. Here a skip is a failure, and
// so is a run in which no passing test matches -must-run: a suite that silently lost its
// real servers must not look green. It refuses to judge anything else.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 0 when all is well, 1 when not, 2 for wrong use.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tally", flag.ContinueOnError)
	flags.SetOutput(stderr)
	verbose := flags.Bool("v", false, "print every line of every test")
	mustRun := flags.String("must-run", "", "fail unless a test whose package.Name matches this `regexp` passed")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var must *regexp.Regexp
	if *mustRun != "" {
		var err error
		if must, err = regexp.Compile(*mustRun); err != nil {
			fmt.Fprintf(stderr, "tally: -must-run: %v\n", err)
			return 2
		}
	}

	t := newTally(stdout, *verbose, must)
	if err := t.read(stdin); err != nil {
		fmt.Fprintf(stderr, "tally: %v\n", err)
		return 1
	}
	return t.conclude()
}

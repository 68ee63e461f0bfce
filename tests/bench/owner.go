package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sluice.dev/sluice/tests/stores"
)

// owner plays the test that servers are started for. Close ends them and removes what
// they kept.
type owner struct {
	dir      string
	dirs     int
	cleanups []func()
}

var _ stores.Owner = (*owner)(nil)

func newOwner() (*owner, error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	return &owner{dir: dir}, nil
}

// Helper is of no use outside tests.
func (o *owner) Helper() {}

// Fatal ends the program, and all servers with it.
func (o *owner) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"bench:"}, args...)...)
	o.Close()
	os.Exit(1)
}

// TempDir makes an empty folder. It is called by one goroutine at a time.
func (o *owner) TempDir() string {
	o.dirs++
	dir := filepath.Join(o.dir, fmt.Sprint(o.dirs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		o.Fatal(err)
	}
	return dir
}

// Cleanup has f called when the program ends, the last first.
func (o *owner) Cleanup(f func()) { o.cleanups = append(o.cleanups, f) }

// Close ends everything that was started. Calling it again does nothing.
func (o *owner) Close() {
	for len(o.cleanups) > 0 {
		last := len(o.cleanups) - 1
		f := o.cleanups[last]
		o.cleanups = o.cleanups[:last]
		f()
	}
	os.RemoveAll(o.dir)
}

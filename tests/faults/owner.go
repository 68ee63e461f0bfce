package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"sluice.dev/sluice/tests/stores"
)

// owner plays the test that servers are started for.
type owner struct {
	dir string

	mu       sync.Mutex
	dirs     int
	cleanups []func()
}

var _ stores.Owner = (*owner)(nil)

func newOwner(dir string) (*owner, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "sluice-faults-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	return &owner{dir: dir}, err
}

// Helper is of no use outside tests.
func (o *owner) Helper() {}

// Fatal ends the program, and all servers with it.
func (o *owner) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"faults:"}, args...)...)
	o.close(false)
	os.Exit(1)
}

// TempDir makes an empty folder.
func (o *owner) TempDir() string {
	o.mu.Lock()
	o.dirs++
	dir := filepath.Join(o.dir, fmt.Sprint(o.dirs))
	o.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		o.Fatal(err)
	}
	return dir
}

// Cleanup has f called when the program ends, the last first.
func (o *owner) Cleanup(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cleanups = append(o.cleanups, f)
}

// close ends everything that was started, and removes what was kept if told.
func (o *owner) close(remove bool) {
	for {
		o.mu.Lock()
		last := len(o.cleanups) - 1
		if last < 0 {
			o.mu.Unlock()
			break
		}
		f := o.cleanups[last]
		o.cleanups = o.cleanups[:last]
		o.mu.Unlock()
		f()
	}
	if remove {
		os.RemoveAll(o.dir)
	}
}

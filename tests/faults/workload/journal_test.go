package workload_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/faults/workload"
)

// What must not be is told when it is found, and once, however often it is found again.
func TestViolation(t *testing.T) {
	var log strings.Builder
	journal, err := workload.NewJournal(filepath.Join(t.TempDir(), "journal.jsonl"), &log)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		journal.Violation("I%d: blob %s is gone", 1, "b")
		journal.Violation("tag %s", "%d")
	}
	want := []string{"I1: blob b is gone", "tag %d"}
	if found := journal.Violations(); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if told, want := log.String(), "    violation: I1: blob b is gone\n    violation: tag %d\n"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if err := journal.Close(); err != nil {
		t.Error(err)
	}
}

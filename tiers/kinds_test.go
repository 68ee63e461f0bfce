package tiers_test

import (
	_ "embed"
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/tiers"
)

//go:embed keys.go
var keysSource string

// Every kind of record that keys.go lists stands in the table that says what a rebuild makes
// of it, and none besides.
func TestRecordKinds(t *testing.T) {
	listed := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t(\S+)\s\s+\S`).FindAllStringSubmatch(keysSource, -1) {
		key := regexp.MustCompile(`<[^>]+>`).ReplaceAllString(line[1], "x")
		kind, ok := tiers.KindOf(key)
		if !ok || !kind.Own || kind.Restored == "" {
			t.Errorf("tiers.RecordKinds does not say what becomes of %s", line[1])
		}
		listed[kind.Family] = true
	}
	for _, kind := range tiers.RecordKinds() {
		if kind.Own && !listed[kind.Family] {
			t.Errorf("keys.go does not list %s", kind.Family)
		}
		if kind.Restored == tiers.Dropped && kind.Why == "" {
			t.Errorf("%s is dropped, and nobody says why", kind.Family)
		}
		if strings.Count(kind.Family, "*") > 1 {
			t.Errorf("%s has two names", kind.Family)
		}
	}
	if _, ok := tiers.KindOf("tier/dev/other/x"); ok {
		t.Error("a family that there is not has a kind")
	}
}

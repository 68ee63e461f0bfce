package main

import (
	"testing"

	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/pulls"
	"sluice.dev/sluice/tiers/runs"
)

// What becomes of the records of each package when a catalog is rebuilt is decided.
func TestRecordKinds(t *testing.T) {
	var o tiers.CheckOptions
	runs.AddCheck(&o)
	ledger.AddCheck(&o)
	events.AddCheck(&o, nil)
	pulls.AddCheck(&o, nil)
	if len(o.Families) < 9 {
		t.Errorf("families %v", o.Families)
	}
	for _, family := range o.Families {
		if kind, ok := tiers.KindOf(family); !ok || kind.Family != family || kind.Restored == "" {
			t.Errorf("tiers.RecordKinds does not say what becomes of %s", family)
		}
	}
}

//go:build faults

package main

import (
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/failpoint"
)

// withFailpoints is for the binary that tests/faults builds: it may break at every call of
// a store.
func withFailpoints(config tiers.Config) (tiers.Config, error) { return failpoint.Instrument(config) }

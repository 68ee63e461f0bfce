//go:build !faults

package main

import "sluice.dev/sluice/tiers"

// withFailpoints changes nothing: a release has no failpoints.
func withFailpoints(config tiers.Config) (tiers.Config, error) { return config, nil }

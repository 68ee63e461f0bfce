package main

import (
	"slices"
	"time"

	"sluice.dev/sluice/tiers"
)

// shortestGC is the least of the times of garbage collection: they are for people, and for
// tests that cannot wait.
const shortestGC = time.Second

// gc checks the times of garbage collection.
func (c *checker) gc() {
	gc := c.cfg.GC
	if gc.Interval != 0 && gc.Interval < shortestGC {
		c.add("gc.interval", "is %s: want at least %s, 24h say, or 0s for no collection but by hand", gc.Interval, shortestGC)
	}
	for _, field := range []struct {
		name, example string
		value         time.Duration
	}{{"promise", "24h", gc.Promise}, {"drain", "20m", gc.Drain}, {"uploads", "24h", gc.Uploads}} {
		if field.value < shortestGC {
			c.add("gc."+field.name, "is %s: want at least %s, %s say", field.value, shortestGC, field.example)
		}
	}
	redirecting := slices.IndexFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Redirect })
	if redirecting >= 0 && gc.Drain >= shortestGC && gc.Drain <= tiers.PresignedLife {
		c.add("gc.drain", "is %s: tier %s redirects clients to the store, where they read for %s after they asked: want more than that, 20m say",
			gc.Drain, c.cfg.Tiers[redirecting].Name, tiers.PresignedLife)
	}
}

// collection is what the registry is told of it. An object that was announced and never
// recorded, or that nothing names, is what an upload left that did not end.
func (c GCConfig) collection() tiers.CollectConfig {
	return tiers.CollectConfig{Promise: c.Promise, Drain: c.Drain, Upload: c.Uploads, Intent: c.Uploads, Stray: c.Uploads}
}

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/tiers/pulls"
)

// PullsConfig says which pulls are recorded, so that it is known who has what.
type PullsConfig struct {
	Tiers    []string      `yaml:"tiers" env:"TIERS"`       // whose pulls are recorded; default: all that clients do not push to
	Sample   Share         `yaml:"sample" env:"SAMPLE"`     // what share of them, at random; default 1, all; 0: none
	Keep     time.Duration `yaml:"keep" env:"KEEP"`         // how long a record stays, at least 24h; default 2160h
	Interval time.Duration `yaml:"interval" env:"INTERVAL"` // how often a replica writes what it has counted, 1s to 1h; default 10s
}

// Share is a part of a whole as people write it: 1/10, 0.1 or 1.
type Share string

// number is the share as a number from 0 to 1.
func (s Share) number() (float64, error) {
	above, below, isFraction := strings.Cut(string(s), "/")
	n, err := strconv.ParseFloat(above, 64)
	if isFraction && err == nil {
		var m float64
		if m, err = strconv.ParseFloat(below, 64); err == nil {
			n /= m
		}
	}
	if err != nil || !(n >= 0 && n <= 1) { // what is no number is neither
		return 0, fmt.Errorf("%q is no share: want 1 for all, 1/10, 0.1, or 0 for none", string(s))
	}
	return n, nil
}

// Bounds of the times of pulls.
const (
	shortestKeep     = 24 * time.Hour
	shortestInterval = time.Second
	longestInterval  = time.Hour
)

// pulls checks what is recorded of pulls.
func (c *checker) pulls() {
	p := c.cfg.Pulls
	for i, tier := range p.Tiers {
		if !slices.ContainsFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Name == tier }) {
			c.add(fmt.Sprintf("pulls.tiers[%d]", i), "%q is no tier", tier)
		}
	}
	if _, err := p.Sample.number(); err != nil {
		c.add("pulls.sample", "%v", err)
	}
	if p.Keep < shortestKeep {
		c.add("pulls.keep", "is %s: want at least %s, 2160h say; to record nothing, sample: 0", p.Keep, shortestKeep)
	}
	if p.Interval < shortestInterval || p.Interval > longestInterval {
		c.add("pulls.interval", "is %s: want %s to %s", p.Interval, shortestInterval, longestInterval)
	}
}

// openPulls makes what records pulls.
func (i *instance) openPulls() (*pulls.Log, error) {
	p := i.cfg.Pulls
	share, err := p.Sample.number()
	if err != nil {
		return nil, fmt.Errorf("pulls.sample: %w", err)
	}
	return pulls.New(pulls.Config{Registry: i.registry, Tiers: p.Tiers, Share: share, Keep: p.Keep, Interval: p.Interval, Log: i.log})
}

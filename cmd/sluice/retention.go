package main

import (
	"fmt"
	"time"

	"sluice.dev/sluice/tiers"
)

// Age is a duration as people write it: 720h, 90m. Empty: not set.
type Age string

// duration is the age as a number, 0 where it is not set.
func (a Age) duration() (time.Duration, error) {
	if a == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(string(a))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no age: want hours, minutes and seconds as 720h, 36h or 1h30m", string(a))
	}
	return d, nil
}

// retention are the rules as the registry takes them, without the ages that are bad.
func (t TierConfig) retention() (tiers.Retention, []badValue) {
	var bad []badValue
	age := func(field string, a Age) time.Duration {
		d, err := a.duration()
		if err != nil {
			bad = append(bad, badValue{field, err})
		}
		return d
	}
	var retention tiers.Retention
	for i, r := range t.Retention {
		at := fmt.Sprintf("[%d]", i)
		retention.Rules = append(retention.Rules, tiers.RetentionRule{Repositories: r.Repositories, Tags: r.Tags, Keep: r.Keep,
			KeepLast: r.KeepLast, KeepFor: age(at+".keepFor", r.KeepFor), Untagged: age(at+".untagged", r.Untagged)})
	}
	return retention, bad
}

// retention checks the rules of a tier. Of a rule with an age that cannot be read nothing
// else is said: what it means nobody knows.
func (c *checker) retention(at string, t TierConfig) {
	retention, bad := t.retention()
	for _, b := range bad {
		c.add(at+b.field, "%v", b.err)
	}
	if len(bad) > 0 {
		return
	}
	for _, p := range retention.Problems(t.Push) {
		c.add(at+p.Field, "%s", p.Text)
	}
}

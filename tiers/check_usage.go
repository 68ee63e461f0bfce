package tiers

import (
	"context"
	"errors"
	"fmt"

	"sluice.dev/sluice/oci"
)

// checkUsage counts what the repositories under every quota of a tier hold. The count is
// exact where nothing that a quota counts has changed while it was made: its record changes
// with everything that does. Where pushes do not let it come to that, nothing is said.
func (c *Checking) checkUsage(ctx context.Context, t *Tier) error {
	for _, q := range t.quotas {
		for range checkTries {
			still, err := c.checkQuota(ctx, t, q)
			if err != nil {
				return err
			}
			if still {
				break
			}
		}
	}
	return nil
}

// checkQuota says whether the record stood still while it was counted.
func (c *Checking) checkQuota(ctx context.Context, t *Tier, q *quota) (still bool, err error) {
	before, err := c.Get(ctx, q.key)
	if err != nil || before[0].Revision == 0 { // it is made by the next push
		return true, err
	}
	var sum int64
	err = c.patiently(ctx, func() (err error) { sum, err = c.registry.countUsage(ctx, q); return err })
	if errors.Is(err, oci.ErrCorrupt) { // reported where the family is read
		return true, nil
	}
	if err != nil {
		return true, err
	}
	after, err := c.Get(ctx, q.key)
	if err != nil || after[0].Revision != before[0].Revision {
		return false, err
	}
	c.report.count("usage", 1)
	used, err := Decode[usageRecord](before[0])
	if err == nil && sum == used.Bytes {
		return true, nil
	}
	f := Finding{Kind: KindUsageDrift, Severity: Fault, Tier: t.Name, Key: q.key,
		Message: fmt.Sprintf("the quota of %s counts %d bytes, its repositories hold %d: it lets in too much, or refuses too early", q.name(), used.Bytes, sum),
		Remedy:  "sluice fsck --repair   # writes what was counted"}
	if err != nil {
		f.Kind, f.Message = KindRecordInvalid, fmt.Sprintf("the count of the quota of %s cannot be read (%s): pushes there fail", q.name(), shortened(err.Error()))
	}
	return true, c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, Change{If: []Condition{Unchanged(after[0])}, Put: []Put{{Key: q.key, Value: Encode(usageRecord{Bytes: sum, CountedAt: c.registry.Now()})}}})
	})
}

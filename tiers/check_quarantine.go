package tiers

import (
	"context"
	"fmt"

	"sluice.dev/sluice/oci"
)

// checkQuarantines reads what is in quarantine, and compares how much that is with what the
// generation says: a pull looks at nothing else to know that there is anything at all. The
// count is exact where the generation is the same before and behind it.
func (c *Checking) checkQuarantines(ctx context.Context) error {
	for range checkTries {
		before, err := c.Get(ctx, quarantinedKey)
		if err != nil {
			return err
		}
		count := 0
		err = c.Walk(ctx, Query{Prefix: prefixQuarantine}, func(page []Record) error {
			count += len(page)
			for _, record := range page {
				if err := c.checkQuarantine(ctx, record); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after, err := c.Get(ctx, quarantinedKey)
		if err != nil {
			return err
		}
		if after[0].Revision == before[0].Revision {
			c.report.count("quarantines", count)
			return c.checkQuarantined(ctx, after[0], count)
		}
	}
	return nil // it is put there and lifted all the time, and so counted
}

func (c *Checking) checkQuarantine(ctx context.Context, record Record) error {
	about := Finding{Remedy: "put the digest that the key names in quarantine again where it shall stay there; etcdctl del " + record.Key + " before, under the key prefix that the configuration sets"}
	_, _, err := CheckRecord(ctx, c, record, about, func(q Quarantine) error {
		if _, err := oci.ParseDigest(q.Digest.String()); err != nil || quarantineKey(q.Digest) != record.Key || q.ID == "" {
			return fmt.Errorf("it says of itself that it is quarantine %q of %q", q.ID, q.Digest)
		}
		return nil
	})
	return err
}

// checkQuarantined looks whether the generation counts so many quarantines.
func (c *Checking) checkQuarantined(ctx context.Context, record Record, count int) error {
	generation := quarantinedRecord{}
	f := Finding{Kind: KindQuarantineCount, Severity: Fault, Key: quarantinedKey,
		Remedy: "sluice fsck --repair   # writes what was counted, and every replica looks again at what is in quarantine"}
	if record.Revision != 0 {
		var err error
		if generation, err = Decode[quarantinedRecord](record); err != nil {
			f.Message = fmt.Sprintf("the generation of the quarantines cannot be read (%s): nothing can be put in quarantine or lifted", shortened(err.Error()))
			generation.Count = -1
		}
	}
	if generation.Count == count {
		return nil
	}
	if f.Message == "" {
		f.Message = fmt.Sprintf("the generation of the quarantines counts %d, and there are %d", generation.Count, count)
	}
	if record.Revision == 0 {
		f.Severity = Danger
		f.Message += ": it is missing, so all that is in quarantine can be pulled"
	}
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, Change{If: []Condition{Unchanged(record)}, Put: []Put{{Key: quarantinedKey, Value: Encode(quarantinedRecord{Count: count})}}})
	})
}

package ledger

import (
	"context"
	"fmt"

	"sluice.dev/sluice/tiers"
)

// AddCheck has a check know the records of the ledger, and look at those without which nothing
// is sealed. Whether the log itself is whole is for Verify to say.
func AddCheck(o *tiers.CheckOptions) {
	o.Families = append(o.Families, keyHead, keyClaim, prefixBatch, prefixPromotion)
	o.Phases = append(o.Phases, tiers.CheckPhase{Name: "ledger", Run: check})
}

func check(ctx context.Context, c *tiers.Checking) error {
	records, err := c.Get(ctx, keyHead, keyClaim)
	if err != nil {
		return err
	}
	if records[0].Revision != 0 {
		about := tiers.Finding{Remedy: "restore the record from a backup of the catalog: until it can be read nothing is sealed"}
		_, _, err := tiers.CheckRecord(ctx, c, records[0], about, func(h headRecord) error {
			if h.Assigned < h.Sealed.Size {
				return fmt.Errorf("%d entries are sealed and %d have indexes", h.Sealed.Size, h.Assigned)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if records[1].Revision == 0 {
		return nil // nobody seals just now
	}
	about := tiers.Finding{Remedy: "delete the record: a replica claims the sealing anew"}
	_, _, err = tiers.CheckRecord[claimRecord](ctx, c, records[1], about, nil)
	return err
}

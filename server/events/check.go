package events

import (
	"context"
	"fmt"
	"strings"

	"sluice.dev/sluice/tiers"
)

// AddCheck has a check know the records of webhooks, and look whether each can be read and
// stands at an entry that log has come to.
func AddCheck(o *tiers.CheckOptions, log Log) {
	o.Families = append(o.Families, prefixCursor, prefixHold)
	o.Phases = append(o.Phases, tiers.CheckPhase{Name: "webhooks", Run: func(ctx context.Context, c *tiers.Checking) error {
		if err := checkCursors(ctx, c, log); err != nil {
			return err
		}
		return c.Records(ctx, "delivering", prefixHold, func(page []tiers.Record) error {
			for _, record := range page {
				about := tiers.Finding{Remedy: "delete the record: until it is gone no replica delivers to the webhook"}
				if _, _, err := tiers.CheckRecord[hold](ctx, c, record, about, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

func checkCursors(ctx context.Context, c *tiers.Checking, log Log) error {
	return c.Records(ctx, "webhooks", prefixCursor, func(page []tiers.Record) error {
		state, err := log.State(ctx) // behind the records: no cursor that is right is ahead of it
		if err != nil {
			return err
		}
		for _, record := range page {
			name := strings.TrimPrefix(record.Key, prefixCursor)
			about := tiers.Finding{Remedy: fmt.Sprintf("sluice webhook replay %s --from INDEX   # until then nothing is delivered", name)}
			_, _, err := tiers.CheckRecord(ctx, c, record, about, func(now cursor) error {
				if now.Next >= 0 && now.Next <= state.Size {
					return nil
				}
				// It may have been written since the ledger was read.
				if state, err = log.State(ctx); err == nil && (now.Next < 0 || now.Next > state.Size) {
					return fmt.Errorf("it stands at %d, and the ledger ends at %d", now.Next, state.Size)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

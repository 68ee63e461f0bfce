package runs

import (
	"context"
	"fmt"
	"strings"

	"sluice.dev/sluice/tiers"
)

const (
	prefixRun  = "run/"
	prefixHold = "running/"
)

// AddCheck has a check know the records of runs, and look at them.
func AddCheck(o *tiers.CheckOptions) {
	o.Families = append(o.Families, prefixRun, prefixHold, "began/")
	o.Phases = append(o.Phases, tiers.CheckPhase{Name: "runs", Run: check})
}

// check looks whether every run, and who carries one out, can be read.
func check(ctx context.Context, c *tiers.Checking) error {
	err := c.Records(ctx, "runs", prefixRun, func(page []tiers.Record) error {
		for _, record := range page {
			about := tiers.Finding{Remedy: "delete the record: what the run has done is done, and told by its events"}
			_, _, err := tiers.CheckRecord(ctx, c, record, about, func(run Run) error {
				if runKey(run.Kind, run.ID) != record.Key {
					return fmt.Errorf("it says of itself that it is %s %q", run.Kind, run.ID)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.Records(ctx, "running", prefixHold, func(page []tiers.Record) error {
		for _, record := range page {
			about := tiers.Finding{Remedy: fmt.Sprintf("delete the record: until it is gone no %s begins", strings.TrimPrefix(record.Key, prefixHold))}
			if _, _, err := tiers.CheckRecord[hold](ctx, c, record, about, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

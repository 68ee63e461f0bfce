package promote

import (
	"context"
	"encoding/json"
	"fmt"

	"sluice.dev/sluice/tiers"
)

// ends are the events that tell of the end of a promotion, and how it ended then.
var ends = map[tiers.EventType]State{tiers.EventPromoted: Succeeded, tiers.EventRefused: Failed, tiers.EventErrored: Errored}

// events compares the events that are not sealed yet with the journals: a promotion ends
// once, and as its event says. An event that is removed later is in the ledger.
func (c *checking) events(ctx context.Context) error {
	return c.Walk(ctx, tiers.Query{Prefix: prefixEvent}, func(page []tiers.Record) error {
		for _, record := range page {
			e, err := tiers.Decode[tiers.Event](record)
			if err != nil {
				continue // reported where the family is read
			}
			if state, ok := ends[e.Type]; ok && e.Cause != "" {
				if err := c.event(ctx, e, state); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// prefixEvent is where package tiers keeps events.
const prefixEvent = "event/"

func (c *checking) event(ctx context.Context, e tiers.Event, state State) error {
	record, j, ok, err := c.readJournal(ctx, e.Cause)
	if err != nil || !ok && record.Revision != 0 {
		return err
	}
	f := tiers.Finding{Invariant: "I6", Kind: KindEventContradiction, Severity: tiers.Danger, Tier: e.Tier, Repository: e.Repository, Digest: e.Digest, Key: prefixEvent + e.ID,
		Remedy: "find out which of the two is right: one of them was not written by the registry, or a promotion ended twice"}
	if !ok {
		f.Message = fmt.Sprintf("it says that promotion %s ended as %s, and there is no such promotion", e.Cause, state)
		return c.Found(ctx, f, nil)
	}
	var told Promotion
	if err := json.Unmarshal(e.Body, &told); err != nil {
		f.Message = fmt.Sprintf("it says that promotion %s ended as %s, and what it says besides cannot be read", e.Cause, state)
		return c.Found(ctx, f, nil)
	}
	if j.State != state || told.State != state || told.FinishedAt == nil || j.FinishedAt == nil || !told.FinishedAt.Equal(*j.FinishedAt) || told.Digest != j.Digest {
		f.Message = fmt.Sprintf("it says that promotion %s of %s ended as %s, and its journal that it is %s", e.Cause, told.Digest, state, j.State)
		if j.State == state {
			f.Message += ", of another artifact or at another time"
		}
		return c.Found(ctx, f, nil)
	}
	if e.Document == "" {
		return nil
	}
	return c.kept(ctx, e, j)
}

// kept looks whether anything keeps the document that an event names.
func (c *checking) kept(ctx context.Context, e tiers.Event, j journal) error {
	t, err := c.engine.registry.Tier(j.To)
	if err != nil || t.Store() != e.Store {
		return nil
	}
	keep := c.engine.registry.KeepRecord(t, e.Document, j.ID)
	records, err := c.Get(ctx, keep.Key)
	if err != nil || records[0].Revision != 0 {
		return err
	}
	f := about(j, "I4", KindRecordMissing, tiers.Danger)
	f.Message = fmt.Sprintf("nothing keeps the document %s of what promotion %s brought to %s: the next collection may take it, and nothing proves then what was let through", e.Document, j.ID, j.To)
	f.Remedy = "sluice fsck --repair   # keeps it again"
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, tiers.Change{If: []tiers.Condition{tiers.Absent(keep.Key), tiers.Present(prefixPromotion + j.ID), c.engine.registry.HasBytes(t, e.Document)}, Put: []tiers.Put{keep}})
	})
}

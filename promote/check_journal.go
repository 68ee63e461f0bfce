package promote

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/tiers"
)

// promotions reads all journals, and the records that lead to them.
func (c *checking) promotions(ctx context.Context) error {
	err := c.Records(ctx, "promotions", prefixPromotion, func(page []tiers.Record) error {
		for _, record := range page {
			if err := c.promotion(ctx, record, strings.TrimPrefix(record.Key, prefixPromotion)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, family := range []struct {
		name, prefix string
		each         func(*checking, context.Context, tiers.Record, string) error
	}{
		{"open promotions", prefixOpen, (*checking).openRecord},
		{"waiting promotions", prefixWaiting, (*checking).waitingRecord},
		{"requests", prefixKey, (*checking).keyRecord},
		{"standings", prefixStanding, (*checking).standingRecord},
	} {
		err := c.Records(ctx, family.name, family.prefix, func(page []tiers.Record) error {
			for _, record := range page {
				if err := family.each(c, ctx, record, strings.TrimPrefix(record.Key, family.prefix)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// promotion looks at one journal with the records by which somebody takes it up, as they all
// were at one revision.
func (c *checking) promotion(ctx context.Context, record tiers.Record, id string) error {
	j, ok, err := tiers.CheckRecord(ctx, c.Checking, record, tiers.Finding{Invariant: "I6",
		Remedy: "restore it from a backup of the catalog; until then nobody takes the promotion up, and what it brought cannot be checked"}, func(j journal) error {
		if j.ID != id {
			return fmt.Errorf("it says of itself that it is %q", j.ID)
		}
		return nil
	})
	if err != nil || !ok {
		return err
	}
	records, err := c.Get(ctx, record.Key, prefixOpen+id, waitingPrefix(j.Repository)+id)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	if j, err = tiers.Decode[journal](records[0]); err != nil {
		return nil // it was rewritten just now, and is read again next time
	}
	if says := contradiction(j); says != "" {
		f := about(j, "I6", KindJournalContradiction, tiers.Fault)
		f.Message = fmt.Sprintf("promotion %s contradicts itself: %s", id, says)
		f.Remedy = "compare it with the event that tells of its end, and correct the record by hand: a repair would have to guess"
		if err := c.Found(ctx, f, nil); err != nil {
			return err
		}
	}
	if j.State == Succeeded && (j.Verdict == nil || !j.Verdict.Allowed) {
		f := about(j, "I4", KindVerdictMissing, tiers.Danger)
		f.Message = fmt.Sprintf("promotion %s succeeded without a verdict that allows it: what it brought to %s got past the gate", id, j.To)
		f.Remedy = fmt.Sprintf("sluice evidence HOST/%s/%s@%s   # see whether the policy would let it through, and sluice promote it again", j.To, j.Repository, j.Digest)
		if err := c.Found(ctx, f, nil); err != nil {
			return err
		}
	}
	return c.takenUp(ctx, j, records)
}

// contradiction says what in a journal cannot be.
func contradiction(j journal) string {
	terminal := j.State.Terminal()
	switch {
	case !slices.Contains([]State{Pending, Running, Succeeded, Failed, Errored}, j.State):
		return fmt.Sprintf("there is no state %q", j.State)
	case terminal && j.FinishedAt == nil:
		return fmt.Sprintf("it is %s and does not say since when", j.State)
	case !terminal && j.FinishedAt != nil:
		return fmt.Sprintf("it is %s and ended at %s", j.State, j.FinishedAt)
	case terminal && j.Owner != "":
		return fmt.Sprintf("it is %s and %s works on it", j.State, j.Owner)
	case j.State == Succeeded && j.Summary == "":
		return "it succeeded and has no summary"
	case j.State != Succeeded && j.Summary != "":
		return fmt.Sprintf("it is %s and has a summary", j.State)
	case j.State == Failed && (j.Verdict == nil || j.Verdict.Allowed):
		return "it failed, and its verdict does not say so"
	}
	return ""
}

// takenUp looks whether a promotion that has not ended will be taken up, and whether one
// that has is left alone.
func (c *checking) takenUp(ctx context.Context, j journal, records []tiers.Record) error {
	record, open, waits := records[0], records[1], records[2]
	o := opened{journal: j}
	switch {
	case j.State.Terminal() && open.Revision != 0:
		before, err := c.progress(ctx, o)
		if err != nil {
			return err
		}
		return c.Later(ctx, func(ctx context.Context) error { return c.untidied(ctx, j.ID, records, before) })
	case j.State.Terminal() || open.Revision != 0 || o.waits() && waits.Revision != 0:
		return nil
	}
	f := about(j, "I6", KindPromotionStuck, tiers.Fault)
	f.Message = fmt.Sprintf("promotion %s is %s, and nothing leads to it: nobody takes it up, and whoever waits for it waits for ever", j.ID, j.State)
	f.Remedy = "sluice fsck --repair   # has it taken up"
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, tiers.Change{If: []tiers.Condition{tiers.Unchanged(record), tiers.Unchanged(open)}, Put: []tiers.Put{{Key: open.Key}}})
	})
}

// progress names what is tidied up next after a promotion.
func (c *checking) progress(ctx context.Context, o opened) (string, error) {
	var next []string
	for _, prefix := range []string{"staged/" + o.arrival() + "/", "pinned/" + o.arrival() + "/"} {
		records, err := c.engine.registry.Catalog().List(ctx, tiers.Query{Prefix: prefix, Limit: 1, KeysOnly: true})
		if err != nil {
			return "", err
		}
		for _, r := range records {
			next = append(next, r.Key)
		}
	}
	return strings.Join(next, " "), nil
}

// untidied reports a promotion that had ended a while ago and that nobody has tidied up
// after since.
func (c *checking) untidied(ctx context.Context, id string, before []tiers.Record, progress string) error {
	now, err := c.Get(ctx, before[0].Key, before[1].Key)
	if err != nil || now[0].Revision != before[0].Revision || now[1].Revision != before[1].Revision {
		return err
	}
	j, err := tiers.Decode[journal](now[0])
	if err != nil {
		return nil // reported where the family is read
	}
	o := &opened{journal: j, record: now[0]}
	if next, err := c.progress(ctx, *o); err != nil || next != progress {
		return err
	}
	f := about(j, "I5", KindPromotionUntidied, tiers.Info)
	f.Message = fmt.Sprintf("promotion %s has %s, and nobody is tidying up after it: readers see what they should, and look up more for it than they need", id, strings.ToLower(string(j.State)))
	f.Remedy = "see in the servers' logs why no replica takes it up, or sluice fsck --repair   # does"
	return c.Found(ctx, f, func(ctx context.Context) error {
		if !c.engine.claim(id) {
			return fmt.Errorf("this server is at it: check again")
		}
		defer c.engine.release(id)
		if err := c.engine.tidy(ctx, o); err != nil {
			return err
		}
		return c.Mend(ctx, f, tiers.Change{})
	})
}

// openRecord looks for a record that leads to no journal. Replicas delete it themselves.
func (c *checking) openRecord(ctx context.Context, record tiers.Record, id string) error {
	look := func(ctx context.Context, then func(records []tiers.Record) error) error {
		records, err := c.Get(ctx, record.Key, prefixPromotion+id)
		if err != nil || records[0].Revision == 0 || records[1].Revision != 0 {
			return err
		}
		return then(records)
	}
	return look(ctx, func([]tiers.Record) error {
		return c.Later(ctx, func(ctx context.Context) error {
			return look(ctx, func(records []tiers.Record) error {
				f := tiers.Finding{Invariant: "I6", Kind: KindOpenOrphan, Severity: tiers.Fault,
					Message: fmt.Sprintf("promotion %s is to be taken up and does not exist", id)}
				return c.delete(ctx, f, records[0], tiers.Unchanged(records[1]))
			})
		})
	})
}

// waitingRecord looks for a record that leads to a promotion which does not wait.
func (c *checking) waitingRecord(ctx context.Context, record tiers.Record, name string) error {
	repository, id, ok := strings.Cut(name, "@")
	f := tiers.Finding{Invariant: "I6", Repository: repository, Remedy: "delete the record, and ask for the promotion again"}
	w, ok, err := tiers.CheckRecord(ctx, c.Checking, record, f, func(waiting) error {
		if !ok {
			return fmt.Errorf("its key names no promotion")
		}
		return nil
	})
	if err != nil || !ok {
		return err
	}
	records, err := c.Get(ctx, record.Key, prefixPromotion+id)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	f.Kind, f.Severity = KindWaitingOrphan, tiers.Fault
	f.Message = fmt.Sprintf("promotion %s is to be looked at until it is approved, and does not wait for that", id)
	if records[1].Revision != 0 {
		j, err := tiers.Decode[journal](records[1])
		o := opened{journal: j}
		if err != nil || o.waits() && j.Repository == repository && j.From == w.From && j.To == w.To && j.Digest == w.Digest {
			return nil // right, or reported with the journals
		}
	}
	return c.delete(ctx, f, records[0], tiers.Unchanged(records[1]))
}

// keyRecord looks for requests that lead to a promotion which does not exist.
func (c *checking) keyRecord(ctx context.Context, record tiers.Record, _ string) error {
	id := string(record.Value)
	records, err := c.Get(ctx, record.Key, prefixPromotion+id)
	if err != nil || records[0].Revision != record.Revision || records[1].Revision != 0 {
		return err
	}
	f := tiers.Finding{Invariant: "I6", Kind: KindPromotionKeyOrphan, Severity: tiers.Fault,
		Message: fmt.Sprintf("a request leads to promotion %q, which does not exist", id)}
	return c.delete(ctx, f, records[0], tiers.Unchanged(records[1]))
}

// standingRecord looks for standings that no promotion decided.
func (c *checking) standingRecord(ctx context.Context, record tiers.Record, name string) error {
	tier, repository, _ := strings.Cut(name, "/")
	repository, _, _ = strings.Cut(repository, "@")
	f := tiers.Finding{Invariant: "I6", Tier: tier, Repository: repository, Remedy: "delete the record: the next promotion of the artifact decides its standing anew"}
	s, ok, err := tiers.CheckRecord[standingRecord](ctx, c.Checking, record, f, nil)
	if err != nil || !ok {
		return err
	}
	records, err := c.Get(ctx, record.Key, prefixPromotion+s.Promotion)
	if err != nil || records[0].Revision != record.Revision || records[1].Revision != 0 {
		return err
	}
	f.Kind, f.Severity, f.Key = KindStandingOrphan, tiers.Fault, record.Key
	f.Message = fmt.Sprintf("the standing of %s was decided by promotion %q, which does not exist", name, s.Promotion)
	f.Remedy = "see in the ledger what was decided, and promote the artifact again: that decides it anew"
	return c.Found(ctx, f, nil)
}

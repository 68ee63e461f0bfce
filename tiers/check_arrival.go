package tiers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What arrivals leave behind: pins, journals, and marks on what they brought. All of it goes
// before whoever works on the arrival lets go of it, so what is there before and after it
// was asked whether anybody does, and nobody does, stays for ever.

// arrival says how an arrival stands.
func (c *Checking) arrival(ctx context.Context, id string) (ArrivalState, error) {
	c.mu.Lock()
	state, ok := c.arrivals[id]
	c.mu.Unlock()
	if ok && state.Open { // it was a moment ago: what was seen since may be of it
		return state, nil
	}
	state, err := c.options.Arrivals(ctx, id)
	if err != nil {
		return state, fmt.Errorf("arrival %s: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.arrivals) >= checkPage {
		clear(c.arrivals)
	}
	c.arrivals[id] = state
	return state, nil
}

// abandoned says whether a record that an arrival wrote is there although nobody works on
// the arrival. The record may have been rewritten since it was seen.
func (c *Checking) abandoned(ctx context.Context, id string, key string) (Record, ArrivalState, bool, error) {
	if c.options.Arrivals == nil {
		return Record{}, ArrivalState{}, false, nil
	}
	state, err := c.arrival(ctx, id)
	if err != nil || state.Open {
		return Record{}, state, false, err
	}
	records, err := c.Get(ctx, key)
	if err != nil {
		return Record{}, state, false, err
	}
	return records[0], state, records[0].Revision != 0, nil
}

// checkPin looks for a pin of nobody.
func (c *Checking) checkPin(ctx context.Context, s *checkStore, r heldBy, pin Record) error {
	record, state, abandoned, err := c.abandoned(ctx, r.id, pin.Key)
	if err != nil || !abandoned {
		return err
	}
	f := Finding{Invariant: "I8", Kind: KindPinOrphan, Severity: Fault, Store: s.id, Key: pin.Key, Digest: r.digest,
		Message: fmt.Sprintf("%s is pinned for the promotion attempt %s, on which nobody works: its bytes are kept for ever", r.digest, r.id),
		Remedy:  "sluice fsck --repair   # deletes the pin"}
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, Change{If: append([]Condition{Unchanged(record)}, state.If...), Delete: []string{record.Key}})
	})
}

// checkMarks looks at a record with marks of arrivals on which nobody works. If one of them
// has committed, the mark is only taken off; else the record was never seen, and goes.
func (c *Checking) checkMarks(ctx context.Context, t *Tier, repo string, d digest.Digest, key string) error {
	if c.options.Arrivals == nil {
		return nil
	}
	records, err := c.Get(ctx, key)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	ids, err := marksOf(records[0])
	if err != nil {
		return nil // reported where the family is read
	}
	for _, id := range ids {
		record, state, abandoned, err := c.abandoned(ctx, id, key)
		if err != nil {
			return err
		}
		if !abandoned {
			continue
		}
		if now, err := marksOf(record); err != nil || !slices.Contains(now, id) {
			return nil // somebody was at it
		}
		if err := c.foundMark(ctx, t, repo, d, record, id, state); err != nil {
			return err
		}
	}
	return nil
}

func (c *Checking) foundMark(ctx context.Context, t *Tier, repo string, d digest.Digest, record Record, id string, state ArrivalState) error {
	committed, err := c.Get(ctx, committedKey(id))
	if err != nil {
		return err
	}
	seen := committed[0].Revision != 0
	f := Finding{Invariant: "I5", Kind: KindMarkOrphan, Severity: Fault, Store: t.store, Tier: t.Name, Repository: repo, Key: record.Key, Digest: d,
		Remedy: "sluice fsck --repair   # deletes what was never seen, and takes the mark off what is"}
	if seen {
		f.Message = fmt.Sprintf("it is marked as brought by the promotion attempt %s, which was committed and not tidied up after, and on which nobody works: it is seen only as long as committed/%s stands", id, id)
	} else {
		f.Message = fmt.Sprintf("it is hidden, as brought by the promotion attempt %s, which was not committed and on which nobody works", id)
	}
	return c.Found(ctx, f, func(ctx context.Context) error {
		change := Change{If: append([]Condition{Unchanged(record), Unchanged(committed[0])}, state.If...)}
		err := unhide(&change, t, repo, d, record, id, seen)
		if err != nil {
			return err
		}
		return c.Mend(ctx, f, change)
	})
}

// unhide adds to change that a record loses the mark of an arrival: that it is seen without
// it, or that it goes where the arrival alone had brought it and is not seen.
func unhide(change *Change, t *Tier, repo string, d digest.Digest, record Record, id string, seen bool) error {
	fields, err := Decode[map[string]json.RawMessage](record)
	if err != nil {
		return err
	}
	pending, err := marksOf(record)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(pending, func(other string) bool { return other == id })
	switch {
	case seen:
		delete(fields, "pending")
	case len(left) > 0:
		fields["pending"] = Encode(left)
	default:
		change.Delete = append(change.Delete, record.Key)
		if record.Key == manifestKey(t.Name, repo, d) {
			change.Delete = append(change.Delete, selfKey(t.store, d, t.Name, repo))
		}
		return nil
	}
	change.Put = append(change.Put, Put{Key: record.Key, Value: Encode(fields)})
	return nil
}

// marksOf are the arrivals that a record is marked with.
func marksOf(record Record) ([]string, error) {
	v, err := Decode[struct {
		Pending []string `json:"pending"`
	}](record)
	return v.Pending, err
}

// checkArrivals looks at the journals of arrivals and pins, and at the records that make
// arrivals seen.
func (c *Checking) checkArrivals(ctx context.Context) error {
	err := c.checkJournals(ctx, "staged", KindStagedOrphan, "what it staged", decodes[stagedRecord])
	if err != nil {
		return err
	}
	if err := c.checkJournals(ctx, "pinned", KindPinOrphan, "what it pinned", decodes[pinnedRecord]); err != nil {
		return err
	}
	return c.Records(ctx, "committed", committedKey(""), func(page []Record) error {
		for _, record := range page {
			if err := c.checkCommitted(ctx, record, strings.TrimPrefix(record.Key, committedKey(""))); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkJournals looks at a family of journals, of one batch each.
func (c *Checking) checkJournals(ctx context.Context, family, kind, what string, readable func(context.Context, *Checking, []Record, Finding) error) error {
	return c.Records(ctx, family, family+"/", func(page []Record) error {
		if err := readable(ctx, c, page, Finding{Invariant: "I8"}); err != nil {
			return err
		}
		for _, r := range page {
			id, _, _ := strings.Cut(strings.TrimPrefix(r.Key, family+"/"), "/")
			record, state, abandoned, err := c.abandoned(ctx, id, r.Key)
			if err != nil {
				return err
			}
			if !abandoned {
				continue
			}
			f := Finding{Invariant: "I8", Kind: kind, Severity: Fault, Key: record.Key,
				Message: fmt.Sprintf("the promotion attempt %s left the journal of %s, and nobody works on it", id, what),
				Remedy:  "sluice fsck --repair   # deletes it, and what it tells of"}
			err = c.Found(ctx, f, func(ctx context.Context) error {
				return c.Mend(ctx, f, Change{If: append([]Condition{Unchanged(record)}, state.If...), Delete: []string{record.Key}})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// checkCommitted looks for a commit record of nobody. It may go only when nothing is marked
// with its arrival any more; the phases before this one have taken such marks off.
func (c *Checking) checkCommitted(ctx context.Context, r Record, id string) error {
	record, state, abandoned, err := c.abandoned(ctx, id, r.Key)
	if err != nil || !abandoned {
		return err
	}
	f := Finding{Invariant: "I5", Kind: KindCommittedOrphan, Severity: Fault, Key: record.Key,
		Message: fmt.Sprintf("the promotion attempt %s was committed and not tidied up after, and nobody works on it", id),
		Remedy:  "sluice fsck --repair   # takes its marks off what it brought"}
	return c.Found(ctx, f, func(ctx context.Context) error {
		marked, err := c.anyMarked(ctx, id)
		if err != nil {
			return err
		}
		if marked != "" {
			return fmt.Errorf("%s is seen only because of it", marked)
		}
		return c.Mend(ctx, f, Change{If: append([]Condition{Unchanged(record)}, state.If...), Delete: []string{record.Key}})
	})
}

// anyMarked finds a record that is marked with an arrival. None gets such a mark any more.
func (c *Checking) anyMarked(ctx context.Context, id string) (key string, err error) {
	for _, t := range c.registry.tiers {
		for _, prefix := range []string{manifestsPrefix(t.Name), linkPrefix(t.Name), "tier/" + t.Name + "/referrer/"} {
			err := c.Walk(ctx, Query{Prefix: prefix}, func(page []Record) error {
				for _, record := range page {
					if marks, err := marksOf(record); err != nil || slices.Contains(marks, id) {
						key = record.Key
					}
				}
				return nil
			})
			if err != nil {
				return "", err
			}
		}
	}
	return key, nil
}

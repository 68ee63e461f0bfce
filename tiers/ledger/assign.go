package ledger

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"sluice.dev/sluice/tiers"
)

// Limits of one transaction that assigns indexes.
const (
	assignOps   = tiers.MaxOps - 2 // deletes of events and records of promotions, beside the head and the batch
	assignBytes = 1 << 20          // of a batch
	readAtOnce  = 32               // events; each may be as long as a change of the catalog
)

// batch is what one transaction assigns.
type batch struct {
	bundle     []byte
	change     tiers.Change
	count      int
	promotions map[string]bool // that have their record
}

// assign gives events the next indexes, in their order.
func (s *sealer) assign(ctx context.Context, h *opened, events []waitingEvent) error {
	var b batch
	for len(events) > 0 {
		group := events[:min(len(events), readAtOnce)]
		entries, promotions, err := s.entries(ctx, group)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			ops := len(b.change.Put) + len(b.change.Delete) + 1
			if promotions[i] != "" {
				ops++
			}
			if ops > assignOps || len(b.bundle)+2+len(entry) > assignBytes {
				if err := s.commitBatch(ctx, h, b); err != nil {
					return err
				}
				b = batch{}
			}
			b.add(group[i].key, entry, promotions[i], h.Assigned)
		}
		events = events[len(group):]
	}
	if b.count == 0 {
		return nil
	}
	return s.commitBatch(ctx, h, b)
}

// entries reads events and makes the entries that stand for them. promotions are those that
// they ended; empty for none.
func (s *sealer) entries(ctx context.Context, events []waitingEvent) (entries [][]byte, promotions []string, err error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = e.key
	}
	records, err := s.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("ledger: %w", err)
	}
	entries, promotions = make([][]byte, len(records)), make([]string, len(records))
	for i, r := range records {
		if r.Revision == 0 {
			return nil, nil, errOvertaken
		}
		event, err := tiers.Decode[tiers.Event](r)
		if err != nil {
			// What was recorded is sealed, whatever it is: the others must not wait for it.
			s.log.ErrorContext(ctx, "a record of an event cannot be read", "key", r.Key, "error", err)
		}
		if promotions[i] = ended(event); len(promotions[i]) > 128 {
			promotions[i] = ""
		}
		if entries[i] = r.Value; len(r.Value) > maxEntry {
			if entries[i], err = s.putLong(ctx, event, r.Value); err != nil {
				return nil, nil, err
			}
		}
	}
	return entries, promotions, nil
}

// putLong stores an event that is too long for an entry, under a key that follows from its
// content, and returns the entry that stands for it.
func (s *sealer) putLong(ctx context.Context, event tiers.Event, value []byte) ([]byte, error) {
	entry, long := shorten(event, value)
	if err := s.bucket.Put(ctx, prefixObjects+long.path(), bytes.NewReader(value), long.Size); err != nil {
		return nil, fmt.Errorf("ledger: event %s: %w", event.ID, err)
	}
	return entry, nil
}

// ended is the promotion that an event has ended; empty for other events.
func ended(e tiers.Event) string {
	switch e.Type {
	case tiers.EventPromoted, tiers.EventRefused, tiers.EventErrored:
		return e.Cause
	}
	return ""
}

// add appends an event to the batch that begins at the index first.
func (b *batch) add(key string, entry []byte, promotion string, first int64) {
	if promotion != "" && !b.promotions[promotion] {
		if b.promotions == nil {
			b.promotions = map[string]bool{}
		}
		b.promotions[promotion] = true // a key stands once in a transaction
		index := strconv.FormatInt(first+int64(b.count), 10)
		b.change.Put = append(b.change.Put, tiers.Put{Key: prefixPromotion + promotion, Value: []byte(index)})
	}
	b.bundle = appendEntry(b.bundle, entry)
	b.change.Delete = append(b.change.Delete, key)
	b.count++
}

// commitBatch makes the indexes of a batch a fact.
func (s *sealer) commitBatch(ctx context.Context, h *opened, b batch) error {
	next := h.headRecord
	next.Assigned += int64(b.count)
	b.change.Put = append(b.change.Put, tiers.Put{Key: batchKey(h.Assigned), Value: b.bundle})
	return s.commit(ctx, h, next, b.change)
}

package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Limits of one look for events. What is beyond them is sealed by the next look, which
// follows at once.
const (
	scanMost  = 1 << 15 // events that are taken up by one scan; the scan itself passes over all
	chunkMost = 4096    // events that are sealed under one checkpoint
	// takeover is how long nothing must move, by the watch of whoever waits for it, until a
	// replica seals in the place of another. Too early costs work, never safety.
	takeover = 2 * time.Second
	// releaseTimeout bounds how long a sealer that stops tries to say so.
	releaseTimeout = 2 * time.Second
)

// errOvertaken is the conflict of a sealer that another one has overtaken.
var errOvertaken = fmt.Errorf("%w: another replica seals", oci.ErrConflict)

// claimRecord says who seals. It is written ahead of each look for events.
type claimRecord struct {
	Owner string `json:"owner"`
}

// sealer is what a replica keeps between its looks.
type sealer struct {
	*Ledger
	tree *tree // as the head had it when it was last written; nil: to be read

	// What was seen of another replica's work, and since when it stands still.
	seen  [2]int64 // revisions of the claim and of the head
	since time.Time
	barge bool // tests only: wait for nobody
}

// Run seals events until ctx ends: it looks for them at once, and then every interval. What
// fails is logged and tried again at the next look. Any number of replicas may run.
func (l *Ledger) Run(ctx context.Context) error {
	s := &sealer{Ledger: l}
	defer s.release(context.WithoutCancel(ctx))
	ticker := time.NewTicker(l.interval)
	defer ticker.Stop()
	var told complaint
	for {
		more, err := s.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, oci.ErrConflict):
			l.log.DebugContext(ctx, "another replica seals the ledger", "error", err)
		case err != nil:
			if told.again(err) {
				l.log.ErrorContext(ctx, "the ledger could not be sealed", "error", err)
			}
		case more:
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// complaint is what was logged last: what fails at every look is told once a minute.
type complaint struct {
	text string
	at   time.Time
}

func (c *complaint) again(err error) bool {
	if now := time.Now(); err.Error() != c.text || now.Sub(c.at) >= time.Minute {
		c.text, c.at = err.Error(), now
		return true
	}
	return false
}

// Seal seals what is recorded when it is called, unless another replica does. It is one
// look of Run, for tests and for commands; more says that some is left.
func (l *Ledger) Seal(ctx context.Context) (more bool, err error) {
	s := &sealer{Ledger: l}
	defer s.release(context.WithoutCancel(ctx))
	return s.look(ctx)
}

// look seals what there is to seal, if it is this replica's turn. An error leaves the head
// at some step; the next look, of whatever replica, goes on from there.
func (s *sealer) look(ctx context.Context) (more bool, err error) {
	defer func() {
		if err != nil {
			s.tree = nil // it may be ahead of the head
		}
	}()
	records, err := s.catalog.Get(ctx, keyHead, keyClaim)
	if err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	h, err := openHead(records[0])
	if err != nil {
		return false, err
	}
	if h.revision == 0 {
		return false, fmt.Errorf("%w: the ledger's record %s is gone", oci.ErrCorrupt, keyHead)
	}
	waiting, err := s.waiting(ctx, h)
	if err != nil || !waiting {
		s.since = time.Time{}
		return false, err
	}
	if s.others(records[1], h) {
		return false, nil
	}
	bound, err := s.claim(ctx, records[1])
	if err != nil {
		return false, err
	}
	events, more, err := s.scan(ctx, bound)
	if err != nil {
		return false, err
	}
	return more, s.seal(ctx, &h, events)
}

// waiting says whether there is anything to do.
func (s *sealer) waiting(ctx context.Context, h opened) (bool, error) {
	if h.Next != nil || h.Assigned > h.Sealed.Size || h.Sealed.Note == "" {
		return true, nil
	}
	events, err := s.catalog.List(ctx, tiers.Query{Prefix: prefixEvent, Limit: 1, KeysOnly: true})
	return len(events) > 0, err
}

// others says whether another replica seals: it has the claim, and something has moved
// while this one was watching.
func (s *sealer) others(claim tiers.Record, h opened) bool {
	if claim.Revision == 0 || s.barge {
		return false
	}
	if c, err := tiers.Decode[claimRecord](claim); err != nil || c.Owner == s.owner {
		return false
	}
	now, seen := time.Now(), [2]int64{claim.Revision, h.revision}
	if s.since.IsZero() || s.seen != seen {
		s.seen, s.since = seen, now
	}
	return now.Sub(s.since) < takeover
}

// claim says that this replica seals, and returns a revision: every event that is in the
// catalog by then is seen by a listing that begins now.
func (s *sealer) claim(ctx context.Context, before tiers.Record) (bound int64, err error) {
	bound, err = s.catalog.Commit(ctx, tiers.Change{
		If:  []tiers.Condition{tiers.Unchanged(before)},
		Put: []tiers.Put{{Key: keyClaim, Value: tiers.Encode(claimRecord{Owner: s.owner})}},
	})
	if err != nil {
		return 0, fmt.Errorf("ledger: claim: %w", err)
	}
	return bound, nil
}

// release lets another replica take over at once.
func (s *sealer) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	records, err := s.catalog.Get(ctx, keyClaim)
	if err != nil || records[0].Revision == 0 {
		return
	}
	if c, err := tiers.Decode[claimRecord](records[0]); err != nil || c.Owner != s.owner {
		return
	}
	// Where it fails the others wait until they see nothing move.
	if _, err := s.catalog.Commit(ctx, tiers.Change{If: []tiers.Condition{tiers.Unchanged(records[0])}, Delete: []string{keyClaim}}); err != nil {
		s.log.DebugContext(ctx, "the claim of the ledger stays", "error", err)
	}
}

// waitingEvent is an event that has no index yet.
type waitingEvent struct {
	key     string
	created int64
}

func (e waitingEvent) compare(other waitingEvent) int {
	return cmp.Or(cmp.Compare(e.created, other.created), cmp.Compare(e.key, other.key))
}

// scan lists the first events by the catalog's own order: the revision that created them,
// and the key for those of one transaction. It takes none that came after bound: such a one
// may stand in the listing while an earlier one, at a place that was passed over already,
// does not.
func (s *sealer) scan(ctx context.Context, bound int64) (events []waitingEvent, more bool, err error) {
	q := tiers.Query{Prefix: prefixEvent, Limit: tiers.MaxPage, KeysOnly: true}
	for {
		page, err := s.catalog.List(ctx, q)
		if err != nil {
			return nil, false, fmt.Errorf("ledger: %w", err)
		}
		for _, r := range page {
			if r.Created <= bound {
				events = append(events, waitingEvent{r.Key, r.Created})
			}
		}
		if len(events) > 2*scanMost {
			slices.SortFunc(events, waitingEvent.compare)
			events, more = events[:scanMost], true
		}
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1].Key
	}
	slices.SortFunc(events, waitingEvent.compare)
	if len(events) > scanMost {
		events, more = events[:scanMost], true
	}
	return events, more, nil
}

// seal brings the head from wherever it is to a checkpoint that covers events, in their
// order.
func (s *sealer) seal(ctx context.Context, h *opened, events []waitingEvent) error {
	if h.Next != nil {
		if err := s.publish(ctx, h); err != nil {
			return err
		}
	}
	for {
		chunk := events[:min(len(events), chunkMost)]
		if err := s.assign(ctx, h, chunk); err != nil {
			return err
		}
		events = events[len(chunk):]
		for h.Assigned > h.Sealed.Size || h.Sealed.Note == "" {
			size, err := s.write(ctx, h)
			if err != nil {
				return err
			}
			if err := s.sign(ctx, h, size); err != nil {
				return err
			}
			if err := s.publish(ctx, h); err != nil {
				return err
			}
		}
		if len(events) == 0 {
			return nil
		}
	}
}

// commit writes the head together with change, unless another sealer has written it.
func (s *sealer) commit(ctx context.Context, h *opened, next headRecord, change tiers.Change) error {
	change.If = append(change.If, tiers.Condition{Key: keyHead, Revision: h.revision})
	change.Put = append(change.Put, tiers.Put{Key: keyHead, Value: tiers.Encode(next)})
	revision, err := s.catalog.Commit(ctx, change)
	if errors.Is(err, oci.ErrConflict) {
		return errOvertaken
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	h.headRecord, h.revision = next, revision
	return nil
}

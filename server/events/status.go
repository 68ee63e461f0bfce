package events

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Status is how a webhook goes, on whatever replica.
type Status struct {
	Name         string   `json:"name"`
	URL          string   `json:"url"` // without its query, where secrets may be
	Events       []string `json:"events,omitempty"`
	Tiers        []string `json:"tiers,omitempty"`
	Repositories []string `json:"repositories,omitempty"`
	State        State    `json:"state"`
	// Cursor is the index of the first entry that is not done with; nil before a replica has
	// begun with the webhook.
	Cursor *int64 `json:"cursor,omitempty"`
	// Behind is how many entries there are from there on.
	Behind       *int64     `json:"behind,omitempty"`
	Delivered    *Delivery  `json:"delivered,omitempty"` // the last
	Answer       *Answer    `json:"answer,omitempty"`    // of the last attempt
	Failures     int        `json:"failures,omitempty"`  // of the entry at the cursor
	FailingSince *time.Time `json:"failingSince,omitempty"`
	NextTry      *time.Time `json:"nextTry,omitempty"`
	// Problem is what is wrong with the record of the webhook: nothing is delivered then.
	Problem string `json:"problem,omitempty"`
}

// Status says how the webhooks go, in their configured order.
func (s *Sender) Status(ctx context.Context) ([]Status, error) {
	all := make([]Status, 0, len(s.webhooks))
	if len(s.webhooks) == 0 {
		return all, nil
	}
	keys := make([]string, len(s.webhooks))
	for i, w := range s.webhooks {
		keys[i] = prefixCursor + w.Name
	}
	records, err := s.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	state, err := s.ledger.State(ctx) // behind the cursors: it is not behind them
	if err != nil {
		return nil, err
	}
	for i, w := range s.webhooks {
		all = append(all, s.status(w, records[i], state.Size))
	}
	return all, nil
}

func (s *Sender) status(w *sending, record tiers.Record, size int64) Status {
	status := Status{Name: w.Name, URL: w.shownURL(), Events: w.Types, Tiers: w.Tiers, Repositories: w.Repositories, State: Active}
	if record.Revision == 0 {
		return status
	}
	now, err := readCursor(record, size)
	if err != nil {
		status.State, status.Problem = Failing, err.Error()
		return status
	}
	behind := size - now.Next
	status.State, status.Cursor, status.Behind = now.state(w.Webhook, s.registry.Now()), &now.Next, &behind
	status.Delivered, status.Answer = now.Delivered, now.Answer
	if status.State != Active {
		status.Failures, status.FailingSince = now.Failures, now.FailingSince
	}
	if status.State == Retrying || status.State == Failing {
		status.NextTry = now.NextTry
	}
	return status
}

// Replay sets the cursor of a webhook: the entries from an index on are delivered, again or,
// where it is further than before, at last without those between. It ends every pause, and has
// a receiver asked again that wanted nothing more. A record that cannot be read is mended. The
// error wraps oci.ErrWebhookUnknown, or oci.ErrRequestInvalid for an index that the ledger has
// not come to.
func (s *Sender) Replay(ctx context.Context, actor, name string, from int64) (Status, error) {
	w := s.find(name)
	if w == nil {
		return Status{}, fmt.Errorf("%w: %s is not configured", oci.ErrWebhookUnknown, name)
	}
	var status Status
	err := tiers.Retry(ctx, func() error {
		records, err := s.catalog.Get(ctx, prefixCursor+name)
		if err != nil {
			return err
		}
		state, err := s.ledger.State(ctx)
		if err != nil {
			return err
		}
		if from < 0 || from > state.Size {
			return fmt.Errorf("%w: from is %d: want the index of an entry, 0 to %d", oci.ErrRequestInvalid, from, state.Size)
		}
		now, err := readCursor(records[0], state.Size)
		if err != nil {
			now = cursor{}
		}
		now.again()
		now.Next, now.Config = from, w.configuration()
		record := tiers.Record{Key: records[0].Key, Value: tiers.Encode(now)}
		record.Revision, err = s.catalog.Commit(ctx, tiers.Change{
			If: []tiers.Condition{tiers.Unchanged(records[0])}, Put: []tiers.Put{{Key: record.Key, Value: record.Value}},
		})
		if err == nil {
			status = s.status(w, record, state.Size)
		}
		return err
	})
	if err != nil {
		return Status{}, fmt.Errorf("replay to webhook %s: %w", name, err)
	}
	s.log.InfoContext(ctx, "a webhook is replayed", "webhook", name, "from", from, "actor", actor)
	return status, nil
}

// Attempts are how often this replica has sent something to a webhook.
type Attempts struct {
	Webhook       string
	Taken, Failed int64
}

// Attempts counts them, in the configured order.
func (s *Sender) Attempts() []Attempts {
	all := make([]Attempts, len(s.webhooks))
	for i, w := range s.webhooks {
		all[i] = Attempts{w.Name, w.ok.Load(), w.fail.Load()}
	}
	return all
}

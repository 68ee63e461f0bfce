package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// firstPause is that behind the first attempt of an entry that failed. Each further one is
// twice as long, up to the webhook's MaxPause.
const firstPause = time.Second

// errReplayed says that somebody has set the cursor elsewhere.
var errReplayed = errors.New("the cursor was set elsewhere")

// work delivers entry by entry until ctx ends or another replica has taken over.
func (d *delivery) work(ctx context.Context) error {
	for ctx.Err() == nil {
		err := d.step(ctx)
		switch {
		case errors.Is(err, errOthers):
			return err
		case err != nil && !errors.Is(err, errReplayed):
			d.complain(ctx, "a webhook's events are not delivered", err)
			_ = pause(ctx, jittered(d.look()))
			err = d.refresh(ctx)
		}
		if errors.Is(err, errOthers) {
			return err
		}
	}
	return ctx.Err()
}

// look is how often an owner that has nothing to do looks whether a replay was asked for.
func (d *delivery) look() time.Duration { return d.sender.expire / 4 }

// step delivers a page of entries, or waits for a while for what there is to wait for.
func (d *delivery) step(ctx context.Context) error {
	if wait := d.waits(); wait > 0 {
		if err := pause(ctx, min(wait, d.look())); err != nil {
			return err
		}
		return d.refresh(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, d.look())
	defer cancel()
	page, err := d.sender.ledger.Next(waiting, d.now.Next)
	switch {
	case waiting.Err() != nil && ctx.Err() == nil: // there is nothing new
		return d.refresh(ctx)
	case err != nil:
		return err
	}
	return d.send(ctx, page)
}

// waits is how long nothing is to be sent. The record's time is that of another clock, maybe.
func (d *delivery) waits() time.Duration {
	if d.now.Gone {
		return d.MaxPause
	}
	if d.now.NextTry == nil {
		return 0
	}
	return min(d.now.NextTry.Sub(d.sender.registry.Now()), d.MaxPause)
}

// send delivers the entries of a page that the webhook asks for, up to one that is not taken.
func (d *delivery) send(ctx context.Context, page []ledger.Entry) error {
	next := d.now.Next
	for _, entry := range page {
		event := Read(entry)
		if !d.Selects(event) {
			next = entry.Index + 1
			continue
		}
		taken, err := d.deliver(ctx, event)
		if err != nil || !taken {
			return err
		}
		next = d.now.Next
	}
	if next == d.now.Next {
		return nil
	}
	passed := d.now // over what the webhook does not ask for
	passed.Next = next
	return d.write(ctx, passed)
}

// deliver sends one event, and records what came of it.
func (d *delivery) deliver(ctx context.Context, event Event) (taken bool, err error) {
	body, err := event.CloudEvent(d.sender.source)
	if err != nil {
		return false, err
	}
	if !d.holds() { // this process stood still for a while
		return false, errOthers
	}
	answer, retryAfter := d.attempt(ctx, event, body)
	if ctx.Err() != nil {
		return false, ctx.Err() // and nobody knows whether it was taken: it is sent again
	}
	now := d.now
	now.Answer = &answer
	if answer.Error == "" {
		d.ok.Add(1)
		now.again()
		now.Next, now.Delivered = event.Index+1, &Delivery{event.Index, answer.At}
		return true, d.write(ctx, now)
	}
	d.fail.Add(1)
	d.failed(ctx, &now, answer, retryAfter)
	return false, d.write(ctx, now)
}

// failed notes an attempt that failed.
func (d *delivery) failed(ctx context.Context, now *cursor, answer Answer, retryAfter time.Duration) {
	at := d.sender.registry.Now()
	before := d.now.state(d.Webhook, at)
	if now.Failures++; now.FailingSince == nil {
		now.FailingSince = &at
	}
	next := at.Add(d.backOff(now.Failures, retryAfter))
	now.NextTry = &next
	now.Gone = answer.Status == statusGone
	if after := now.state(d.Webhook, at); after != before || now.Failures == 1 {
		d.sender.log.WarnContext(ctx, "a webhook's event was not taken", "webhook", d.Name, "entry", answer.Index,
			"error", answer.Error, "state", after, "failures", now.Failures)
	}
}

// backOff is how long to wait behind so many failures, and for what the receiver asked for.
func (d *delivery) backOff(failures int, retryAfter time.Duration) time.Duration {
	wait := min(firstPause, d.MaxPause)
	for range failures - 1 {
		if wait *= 2; wait >= d.MaxPause {
			wait = d.MaxPause
			break
		}
	}
	return min(max(jittered(wait), retryAfter), d.MaxPause)
}

// write records the cursor, unless another has written it: the owner that has taken over, then
// the error is errOthers, or somebody who asks for a replay, then it is errReplayed.
func (d *delivery) write(ctx context.Context, now cursor) error {
	revision, err := d.sender.catalog.Commit(ctx, tiers.Change{
		If:  []tiers.Condition{{Key: d.cursorKey(), Revision: d.revision}},
		Put: []tiers.Put{{Key: d.cursorKey(), Value: tiers.Encode(now)}},
	})
	if errors.Is(err, oci.ErrConflict) {
		if err := d.refresh(ctx); err != nil {
			return err
		}
		return errReplayed
	}
	if err != nil {
		return fmt.Errorf("events: cursor of webhook %s: %w", d.Name, err)
	}
	d.now, d.revision = now, revision
	return nil
}

// refresh reads the cursor as it stands. The error is errOthers where it is another owner's.
func (d *delivery) refresh(ctx context.Context) error {
	records, err := d.sender.catalog.Get(ctx, d.cursorKey())
	if err != nil || records[0].Revision == d.revision {
		return err
	}
	if records[0].Revision == 0 {
		return errOthers // somebody has taken it away: it is begun anew
	}
	now, err := tiers.Decode[cursor](records[0])
	if err != nil {
		return err
	}
	if now.Owner != d.sender.owner {
		return errOthers
	}
	d.now, d.revision = now, records[0].Revision
	return nil
}

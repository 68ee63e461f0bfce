package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// releaseTimeout bounds how long a replica that stops tries to say so.
const releaseTimeout = 2 * time.Second

// errOthers says that another replica delivers, or may.
var errOthers = errors.New("another replica delivers")

// delivery is the work for one webhook of the replica that delivers.
type delivery struct {
	sender *Sender
	*sending
	told *complaint

	// What the one that delivers alone uses.
	now      cursor // as it is on record
	revision int64  // of it

	mu        sync.Mutex
	held      int64     // revision of the hold
	confirmed time.Time // when what last renewed it was sent: until Expire later nobody else has it
}

func (d *delivery) cursorKey() string { return prefixCursor + d.Name }
func (d *delivery) holdKey() string   { return prefixHold + d.Name }

func (d *delivery) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil && d.told.again(err) {
		d.sender.log.WarnContext(ctx, what, "webhook", d.Name, "error", err)
	}
}

// claim takes the place of nobody, or of a replica that gives no sign of life. It writes the
// cursor: what a former owner still writes is refused from then on. The error wraps errOthers
// where another replica delivers.
func (d *delivery) claim(ctx context.Context) error {
	s := d.sender
	records, err := s.catalog.Get(ctx, d.holdKey(), d.cursorKey())
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	if records[0].Revision != 0 {
		if h, err := tiers.Decode[hold](records[0]); err != nil || h.Owner != s.owner {
			return errors.Join(errOthers, err)
		}
	}
	now, err := d.begin(ctx, records[1])
	if err != nil {
		return err
	}
	now.Owner = s.owner
	if config := d.configuration(); now.Config != config {
		now.again() // whatever became of another receiver
		now.Config = config
	}
	sent := time.Now()
	revision, err := s.catalog.Commit(ctx, tiers.Change{
		If: []tiers.Condition{tiers.Unchanged(records[0]), tiers.Unchanged(records[1])},
		Put: []tiers.Put{
			{Key: d.holdKey(), Value: tiers.Encode(hold{s.owner}), Expire: s.expire},
			{Key: d.cursorKey(), Value: tiers.Encode(now)},
		},
	})
	if errors.Is(err, oci.ErrConflict) {
		return errOthers
	}
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	d.now, d.revision, d.held, d.confirmed = now, revision, revision, sent
	return nil
}

// begin is the cursor of a record, or that of a webhook that there was none of.
func (d *delivery) begin(ctx context.Context, record tiers.Record) (cursor, error) {
	state, err := d.sender.ledger.State(ctx)
	if err != nil {
		return cursor{}, err
	}
	if record.Revision == 0 && !d.FromBeginning {
		return cursor{Next: state.Size}, nil
	}
	return readCursor(record, state.Size)
}

// own delivers until ctx ends or the hold is lost, keeps the hold meanwhile, and lets go of it.
func (d *delivery) own(ctx context.Context) error {
	working, cancel := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		d.keep(working, cancel)
	}()
	err := d.work(working)
	cancel(nil)
	<-kept
	d.release(context.WithoutCancel(ctx))
	if cause := context.Cause(working); errors.Is(cause, errOthers) {
		return cause
	}
	return err
}

// keep renews the hold until ctx ends, and ends it where the hold may be another's.
func (d *delivery) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(d.sender.expire / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := d.renew(ctx); err != nil {
			d.complain(ctx, "a webhook's hold is not renewed", err)
			if errors.Is(err, errOthers) || !d.holds() {
				cancel(errOthers)
				return
			}
		}
	}
}

// renew writes the hold again. Where that is refused its own former write may have been applied
// without its knowing.
func (d *delivery) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.sender.expire)
	defer cancel()
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	sent := time.Now()
	revision, err := d.sender.catalog.Commit(ctx, tiers.Change{
		If:  []tiers.Condition{{Key: d.holdKey(), Revision: held}},
		Put: []tiers.Put{{Key: d.holdKey(), Value: tiers.Encode(hold{d.sender.owner}), Expire: d.sender.expire}},
	})
	if errors.Is(err, oci.ErrConflict) {
		var records []tiers.Record
		if records, err = d.sender.catalog.Get(ctx, d.holdKey()); err != nil {
			return err
		}
		h, err := tiers.Decode[hold](records[0])
		if records[0].Revision == 0 || err != nil || h.Owner != d.sender.owner {
			return errOthers
		}
		d.mu.Lock()
		d.held = records[0].Revision // and is renewed at the next turn
		d.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.held, d.confirmed = revision, sent
	d.mu.Unlock()
	return nil
}

// holds says whether nobody else can have the hold yet.
func (d *delivery) holds() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.confirmed) < d.sender.expire
}

// release lets another replica go on at once. Where it fails the hold expires.
func (d *delivery) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	_, _ = d.sender.catalog.Commit(ctx, tiers.Change{
		If: []tiers.Condition{{Key: d.holdKey(), Revision: held}}, Delete: []string{d.holdKey()},
	})
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// jittered is between half of d and all of it, so that those who wait for the same do not come
// back together.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(max(d/2, 1)) }

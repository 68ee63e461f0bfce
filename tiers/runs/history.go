package runs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	maxListed  = 2 * maxHistory // more than there ever are
	readAtOnce = 8              // records with their results
)

// head is a run as lists show it, at a revision of its record.
type head struct {
	revision int64
	run      Run
}

// readHold reads who carries out a run of a kind; its revision is 0 where nobody does.
func (r *Runner) readHold(ctx context.Context, kind Kind) (tiers.Record, hold, error) {
	records, err := r.catalog.Get(ctx, holdKey(kind))
	if err != nil {
		return tiers.Record{}, hold{}, fmt.Errorf("read who carries out a %s: %w", kind, err)
	}
	var h hold
	if records[0].Revision != 0 {
		h, err = tiers.Decode[hold](records[0])
	}
	return records[0], h, err
}

// read reads a run and the hold of its kind at one revision.
func (r *Runner) read(ctx context.Context, kind Kind, id string) (run Run, record tiers.Record, h hold, holder tiers.Record, err error) {
	records, err := r.catalog.Get(ctx, runKey(kind, id), holdKey(kind))
	if err != nil {
		return run, record, h, holder, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	record, holder = records[0], records[1]
	if record.Revision == 0 {
		return run, record, h, holder, fmt.Errorf("%w: %s %q", oci.ErrRunUnknown, kind, id)
	}
	if run, err = tiers.Decode[Run](record); err == nil && holder.Revision != 0 {
		h, err = tiers.Decode[hold](holder)
	}
	return run, record, h, holder, err
}

// settle reads a run, and marks it as interrupted where its owner is gone. It returns the
// hold too, where it is the run's. A replica does not mark its own: it still tries to write
// how they ended.
func (r *Runner) settle(ctx context.Context, kind Kind, id string) (run Run, holder tiers.Record, h hold, err error) {
	err = tiers.Retry(ctx, func() error {
		var record tiers.Record
		if run, record, h, holder, err = r.read(ctx, kind, id); err != nil || run.State.Ended() {
			return err
		}
		if h.Run == id {
			run.CancelledBy = h.CancelledBy
			return nil
		}
		if r.owns(id) {
			return nil
		}
		now := r.registry.Now()
		run.State, run.FinishedAt, run.Error = Interrupted, &now, "the server that carried it out is gone"
		_, err = r.catalog.Commit(ctx, tiers.Change{
			If:  []tiers.Condition{tiers.Unchanged(record), tiers.Unchanged(holder)},
			Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(run)}},
		})
		return err
	})
	return run, holder, h, err
}

// owns says whether this replica carries out a run.
func (r *Runner) owns(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owned[id] != nil
}

// Get finds a run. The error wraps oci.ErrRunUnknown.
func (r *Runner) Get(ctx context.Context, kind Kind, id string) (Run, error) {
	if strings.Contains(id, "/") {
		return Run{}, fmt.Errorf("%w: %s %q", oci.ErrRunUnknown, kind, id)
	}
	run, _, _, err := r.settle(ctx, kind, id)
	return run, err
}

// List lists at most n runs of a kind, the newest first, after the id last, without their
// progress and results. next is what to ask for as last to go on; empty at the end.
func (r *Runner) List(ctx context.Context, kind Kind, last string, n int) (page []Run, next string, err error) {
	past, err := r.history(ctx, kind)
	if err != nil {
		return nil, "", err
	}
	page = []Run{}
	for _, run := range past {
		if last != "" && run.ID >= last {
			continue
		}
		if len(page) == max(n, 1) {
			return page, page[len(page)-1].ID, nil
		}
		page = append(page, run)
	}
	return page, "", nil
}

// history reads the heads of all runs of a kind, the newest first. Those that have not changed
// since they were last read are not read again: a record with a result may be large.
func (r *Runner) history(ctx context.Context, kind Kind) ([]Run, error) {
	records, err := r.catalog.List(ctx, tiers.Query{Prefix: runPrefix(kind), Limit: maxListed, Descending: true, KeysOnly: true})
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind, err)
	}
	now, err := r.headsOf(ctx, kind, records)
	if err != nil {
		return nil, err
	}
	past := make([]Run, 0, len(records))
	for _, record := range records {
		head, ok := now[record.Key]
		if !ok { // taken away meanwhile
			continue
		}
		if !head.run.State.Ended() {
			run, _, _, err := r.settle(ctx, kind, head.run.ID)
			if errors.Is(err, oci.ErrRunUnknown) {
				continue
			}
			if err != nil {
				return nil, err
			}
			head.run = run.head()
		}
		past = append(past, head.run)
	}
	return past, nil
}

// headsOf reads those of records that have changed, some at a time, and remembers the others.
func (r *Runner) headsOf(ctx context.Context, kind Kind, records []tiers.Record) (map[string]head, error) {
	r.mu.Lock()
	before := r.heads[kind]
	r.mu.Unlock()
	now := make(map[string]head, len(records))
	var missing []string
	for _, record := range records {
		if h, ok := before[record.Key]; ok && h.revision == record.Revision {
			now[record.Key] = h
			continue
		}
		missing = append(missing, record.Key)
	}
	for len(missing) > 0 {
		step := missing[:min(len(missing), readAtOnce)]
		missing = missing[len(step):]
		read, err := r.catalog.Get(ctx, step...)
		if err != nil {
			return nil, fmt.Errorf("read %ss: %w", kind, err)
		}
		for _, record := range read {
			if record.Revision == 0 {
				continue
			}
			run, err := tiers.Decode[Run](record)
			if err != nil {
				return nil, err
			}
			now[record.Key] = head{record.Revision, run.head()}
		}
	}
	r.mu.Lock()
	r.heads[kind] = now // a map is never changed once it is here
	r.mu.Unlock()
	return now, nil
}

// prune takes away the oldest runs of a kind beyond those that are kept.
func (r *Runner) prune(ctx context.Context, kind Kind) error {
	records, err := r.catalog.List(ctx, tiers.Query{Prefix: runPrefix(kind), Limit: maxListed, Descending: true, KeysOnly: true})
	if err != nil || len(records) <= maxHistory {
		return err
	}
	var old []string
	for _, record := range records[maxHistory:] {
		old = append(old, record.Key)
	}
	_, err = r.catalog.Commit(ctx, tiers.Change{Delete: old})
	return err
}

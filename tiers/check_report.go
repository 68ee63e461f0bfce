package tiers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
)

// maxTold bounds the memory of what was told already. Beyond it two ways to one fault may
// count twice.
const maxTold = 100_000

// report gathers what a check finds.
type report struct {
	mu    sync.Mutex
	now   Checked
	begun time.Time
	told  map[string]bool // findings, by what they are about
	bytes int             // of the findings that are told one by one
	stray int64           // faults that are objects, or multipart uploads, which nothing names
}

func newReport(at time.Time) *report {
	return &report{begun: time.Now(), told: map[string]bool{}, now: Checked{StartedAt: at, Records: map[string]int64{},
		Found: map[string]int64{}, Severity: map[Severity]int64{}, Findings: []Finding{}}}
}

// tell calls progress now and then until stop is called.
func (r *report) tell(progress func(Checked)) (stop func()) {
	if progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(tellEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				progress(r.snapshot())
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

func (r *report) snapshot() Checked {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now
	now.Seconds = time.Since(r.begun).Seconds()
	now.Records, now.Found, now.Severity = maps.Clone(now.Records), maps.Clone(now.Found), maps.Clone(now.Severity)
	now.Findings = slices.Clip(now.Findings) // only ever appended to
	return now
}

// missesNothing says whether all that the catalog names is as it must be: what was found, and
// not repaired, is bytes that nothing names.
func (r *report) missesNothing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now.Severity[Danger] == 0 && r.now.Severity[Fault] == r.stray
}

func (r *report) enter(phase string) { r.add(func(now *Checked) { now.Phase = phase }) }

func (r *report) count(family string, n int) {
	r.add(func(now *Checked) { now.Records[family] += int64(n) })
}

// add changes what is known so far.
func (r *report) add(change func(now *Checked)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.now)
}

// first says whether nothing was found about the same before.
func (r *report) first(f Finding) bool {
	about := strings.Join([]string{f.Kind, f.Store, f.Tier, f.Repository, f.Key, f.Digest.String()}, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[about] {
		return false
	}
	if len(r.told) < maxTold {
		r.told[about] = true
	}
	return true
}

func (r *report) finding(f Finding) {
	size := len(Encode(f))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Found[f.Kind]++
	if f.Repaired {
		r.now.Repaired++
	} else {
		r.now.Severity[f.Severity]++
		if f.Severity == Fault && (f.Kind == KindStrayObject || f.Kind == KindStrayUpload) {
			r.stray++
		}
	}
	if len(r.now.Findings) < MaxFindings && r.bytes+size <= maxFindingBytes {
		r.now.Findings, r.bytes = append(r.now.Findings, f), r.bytes+size
	}
}

// Found reports a finding, unless the same was found before. Where the check repairs, mend,
// if not nil, is called; nil from it says that the fault is gone. The error is that of a
// check which cannot go on.
func (c *Checking) Found(ctx context.Context, f Finding, mend func(ctx context.Context) error) error {
	if !c.report.first(f) {
		return nil
	}
	if c.options.Repair && mend != nil {
		switch err := mend(ctx); {
		case err == nil:
			f.Repaired = true
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, oci.ErrConflict):
			f.Problem = "it was changed while it was to be repaired: check again"
		default:
			f.Problem = err.Error()
		}
	}
	c.report.finding(f)
	return nil
}

// Mend makes a change that repairs f, with the event that tells of it.
func (c *Checking) Mend(ctx context.Context, f Finding, change Change) error {
	return c.mend(ctx, f, change, Event{})
}

// mend is Mend where the event says more than the finding.
func (c *Checking) mend(ctx context.Context, f Finding, change Change, e Event) error {
	e.Records = repaired(change)
	change.Put = append(slices.Clip(change.Put), c.event(f, e))
	_, err := c.registry.catalog.Commit(ctx, change)
	return err
}

// event completes the event of a repair.
func (c *Checking) event(f Finding, e Event) Put {
	f.Repaired = f.Problem == ""
	if e.Type == "" {
		e.Type = EventRepaired
	}
	e.Actor, e.Tier, e.Repository, e.Digest, e.Store = c.options.Actor, f.Tier, f.Repository, f.Digest, f.Store
	e.Cause, e.Body = f.Kind, Encode(f)
	return c.registry.EventPut(e)
}

// repaired are the records that a change writes, for its event. What other records say again
// is left out: it is made of those.
func repaired(change Change) []EventRecord {
	var records []EventRecord
	for _, put := range change.Put {
		if put.Expire == 0 && restoredFrom(put.Key) == Replayed {
			records = append(records, EventRecord{Key: put.Key, Value: put.Value})
		}
	}
	for _, key := range change.Delete {
		if restoredFrom(key) == Replayed {
			records = append(records, EventRecord{Key: key, Deleted: true})
		}
	}
	return records
}

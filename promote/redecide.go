package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Bounds of one page of a redecision: a replica that dies loses no more than one.
const (
	redecideMost   = 100 // artifacts; their standings are read in one step
	redecideLooks  = 2000
	redecideAtOnce = 8 // artifacts of a page
	redecideTries  = 5 // of a page that something comes between
)

// RedecisionState is how far a redecision has come.
type RedecisionState string

// The states of a redecision.
const (
	RedecisionPending RedecisionState = "Pending" // it goes on, or waits for a run
	RedecisionDone    RedecisionState = "Done"
)

// Redecision is how what rested on a revocation is decided anew, and what that came to. The
// record of one that is pending is where whoever carries it out goes on.
type Redecision struct {
	State      RedecisionState `json:"state"`
	Lifting    bool            `json:"lifting,omitempty"` // the revocation was lifted
	At         time.Time       `json:"at,omitzero"`       // since when there is something to decide
	FinishedAt time.Time       `json:"finishedAt,omitzero"`
	Decided    int             `json:"decided"` // artifacts, in all tiers
	Rested     int             `json:"rested"`  // of these: with evidence that the revocation is about
	// Of those that rested on it, what the policy says has changed of Changed; the others are
	// what became of these.
	Changed     int `json:"changed"`
	Quarantined int `json:"quarantined"`
	Reported    int `json:"reported"`
	Restored    int `json:"restored"`
	Undecided   int `json:"undecided"` // nobody can say: see why in what is listed
	// Skipped are tiers in which nothing was decided, because they have no policy.
	Skipped []string `json:"skipped,omitempty"`
	// Tier and Last are where to go on.
	Tier string `json:"tier,omitempty"`
	Last string `json:"last,omitempty"`
}

// count counts what became of an artifact.
func (r *Redecision) count(d decided) {
	r.Decided++
	if d.rested {
		r.Rested++
	}
	if d.change == nil {
		return
	}
	r.Changed++
	switch d.change.Outcome {
	case OutcomeQuarantined:
		r.Quarantined++
	case OutcomeRestored:
		r.Restored++
	case OutcomeUndecided:
		r.Undecided++
	default:
		r.Reported++
	}
}

// Redeciding is how far a run of redecisions is.
type Redeciding struct {
	Revocation string `json:"revocation,omitempty"` // the one that it is at
	Redecision        // of that one
	Done       int    `json:"done"` // redecisions that the run has finished
	total      Redecision
}

// Figures are those of all redecisions of the run.
func (r Redeciding) Figures() map[string]int64 {
	return map[string]int64{"redecisions": int64(r.Done), "decided": int64(r.total.Decided), "rested": int64(r.total.Rested),
		"changed": int64(r.total.Changed), "quarantined": int64(r.total.Quarantined), "restored": int64(r.total.Restored)}
}

// RedecisionsSince says since when the redecision waits that was asked for last; zero where
// none does.
func (e *Engine) RedecisionsSince(ctx context.Context) (time.Time, error) {
	records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixRedeciding, Limit: maxRevocations})
	var last time.Time
	for _, record := range records {
		r, err := tiers.Decode[Redecision](record)
		if err != nil {
			return time.Time{}, err
		}
		if r.At.After(last) {
			last = r.At
		}
	}
	return last, err
}

// Redecide decides anew what rests on revocations that were added or lifted, one after the
// other, until none waits. It goes on where the last that did it has come to, whoever that
// was; two at once do the same and change nothing twice. Artifacts that fail the policy of
// their tier now are reported or put in quarantine, as that policy says.
func (e *Engine) Redecide(ctx context.Context, progress func(Redeciding)) (Redeciding, error) {
	var at Redeciding
	var failed []error
	for after := ""; ; {
		records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixRedeciding, After: after, Limit: 1, KeysOnly: true})
		if err != nil {
			return at, errors.Join(append(failed, err)...)
		}
		if len(records) == 0 {
			return at, errors.Join(failed...)
		}
		at.Revocation = strings.TrimPrefix(records[0].Key, prefixRedeciding)
		if err := e.redecideAll(ctx, &at, progress); err != nil {
			failed = append(failed, fmt.Errorf("revocation %s: %w", at.Revocation, err))
			if ctx.Err() != nil || errors.Is(err, oci.ErrUnavailable) {
				return at, errors.Join(failed...)
			}
			after = records[0].Key // the next run tries again
			continue
		}
		at.Done++
	}
}

// redecideAll goes through the pages of one.
func (e *Engine) redecideAll(ctx context.Context, at *Redeciding, progress func(Redeciding)) error {
	for {
		var before, now Redecision
		tries := 0
		err := tiers.Retry(ctx, func() (err error) {
			if tries++; tries > redecideTries {
				return fmt.Errorf("%w: what is decided changes all the time", oci.ErrUnavailable)
			}
			before, now, err = e.redecidePage(ctx, at.Revocation)
			return err
		})
		if errors.Is(err, oci.ErrRevocationUnknown) {
			return nil // another finished it
		}
		if err != nil {
			return err
		}
		at.Redecision = now
		at.total.Decided += now.Decided - before.Decided
		at.total.Rested += now.Rested - before.Rested
		at.total.Changed += now.Changed - before.Changed
		at.total.Quarantined += now.Quarantined - before.Quarantined
		at.total.Restored += now.Restored - before.Restored
		progress(*at)
		if now.State == RedecisionDone {
			return nil
		}
	}
}

// redecidePage decides about one page, and says in the catalog that it has. A conflict is for
// the caller to begin the page anew: all that was written stays, and is not written again.
func (e *Engine) redecidePage(ctx context.Context, id string) (before, now Redecision, err error) {
	r, records, err := e.readRevocation(ctx, id)
	if err != nil {
		return before, now, err
	}
	before, now = r.Redecision, r.Redecision
	if records[1].Revision == 0 {
		return before, now, nil
	}
	revoked, err := e.revocationsAt(ctx, records[2])
	if err != nil {
		return before, now, err
	}
	p := e.redecidingOf(r, revoked)
	p.guard = []tiers.Condition{tiers.Unchanged(records[1])}
	all, err := p.page(ctx, &now)
	if err != nil {
		return before, now, err
	}
	for _, d := range all {
		now.count(d)
	}
	change := tiers.Change{If: unchanged(records[:2])}
	if now.Tier != "" {
		change.Put = []tiers.Put{{Key: records[1].Key, Value: tiers.Encode(now)}}
	} else {
		now.State, now.FinishedAt, now.Last = RedecisionDone, e.registry.Now(), ""
		r.Redecision = now
		change.Put = []tiers.Put{{Key: records[0].Key, Value: tiers.Encode(r)},
			e.registry.EventPut(tiers.Event{Type: tiers.EventRedecided, Actor: p.actor(), Cause: r.cause(), Body: tiers.Encode(r)})}
		change.Delete = []string{records[1].Key}
	}
	_, err = e.registry.Catalog().Commit(ctx, change)
	return before, now, err
}

// redeciding is a redecision under way: what counted without the revocation, and what counts
// now.
type redeciding struct {
	engine        *Engine
	revocation    Revocation
	before, after *revocations
	dry           bool
	guard         []tiers.Condition // of what it writes
	acts          sync.Mutex        // quarantines are written one after the other: each compares them all
}

// redecidingOf compares, for one that was added, with those that were there before it: of two
// that take away the same, the one changes something and the other does not, whichever is
// decided about first.
func (e *Engine) redecidingOf(r Revocation, revoked *revocations) *redeciding {
	p := &redeciding{engine: e, revocation: r, after: revoked}
	if r.Lifted != nil {
		p.before = revoked.with(r)
		return p
	}
	var own int64
	for _, h := range revoked.all {
		if h.ID == r.ID {
			own = h.created
		}
	}
	p.before = revoked.only(func(h held) bool { return h.created < own })
	return p
}

// page decides about the next artifacts, and sets where to go on: no tier at the end.
func (p *redeciding) page(ctx context.Context, at *Redecision) ([]decided, error) {
	e := p.engine
	tier, pol, err := p.tier(ctx, at)
	if err != nil || tier == nil {
		return nil, err
	}
	var found []found
	t := &tour{registry: e.registry, tier: tier, most: cmp.Or(e.redecideMost, redecideMost), looks: redecideLooks, matches: pol.Matches,
		visit: func(_ context.Context, repo *tiers.Repository, m tiers.Listed) (bool, error) {
			found = append(found, foundArtifact(repo, m))
			return true, nil
		}}
	if err := t.walk(ctx, at.Last); err != nil {
		return nil, err
	}
	if at.Last = t.next; at.Last == "" {
		at.Tier = e.tierAfter(tier.Name)
	}
	if err := p.standings(ctx, tier.Name, found); err != nil {
		return nil, err
	}
	all := make([]*decided, len(found))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(redecideAtOnce)
	for i := range found {
		group.Go(func() (err error) {
			all[i], err = p.decide(ctx, pol, found[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make([]decided, 0, len(all))
	for _, d := range all {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out, nil
}

// tier is the one that the redecision is at, with its policy. Those that have none are passed
// over; nil at the end.
func (p *redeciding) tier(ctx context.Context, at *Redecision) (*tiers.Tier, *inForce, error) {
	e := p.engine
	if at.Tier == "" {
		at.Tier = e.tierAfter("")
	}
	for at.Tier != "" {
		t, err := e.registry.Tier(at.Tier)
		if errors.Is(err, oci.ErrTierUnknown) { // it left the configuration meanwhile
			at.Tier, at.Last = "", ""
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		pol, err := e.policyOf(ctx, t.Name)
		if err == nil {
			if pol.revoked.head.Revision != p.after.head.Revision {
				return nil, nil, fmt.Errorf("%w: something was revoked, or lifted, meanwhile", oci.ErrConflict)
			}
			return t, pol, nil
		}
		if !errors.Is(err, oci.ErrUndecidable) {
			return nil, nil, err
		}
		at.Skipped = append(at.Skipped, t.Name)
		at.Tier, at.Last = e.tierAfter(t.Name), ""
	}
	return nil, nil, nil
}

// tierAfter is the next tier that something rises to, the first where name is empty; empty
// behind the last.
func (e *Engine) tierAfter(name string) string {
	behind := name == ""
	for _, t := range e.registry.Tiers() {
		if behind && t.From != "" {
			return t.Name
		}
		behind = behind || t.Name == name
	}
	return ""
}

// standings reads what was last decided about artifacts, in one step.
func (p *redeciding) standings(ctx context.Context, tier string, found []found) error {
	if len(found) == 0 {
		return nil
	}
	keys := make([]string, len(found))
	for i, a := range found {
		keys[i] = standingKey(tier, a.repo.Name, a.Digest)
	}
	records, err := p.engine.registry.Catalog().Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, record := range records {
		found[i].standing = record
	}
	return nil
}

// found is a manifest of a tier with what was last decided about it; no record where it did
// not rise for itself.
type found struct {
	artifact
	standing tiers.Record
}

func foundArtifact(repo *tiers.Repository, m tiers.Listed) found {
	return found{artifact: artifact{repo: repo, Listed: m}}
}

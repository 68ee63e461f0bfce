package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Promotions that wait for approvals.
//
// One that waits has its journal and a record promotion-waiting/<repo>@<id>, in place of
// promotion-open/<id>, the pin of its artifact, and nothing else: no slot, no owner. Every replica looks at
// these records; whoever finds that something changed takes the promotion up in one
// transaction, as the dead's are taken over, and decides it anew. That ends it or has it
// wait again.
const (
	prefixWaiting = "promotion-waiting/"

	defaultWait = 168 * time.Hour
	maxWait     = 720 * time.Hour

	maxWaiting           = 1000 // promotions of the registry that wait at once, about
	maxWaitingRepository = 50   // of one repository
	maxWaitingRequester  = 100  // that one requester asked for, in whatever repositories
	waitingPage          = 200
	maxResumed           = 50 // taken up at one look; the rest at the next
)

// waiting says what the verdict of a promotion that waits rested on.
type waiting struct {
	From      string        `json:"from"`
	To        string        `json:"to"`
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Until     time.Time     `json:"until"`
	By        string        `json:"by,omitempty"` // who asked for it
	// Generation is the revision of the repository below, Policy those of the policy and
	// of the pointer to it.
	Generation int64   `json:"generation"`
	Policy     []int64 `json:"policy"`
	Seen       seen    `json:"seen,omitzero"`
}

// patience is how long a request is ready to wait for approvals; 0: not at all.
func (r Request) patience() (time.Duration, error) {
	if r.WaitFor == "" {
		if r.Wait {
			return defaultWait, nil
		}
		return 0, nil
	}
	d, err := time.ParseDuration(r.WaitFor)
	if err != nil || d < time.Second || d > maxWait {
		return 0, fmt.Errorf("%w: waitFor is %q: want a duration between 1s and %s, as 72h is", oci.ErrRequestInvalid, r.WaitFor, maxWait)
	}
	return d, nil
}

func waitingPrefix(repository string) string { return prefixWaiting + repository + "@" }

// roomToWait refuses a request that wants to wait where too many do. Requests that come at
// once may pass the bound by a few.
func (e *Engine) roomToWait(ctx context.Context, actor string, r Request) error {
	patience, err := r.patience()
	if err != nil || patience == 0 {
		return err
	}
	records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixWaiting, Limit: maxWaiting})
	if err != nil {
		return fmt.Errorf("count waiting promotions: %w", err)
	}
	ofRepository, ofRequester := 0, 0
	for _, record := range records {
		if strings.HasPrefix(record.Key, waitingPrefix(r.Repository)) {
			ofRepository++
		}
		if w, err := tiers.Decode[waiting](record); err == nil && w.By == actor {
			ofRequester++
		}
	}
	for _, bound := range []struct {
		of         string
		have, most int
	}{
		{"repository " + r.Repository, ofRepository, maxWaitingRepository},
		{actor, ofRequester, maxWaitingRequester},
		{"the registry", len(records), maxWaiting},
	} {
		if bound.have >= bound.most {
			return fmt.Errorf("%w: %d promotions of %s wait for approvals already, which is the most: ask without waiting, see them with GET /api/v1/promotions?state=Pending, and cancel what is not needed with DELETE /api/v1/promotions/{id}",
				oci.ErrTooManyRequests, bound.have, bound.of)
		}
	}
	return nil
}

// waits says whether a promotion waits for somebody else: nobody works on it.
func (o *opened) waits() bool { return o.State == Pending && o.WaitUntil != nil && o.Owner == "" }

// mayWait says whether a promotion that was refused wants to wait and has reason to.
func (o *opened) mayWait(now time.Time) bool {
	return now.Before(o.WaitLimit) && o.Verdict.Awaits()
}

// park has the promotion wait. All of it is one write, so a crash leaves it either being
// decided, which is begun anew, or waiting.
func (m *move) park(ctx context.Context) error {
	o, before := m.o, m.o.journal
	until := o.WaitLimit
	w := waiting{From: o.From, To: o.To, Reference: o.Reference, Digest: o.Digest, Until: until, By: o.RequestedBy,
		Generation: m.plan.basis.Generation.Revision, Policy: revisions(m.policy), Seen: m.seen}
	change := tiers.Change{
		Delete: []string{prefixOpen + o.ID},
		// Who asks for the same, with the approvals that came so far, finds this one.
		Put: []tiers.Put{{Key: waitingPrefix(o.Repository) + o.ID, Value: tiers.Encode(w)}, m.keyed(),
			{Key: prefixKey + waitKey(m.request, o.Digest), Value: []byte(o.ID)}},
	}
	if o.WaitUntil == nil {
		change.Put = append(change.Put, m.engine.registry.EventPut(tiers.Event{Type: tiers.EventWaiting, Actor: o.RequestedBy,
			Tier: o.To, Repository: o.Repository, From: o.From, Digest: o.Digest, Cause: o.ID, Tags: o.Tags,
			Policy: o.Verdict.Policy.Name + "@" + o.Verdict.Policy.Digest.String(), Body: tiers.Encode(o.Verdict)}))
	}
	o.State, o.Owner, o.WaitUntil = Pending, "", &until
	if err := m.engine.write(ctx, o, change); err != nil {
		o.journal = before
		return err
	}
	return nil
}

// parkAgain has a promotion wait that waited before, and that could not be decided because
// what it rests on does not come to rest: whoever may push below must not end what others
// have approved. Its record says that nothing was seen, so the next look takes it up.
func (e *Engine) parkAgain(ctx context.Context, o *opened) error {
	if err := e.clear(ctx, o); err != nil {
		return err
	}
	o.State, o.Owner, o.Verdict, o.Moved, o.Left, o.Summary, o.Standing = Pending, "", nil, Moved{}, nil, "", nil
	w := waiting{From: o.From, To: o.To, Reference: o.Reference, Digest: o.Digest, Until: o.WaitLimit, By: o.RequestedBy}
	return e.write(ctx, o, tiers.Change{
		Delete: []string{prefixOpen + o.ID},
		Put:    []tiers.Put{{Key: waitingPrefix(o.Repository) + o.ID, Value: tiers.Encode(w)}},
	})
}

// Cancel ends a promotion that waits for approvals: it has Failed, for they are missing, or
// is Errored where its last decision came to nothing and it waits for the next. The error
// wraps oci.ErrPromotionUnknown, or oci.ErrConflict where it does not wait.
func (e *Engine) Cancel(ctx context.Context, actor, id string) error {
	if strings.Contains(id, "/") {
		return fmt.Errorf("%w: %s", oci.ErrPromotionUnknown, id)
	}
	o, err := e.open(ctx, id)
	switch {
	case err != nil:
		return err
	case o.State.Terminal():
		return fmt.Errorf("%w: promotion %s is %s: there is nothing left to cancel", oci.ErrConflict, id, o.State)
	case !o.waits():
		return fmt.Errorf("%w: promotion %s is being decided: it can be cancelled while it waits for approvals", oci.ErrConflict, id)
	}
	o.Error = "it waits no longer: " + actor + " cancelled it"
	state, event := Failed, tiers.Event{Type: tiers.EventRefused, Actor: actor}
	if o.Verdict == nil { // parked again
		state, event.Type = Errored, tiers.EventErrored
	}
	// The end compares the journal, which whoever takes it up changes.
	return e.end(ctx, o, state, event, tiers.Change{Delete: []string{waitingPrefix(o.Repository) + id}})
}

// keyed has whoever asks for what this promotion rests on now find it, however it was
// found before.
func (m *move) keyed() tiers.Put {
	m.o.Key = requestKey(m.request, m.o.Digest, m.policy.Digest(), m.plan)
	return tiers.Put{Key: prefixKey + m.o.Key, Value: []byte(m.o.ID)}
}

// waitKey identifies what a promotion waits with, whatever evidence has come so far and
// whatever policy is in force.
func waitKey(r Request, root digest.Digest) string { return requestKey(r, root, "", &plan{}) }

// waitingFor finds the promotion that waits already with what is asked for; nil where none
// does. It may have not seen yet what has come since.
func (e *Engine) waitingFor(ctx context.Context, r Request, root digest.Digest) (*opened, error) {
	pointer, err := e.get(ctx, prefixKey+waitKey(r, root))
	if err != nil || pointer.Revision == 0 {
		return nil, err
	}
	o, err := e.open(ctx, string(pointer.Value))
	if errors.Is(err, oci.ErrPromotionUnknown) || err == nil && o.State.Terminal() {
		return nil, nil
	}
	return o, err
}

func revisions(pol *inForce) []int64 {
	all := make([]int64, len(pol.records))
	for i, record := range pol.records {
		all[i] = record.Revision
	}
	return all
}

// endOfWait says why a promotion that waited waits no longer.
func (m *move) endOfWait() string {
	if m.o.Verdict.Awaits() {
		return fmt.Sprintf("it waited for approvals until %s, and they did not come", m.o.WaitUntil.Format(time.RFC3339))
	}
	var rules []string
	for _, r := range m.o.Verdict.Rules {
		if r.Mode == policy.Enforce && !r.Allowed && r.Awaits == "" {
			rules = append(rules, r.Name)
		}
	}
	return "it waits no longer: approvals would not change what the policy says by " + strings.Join(rules, ", ")
}

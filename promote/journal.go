package promote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// The journal in the catalog.
//
//	promotion/<id>         journal: the promotion and who works on it
//	promotion-open/<id>    it is not terminal, or is and was not tidied up after; who owns it
//	promotion-waiting/<repo>@<id>  it waits for approvals: what it has seen
//	promotion-key/<hash>   the promotion that did, or does, exactly this
//	replica/<id>           sign of life of a replica; expires
const (
	prefixPromotion = "promotion/"
	prefixOpen      = "promotion-open/"
	prefixKey       = "promotion-key/"
	prefixReplica   = "replica/"
)

// journal is the record of a promotion. Every write of it compares the revision that the
// writer has read, so a replica that was taken for dead and comes back changes nothing.
type journal struct {
	Promotion
	Key     string `json:"key"`
	Owner   string `json:"owner,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Code tells a repeated answer what kind of error an Errored promotion had.
	Code string `json:"code,omitempty"`
	// WaitLimit is until when it may wait for approvals; zero: not at all.
	WaitLimit time.Time `json:"waitLimit,omitzero"`
	// Large says that it takes long: it gets its turn among such.
	Large bool `json:"large,omitempty"`
	// Follows says that nobody asked for it: it is the work of a tier that follows.
	Follows bool `json:"follows,omitempty"`
}

// opened is a journal as it was read.
type opened struct {
	journal
	record   tiers.Record
	prepared *prepared // for the first attempt; nil: read again
}

// arrival is the id of what an attempt stages in the tier above and pins in both: an
// attempt that was cut off is rolled back, never gone on with.
func (j *journal) arrival() string { return fmt.Sprintf("%s.%d", j.ID, j.Attempt) }

// requestKey identifies a promotion by all that decides it: what rises where under which
// tags, by which policy, on what evidence.
func requestKey(r Request, root digest.Digest, policyDigest digest.Digest, p *plan) string {
	var attached []string
	for _, ev := range p.evidence {
		attached = append(attached, ev.Subject.String()+" "+ev.Manifest.String())
		for _, id := range ev.Revoked { // what succeeded on it before is something else
			attached = append(attached, ev.Manifest.String()+" revoked "+id)
		}
	}
	for _, n := range p.nodes {
		attached = append(attached, n.desc.Digest.String())
	}
	for _, t := range p.tags {
		attached = append(attached, t.desc.Digest.String()+" "+t.tag)
	}
	if p.held != nil { // what succeeded before is something else
		attached = append(attached, "quarantine "+p.held.ID)
	}
	slices.Sort(attached)
	h := sha256.New()
	enc := json.NewEncoder(h)
	// Encoding strings to a hash cannot fail.
	_ = enc.Encode([]string{r.Repository, r.From, r.To, root.String(), policyDigest.String(), askedTag(r)})
	_ = enc.Encode(r.Tags)
	_ = enc.Encode(slices.Compact(attached))
	if r.Rollback {
		_ = enc.Encode([]string{"rollback", r.Replaces.String()})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// askedTag is the tag that a request named; empty for a digest.
func askedTag(r Request) string {
	if oci.IsDigest(r.Reference) {
		return ""
	}
	return r.Reference
}

// open reads a journal.
func (e *Engine) open(ctx context.Context, id string) (*opened, error) {
	record, err := e.get(ctx, prefixPromotion+id)
	if err != nil {
		return nil, fmt.Errorf("promotion %s: %w", id, err)
	}
	if record.Revision == 0 {
		return nil, fmt.Errorf("%w: %s", oci.ErrPromotionUnknown, id)
	}
	j, err := tiers.Decode[journal](record)
	return &opened{journal: j, record: record}, err
}

// write changes the journal, alone or together with change.
func (e *Engine) write(ctx context.Context, o *opened, change tiers.Change) error {
	value := tiers.Encode(o.journal)
	change.If = append(change.If, tiers.Unchanged(o.record))
	change.Put = append(change.Put, tiers.Put{Key: o.record.Key, Value: value})
	revision, err := e.registry.Catalog().Commit(ctx, change)
	if err != nil {
		return fmt.Errorf("journal of promotion %s: %w", o.ID, err)
	}
	o.record.Revision, o.record.Value = revision, value
	return nil
}

// begin records a request and claims it, unless the very same is under way or was done:
// then that one is returned. A former one that came to nothing is no obstacle.
// extra is written with it, and compared.
func (e *Engine) begin(ctx context.Context, actor string, r Request, p *plan, pol *inForce, extra func(id string) tiers.Change) (o *opened, created bool, err error) {
	key := requestKey(r, p.basis.Root.Digest, pol.Digest(), p)
	patience, err := r.patience()
	if err != nil {
		return nil, false, err
	}
	err = tiers.Retry(ctx, func() error {
		if patience > 0 {
			if o, err = e.waitingFor(ctx, r, p.basis.Root.Digest); o != nil || err != nil {
				return err
			}
		}
		pointer, err := e.get(ctx, prefixKey+key)
		if err != nil {
			return err
		}
		if o, err = e.former(ctx, pointer); o != nil || err != nil {
			return err
		}
		// What is there already needs no room.
		if err := errors.Join(e.turns.room(actor), e.roomToWait(ctx, actor, r)); err != nil {
			return err
		}
		o = e.newJournal(actor, r, p.basis.Root.Digest)
		o.Key, o.Large = key, p.large(e.shared(r))
		if patience > 0 {
			o.WaitLimit = o.CreatedAt.Add(patience)
		}
		id, extra := o.ID, e.hold(o, extra(o.ID))
		e.claim(id) // before anybody can see it, recover too
		err = e.write(ctx, o, tiers.Change{
			If:  append([]tiers.Condition{tiers.Unchanged(pointer)}, extra.If...),
			Put: append([]tiers.Put{e.opensFor(id), {Key: pointer.Key, Value: []byte(id)}}, extra.Put...),
		})
		created = err == nil
		if err != nil {
			e.release(id)
		}
		return e.unheld(o, err)
	})
	return o, created, err
}

// former is the promotion that does, or did, the very same as what is asked for now. nil
// where there is none, and where it came to nothing or its tags were moved since.
func (e *Engine) former(ctx context.Context, pointer tiers.Record) (*opened, error) {
	if pointer.Revision == 0 {
		return nil, nil
	}
	former, err := e.open(ctx, string(pointer.Value))
	if errors.Is(err, oci.ErrPromotionUnknown) {
		return nil, nil
	}
	if err != nil || !former.State.Terminal() {
		return former, err
	}
	if former.State != Succeeded {
		return nil, nil
	}
	if stands, err := e.stillStands(ctx, former); err != nil || !stands {
		return nil, err
	}
	return former, nil
}

// newJournal makes the journal of a promotion that nobody has asked for before.
func (e *Engine) newJournal(actor string, r Request, root digest.Digest) *opened {
	id := e.registry.NewID()
	return &opened{record: tiers.Record{Key: prefixPromotion + id}, journal: journal{Owner: e.owner, Follows: r.follows, Promotion: Promotion{
		ID: id, State: Pending, Repository: r.Repository, Reference: r.Reference, Digest: root,
		From: r.From, To: r.To, Tags: r.Tags, RequestedBy: actor, Reason: r.Reason, Rollback: r.Rollback, Replaces: r.Replaces, CreatedAt: e.registry.Now(),
	}}}
}

// stillStands says whether a promotion that succeeded would change nothing if it were done
// again: its tags still point where it put them.
func (e *Engine) stillStands(ctx context.Context, o *opened) (bool, error) {
	target, err := e.registry.Repository(o.To, o.Repository, o.RequestedBy)
	if err != nil {
		return false, err
	}
	for _, reference := range append([]string{o.Digest.String()}, o.Tags...) {
		desc, err := target.Resolve(ctx, reference)
		if errors.Is(err, oci.ErrManifestUnknown) {
			return false, nil
		}
		if err != nil || desc.Digest != o.Digest {
			return false, err
		}
	}
	return true, nil
}

// end writes a terminal state with its event, which is the requester's doing unless it says
// whose. An error leaves o as it was: the promotion
// is not known to have ended.
func (e *Engine) end(ctx context.Context, o *opened, state State, event tiers.Event, change tiers.Change) error {
	before, now := o.journal, e.registry.Now()
	o.State, o.FinishedAt, o.Owner = state, &now, ""
	if event.Actor == "" {
		event.Actor = o.RequestedBy
	}
	event.Tier, event.Repository, event.From = o.To, o.Repository, o.From
	event.Digest, event.Cause, event.Tags = o.Digest, o.ID, o.Tags
	if o.Verdict != nil {
		event.Policy = o.Verdict.Policy.Name + "@" + o.Verdict.Policy.Digest.String()
	}
	event.Body = tiers.Encode(o.journal) // the promotion, and what it takes to find it again
	change.Put = append(change.Put, e.registry.EventPut(event))
	if !o.arrived() {
		change.Delete = append(change.Delete, e.held(o)...)
	}
	err := e.write(ctx, o, change)
	if err != nil {
		o.journal = before
	}
	return err
}

// Promotion finds one. The error wraps oci.ErrPromotionUnknown.
func (e *Engine) Promotion(ctx context.Context, id string) (Promotion, error) {
	if strings.Contains(id, "/") {
		return Promotion{}, fmt.Errorf("%w: %s", oci.ErrPromotionUnknown, id)
	}
	o, err := e.open(ctx, id)
	if err != nil {
		return Promotion{}, err
	}
	return o.Promotion, nil
}

// Promotions lists at most n, the newest first, after the id last. next is what to ask for
// as last to go on; empty at the end.
func (e *Engine) Promotions(ctx context.Context, filter Filter, last string, n int) (page []Promotion, next string, err error) {
	n = min(max(n, 1), 1000)
	page = []Promotion{}
	for {
		q := tiers.Query{Prefix: prefixPromotion, Limit: 200, Descending: true}
		if last != "" {
			q.After = prefixPromotion + last
		}
		records, err := e.registry.Catalog().List(ctx, q)
		if err != nil {
			return nil, "", fmt.Errorf("list promotions: %w", err)
		}
		for _, record := range records {
			j, err := tiers.Decode[journal](record)
			if err != nil {
				return nil, "", err
			}
			if len(page) == n {
				return page, page[n-1].ID, nil // there are more to look at
			}
			if last = j.ID; filter.selects(j.Promotion) {
				page = append(page, j.Promotion)
			}
		}
		if len(records) < q.Limit {
			return page, "", nil
		}
	}
}

func (f Filter) selects(p Promotion) bool {
	return (f.Repository == "" || f.Repository == p.Repository) && (f.To == "" || f.To == p.To) && (f.State == "" || f.State == p.State)
}

// Signs of life of a replica. One that is taken for dead too early loses its promotions to
// another and nothing else: its writes compare the journal.
const (
	lifeExpiry  = 4 * time.Second // at the least; the catalog may keep it twice as long
	lifeRenewal = time.Second
)

// alive tells the other replicas that what this one owns is being worked on.
func (e *Engine) alive(ctx context.Context) error {
	_, err := e.registry.Catalog().Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: prefixReplica + e.owner, Expire: lifeExpiry}}})
	return err
}

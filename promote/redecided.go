package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Outcome is what became of an artifact of which the policy says something else.
type Outcome string

// The outcomes.
const (
	OutcomeQuarantined Outcome = "quarantined" // nobody pulls it any more, or nobody did before
	OutcomeReported    Outcome = "reported"    // its standing says so, and an event
	OutcomeRestored    Outcome = "restored"    // it passes again, and is in quarantine because of no revocation
	OutcomeUndecided   Outcome = "undecided"   // Error says why
)

// Bounds of what is kept of one artifact.
const (
	maxSaid        = 20
	maxSaidMessage = 500
	maxRestedOn    = 20
)

// Redecided is an artifact of which the policy of its tier says something else because of a
// revocation, or because it was lifted.
type Redecided struct {
	Tier       string        `json:"tier"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Tags       []string      `json:"tags"` // the first of them
	Before     bool          `json:"before"`
	Allowed    bool          `json:"allowed"`
	// Rules are those that say something else now, enforced ones.
	Rules []Said `json:"rules"`
	// Evidence is what the revocation is about, the first of it.
	Evidence []digest.Digest `json:"evidence"`
	Outcome  Outcome         `json:"outcome"`
	// Quarantine is the id of that which it is in.
	Quarantine string    `json:"quarantine,omitempty"`
	Lifting    bool      `json:"lifting,omitempty"` // found when the revocation was lifted
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"at"`
}

// Said is what a rule says now.
type Said struct {
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	Message string `json:"message"`
}

// decided is what a redecision found of one artifact.
type decided struct {
	rested bool
	change *Redecided // nil: nothing changed
}

func redecidedKey(id, tier, repository string, d digest.Digest) string {
	return prefixRedecided + id + "/" + tier + "/" + repository + "@" + d.String()
}

// Redecided lists at most n of the artifacts of which a revocation, or its end, changed what
// the policy says, after last. next is what to ask for as last to go on; empty at the end.
func (e *Engine) Redecided(ctx context.Context, id, last string, n int) (page []Redecided, next string, err error) {
	if _, err := e.Revocation(ctx, id); err != nil {
		return nil, "", err
	}
	records, next, err := e.pageOf(ctx, prefixRedecided+id+"/", last, n)
	if err != nil {
		return nil, "", err
	}
	page = make([]Redecided, len(records))
	for i, record := range records {
		if page[i], err = tiers.Decode[Redecided](record); err != nil {
			return nil, "", err
		}
	}
	return page, next, nil
}

// Revoking says what a revocation would change, a page at a time; nothing is written. It
// returns how many artifacts were decided about, and of how many evidence would count no more.
func (e *Engine) Revoking(ctx context.Context, actor string, request RevocationRequest, last string) (page []Redecided, at Redecision, next string, err error) {
	r, err := e.revocation(ctx, actor, request)
	if err != nil {
		return nil, at, "", err
	}
	r.ID = "dry-run" // in what rules would say: there is none of any other
	now, err := e.revocations(ctx)
	if err != nil {
		return nil, at, "", err
	}
	p := &redeciding{engine: e, revocation: r, before: now, after: now.with(r), dry: true}
	at.Tier, at.Last, _ = strings.Cut(last, "/")
	all, err := p.page(ctx, &at)
	if err != nil {
		return nil, at, "", err
	}
	page = []Redecided{}
	for _, d := range all {
		if at.count(d); d.change != nil {
			page = append(page, *d.change)
		}
	}
	if at.Tier != "" {
		next = at.Tier + "/" + at.Last
	}
	at.Tier, at.Last = "", ""
	return page, at, next, nil
}

// decide decides about one artifact; nil where it is none that stands for itself.
func (p *redeciding) decide(ctx context.Context, pol *inForce, a found) (*decided, error) {
	rose := a.standing.Revision != 0
	if !rose && a.Record.Subject != "" {
		return nil, nil // evidence
	}
	var err error
	if a.tags, err = imageTags(ctx, a.repo, a.Digest); err != nil {
		return nil, err
	}
	if !rose && len(a.tags) == 0 {
		return nil, nil // a part of another
	}
	var out *decided
	err = p.engine.guarded(ctx, func() (err error) {
		out, err = p.compare(ctx, pol, a)
		return err
	})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, oci.ErrUnavailable):
		return nil, err
	default:
		out = &decided{change: p.changed(a)}
		out.change.Outcome, out.change.Error = OutcomeUndecided, cut(err.Error(), maxSaidMessage)
	}
	if out.change == nil || p.dry {
		return out, nil
	}
	return out, p.settle(ctx, pol, a, out.change)
}

// changed begins what is kept of an artifact.
func (p *redeciding) changed(a found) *Redecided {
	return &Redecided{Tier: a.repo.Tier.Name, Repository: a.repo.Name, Digest: a.Digest, Tags: a.tags[:min(len(a.tags), maxTags)],
		Rules: []Said{}, Evidence: []digest.Digest{}, Lifting: p.revocation.Lifted != nil, At: p.engine.registry.Now()}
}

// compare asks the policy with and without the revocation, where evidence of the artifact is
// what that is about: of others it changes nothing.
func (p *redeciding) compare(ctx context.Context, pol *inForce, a found) (*decided, error) {
	e, now := p.engine, p.engine.registry.Now()
	have, err := p.evidenceOf(ctx, pol, a)
	if err != nil {
		return nil, err
	}
	with := p.after
	if p.revocation.Lifted != nil {
		with = p.before
	}
	evidence := have.evidenceAt(e.verify(with), pol.Authorities(), now)
	rested := restedOn(evidence, p.revocation.ID)
	if len(rested) == 0 {
		return &decided{}, nil
	}
	out := &decided{rested: true}
	// What is too old by now failed before as well. So where nothing changes it is asked again
	// as of the time at which the artifact came: what was taken away must not pass for what was
	// never there.
	for _, at := range []time.Time{now, a.Record.CreatedAt} {
		before, err := e.ask(ctx, pol.Policy, a.artifact, have, p.before, at)
		if err != nil {
			return nil, err
		}
		after, err := e.ask(ctx, pol.Policy, a.artifact, have, p.after, at)
		if err != nil {
			return nil, err
		}
		if said := otherwise(before, after); len(said) > 0 {
			out.change = p.changed(a)
			out.change.Before, out.change.Allowed = before.Allowed, after.Allowed
			out.change.Rules, out.change.Evidence = said[:min(len(said), maxSaid)], rested[:min(len(rested), maxRestedOn)]
			out.change.Outcome = OutcomeReported
			switch {
			case after.Allowed && !before.Allowed:
				out.change.Outcome = OutcomeRestored
				if keeps, err := p.keeps(ctx, a, evidence); err != nil || keeps {
					out.change.Outcome = OutcomeReported
					return out, err
				}
			case pol.Quarantines() && slices.ContainsFunc(said, func(s Said) bool { return !s.Allowed }):
				out.change.Outcome = OutcomeQuarantined
			}
			break
		}
	}
	return out, nil
}

// keeps says whether another revocation has put the artifact in quarantine, in whatever tier, or
// would have: then it stays there, although the policy of this one lets it pass.
func (p *redeciding) keeps(ctx context.Context, a found, evidence []attest.Evidence) (bool, error) {
	var keys []string
	for _, ev := range evidence {
		for _, id := range ev.Revoked {
			for _, t := range p.engine.registry.Tiers() {
				if id != p.revocation.ID {
					keys = append(keys, redecidedKey(id, t.Name, a.repo.Name, a.Digest))
				}
			}
		}
	}
	slices.Sort(keys)
	for chunk := range slices.Chunk(slices.Compact(keys), tiers.MaxOps) {
		records, err := p.engine.registry.Catalog().Get(ctx, chunk...)
		if err != nil {
			return false, err
		}
		for _, record := range records {
			if record.Revision == 0 {
				continue
			}
			if c, err := tiers.Decode[Redecided](record); err != nil || c.Outcome == OutcomeQuarantined {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// evidenceOf is what is attached to the artifact in its tier and, where a policy lets no more
// than some types rise, what hangs on it below: it was decided by that too.
func (p *redeciding) evidenceOf(ctx context.Context, pol *inForce, a found) (*plan, error) {
	have, err := p.engine.gather(ctx, a.repo, a.Descriptor)
	if err != nil || pol.Carry().Admits("", true) {
		return have, err
	}
	below, err := p.engine.registry.Repository(a.repo.Tier.From, a.repo.Name, "")
	if err != nil {
		return nil, err
	}
	desc, err := below.Resolve(ctx, a.Digest.String())
	if errors.Is(err, oci.ErrManifestUnknown) {
		return have, nil
	}
	if err != nil {
		return nil, err
	}
	more, err := p.engine.gather(ctx, below, desc)
	if err != nil {
		return nil, err
	}
	have.attached = append(have.attached, more.attached...) // what is in both is a copy, and counts once
	return have, nil
}

// restedOn is the evidence that a revocation takes away.
func restedOn(evidence []attest.Evidence, id string) []digest.Digest {
	var all []digest.Digest
	for _, ev := range evidence {
		if slices.Contains(ev.Revoked, id) {
			all = append(all, cmp.Or(ev.Manifest, ev.Layer))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// otherwise lists the enforced rules that say another thing in the second verdict.
func otherwise(before, after policy.Verdict) []Said {
	said := map[string]bool{}
	for _, r := range before.Rules {
		said[r.Name] = r.Mode != policy.Enforce || r.Allowed
	}
	var all []Said
	for _, r := range after.Rules {
		if was, there := said[r.Name]; r.Mode == policy.Enforce && (!there || was != r.Allowed) {
			all = append(all, Said{r.Name, r.Allowed, cut(r.Message, maxSaidMessage)})
		}
	}
	return all
}

// settle acts on what changed, as it says, and keeps it with the standing and their event. All
// of it may be done again: what was done is found.
func (p *redeciding) settle(ctx context.Context, pol *inForce, a found, c *Redecided) error {
	e := p.engine
	record, err := e.get(ctx, redecidedKey(p.revocation.ID, c.Tier, c.Repository, c.Digest))
	if err != nil {
		return err
	}
	if record.Revision != 0 {
		there, err := tiers.Decode[Redecided](record)
		if err == nil && there.Lifting == c.Lifting && there.Outcome == c.Outcome && there.Allowed == c.Allowed {
			*c = there
			return nil
		}
	}
	if err := p.act(ctx, c); err != nil {
		return err
	}
	change := tiers.Change{
		If:  slices.Concat(p.guard, unchanged(pol.records), []tiers.Condition{tiers.Unchanged(record), a.repo.HasManifest(a.Digest)}),
		Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(c)}},
	}
	if c.Outcome != OutcomeUndecided {
		standing, err := p.standing(a, c)
		if err != nil {
			return err
		}
		if a.standing.Revision != 0 { // fsck wants one to name the promotion that it came by
			change.If = append(change.If, tiers.Unchanged(a.standing))
			change.Put = append(change.Put, tiers.Put{Key: a.standing.Key, Value: tiers.Encode(standing.record)})
		}
		change.Put = append(change.Put, e.registry.EventPut(tiers.Event{Type: tiers.EventStanding, Actor: p.actor(), Tier: c.Tier,
			From: a.repo.Tier.From, Repository: c.Repository, Digest: c.Digest, Cause: p.revocation.cause(),
			Policy: pol.Name() + "@" + pol.Digest().String(), Body: tiers.Encode(standing.told),
			Records: []tiers.EventRecord{{Key: record.Key, Value: tiers.Encode(c)}}}))
	}
	_, err = e.registry.Catalog().Commit(ctx, change)
	return err
}

// actor is on whose word the artifacts are decided anew.
func (p *redeciding) actor() string {
	if p.revocation.Lifted != nil {
		return p.revocation.Lifted.By
	}
	return p.revocation.By
}

// newStanding is how an artifact stands from now on, for its record and for the event.
type newStanding struct {
	record standingRecord
	told   Standing
}

func (p *redeciding) standing(a found, c *Redecided) (s newStanding, err error) {
	if a.standing.Revision != 0 {
		if s.record, err = tiers.Decode[standingRecord](a.standing); err != nil {
			return s, err
		}
	}
	if s.record.Allowed != c.Allowed || s.record.Since.IsZero() {
		s.record.Since = c.At
	}
	s.record.Allowed = c.Allowed
	s.told = Standing{Allowed: c.Allowed, Since: s.record.Since, Previous: s.record.Promotion, Changed: []string{}}
	for _, r := range c.Rules {
		s.told.Changed = append(s.told.Changed, r.Name)
		s.record.Refused = slices.DeleteFunc(s.record.Refused, func(name string) bool { return name == r.Name })
		if !r.Allowed {
			s.record.Refused = append(s.record.Refused, r.Name)
		}
	}
	return s, nil
}

// cause is how the reasons of quarantines begin that a revocation made, and what its events
// name.
func (r *Revocation) cause() string { return causeRevocation + r.ID }

const causeRevocation = "revocation "

// act puts an artifact in quarantine, or lifts that which a revocation put it in.
func (p *redeciding) act(ctx context.Context, c *Redecided) error {
	p.acts.Lock()
	defer p.acts.Unlock()
	r := p.engine.registry
	switch c.Outcome {
	case OutcomeQuarantined:
		q, _, err := r.Quarantine(ctx, p.actor(), c.Digest, fmt.Sprintf("%s of %s: %s", p.revocation.cause(), p.revocation.Kind, p.revocation.Reason), time.Time{})
		if err != nil && (q.ID == "" || !errors.Is(err, oci.ErrConflict)) { // it may be there for another reason
			return err
		}
		c.Quarantine = q.ID
	case OutcomeRestored:
		q, err := r.QuarantineOf(ctx, c.Digest)
		if errors.Is(err, oci.ErrQuarantineUnknown) {
			return nil
		}
		if err != nil {
			return err
		}
		made, err := p.made(ctx, q)
		if err != nil {
			return err
		}
		if !made {
			c.Quarantine = q.ID // somebody else's: it stays
			return nil
		}
		err = r.LiftThatQuarantine(ctx, p.actor(), q, p.revocation.cause()+" was lifted, and it passes again")
		if errors.Is(err, oci.ErrQuarantineUnknown) {
			return nil
		}
		return err
	}
	return nil
}

// made says whether a revocation made a quarantine.
func (p *redeciding) made(ctx context.Context, q tiers.Quarantine) (bool, error) {
	words := strings.Fields(q.Reason)
	if len(words) < 2 || words[0] != "revocation" {
		return false, nil
	}
	r, err := p.engine.Revocation(ctx, words[1])
	if errors.Is(err, oci.ErrRevocationUnknown) {
		return false, nil
	}
	return err == nil && strings.HasPrefix(q.Reason, r.cause()+" of ") && (q.Owner == r.By || r.Lifted != nil && q.Owner == r.Lifted.By), err
}

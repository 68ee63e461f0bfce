package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Tiers that follow the evidence below.
//
// An artifact that stands in one is promoted again when anything is attached to it in the
// tier below that an authority of the policy signed: that rises, and nothing else whatever
// the policy carries, and its standing is decided anew. One that was taken out of
// the tier stays out, whenever that was done: the commit compares that it stands.
//
// The record of its standing says what was seen there by the decision that was made last.
// Whoever finds that it changed writes the promotion's id into the record in the
// transaction that begins it, so of two replicas one begins it.

// followActor is who asks for the promotions of tiers that follow.
const followActor = "sluice"

// Pauses after a promotion of a tier that follows has erred; each is twice the last.
const (
	followFirstPause = time.Second
	followLastPause  = 10 * time.Minute
)

// standingPage is how many artifacts of a tier one look goes through; the next goes on.
const standingPage = 50

// follow goes through a page of what stands in each tier that follows.
func (l *look) follow(ctx context.Context) error {
	for _, t := range l.engine.registry.Tiers() {
		if !t.FollowEvidence || t.From == "" {
			continue
		}
		prefix := prefixStanding + t.Name + "/"
		records, err := l.engine.registry.Catalog().List(ctx, tiers.Query{Prefix: prefix, After: l.engine.followed[t.Name], Limit: standingPage})
		if err != nil {
			return err
		}
		l.engine.followed[t.Name] = ""
		for _, record := range records {
			if l.resumed == maxResumed {
				break
			}
			if err := l.followed(ctx, t, record); err != nil {
				if ctx.Err() != nil || errors.Is(err, oci.ErrUnavailable) {
					return err
				}
				l.engine.log.WarnContext(ctx, "new evidence could not be followed", "record", record.Key, "error", err)
			}
			if len(records) == standingPage || l.resumed == maxResumed {
				l.engine.followed[t.Name] = record.Key
			}
		}
	}
	return nil
}

// followed looks at one artifact, and promotes it again where something new hangs on it.
func (l *look) followed(ctx context.Context, t *tiers.Tier, record tiers.Record) error {
	name := strings.TrimPrefix(record.Key, prefixStanding+t.Name+"/")
	at := strings.LastIndex(name, "@")
	if at < 0 {
		return nil
	}
	repository, d := name[:at], digest.Digest(name[at+1:])
	standing, err := tiers.Decode[standingRecord](record)
	if err != nil {
		return err
	}
	source, err := l.engine.registry.Repository(t.From, repository, followActor)
	if err != nil {
		return err
	}
	generation, err := l.generationOf(ctx, source)
	if err != nil || generation == standing.Generation {
		return err
	}
	if quiet, ok := l.engine.quiet.Get(record.Key); ok && quiet == generation {
		return nil
	}
	if underway, err := l.engine.underway(ctx, standing); underway || err != nil {
		return err
	}
	stands, err := l.engine.standsIn(ctx, t.Name, repository, d)
	if err != nil {
		return err
	}
	same, err := standing.Seen.same(ctx, source)
	if err != nil {
		return err
	}
	request := Request{Repository: repository, Reference: d.String(), From: t.From, To: t.Name, follows: true}
	pending := false
	if stands && !same {
		pending, err = l.promoteAgain(ctx, record, standing, generation, source, request)
	}
	if err == nil && !pending {
		l.engine.quiet.Add(record.Key, generation)
	}
	return err
}

// promoteAgain begins the promotion and says so in the record. What is there counts as seen
// only once a promotion that saw it has ended with a decision: one that errs is begun again.
// An artifact that is gone below brings nothing more.
func (l *look) promoteAgain(ctx context.Context, record tiers.Record, standing standingRecord, generation int64, source *tiers.Repository, request Request) (pending bool, err error) {
	if _, err := source.Resolve(ctx, request.Reference); err != nil {
		return false, ignoreUnknown(err)
	}
	prepared, err := l.engine.prepare(ctx, followActor, &request)
	if err != nil {
		return true, err
	}
	fresh, err := l.engine.stated(ctx, prepared, request, standing.Stated)
	if err != nil {
		return true, err
	}
	if !fresh {
		return l.passed(ctx, record, standing, generation, prepared)
	}
	p, created, err := l.engine.startPrepared(ctx, followActor, request, prepared, func(id string) tiers.Change {
		next := standing
		next.Following, next.Tries = id, standing.Tries+1
		return tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)}, Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(next)}}}
	})
	switch {
	case errors.Is(err, oci.ErrConflict): // another replica was first
		return true, nil
	case err != nil:
		return true, err
	case created:
		l.resumed++
		l.engine.log.InfoContext(ctx, "new evidence rises by itself", "promotion", p.ID, "digest", p.Digest)
		return true, nil
	case !p.State.Terminal() && p.WaitUntil == nil: // somebody asked for the very same
		standing.Following = p.ID
		_, err := l.keep(ctx, record, standing)
		return true, err
	}
	// It was done before: what is new does not rise and decides nothing.
	return l.passed(ctx, record, standing, generation, prepared)
}

// passed says in the record that what is there was seen and needs no decision.
func (l *look) passed(ctx context.Context, record tiers.Record, standing standingRecord, generation int64, prepared *prepared) (pending bool, err error) {
	standing.Generation, standing.Seen, standing.Following, standing.Tries = generation, prepared.seen, "", 0
	standing.Stated, _ = statedBy(prepared.plan.evidence)
	return l.keep(ctx, record, standing)
}

// keep writes the record. Where somebody else has meanwhile, that is looked at next.
func (l *look) keep(ctx context.Context, record tiers.Record, standing standingRecord) (pending bool, err error) {
	_, err = l.engine.registry.Catalog().Commit(ctx, tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)}, Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(standing)}}})
	if errors.Is(err, oci.ErrConflict) {
		return true, nil
	}
	return false, err
}

// underway says whether the promotion that was begun last is to be waited for: it has not
// ended, or it erred a short while ago.
func (e *Engine) underway(ctx context.Context, standing standingRecord) (bool, error) {
	if standing.Following == "" {
		return false, nil
	}
	o, err := e.open(ctx, standing.Following)
	switch {
	case errors.Is(err, oci.ErrPromotionUnknown):
		return false, nil
	case err != nil:
		return false, err
	case o.State == Errored:
		return e.registry.Now().Before(o.FinishedAt.Add(followPause(standing.Tries))), nil
	}
	return !o.State.Terminal() && !o.waits(), nil
}

// followPause is how long a tier that follows waits after so many tries that erred. There is
// no last try, as the news may be bad: a store that is gone for a week comes back too.
func followPause(tries int) time.Duration {
	pause := followFirstPause
	for range tries - 1 {
		if pause *= 2; pause >= followLastPause {
			return followLastPause
		}
	}
	return pause
}

// standsIn says whether an artifact is in a tier.
func (e *Engine) standsIn(ctx context.Context, tier, repository string, d digest.Digest) (bool, error) {
	target, err := e.registry.Repository(tier, repository, followActor)
	if err != nil {
		return false, err
	}
	_, err = target.Resolve(ctx, d.String())
	if errors.Is(err, oci.ErrManifestUnknown) {
		return false, nil
	}
	return err == nil, err
}

func ignoreUnknown(err error) error {
	if errors.Is(err, oci.ErrManifestUnknown) {
		return nil
	}
	return err
}

// checkFollows ends what a tier that follows began where the artifact stands there no more.
func (m *move) checkFollows(ctx context.Context) error {
	if !m.o.Follows {
		return nil
	}
	stands, err := m.stands(ctx)
	if err == nil && !stands {
		err = fmt.Errorf("%w: %s was taken out of %s, and does not rise again by itself", oci.ErrManifestUnknown, m.o.Digest, m.target.FullName())
	}
	return err
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Tiers that follow the evidence below.
//
// An artifact that stands in one is promoted again when anything is attached to it in the
// tier below: what is new rises, and its standing is decided anew. One that was taken out of
// the tier stays out, whenever that was done: the commit compares that it stands. The record of its
// standing says what was seen there last. Whoever finds that it changed writes that into
// the record in the transaction that begins the promotion, so of two replicas one begins
// it.

// followActor is who asks for the promotions of tiers that follow.
const followActor = "sluice"

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
	stands, err := l.engine.standsIn(ctx, t.Name, repository, d)
	if err != nil {
		return err
	}
	same, err := standing.Seen.same(ctx, source)
	if err != nil {
		return err
	}
	request := Request{Repository: repository, Reference: d.String(), From: t.From, To: t.Name, follows: true}
	if stands && !same {
		err = l.promoteAgain(ctx, record, standing, generation, source, request)
	}
	if err == nil {
		l.engine.quiet.Add(record.Key, generation)
	}
	return err
}

// promoteAgain begins the promotion and says in the record that what is there was seen. An
// artifact that is gone below brings nothing more.
func (l *look) promoteAgain(ctx context.Context, record tiers.Record, standing standingRecord, generation int64, source *tiers.Repository, request Request) error {
	if _, err := source.Resolve(ctx, request.Reference); err != nil {
		return ignoreUnknown(err)
	}
	now, err := l.engine.see(ctx, source, request)
	if err != nil {
		return err
	}
	standing.Generation, standing.Seen = generation, now
	mark := tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)}, Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(standing)}}}
	p, created, err := l.engine.start(ctx, followActor, request, mark)
	switch {
	case errors.Is(err, oci.ErrConflict): // another replica was first
		return nil
	case err != nil:
		return err
	case created:
		l.resumed++
		l.engine.log.InfoContext(ctx, "new evidence rises by itself", "promotion", p.ID, "digest", p.Digest)
		return nil
	}
	// The very same was promoted before: what is new does not rise and decides nothing.
	_, err = l.engine.registry.Catalog().Commit(ctx, mark)
	if errors.Is(err, oci.ErrConflict) {
		return nil
	}
	return err
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

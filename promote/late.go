package promote

import (
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// prefixStanding keeps what was last decided about an artifact that stands in a tier:
// standing/<tier>/<repo>@<digest>.
const prefixStanding = "standing/"

// maxRose is how many of the referrers that rose by themselves are listed.
const maxRose = 100

// standingRecord is the last decision about an artifact that stands above.
type standingRecord struct {
	Promotion string    `json:"promotion"`
	Allowed   bool      `json:"allowed"`
	Since     time.Time `json:"since"` // when it was first said so
	Refused   []string  `json:"refused,omitempty"`
	// Generation of the repository below and what was Seen there, in a tier that follows.
	Generation int64 `json:"generation,omitempty"`
	Seen       seen  `json:"seen,omitzero"`
	// Stated is what authorities had stated there, as a hash.
	Stated string `json:"stated,omitempty"`
	// Following is the promotion that was begun last because something new was there, and
	// Tries how many were for the same. Whatever decides about the artifact ends both.
	Following string `json:"following,omitempty"`
	Tries     int    `json:"tries,omitempty"`
}

func standingKey(tier, repository string, d digest.Digest) string {
	return prefixStanding + tier + "/" + repository + "@" + d.String()
}

// refuse ends a promotion that the policy does not allow. What an authority of the policy
// signed rises all the same, where the artifact stands above already: bad news has to
// reach those who run it.
func (m *move) refuse(ctx context.Context) error {
	if m.o.WaitUntil != nil {
		m.o.Error = m.endOfWait()
	}
	fresh, err := m.late(ctx)
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		return m.rise(ctx, fresh)
	}
	change := tiers.Change{Delete: []string{prefixOpen + m.o.ID}}
	if err := m.settle(ctx, &change); err != nil {
		return err
	}
	return m.engine.end(ctx, m.o, Failed, tiers.Event{Type: tiers.EventRefused}, change)
}

// late lists the evidence that authorities of the policy signed and that is missing above,
// if the artifact stands there. It is among what the plan lets rise, and holds verified
// attestations and nothing else: no index, no runnable image and nothing that was put
// beside a copy of an attestation is ever in it.
func (m *move) late(ctx context.Context) ([]node, error) {
	if !m.policy.Matches(m.o.Repository) {
		return nil, nil
	}
	if stands, err := m.stands(ctx); err != nil || !stands {
		return nil, err
	}
	evidence := *m.plan
	evidence.nodes = slices.DeleteFunc(slices.Clone(m.plan.nodes), func(n node) bool { return !m.plan.signed[n.desc.Digest] })
	evidence.tags = slices.DeleteFunc(slices.Clone(m.plan.tags), func(t cosignTag) bool { return !m.plan.signed[t.desc.Digest] })
	m.dressed()
	m.plan = &evidence
	if err := m.cosignTags(ctx); err != nil {
		return nil, err
	}
	m.plan.untagged()
	return m.fresh(ctx)
}

// dressed lists as left what does not rise late although an authority signed a part of it.
func (m *move) dressed() {
	told := map[digest.Digest]bool{}
	rises := map[digest.Digest]bool{} // all of the plan, but for what was left behind anyway
	for _, n := range m.plan.nodes {
		rises[n.desc.Digest] = true
	}
	for _, ev := range m.plan.evidence {
		d := ev.Manifest
		if !ev.Verified() || m.plan.signed[d] || told[d] || !rises[d] {
			continue
		}
		told[d] = true
		m.leave(Left{Digest: d, Subject: ev.Subject, Reason: "it holds more than attestations of the policy's authorities, and the policy says no"})
	}
}

// leave lists what the plan would have let rise, as far as there is room.
func (m *move) leave(left Left) {
	if len(m.o.Left) < maxLeft {
		m.o.Left = append(slices.Clone(m.o.Left), left)
	}
}

// rise brings evidence alone: no summary, and none of the tags that were asked for.
func (m *move) rise(ctx context.Context, fresh []node) error {
	m.request.Tags = nil
	if err := m.transfer(ctx, fresh); err != nil {
		return err
	}
	if err := m.stage(ctx, fresh); err != nil {
		return err
	}
	for _, n := range fresh[:min(len(fresh), maxRose)] {
		m.o.Moved.Referrers = append(m.o.Moved.Referrers, n.desc.Digest)
	}
	return m.commit(ctx, Failed)
}

// settle decides the artifact's standing anew and adds to change that it is kept. Of an
// artifact that did not stand above before, and does not now, there is none.
//
// The record is written without a condition: promotions of one artifact to several tags
// may end at once, and any order of theirs is right.
func (m *move) settle(ctx context.Context, change *tiers.Change) error {
	o, now := m.o, m.engine.registry.Now()
	record, err := m.engine.get(ctx, standingKey(o.To, o.Repository, o.Digest))
	if err != nil {
		return err
	}
	next := standingRecord{Promotion: o.ID, Allowed: o.Verdict.Allowed, Since: now, Refused: refusedBy(*o.Verdict)}
	if m.target.Tier.FollowEvidence {
		next.Generation, next.Seen = m.plan.basis.Generation.Revision, m.seen
		next.Stated, _ = statedBy(m.plan.evidence)
	}
	if !next.Allowed {
		if stands, err := m.stands(ctx); err != nil || !stands {
			return err
		}
	}
	switch {
	case record.Revision != 0:
		if err := m.compare(record, &next); err != nil {
			return err
		}
	case !next.Allowed: // it rose before standings were kept
		o.Standing = &Standing{Changed: next.Refused}
	}
	change.Put = append(change.Put, tiers.Put{Key: record.Key, Value: tiers.Encode(next)})
	if s := o.Standing; s != nil && next.Since.Equal(now) {
		change.Put = append(change.Put, m.engine.registry.EventPut(tiers.Event{Type: tiers.EventStanding, Actor: o.RequestedBy,
			Tier: o.To, Repository: o.Repository, From: o.From, Digest: o.Digest, Cause: o.ID,
			Policy: o.Verdict.Policy.Name + "@" + o.Verdict.Policy.Digest.String(), Body: tiers.Encode(s)}))
	}
	return nil
}

// compare sets the standing of the promotion by the last decision.
func (m *move) compare(record tiers.Record, next *standingRecord) error {
	last, err := tiers.Decode[standingRecord](record)
	if err != nil {
		return err
	}
	if last.Allowed == next.Allowed {
		next.Since = last.Since
	}
	changed := []string{}
	for _, names := range [][2][]string{{next.Refused, last.Refused}, {last.Refused, next.Refused}} {
		for _, name := range names[0] {
			if !slices.Contains(names[1], name) {
				changed = append(changed, name)
			}
		}
	}
	m.o.Standing = &Standing{Allowed: next.Allowed, Since: next.Since, Previous: last.Promotion, Changed: changed}
	return nil
}

func (m *move) stands(ctx context.Context) (bool, error) {
	return m.engine.standsIn(ctx, m.o.To, m.o.Repository, m.o.Digest)
}

// refusedBy names the enforced rules that say no.
func refusedBy(v policy.Verdict) []string {
	names := []string{}
	for _, r := range v.Rules {
		if r.Mode == policy.Enforce && !r.Allowed {
			names = append(names, r.Name)
		}
	}
	return names
}

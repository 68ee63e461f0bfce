package promote

import (
	"context"
	"errors"
	"slices"

	"sluice.dev/sluice/tiers"
)

const (
	maxRelied = 40 // records that a commit compares one by one for what evidence is there still
	// maxLooks is how often one attempt looks whether it was only others who changed a
	// repository meanwhile.
	maxLooks = 10
)

// relied are the conditions under which all evidence of the decision is there still. Where
// that is very much, one stands for the generations of all subjects of the repository, and
// for more of cosign's tags than can be compared the generation of the repository itself,
// which changes with anything that is pushed to it.
func (p *plan) relied() []tiers.Condition {
	var conditions []tiers.Condition
	if len(p.generations)+len(p.cosign) > maxRelied {
		conditions = append(conditions, p.source.SubjectsSince(p.basis.Generation))
	} else {
		conditions = unchanged(p.generations)
	}
	if len(conditions)+len(p.cosign) > maxRelied {
		return append(conditions, tiers.Unchanged(p.standsFor()))
	}
	return append(conditions, unchanged(p.cosign)...)
}

// standsFor is the generation of the repository at which the tags were seen last.
func (p *plan) standsFor() tiers.Record {
	if p.tagsSeen.Key != "" {
		return p.tagsSeen
	}
	return p.basis.Generation
}

func unchanged(records []tiers.Record) []tiers.Condition {
	conditions := make([]tiers.Condition, len(records))
	for i, record := range records {
		conditions[i] = tiers.Unchanged(record)
	}
	return conditions
}

// onlyOthers says of a commit that failed whether nothing it rests on has changed but what
// stands for cosign's tags, and they are as they were: then it may be tried again.
func (m *move) onlyOthers(ctx context.Context, failure error) (bool, error) {
	var conflict *tiers.ConflictError
	if !errors.As(failure, &conflict) || !slices.Equal(conflict.Keys, []string{m.plan.standsFor().Key}) {
		return false, nil
	}
	now, err := m.source.Generation(ctx) // before the tags: what changes behind it is noticed
	if err != nil {
		return false, err
	}
	keys := make([]string, len(m.plan.cosign))
	for i, record := range m.plan.cosign {
		keys[i] = record.Key
	}
	records, err := m.engine.registry.Catalog().Get(ctx, keys...)
	if err != nil {
		return false, err
	}
	for i, record := range records {
		if record.Revision != m.plan.cosign[i].Revision {
			return false, nil
		}
	}
	m.plan.tagsSeen = now
	return true, nil
}

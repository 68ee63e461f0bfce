package tiers

import (
	"context"
	"time"
)

// A client that pushes what is there already is told that it is there, and counts on it as
// if it had come just now. So the time is kept, of a manifest and of a tag beside where it
// points: not in the tag's own record, which a promotion compares to know that nobody has
// moved the tag.
const (
	// againAfter is how old that time may get before it is written anew.
	againAfter = time.Hour
	// againFor is how long a manifest that was pushed again stays that nothing names: an
	// index may be on its way that does.
	againFor = 24 * time.Hour
)

// renewed writes the manifest's record again, with the time where that is due.
func (p *push) renewed(record Record) (Put, error) {
	m, err := Decode[ManifestRecord](record)
	if err != nil {
		return Put{}, err
	}
	now := p.repo.registry.Now()
	if !p.repo.Tier.Push || now.Sub(latest(m.CreatedAt, m.RenewedAt)) < againAfter {
		return Put{Key: record.Key, Value: record.Value}, nil
	}
	m.RenewedAt = now
	return Put{Key: record.Key, Value: Encode(m)}, nil
}

// again makes the change for the same manifest under the same tags, which is empty where it
// was pushed a short while ago.
func (p *push) again(ctx context.Context, change *Change, record Record) error {
	same := change.If // that the tags point here
	*change = Change{}
	if !p.repo.Tier.Push {
		return nil
	}
	var due []Put
	renewed, err := p.renewed(record)
	if err != nil {
		return err
	}
	if string(renewed.Value) != string(record.Value) {
		due = append(due, renewed)
	}
	tags, err := p.renewedTags(ctx)
	if err != nil {
		return err
	}
	if due = append(due, tags...); len(due) > 0 {
		*change = Change{If: append(same, Unchanged(record)), Put: due}
	}
	return nil
}

// renewedTags writes the time for those tags of the push that point here already.
func (p *push) renewedTags(ctx context.Context) (due []Put, err error) {
	t, name, now := p.repo.Tier.Name, p.repo.Name, p.repo.registry.Now()
	var keys []string
	for _, tag := range p.tags {
		record := p.records[tagKey(t, name, tag)]
		if record.Revision == 0 {
			continue
		}
		set, err := Decode[TagRecord](record)
		if err != nil {
			return nil, err
		}
		if set.Digest == p.desc.Digest && now.Sub(set.UpdatedAt) >= againAfter {
			keys = append(keys, taggedPrefix(t, name, p.desc.Digest)+tag)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	records, err := p.repo.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		var before taggedRecord
		if len(record.Value) > 0 {
			if before, err = Decode[taggedRecord](record); err != nil {
				return nil, err
			}
		}
		if now.Sub(before.RenewedAt) >= againAfter {
			due = append(due, Put{Key: record.Key, Value: Encode(taggedRecord{RenewedAt: now})})
		}
	}
	return due, nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

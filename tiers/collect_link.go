package tiers

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// lapsedLink is a link whose promise has passed.
type lapsedLink struct {
	record Record
	repo   *Repository
	digest digest.Digest
	LinkRecord
}

// refs is behind what the references stand by which manifests of the repository need the
// blob.
func (l *lapsedLink) refs() string {
	return refPrefix(l.repo.Tier.store, l.digest) + l.repo.Tier.Name + "/" + l.repo.Name + "@"
}

func (l *lapsedLink) blob() string { return blobKey(l.repo.Tier.store, l.digest) }

// sweepLinks takes the right to read a blob from repositories in which no manifest needs
// it, once the promise has passed. What promotions have brought and not committed is left
// to them.
func (c *collector) sweepLinks(ctx context.Context, p *place) error {
	for _, t := range p.tiers {
		prefix := linkPrefix(t.Name)
		err := c.pages(ctx, Query{Prefix: prefix, Limit: collectPage}, func(page []Record) error {
			c.count(func(s *Swept) { s.Looked += int64(len(page)) })
			unneeded, err := c.unneededLinks(ctx, c.lapsedLinks(t, prefix, page))
			if err != nil {
				return err
			}
			return c.removeLinks(ctx, t, unneeded)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lapsedLinks picks the links whose promise has passed, as far as they say so themselves.
func (c *collector) lapsedLinks(t *Tier, prefix string, page []Record) []*lapsedLink {
	var lapsed []*lapsedLink
	for _, record := range page {
		link, err := Decode[LinkRecord](record)
		name, d, ok := strings.Cut(strings.TrimPrefix(record.Key, prefix), "@")
		switch {
		case err != nil:
			c.problem(t.store, record.Key, err.Error())
		case !ok:
			c.problem(t.store, record.Key, "it is the key of no link")
		case len(link.Pending) == 0 && c.collection.linkLapsed(link.RenewedAt, c.began):
			repo := &Repository{registry: c.Registry, Tier: t, Name: name, Actor: c.options.Actor}
			lapsed = append(lapsed, &lapsedLink{record: record, repo: repo, digest: digest.Digest(d), LinkRecord: link})
		}
	}
	return lapsed
}

// unneededLinks picks the links that no manifest of the repository needs. Most are needed:
// that is asked for many at once, without a write.
func (c *collector) unneededLinks(ctx context.Context, lapsed []*lapsedLink) ([]*lapsedLink, error) {
	conditions := make([]Condition, 0, 2*len(lapsed))
	for _, l := range lapsed {
		conditions = append(conditions, None(l.refs()), Present(l.blob()))
	}
	failed, err := c.probe(ctx, conditions)
	if err != nil {
		return nil, err
	}
	var unneeded, undated []*lapsedLink
	for _, l := range lapsed {
		needed, gone := failed[l.refs()], failed[l.blob()]
		switch {
		case needed && gone:
			c.problem(l.repo.Tier.store, l.record.Key, "a manifest of the repository needs the blob, and the catalog does not know where its bytes are: check the registry")
		case needed:
		case l.RenewedAt.IsZero() && !gone:
			undated = append(undated, l)
		default:
			unneeded = append(unneeded, l)
		}
	}
	undated, err = c.lapsedBytes(ctx, undated)
	return append(unneeded, undated...), err
}

// lapsedBytes picks the links without a date whose bytes are promised to nobody any more.
func (c *collector) lapsedBytes(ctx context.Context, undated []*lapsedLink) ([]*lapsedLink, error) {
	keys := make([]string, len(undated))
	for i, l := range undated {
		keys[i] = l.blob()
	}
	records, err := c.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	var lapsed []*lapsedLink
	for i, l := range undated {
		var b blobRecord
		if records[i].Revision != 0 {
			if b, err = Decode[blobRecord](records[i]); err != nil {
				c.problem(l.repo.Tier.store, records[i].Key, err.Error())
				continue
			}
		}
		if c.collection.blobLapsed(b.RenewedAt, c.began) {
			l.RenewedAt = b.RenewedAt
			lapsed = append(lapsed, l)
		}
	}
	return lapsed, nil
}

// removeLinks removes links of a tier; where it has quotas, those of one repository at a
// time, because repositories count to different ones.
func (c *collector) removeLinks(ctx context.Context, t *Tier, links []*lapsedLink) error {
	for len(links) > 0 {
		n := 1
		for n < len(links) && (len(t.quotas) == 0 || links[n].repo.Name == links[0].repo.Name) {
			n++
		}
		repo := links[0].repo
		commit := func(change Change, batch []clearing) error {
			var freed int64
			for _, one := range batch {
				freed += one.item.Size
			}
			_, err := repo.commitUsage(ctx, change, -freed)
			return err
		}
		clearings := make([]clearing, n)
		for i, l := range links[:n] {
			clearings[i] = c.removeLink(l)
		}
		if err := c.remove(ctx, clearings, commit); err != nil {
			return err
		}
		links = links[n:]
	}
	return nil
}

func (c *collector) removeLink(l *lapsedLink) clearing {
	t, name := l.repo.Tier, l.repo.Name
	why := "no manifest of the repository needs it, and nobody was told of it since " + stamp(l.RenewedAt)
	return clearing{
		change: Change{
			If:     []Condition{Unchanged(l.record), None(l.refs())},
			Delete: []string{l.record.Key},
			Put: []Put{c.EventPut(Event{Type: EventBlobDeleted, Actor: c.options.Actor, Tier: t.Name, Repository: name,
				Digest: l.digest, Store: t.store, Size: l.Size, Cause: "collection: " + why})},
		},
		item: CollectItem{Store: t.store, Tier: t.Name, Repository: name, Digest: l.digest, Size: l.Size, Why: why},
	}
}

package tiers

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// sweepBlobs condemns the bytes that nothing needs and that nobody was promised. Blobs and
// references are read side by side, both by digest, so it takes two passes over keys and a
// transaction for each sixty that go. Who comes to need a blob meanwhile is found by that
// transaction; what comes to be needed by nobody meanwhile, by the next collection.
func (c *collector) sweepBlobs(ctx context.Context, p *place) error {
	if c.unready {
		c.problem(p.store, "", "an older version wrote the catalog, and only a collection that may write can tell which bytes are needed: no dry run says what would go")
		return nil
	}
	prefix := storePrefix(p.store, "blob")
	refs := &refCursor{catalog: c.catalog, prefix: storePrefix(p.store, "ref")}
	return c.pages(ctx, Query{Prefix: prefix, Limit: collectPage}, func(page []Record) error {
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		var dead []clearing
		for _, record := range page {
			d := strings.TrimPrefix(record.Key, prefix)
			needed, err := refs.has(ctx, d)
			if err != nil {
				return err
			}
			if needed {
				continue
			}
			if one, ok := c.deadBlob(p, record, digest.Digest(d)); ok {
				dead = append(dead, one)
			}
		}
		return c.remove(ctx, dead, nil)
	})
}

// deadBlob makes the change that condemns a blob if its promise has passed.
func (c *collector) deadBlob(p *place, record Record, d digest.Digest) (clearing, bool) {
	b, err := Decode[blobRecord](record)
	if err != nil {
		c.problem(p.store, record.Key, err.Error())
		return clearing{}, false
	}
	if !c.collection.blobLapsed(b.RenewedAt, c.began) {
		return clearing{}, false
	}
	if !isObject(b.Key) {
		c.problem(p.store, record.Key, "it names the object "+b.Key+", which is none of this registry's making")
		return clearing{}, false
	}
	why := "nothing needs it, and nobody was told of it since " + stamp(b.RenewedAt)
	return clearing{
		change: Change{
			If:     []Condition{Unchanged(record), None(refPrefix(p.store, d))},
			Delete: []string{record.Key},
			Put:    []Put{c.condemn(p.store, b.Key, d, b.Size, why)},
		},
		item: CollectItem{Store: p.store, Key: b.Key, Digest: d, Size: b.Size, Why: why},
	}, true
}

// refCursor finds the digests that have references, in their order, and skips what it is not
// asked for.
type refCursor struct {
	catalog Catalog
	prefix  string
	page    []Record
	ended   bool // there are none behind the page
}

// has says whether anything refers to d. It must be asked in the order of the digests.
func (r *refCursor) has(ctx context.Context, d string) (bool, error) {
	for {
		for len(r.page) > 0 {
			at, _, _ := strings.Cut(r.page[0].Key[len(r.prefix):], "/")
			if at >= d {
				return at == d, nil
			}
			r.page = r.page[1:]
		}
		if r.ended {
			return false, nil
		}
		// No key is the digest itself: behind it begin its references. What stands before is
		// nobody's.
		page, err := r.catalog.List(ctx, Query{Prefix: r.prefix, After: r.prefix + d, Limit: collectPage, KeysOnly: true})
		if err != nil {
			return false, err
		}
		r.page, r.ended = page, len(page) < collectPage
	}
}

package tiers

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Visible is a manifest that can be seen in a tier.
type Visible struct {
	Repository string
	Digest     digest.Digest
}

// Visible lists the manifests of a tier that can be seen, n of them or a few more, from the
// one on that comes behind after, a value that it returned as next; empty at the end.
func (c *Checking) Visible(ctx context.Context, t *Tier, after string, n int) (all []Visible, next string, err error) {
	prefix := manifestsPrefix(t.Name)
	for {
		q := Query{Prefix: prefix, After: after, Limit: checkPage}
		var page []Record
		err := c.patiently(ctx, func() (err error) {
			page, err = c.registry.catalog.List(ctx, q)
			return err
		})
		if err != nil {
			return nil, "", err
		}
		for _, record := range page {
			after = record.Key
			repo, d, rest, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
			if !ok || rest != "" {
				continue // reported with the manifests, as are those that cannot be read
			}
			if _, err := Decode[ManifestRecord](record); err != nil {
				continue
			}
			_, _, ok, err := seen[ManifestRecord](ctx, c.registry, record)
			if err != nil {
				return nil, "", err
			}
			if ok {
				all = append(all, Visible{Repository: repo, Digest: d})
			}
		}
		if len(page) < q.Limit {
			return all, "", nil
		}
		if len(all) >= n {
			return all, after, nil
		}
	}
}

// Kept shows the documents that are kept in the store of t for events, each with the id that
// it is kept under, page by page.
func (c *Checking) Kept(ctx context.Context, t *Tier, each func(d digest.Digest, id string) error) error {
	prefix := "store/" + t.store + "/ref/"
	return c.Walk(ctx, Query{Prefix: prefix, KeysOnly: true}, func(page []Record) error {
		for _, record := range page {
			r, ok := cutReference(strings.TrimPrefix(record.Key, prefix))
			if !ok || r.kind != ".record" {
				continue
			}
			if err := each(r.digest, r.id); err != nil {
				return err
			}
		}
		return nil
	})
}

package tiers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// complete gives a catalog that an older version wrote what the collector relies on: the
// references of manifests to their own bytes. It happens once, before anything is
// condemned. From then on no replica of that older version may write.
func (c *collector) complete(ctx context.Context) error {
	records, err := c.catalog.Get(ctx, schemaKey)
	if err != nil {
		return err
	}
	if records[0].Revision != 0 {
		schema, err := Decode[schemaRecord](records[0])
		if err == nil && schema.Version != schemaVersion {
			err = fmt.Errorf("the catalog is of version %d, this program knows %d: run the version that wrote it", schema.Version, schemaVersion)
		}
		return err
	}
	if c.options.DryRun {
		c.unready = true
		return nil
	}
	tiers, err := c.knownTiers(ctx)
	if err != nil {
		return err
	}
	for _, tier := range tiers {
		if err := c.referSelves(ctx, tier); err != nil {
			return fmt.Errorf("references of the manifests of tier %s: %w", tier, err)
		}
	}
	_, err = c.catalog.Commit(ctx, Change{Put: []Put{{Key: schemaKey, Value: Encode(schemaRecord{Version: schemaVersion})}}})
	return err
}

// knownTiers are the tiers of which the catalog has records, configured or not.
func (c *collector) knownTiers(ctx context.Context) (names []string, err error) {
	const prefix = "tier/"
	for after := ""; ; {
		page, err := c.catalog.List(ctx, Query{Prefix: prefix, After: after, Limit: 1, KeysOnly: true})
		if err != nil || len(page) == 0 {
			return names, err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(page[0].Key, prefix), "/")
		names = append(names, name)
		after = prefix + name + "0" // the character behind the slash: all of the tier stands before
	}
}

// referSelves writes the missing references of the manifests of a tier.
func (c *collector) referSelves(ctx context.Context, tier string) error {
	prefix := manifestsPrefix(tier)
	return c.pages(ctx, Query{Prefix: prefix, Limit: collectPage, KeysOnly: true}, func(page []Record) error {
		for len(page) > 0 {
			n := min(len(page), MaxOps/2)
			if err := Retry(ctx, func() error { return c.referBatch(ctx, tier, prefix, page[:n]) }); err != nil {
				return err
			}
			page = page[n:]
		}
		return nil
	})
}

// referBatch writes the references of some manifests that are there still. In which store a
// tier kept its bytes that is configured no more nobody knows: it is any that has them.
func (c *collector) referBatch(ctx context.Context, tier, prefix string, page []Record) error {
	for _, p := range c.places() {
		configured := c.find(tier)
		if configured != nil && configured.store != p.store {
			continue
		}
		var selves, bytes, manifests []string
		for _, record := range page {
			repo, d, _ := strings.Cut(strings.TrimPrefix(record.Key, prefix), "@")
			selves = append(selves, selfKey(p.store, digest.Digest(d), tier, repo))
			bytes = append(bytes, blobKey(p.store, digest.Digest(d)))
			manifests = append(manifests, record.Key)
		}
		records, err := c.catalog.Get(ctx, slices.Concat(selves, bytes, manifests)...)
		if err != nil {
			return err
		}
		var change Change
		for i, n := 0, len(page); i < n; i++ {
			self, blob, manifest := records[i], records[n+i], records[2*n+i]
			if self.Revision == 0 && blob.Revision != 0 && manifest.Revision != 0 {
				change.If = append(change.If, Present(manifest.Key)) // deleted meanwhile, it needs none
				change.Put = append(change.Put, Put{Key: self.Key})
			}
		}
		if len(change.Put) == 0 {
			continue
		}
		if _, err := c.catalog.Commit(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

package tiers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Records that stand for themselves: nothing says the same elsewhere, so they can be read or
// they cannot.

// checkSingles reads the records that there is one of, but for the id of the catalog, which
// is compared with the marks in the buckets.
func (c *Checking) checkSingles(ctx context.Context) error {
	records, err := c.Get(ctx, sessionKeyKey, schemaKey)
	if err != nil {
		return err
	}
	about := Finding{Invariant: "I8", Remedy: "delete the record and start the servers again: with this one none starts, and with a new one the uploads that are open end"}
	_, _, err = CheckRecord(ctx, c, records[0], about, func(key []byte) error {
		if len(key) != sha256.Size {
			return fmt.Errorf("it is a key of %d bytes", len(key))
		}
		return nil
	})
	if err != nil {
		return err
	}
	about.Remedy = "check and collect with the version of the registry that wrote it; where nobody wrote it but by hand, delete it: the next collection makes it anew"
	_, _, err = CheckRecord(ctx, c, records[1], about, func(schema schemaRecord) error {
		if schema.Version != schemaVersion {
			return fmt.Errorf("the catalog is of version %d, and this program knows %d: nothing is collected", schema.Version, schemaVersion)
		}
		return nil
	})
	return err
}

// checkRepositories reads what is kept of repositories beside what stands in them: that they
// are there, when a referrer went, what pushes and retention have under way. A marker by
// itself keeps nothing, and whoever comes next takes it up or away.
func (c *Checking) checkRepositories(ctx context.Context, t *Tier) error {
	about := Finding{Invariant: "I2", Tier: t.Name}
	for _, family := range []struct{ name, prefix string }{{"repositories", repoPrefix(t.Name)}, {"subjects", "tier/" + t.Name + "/subject/"}} {
		err := c.Records(ctx, family.name, family.prefix, func(page []Record) error { return decodes[repositoryRecord](ctx, c, page, about) })
		if err != nil {
			return err
		}
	}
	err := c.eachManifest(ctx, t, "pushing", func(record Record, about Finding) error {
		if len(record.Value) == 0 {
			return nil // of a former version
		}
		about.Remedy = "sluice fsck --repair   # has it begin now: if the push was cut off, a collection takes what it left in a day"
		_, _, err := checkOrMend[pushingRecord](ctx, c, record, about, nil, &Change{Put: []Put{{Key: record.Key, Value: Encode(pushingRecord{StartedAt: c.registry.Now()})}}})
		return err
	})
	if err != nil {
		return err
	}
	return c.eachManifest(ctx, t, "orphaned", func(record Record, about Finding) error {
		about.Remedy = "sluice fsck --repair   # deletes it: until then retention fails in the repository, and what hung on the manifest stays until a rule is about it"
		_, _, err := checkOrMend[orphanedRecord](ctx, c, record, about, nil, &Change{Delete: []string{record.Key}})
		return err
	})
}

// eachManifest shows the records of a family that has one of a manifest.
func (c *Checking) eachManifest(ctx context.Context, t *Tier, family string, do func(record Record, about Finding) error) error {
	prefix := "tier/" + t.Name + "/" + family + "/"
	return c.Records(ctx, family, prefix, func(page []Record) error {
		for _, record := range page {
			repo, d, rest, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
			about := Finding{Invariant: "I8", Tier: t.Name, Repository: repo, Digest: d}
			look := do
			if !ok || rest != "" {
				look = func(record Record, about Finding) error { return c.badKey(ctx, record, about) }
			}
			if err := look(record, about); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkRenewed reads when a tag was last pushed again. Where that cannot be read it is taken
// to be now: the tag stays longer than it must.
func (c *Checking) checkRenewed(ctx context.Context, t *Tier, repo string, tagged Record) error {
	if len(tagged.Value) == 0 {
		return nil
	}
	about := Finding{Invariant: "I2", Tier: t.Name, Repository: repo,
		Remedy: "sluice fsck --repair   # has the tag pushed now; until then it cannot be pushed again, and retention fails in the repository"}
	_, _, err := checkOrMend[taggedRecord](ctx, c, tagged, about, nil, &Change{Put: []Put{{Key: tagged.Key, Value: Encode(taggedRecord{RenewedAt: c.registry.Now()})}}})
	return err
}

package tiers

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// checkReferrers looks for referrers that are listed and name another subject, or are gone.
// What they are listed as is compared with the manifests.
func (c *Checking) checkReferrers(ctx context.Context, t *Tier) error {
	prefix := "tier/" + t.Name + "/referrer/"
	return c.Records(ctx, "referrers", prefix, func(page []Record) error {
		return c.groups(ctx, page, func(ctx context.Context, group []Record) error { return c.checkListed(ctx, t, prefix, group) })
	})
}

func (c *Checking) checkListed(ctx context.Context, t *Tier, prefix string, group []Record) error {
	var keys []string
	for _, record := range group {
		repo, subject, name, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
		about := Finding{Invariant: "I2", Tier: t.Name, Repository: repo, Digest: subject}
		if !ok {
			if err := c.badKey(ctx, record, about); err != nil {
				return err
			}
			continue
		}
		v, ok, err := CheckRecord[ReferrerRecord](ctx, c, record, about, nil)
		if err != nil {
			return err
		}
		if ok && len(v.Pending) > 0 {
			if err := c.checkMarks(ctx, t, repo, digest.Digest(name), record.Key); err != nil {
				return err
			}
		}
		keys = append(keys, record.Key, manifestKey(t.Name, repo, digest.Digest(name)))
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := c.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i := 0; i < len(records); i += 2 {
		referrer, manifest := records[i], records[i+1]
		if referrer.Revision == 0 {
			continue
		}
		repo, subject, name, _ := cutKey(strings.TrimPrefix(referrer.Key, prefix))
		m, err := Decode[ManifestRecord](manifest)
		if manifest.Revision != 0 && err == nil && m.Subject != subject {
			if m, err = c.really(ctx, t, repo, digest.Digest(name), m); err != nil {
				return err
			}
		}
		if manifest.Revision != 0 && (err != nil || m.Subject == subject) {
			continue // reported with the manifests, or right
		}
		says := fmt.Sprintf("%s is listed as a referrer of %s and is not: whoever follows the listing finds something else, or nothing", name, subject)
		if err := c.leftOver(ctx, t, repo, referrer, KindReferrerLeftOver, says, []Condition{Unchanged(manifest)}); err != nil {
			return err
		}
	}
	return nil
}

// checkLinks compares the right of repositories to read blobs with the blobs.
func (c *Checking) checkLinks(ctx context.Context, t *Tier) error {
	prefix := linkPrefix(t.Name)
	return c.Records(ctx, "links", prefix, func(page []Record) error {
		return c.groups(ctx, page, func(ctx context.Context, group []Record) error { return c.checkLinkGroup(ctx, t, prefix, group) })
	})
}

func (c *Checking) checkLinkGroup(ctx context.Context, t *Tier, prefix string, group []Record) error {
	var keys []string
	for _, record := range group {
		repo, d, rest, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
		about := Finding{Invariant: "I2", Tier: t.Name, Repository: repo, Digest: d}
		if !ok || rest != "" {
			if err := c.badKey(ctx, record, about); err != nil {
				return err
			}
			continue
		}
		v, ok, err := CheckRecord(ctx, c, record, about, saneLink)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if len(v.Pending) > 0 {
			if err := c.checkMarks(ctx, t, repo, d, record.Key); err != nil {
				return err
			}
		}
		keys = append(keys, record.Key, blobKey(t.store, d))
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := c.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i := 0; i < len(records); i += 2 {
		if records[i].Revision != 0 {
			if err := c.checkLink(ctx, t, prefix, records[i], records[i+1]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Checking) checkLink(ctx context.Context, t *Tier, prefix string, link, blob Record) error {
	repo, d, _, _ := cutKey(strings.TrimPrefix(link.Key, prefix))
	f := Finding{Invariant: "I2", Severity: Fault, Tier: t.Name, Repository: repo, Key: link.Key, Digest: d}
	if blob.Revision == 0 {
		return c.danglingLink(ctx, t, f)
	}
	v, err := Decode[LinkRecord](link)
	b, blobErr := Decode[blobRecord](blob)
	if err != nil || blobErr != nil || v.Size == b.Size {
		return nil
	}
	// Where two records disagree, the object decides which of them is wrong.
	if right, err := c.checkObject(ctx, c.of(t), d); err != nil || !right {
		return err
	}
	f.Kind, f.Remedy = KindLinkSize, "sluice fsck --repair   # writes the size of the blob's record"
	f.Message = fmt.Sprintf("the link says that %s has %d bytes, the blob's record %d: manifests that say the right size are refused", d, v.Size, b.Size)
	return c.Found(ctx, f, func(ctx context.Context) error {
		r, err := c.registry.Repository(t.Name, repo, c.options.Actor)
		if err != nil {
			return err
		}
		delta := b.Size - v.Size
		v.Size = b.Size
		_, err = r.commitUsage(ctx, Change{If: []Condition{Unchanged(link), Unchanged(blob)},
			Put: []Put{{Key: link.Key, Value: Encode(v)}, c.event(f, Event{Records: []EventRecord{{Key: link.Key, Value: Encode(v)}}})}}, delta)
		return err
	})
}

// danglingLink reports a link whose blob is gone. Of one that a manifest needs, the
// manifests tell.
func (c *Checking) danglingLink(ctx context.Context, t *Tier, f Finding) error {
	prefix := refPrefix(t.store, f.Digest) + t.Name + "/" + f.Repository + "@"
	var refs []Record
	err := c.patiently(ctx, func() (err error) {
		refs, err = c.registry.catalog.List(ctx, Query{Prefix: prefix, Limit: 1, KeysOnly: true})
		return err
	})
	if err != nil || len(refs) > 0 || c.isLost(blobKey(t.store, f.Digest)) {
		return err
	}
	f.Kind, f.Severity, f.Invariant = KindLinkDangling, Info, "I8"
	f.Message = fmt.Sprintf("%s/%s may read the blob %s, which is gone and which no manifest there needs", t.Name, f.Repository, f.Digest)
	f.Remedy = "sluice gc   # takes the link away"
	return c.Found(ctx, f, nil)
}

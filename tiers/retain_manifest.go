package tiers

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// manifests goes through the manifests of the repository for those that nothing keeps.
func (k *retaining) manifests(ctx context.Context) error {
	if k.untagged < 0 || k.repo.Tier.Retention.Rules[k.untagged].Untagged == 0 {
		return nil
	}
	prefix := manifestPrefix(k.repo.Tier.Name, k.repo.Name)
	tags := &tagCursor{registry: k.registry, prefix: taggedIn(k.repo.Tier.Name, k.repo.Name)}
	for last, more := "", true; more; more = last != "" {
		records, next, err := k.registry.page(ctx, Query{Prefix: prefix}, last, retainPage)
		if err != nil {
			return err
		}
		for _, record := range records {
			d := digest.Digest(strings.TrimPrefix(record.Key, prefix))
			m, err := Decode[ManifestRecord](record)
			if err != nil {
				return err
			}
			if !k.old(fate{manifest: m, touched: latest(m.CreatedAt, m.RenewedAt)}) {
				continue
			}
			if tagged, err := tags.has(ctx, d); err != nil || tagged {
				if err != nil {
					return err
				}
				continue
			}
			if err := k.manifest(ctx, d); err != nil {
				return err
			}
		}
		k.tell()
		last = next
	}
	return nil
}

// manifest takes a manifest that has no tag, where nothing keeps it.
func (k *retaining) manifest(ctx context.Context, d digest.Digest) error {
	f, err := k.fate(ctx, d)
	if err != nil || !k.old(f) {
		return err
	}
	rule := k.rule(k.untagged)
	item := RetainItem{Digest: d, Rule: rule}
	if f.stays != nil {
		return k.outcome(item, f.stays)
	}
	if f.first != "" || f.firstTag != "" || k.told[d] { // it goes anyway
		return nil
	}
	t := taking{digest: d, fate: f, rule: rule, why: "it has no tag, no index names it, and it is attached to nothing", cause: rule,
		allows: func(_ Record, m ManifestRecord) error {
			if !k.old(fate{manifest: m, touched: latest(m.CreatedAt, m.RenewedAt)}) {
				return &stays{staysYoung, "it was pushed again"}
			}
			return nil
		}}
	if k.options.DryRun {
		return k.wouldGo(ctx, t)
	}
	return k.outcome(item, k.take(ctx, t))
}

// tagCursor goes through the tags of a repository by the manifests that they point at, page
// by page beside those.
type tagCursor struct {
	registry *Registry
	prefix   string
	names    []string // <digest>/<tag>, of the page
	last     string   // where the next one begins
	ended    bool
}

// has says whether a manifest has a tag that rules are about. It is asked in the order of
// the digests.
func (c *tagCursor) has(ctx context.Context, d digest.Digest) (bool, error) {
	for {
		for len(c.names) > 0 {
			of, tag, _ := strings.Cut(c.names[0], "/")
			if of > d.String() {
				return false, nil
			}
			if of == d.String() && !oci.IsAttachmentTag(tag) {
				return true, nil
			}
			c.names = c.names[1:]
		}
		if c.ended {
			return false, nil
		}
		var err error
		if c.names, c.last, err = c.registry.listNames(ctx, c.prefix, c.last, retainPage); err != nil {
			return false, err
		}
		c.ended = c.last == ""
	}
}

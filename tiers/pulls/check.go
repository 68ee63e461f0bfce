package pulls

import (
	"context"
	"fmt"

	"sluice.dev/sluice/tiers"
)

// AddCheck has a check know the records of segments, and look whether each can be read, and
// whether its bytes are there and kept.
func AddCheck(o *tiers.CheckOptions, registry *tiers.Registry) {
	l := &Log{registry: registry}
	o.Families = append(o.Families, prefixSegment)
	o.Phases = append(o.Phases, tiers.CheckPhase{Name: "pulls", Run: func(ctx context.Context, c *tiers.Checking) error {
		return c.Records(ctx, "segments", prefixSegment, func(page []tiers.Record) error {
			for _, record := range page {
				if err := l.check(ctx, c, record); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

func (l *Log) check(ctx context.Context, c *tiers.Checking, record tiers.Record) error {
	about := tiers.Finding{Remedy: "delete the record: until it is gone nobody can say who pulled what; the pulls that it tells of are lost"}
	r, ok, err := tiers.CheckRecord(ctx, c, record, about, func(r segmentRecord) error {
		if err := r.Digest.Validate(); err != nil {
			return err
		}
		_, _, err := splitKey(record.Key)
		return err
	})
	if err != nil || !ok {
		return err
	}
	s := &segment{segmentRecord: r, record: record}
	t := l.tierOf(r.Store)
	if t == nil {
		return nil // of a bucket that the configuration does not have, which is told of
	}
	// At one revision: a merge takes all of it away together.
	now, err := c.Get(ctx, record.Key, t.PullsKey(r.Digest, s.id()), l.registry.HasBytes(t, r.Digest).Key)
	if err != nil || now[0].Revision != record.Revision {
		return err
	}
	if now[1].Revision == 0 {
		f := tiers.Finding{Invariant: "I3", Kind: tiers.KindReferenceMissing, Severity: tiers.Danger, Store: r.Store, Key: now[1].Key, Digest: r.Digest,
			Message: fmt.Sprintf("nothing says that the pulls of %s need %s: the next collection may take its bytes", s.id(), r.Digest),
			Remedy:  "sluice fsck --repair   # writes the reference"}
		if err := c.Found(ctx, f, func(ctx context.Context) error {
			return c.Mend(ctx, f, tiers.Change{If: []tiers.Condition{tiers.Unchanged(now[0]), tiers.Absent(f.Key)}, Put: []tiers.Put{{Key: f.Key}}})
		}); err != nil {
			return err
		}
	}
	if now[2].Revision == 0 {
		return c.Found(ctx, tiers.Finding{Invariant: "I3", Kind: tiers.KindBlobMissing, Severity: tiers.Danger, Store: r.Store, Key: now[2].Key, Digest: r.Digest,
			Message: fmt.Sprintf("the pulls of %s are %s, which the store does not have", s.id(), r.Digest),
			Remedy:  "etcdctl del " + record.Key + "   # under the key prefix that the configuration sets: until it is gone nobody can say who pulled what; the pulls that it tells of are lost"}, nil)
	}
	return nil
}

package tiers

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// stamp is how messages tell a time.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// sweepIntents condemns the objects that were announced and never recorded. The transaction
// takes the intent away, and whoever still writes the object has to find it when he records
// what he wrote: from then on he cannot.
func (c *collector) sweepIntents(ctx context.Context, p *place) error {
	prefix := storePrefix(p.store, "intent")
	return c.pages(ctx, Query{Prefix: prefix, Limit: collectPage}, func(page []Record) error {
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		var expired []clearing
		for _, record := range page {
			intent, err := Decode[intentRecord](record)
			object := strings.TrimPrefix(record.Key, prefix)
			switch {
			case err != nil:
				c.problem(p.store, record.Key, err.Error())
				continue
			case c.began.Sub(intent.StartedAt) <= c.collection.Intent:
				continue
			case !isObject(object):
				c.problem(p.store, record.Key, "it names no object of this registry's making")
				continue
			}
			d := objectDigest(object)
			why := fmt.Sprintf("announced at %s (%s) and never recorded", stamp(intent.StartedAt), intent.For)
			expired = append(expired, clearing{
				change: Change{If: []Condition{Unchanged(record)}, Delete: []string{record.Key}, Put: []Put{c.condemn(p.store, object, d, 0, why)}},
				item:   CollectItem{Store: p.store, Key: object, Digest: d, Why: why},
			})
		}
		return c.remove(ctx, expired, nil)
	})
}

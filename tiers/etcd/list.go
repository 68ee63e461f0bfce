package etcd

import (
	"context"
	"fmt"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// List reads one page.
func (c *Catalog) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	if q.Limit < 1 || q.Limit > tiers.MaxPage {
		return nil, fmt.Errorf("%w: list %s: a page holds 1 to %d records, not %d", oci.ErrRequestInvalid, q.Prefix, tiers.MaxPage, q.Limit)
	}
	from, to := c.prefix+q.Prefix, clientv3.GetPrefixRangeEnd(c.prefix+q.Prefix)
	if q.After != "" {
		// Of two bounds the narrower counts, so that After may lie outside the prefix.
		if after := c.prefix + q.After; q.Descending {
			to = min(to, after)
		} else {
			from = max(from, after+"\x00")
		}
	}
	if q.Descending {
		records, _, err := c.list(ctx, q, from, to, q.Limit, clientv3.SortDescend)
		return records, err
	}
	var records []tiers.Record
	for want := q.Limit; from < to && len(records) < q.Limit; want *= 2 { // ranges that hold little get longer
		end := c.fences.bound(q.Prefix, from, to, want)
		step, count, err := c.list(ctx, q, from, end, q.Limit-len(records), clientv3.SortAscend)
		if err != nil {
			return nil, err
		}
		if records = append(records, step...); count > max(fenceFrom, 2*int64(want)) {
			c.learn(ctx, q.Prefix, from, end)
		}
		from = end
	}
	return records, nil
}

// list reads up to limit records of a range and says how many it holds.
func (c *Catalog) list(ctx context.Context, q tiers.Query, from, to string, limit int, order clientv3.SortOrder) ([]tiers.Record, int64, error) {
	if from >= to {
		return nil, 0, nil
	}
	opts := []clientv3.OpOption{clientv3.WithRange(to), clientv3.WithLimit(int64(limit)), clientv3.WithSort(clientv3.SortByKey, order)}
	if q.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	var resp *clientv3.GetResponse
	err := c.tryRead(ctx, "list "+q.Prefix, func(ctx context.Context) (err error) {
		resp, err = c.client.Get(ctx, from, opts...)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	records := make([]tiers.Record, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		records[i] = c.record(kv.Key, kv.Value, kv.ModRevision, kv.CreateRevision)
	}
	return records, resp.Count, nil
}

// A server counts all keys of a range whatever the limit is, so a page of a family of a
// million keys costs a million steps, unless its end is bounded.
const (
	fenceFrom   = 10_000 // keys; a range that holds fewer is read as it is
	fenceEvery  = 500    // keys between two fences
	fenceAhead  = 10_000 // keys that are looked at to learn fences
	fencesMost  = 4_000  // fences of one family
	fenceGroups = 64     // families
)

// fences are keys of large families, by which ranges of them are cut. They are hints: a
// key that came or went since changes how much a range holds, and a range that holds too
// little is followed by the next one.
type fences struct {
	mu       sync.Mutex
	families map[string][]string // by prefix, in order
}

// bound says where the range that begins at from should end so that it probably holds
// limit keys.
func (f *fences) bound(family, from, to string, limit int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.families[family]
	i, _ := slices.BinarySearch(known, from)
	i += 1 + limit/fenceEvery
	if i >= len(known) || known[i] >= to || known[i] <= from {
		return to
	}
	return known[i]
}

// add takes up fences in order; those of a family that are known in their range go.
func (f *fences) add(family string, fresh []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.families[family]
	if known == nil && len(f.families) >= fenceGroups {
		clear(f.families) // cheap to learn again
	}
	if f.families == nil {
		f.families = map[string][]string{}
	}
	first, _ := slices.BinarySearch(known, fresh[0])
	last, _ := slices.BinarySearch(known, fresh[len(fresh)-1]+"\x00")
	known = slices.Concat(known[:first], fresh, known[last:])
	if len(known) > fencesMost {
		known = slices.Clone(fresh)
	}
	f.families[family] = known
}

// learn reads ahead of a page, keys alone, so that the next pages find fences. A failure
// costs only speed.
func (c *Catalog) learn(ctx context.Context, family, from, to string) {
	resp, err := c.client.Get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(fenceAhead), clientv3.WithKeysOnly(), clientv3.WithSerializable())
	if err != nil {
		return
	}
	var fresh []string
	for i := 0; i < len(resp.Kvs); i += fenceEvery {
		fresh = append(fresh, string(resp.Kvs[i].Key))
	}
	if len(fresh) > 0 {
		c.fences.add(family, fresh)
	}
}

package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/oci"
)

// A quota counts the bytes of the blobs and manifests that the repositories under its
// prefix may read, each digest once per repository: what clients would get if they pulled
// everything. That two repositories share the bytes in the bucket helps neither, so what
// one of them does never changes what another has left. Every quota that covers a
// repository counts it: one for acme bounds acme/team, whatever quota that has itself.
//
// The count is a record that changes in the transaction that makes or removes a link or a
// manifest, compared by its revision, so pushes at once never hold more than the quota
// together. There is a record only where a quota is configured; where none is, nothing is
// read or written. A record that is missing is made by counting. Whoever brings another
// way to make or remove a link or a manifest in a pushed tier has to go through
// commitUsage.
//
// All replicas have one configuration, so while a record is missing nobody adds anything
// under its prefix without making it, and the counting sees a set that stands still.
// While a change of the quotas rolls out that is not so: replicas that do not know a quota
// write past its record. A count that became too low lets in more until it is counted anew;
// one that is too high is counted anew before it refuses, once an hour at the most; and
// none falls below 0. To have everything counted anew, start the replicas without the
// quota and then with it: a start removes the records that no quota asks for.
const (
	recountAfter = time.Hour
	countPage    = 5000 // records read at once while counting
	quotaWait    = 10 * time.Second
)

// usageRecord is what the repositories under a prefix hold.
type usageRecord struct {
	Bytes     int64     `json:"bytes"`
	CountedAt time.Time `json:"countedAt"` // the last time that it was not only added up
}

// quota is a quota at run time.
type quota struct {
	Quota
	tier string
	key  string              // of its usageRecord
	turn *semaphore.Weighted // of one: a replica changes the record one by one, or it would only get in its own way
	wait time.Duration       // for it: where the catalog does not answer, each who has it takes long
}

// newQuotas orders quotas so that of two nested ones the wider comes first.
func newQuotas(tier string, configured []Quota) []*quota {
	var all []*quota
	for _, c := range configured {
		all = append(all, &quota{Quota: c, tier: tier, key: usagePrefix(tier) + c.Prefix, turn: semaphore.NewWeighted(1), wait: quotaWait})
	}
	slices.SortFunc(all, func(a, b *quota) int { return len(a.Prefix) - len(b.Prefix) })
	return all
}

// quotas are those that count the repository, the widest first.
func (r *Repository) quotas() []*quota {
	var covering []*quota
	for _, q := range r.Tier.quotas {
		if q.covers(r.Name) {
			covering = append(covering, q)
		}
	}
	return covering
}

// commitUsage applies change together with what it adds to the quotas of the repository,
// delta bytes, or takes from them where that is negative. The error wraps
// oci.ErrQuotaExceeded where they have no room for it; then nothing is changed.
func (r *Repository) commitUsage(ctx context.Context, change Change, delta int64) (revision int64, err error) {
	quotas := r.quotas()
	if delta == 0 || len(quotas) == 0 {
		return r.registry.catalog.Commit(ctx, change)
	}
	err = inTurn(ctx, quotas, func() error {
		// Another replica may be ahead; then change itself needs no second look.
		for try := 1; ; try++ {
			var charged Change
			if charged, err = r.charge(ctx, change, quotas, delta); err == nil {
				revision, err = r.registry.catalog.Commit(ctx, charged)
			}
			if try == maxTries || !onlyUsage(err, quotas) {
				return err
			}
		}
	})
	return revision, err
}

// inTurn calls do when nobody else in this process changes the records of quotas. They are
// taken from the widest to the narrowest, so nobody waits in a circle.
func inTurn(ctx context.Context, quotas []*quota, do func() error) error {
	for _, q := range quotas {
		if err := q.take(ctx); err != nil {
			return err
		}
		defer q.turn.Release(1)
	}
	return do()
}

// take waits for the turn, which the caller releases.
func (q *quota) take(ctx context.Context) error {
	waits, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	if q.turn.Acquire(waits, 1) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: others have been changing the quota of %s for %v", oci.ErrUnavailable, q.name(), q.wait)
}

// onlyUsage says whether err is a conflict over nothing but the records of quotas.
func onlyUsage(err error, quotas []*quota) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict) && !slices.ContainsFunc(conflict.Keys, func(key string) bool {
		return !slices.ContainsFunc(quotas, func(q *quota) bool { return q.key == key })
	})
}

// charge is change with the records of the quotas as they stand behind it.
func (r *Repository) charge(ctx context.Context, change Change, quotas []*quota, delta int64) (Change, error) {
	keys := make([]string, len(quotas))
	for i, q := range quotas {
		keys[i] = q.key
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return change, err
	}
	charged := Change{If: slices.Clone(change.If), Put: slices.Clone(change.Put), Delete: change.Delete}
	for i, q := range quotas {
		record, used, err := r.registry.usage(ctx, q, records[i], delta)
		if err != nil {
			return change, fmt.Errorf("quota of %s: %w", q.name(), err)
		}
		if delta > 0 && delta > q.Bytes-used.Bytes {
			return change, fmt.Errorf("%w: the repositories of %s hold %d bytes of %d and have no room for %d more: delete what is not needed any more, or have the quota raised",
				oci.ErrQuotaExceeded, q.name(), used.Bytes, q.Bytes, delta)
		}
		used.Bytes = max(0, used.Bytes+delta)
		charged.If = append(charged.If, Unchanged(record))
		charged.Put = append(charged.Put, Put{Key: q.key, Value: Encode(used)})
	}
	return charged, nil
}

// name is the prefix with its tier, as clients write it.
func (q *quota) name() string {
	if q.Prefix == "" {
		return q.tier
	}
	return q.tier + "/" + q.Prefix
}

// usage is what record says, counted where there is none, and counted anew where it was
// long ago and delta would be refused.
func (r *Registry) usage(ctx context.Context, q *quota, record Record, delta int64) (Record, usageRecord, error) {
	if record.Revision != 0 {
		used, err := Decode[usageRecord](record)
		if err != nil || delta <= q.Bytes-used.Bytes || delta <= 0 || r.Now().Sub(used.CountedAt) < recountAfter {
			return record, used, err
		}
	}
	used := usageRecord{CountedAt: r.Now()}
	sum, err := r.countUsage(ctx, q)
	if err != nil {
		return record, used, err
	}
	used.Bytes = sum
	// Whoever added something meanwhile has changed the record.
	revision, err := r.catalog.Commit(ctx, Change{If: []Condition{Unchanged(record)}, Put: []Put{{Key: q.key, Value: Encode(used)}}})
	return Record{Key: q.key, Revision: revision}, used, err
}

// countUsage adds up what the repositories under the quota's prefix hold.
func (r *Registry) countUsage(ctx context.Context, q *quota) (sum int64, err error) {
	// The names themselves and those below them; no other name begins so.
	ends := []string{"@", "/"}
	if q.Prefix == "" {
		ends = []string{""}
	}
	for _, kind := range []string{linkPrefix(q.tier), manifestsPrefix(q.tier)} {
		for _, end := range ends {
			n, err := r.sumSizes(ctx, kind+q.Prefix+end)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// sumSizes adds up the sizes in all records behind prefix.
func (r *Registry) sumSizes(ctx context.Context, prefix string) (sum int64, err error) {
	q := Query{Prefix: prefix, Limit: countPage}
	for {
		page, err := r.catalog.List(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, record := range page {
			v, err := Decode[struct {
				Size int64 `json:"size"`
			}](record)
			if err != nil {
				return 0, err
			}
			sum += v.Size
		}
		if len(page) < q.Limit {
			return sum, nil
		}
		q.After = page[len(page)-1].Key
	}
}

// affords says early whether the quotas have room for a blob of size bytes, negative where
// nobody knows: then, for one byte. The transaction that records the blob decides.
func (r *Repository) affords(ctx context.Context, size int64, want digest.Digest) error {
	quotas := r.quotas()
	if len(quotas) == 0 || size == 0 {
		return nil
	}
	if want != "" {
		link, err := r.get(ctx, linkKey(r.Tier.Name, r.Name, want))
		if err != nil || link.Revision != 0 { // it is counted already
			return err
		}
	}
	if size < 0 {
		size = 1
	}
	err := inTurn(ctx, quotas, func() error {
		_, err := r.charge(ctx, Change{}, quotas, size)
		return err
	})
	if errors.Is(err, oci.ErrConflict) {
		return nil
	}
	return err
}

// commitLink applies a change that lets the repository read the blob d of size bytes. A
// quota counts it if the repository could not read it before.
func (r *Repository) commitLink(ctx context.Context, change Change, d digest.Digest, size int64) (int64, error) {
	if len(r.quotas()) == 0 {
		return r.registry.catalog.Commit(ctx, change)
	}
	link, err := r.get(ctx, linkKey(r.Tier.Name, r.Name, d))
	if err != nil {
		return 0, err
	}
	before := Absent(link.Key)
	if link.Revision != 0 {
		before, size = Present(link.Key), 0
	}
	change.If = append(slices.Clone(change.If), before)
	return r.commitUsage(ctx, change, size)
}

// keepsLink adds to the reference to a blob that the repository could read it all along.
// Without a quota the reference makes the link anew where a DELETE has just taken it; that
// would be a link that nobody counts.
func (r *Repository) keepsLink(ref *Change, d digest.Digest) {
	if len(r.quotas()) > 0 {
		ref.If = append(ref.If, Present(linkKey(r.Tier.Name, r.Name, d)))
	}
}

// isQuota says whether a quota refused.
func isQuota(err error) bool { return errors.Is(err, oci.ErrQuotaExceeded) }

// Usage is how much of a quota is used.
type Usage struct {
	Quota
	Used    int64 // bytes
	Counted bool  // false until the first push: Used is not known
}

// Usage says how much of each quota of a tier is used, by prefix.
func (r *Registry) Usage(ctx context.Context, t *Tier) ([]Usage, error) {
	if len(t.quotas) == 0 {
		return nil, nil
	}
	keys := make([]string, len(t.quotas))
	for i, q := range t.quotas {
		keys[i] = q.key
	}
	records, err := r.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("quotas of %s: %w", t.Name, err)
	}
	all := make([]Usage, len(t.quotas))
	for i, record := range records {
		all[i].Quota = t.quotas[i].Quota
		if record.Revision == 0 {
			continue
		}
		used, err := Decode[usageRecord](record)
		if err != nil {
			return nil, err
		}
		all[i].Used, all[i].Counted = used.Bytes, true
	}
	slices.SortFunc(all, func(a, b Usage) int { return strings.Compare(a.Prefix, b.Prefix) })
	return all, nil
}

// forgetUsage removes the records of quotas that the tier has no more: nobody keeps them
// right from now on.
func (r *Registry) forgetUsage(ctx context.Context, t *Tier) error {
	records, err := r.catalog.List(ctx, Query{Prefix: usagePrefix(t.Name), Limit: MaxPage})
	if err != nil {
		return err
	}
	for _, record := range records {
		if slices.ContainsFunc(t.quotas, func(q *quota) bool { return q.key == record.Key }) {
			continue
		}
		if _, err := r.catalog.Commit(ctx, Change{Delete: []string{record.Key}}); err != nil {
			return err
		}
	}
	return nil
}

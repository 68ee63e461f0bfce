package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// What becomes of a blob whose object is missing or bad. Its bytes may lie in another store:
// they are brought from there under a new key, proven, and the record is pointed at them.
// Where they are nowhere, the record goes, so that nobody who has the bytes is told that the
// registry has them too.

// errNowhere says that no store has the right bytes.
var errNowhere = errors.New("no store of the registry has the right bytes")

// foundLost reports a blob whose bytes are not there, or are bad, and who is affected.
func (c *Checking) foundLost(ctx context.Context, s *checkStore, f Finding, record Record) error {
	var err error
	if f.Affected, err = c.affected(ctx, s, f.Digest); err != nil {
		return err
	}
	documents, err := c.documents(ctx, s, f.Digest)
	if err != nil {
		return err
	}
	f.Message += ": " + c.whose(f)
	f.Remedy = remedyLost(f.Digest)
	if len(documents) > 0 {
		f.Message += "; it is the document of what promotion " + listedAs(documents) + " brought"
	}
	return c.Found(ctx, f, func(ctx context.Context) error {
		b, err := Decode[blobRecord](record)
		if err != nil {
			return err
		}
		if f.Kind == KindObjectSize {
			if done, err := c.mendSize(ctx, s, f, record, b); done || err != nil {
				return err
			}
		}
		if f.Kind == KindObjectMissing { // nothing is there that would have to go
			return c.mendLost(ctx, s, f, record)
		}
		return c.mendLost(ctx, s, f, record, c.registry.condemn(s.id, b.Key, f.Digest, b.Size, f.Kind))
	})
}

// whose says in words who is affected.
func (c *Checking) whose(f Finding) string {
	if len(f.Affected) == 0 {
		return "nothing needs it, but the next push of these bytes would be told that they are here"
	}
	return fmt.Sprintf("%s cannot be pulled whole", listedAs(f.Affected))
}

func listedAs(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and others", strings.Join(names[:3], ", "))
	}
	return strings.Join(names, ", ")
}

func remedyLost(d digest.Digest) string {
	return fmt.Sprintf("sluice fsck --repair   # takes the bytes from another tier, or makes room for them; where no tier has them, push %s again, and after that sluice fsck --repair once more for the tiers above", d)
}

// mendLost gives a blob good bytes, or makes room for them. also is written with either.
func (c *Checking) mendLost(ctx context.Context, s *checkStore, f Finding, record Record, also ...Put) error {
	err := c.restore(ctx, s, f, record, c.others(s), also)
	if !errors.Is(err, errNowhere) {
		return err
	}
	documents, listErr := c.documents(ctx, s, f.Digest)
	if listErr != nil {
		return listErr
	}
	if len(documents) > 0 {
		return fmt.Errorf("%w, and nobody can push what the registry wrote itself: restore the object %s from a backup of the bucket", err, f.Key)
	}
	if !c.giveUp(record.Key) {
		return fmt.Errorf("%w, and %d other blobs were given up already: that many are rather a store that is not itself than lost; look at it first, and check again to go on", err, maxLost)
	}
	f.Problem = "its record was taken away, so that the bytes can be pushed again: " + err.Error()
	if err := c.Mend(ctx, f, Change{If: []Condition{Unchanged(record)}, Delete: []string{record.Key}, Put: also}); err != nil {
		return err
	}
	return errors.New(f.Problem)
}

// maxLost bounds for how many blobs whose bytes are nowhere one check makes room. Each loses
// the record of where its bytes were, and a store that shows nothing for a while, or the
// wrong bucket, must not cost more than somebody can put right by the findings.
const maxLost = 100

// giveUp notes that a blob is lost, and says whether its record may go.
func (c *Checking) giveUp(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lost) >= maxLost {
		return false
	}
	c.lost[key] = true
	return true
}

// mendSize writes the size that the object has, where it is the record that is wrong: the
// object's bytes are what the digest says.
func (c *Checking) mendSize(ctx context.Context, s *checkStore, f Finding, record Record, b blobRecord) (done bool, err error) {
	info, err := c.stat(ctx, s, b.Key)
	if err != nil {
		return false, err
	}
	if err := reread(ctx, s.bucket(), b.Key, info.Size, f.Digest); err != nil {
		if errors.Is(err, oci.ErrCorrupt) {
			err = nil
		}
		return false, err
	}
	b.Size = info.Size
	return true, c.mend(ctx, f, Change{If: []Condition{Unchanged(record)}, Put: []Put{{Key: record.Key, Value: Encode(b)}}}, Event{Key: b.Key, Size: b.Size})
}

// others are the stores where bytes may lie that s has lost.
func (c *Checking) others(s *checkStore) []*checkStore {
	return slices.DeleteFunc(slices.Clone(c.stores), func(o *checkStore) bool { return o == s })
}

// restore brings the bytes of a blob from one of the stores, which may be its own, to a new
// object and points its record at that. Nothing that a store says of the bytes is believed:
// they are read back and hashed. also is written with it.
func (c *Checking) restore(ctx context.Context, s *checkStore, f Finding, record Record, from []*checkStore, also []Put) error {
	failed := errNowhere
	for _, source := range from {
		_, b, err := c.blob(ctx, source, f.Digest)
		if err != nil {
			return err
		}
		if b.Key == "" {
			continue
		}
		err = c.bringBack(ctx, s, f, record, source, b, also)
		if err == nil || errors.Is(err, oci.ErrConflict) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, oci.ErrUnavailable) { // it may be there all the same: nothing is given up
			failed = err
		}
	}
	return failed
}

// bringBack copies the bytes from a source and records them, if they are the right ones.
func (c *Checking) bringBack(ctx context.Context, s *checkStore, f Finding, record Record, source *checkStore, b blobRecord, also []Put) error {
	r, t, d := c.registry, s.tiers[0], f.Digest
	object, err := r.Announce(ctx, t, d, "repair", c.options.Actor)
	if err != nil {
		return err
	}
	copied := &coming{Staged: &Staged{Digest: d, Size: b.Size, registry: r, tier: t, object: object}, source: b}
	if _, err = copied.transfer(ctx, source.tiers[0]); err == nil {
		err = reread(ctx, t.Bucket, object, b.Size, d)
	}
	if err == nil {
		value := blobRecord{Key: object, Size: b.Size, RenewedAt: r.Now(), Origin: b.Origin}
		if record.Revision != 0 {
			if old, err := Decode[blobRecord](record); err == nil {
				value.Origin = old.Origin
			}
		}
		err = c.mend(ctx, f, Change{
			If:     []Condition{Unchanged(record), Present(intentKey(s.id, object))},
			Put:    append([]Put{{Key: record.Key, Value: Encode(value)}}, also...),
			Delete: []string{intentKey(s.id, object)},
		}, Event{Key: object, Size: b.Size})
	}
	if err != nil {
		copied.Settle(ctx, err)
	}
	return err
}

// checkShared reports two blobs that name one object: what becomes of the one becomes of
// the other.
func (c *Checking) checkShared(ctx context.Context, s *checkStore, d, other digest.Digest) error {
	records, err := c.Get(ctx, blobKey(s.id, d), blobKey(s.id, other))
	if err != nil || records[0].Revision == 0 || records[1].Revision == 0 {
		return err
	}
	a, aErr := Decode[blobRecord](records[0])
	b, bErr := Decode[blobRecord](records[1])
	if aErr != nil || bErr != nil || a.Key != b.Key {
		return nil
	}
	for i, digests := range [][2]digest.Digest{{d, other}, {other, d}} {
		var got digest.Digest
		err := c.patiently(ctx, func() (err error) { got, err = c.hash(ctx, s, digests[0], a); return err })
		if err != nil {
			return c.unreadable(ctx, Finding{Store: s.id, Key: a.Key, Digest: digests[0]}, err)
		}
		f := Finding{Invariant: "I7", Kind: KindBlobShared, Severity: Danger, Store: s.id, Key: a.Key, Digest: digests[0]}
		if got == digests[0] && i == 0 {
			continue // the other one may be the wrong one
		}
		if f.Affected, err = c.affected(ctx, s, f.Digest); err != nil {
			return err
		}
		if got != f.Digest {
			f.Message = fmt.Sprintf("it names the object of the blob %s, and its own bytes are not there: %s", digests[1], c.whose(f))
			f.Remedy = remedyLost(f.Digest)
			return c.Found(ctx, f, func(ctx context.Context) error { return c.mendLost(ctx, s, f, records[i]) })
		}
		f.Message = fmt.Sprintf("it names the object of the blob %s, which has the same bytes: once one of them is collected, the bytes of both are gone", digests[1])
		f.Remedy = "sluice fsck --repair   # gives the blob an object of its own"
		return c.Found(ctx, f, func(ctx context.Context) error { return c.mendDoomed(ctx, s, f, records[i]) })
	}
	return nil
}

// checkDoomed reports a blob whose object is also named by a record through which it is
// going to be deleted.
func (c *Checking) checkDoomed(ctx context.Context, s *checkStore, d digest.Digest) error {
	_, b, err := c.blob(ctx, s, d)
	if err != nil || b.Key == "" {
		return err
	}
	doomed := ""
	err = c.Walk(ctx, Query{Prefix: prefixUpload}, func(page []Record) error {
		for _, record := range page {
			if u, err := Decode[uploadRecord](record); err == nil && slices.Contains(u.unrecorded(), b.Key) {
				doomed = "the upload " + strings.TrimPrefix(record.Key, prefixUpload)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	records, err := c.Get(ctx, blobKey(s.id, d), intentKey(s.id, b.Key), condemnedKey(s.id, b.Key))
	if err != nil {
		return err
	}
	if now, err := Decode[blobRecord](records[0]); err != nil || now.Key != b.Key {
		return nil
	}
	for _, record := range records[1:] {
		if record.Revision != 0 {
			doomed = record.Key
		}
	}
	if doomed == "" {
		return nil
	}
	f := Finding{Invariant: "I3", Kind: KindBlobDoomed, Severity: Danger, Store: s.id, Key: b.Key, Digest: d,
		Message: fmt.Sprintf("%s names the blob's object too, as one that is given up: it is going to be deleted", doomed),
		Remedy:  "sluice fsck --repair   # at once: gives the blob another object"}
	return c.Found(ctx, f, func(ctx context.Context) error { return c.mendDoomed(ctx, s, f, records[0]) })
}

// mendDoomed gives a blob another object. Whoever is about to delete the one that it has
// cannot be stopped: he may have read already that he may.
func (c *Checking) mendDoomed(ctx context.Context, s *checkStore, f Finding, record Record) error {
	return c.restore(ctx, s, f, record, append([]*checkStore{s}, c.others(s)...), nil)
}

// documents names the events that tell of the bytes, some of them.
func (c *Checking) documents(ctx context.Context, s *checkStore, d digest.Digest) (ids []string, err error) {
	prefix := refPrefix(s.id, d) + ".record/"
	var refs []Record
	err = c.patiently(ctx, func() (err error) {
		refs, err = c.registry.catalog.List(ctx, Query{Prefix: prefix, Limit: 3, KeysOnly: true})
		return err
	})
	for _, ref := range refs {
		ids = append(ids, strings.TrimPrefix(ref.Key, prefix))
	}
	return ids, err
}

// affected names the manifests that need the bytes, with some of their tags.
func (c *Checking) affected(ctx context.Context, s *checkStore, d digest.Digest) ([]string, error) {
	prefix := refPrefix(s.id, d)
	var names []string
	for _, q := range []Query{{Prefix: prefix + ".manifest/"}, {Prefix: prefix, After: prefix + "/"}} {
		q.Limit, q.KeysOnly = maxAffected, true
		var refs []Record
		err := c.patiently(ctx, func() (err error) {
			refs, err = c.registry.catalog.List(ctx, q)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if len(names) == maxAffected {
				return names, nil
			}
			name := strings.TrimPrefix(ref.Key, q.Prefix)
			if q.After == "" {
				name += "@" + d.String()
			}
			name, err := c.tagged(ctx, name)
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return names, nil
}

// tagged adds to the name of a manifest some of the tags that point at it.
func (c *Checking) tagged(ctx context.Context, name string) (string, error) {
	tier, rest, _ := strings.Cut(name, "/")
	repo, d, _, ok := cutKey(rest)
	if !ok {
		return name, nil
	}
	tags, more, err := c.registry.listNames(ctx, taggedPrefix(tier, repo, d), "", 3)
	if err != nil || len(tags) == 0 {
		return name, err
	}
	if more != "" {
		tags = append(tags, "…")
	}
	return fmt.Sprintf("%s (%s)", name, strings.Join(tags, ", ")), nil
}

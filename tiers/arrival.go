package tiers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Arrival brings manifests into a repository in any number of transactions so that all
// of them are seen at once.
//
// What is staged bears the arrival's id and is hidden. One record, committed/<id>, makes
// all of it visible, whatever the number; Finish then takes the marks away, and Rollback
// takes away what was never committed. Every batch writes in its own transaction what it
// staged, so both find it after a crash. An id is used once: a second try to bring the
// same is another arrival.
type Arrival struct {
	ID    string
	repo  *Repository
	fence []Condition
}

// Arriving is a manifest to be staged. Its bytes, and those of its blobs, are in the
// store already.
type Arriving struct {
	Descriptor ocispec.Descriptor
	Manifest   *oci.Manifest
	Depth      int
	At         time.Time // since when it counts as there; zero: since it is staged
}

// Arrival opens the arrival with the given id. Nothing is staged unless fence holds in the
// same transaction: whoever has lost the right to bring something stages no more of it.
func (r *Repository) Arrival(id string, fence ...Condition) *Arrival {
	return &Arrival{ID: id, repo: r, fence: fence}
}

func stagedPrefix(id string) string { return "staged/" + id + "/" }

func withID(pending []string, id string) []string {
	if slices.Contains(pending, id) {
		return pending
	}
	return append(slices.Clone(pending), id)
}

// Change adds to the transaction that commits the arrival what makes it seen. Tags are
// added with SetTag.
func (a *Arrival) Change(change *Change) {
	change.If = append(change.If, Absent(committedKey(a.ID)))
	change.Put = append(change.Put,
		Put{Key: committedKey(a.ID)},
		Put{Key: repoKey(a.repo.Tier.Name, a.repo.Name), Value: Encode(repositoryRecord{})})
}

// SetTag adds to a change, made at a time, that tag points at desc, if nobody moves it
// meanwhile, and says where it pointed. A tag that points there already adds only the
// condition.
func (a *Arrival) SetTag(ctx context.Context, change *Change, tag string, desc ocispec.Descriptor, at time.Time) (previous digest.Digest, err error) {
	var set Change
	previous, err = a.repo.setTag(ctx, &set, tag, desc, at)
	change.If = append(change.If, set.If...)
	if previous != desc.Digest {
		change.Put, change.Delete = append(change.Put, set.Put...), append(change.Delete, set.Delete...)
	}
	return previous, err
}

// Finish takes the marks off everything that was staged, once it is committed, and then
// the commit record itself. Until then readers look that up; nothing else changes. The
// error wraps oci.ErrConflict where something is staged that is not committed.
func (a *Arrival) Finish(ctx context.Context) error {
	return a.settle(ctx, Present(committedKey(a.ID)), func(change *Change, key string, record Record) error {
		value, err := unmark(record, a.ID)
		if err == nil && value != nil {
			change.If = append(change.If, Unchanged(record))
			change.Put = append(change.Put, Put{Key: key, Value: value})
		}
		return err
	}, []string{committedKey(a.ID)})
}

// unmark makes a staged record a plain one; nil where it is one.
func unmark(record Record, id string) ([]byte, error) {
	fields, err := Decode[map[string]json.RawMessage](record)
	if err != nil || fields["pending"] == nil {
		return nil, err
	}
	var pending []string
	if err := json.Unmarshal(fields["pending"], &pending); err != nil {
		return nil, fmt.Errorf("catalog record %s: %w: %w", record.Key, oci.ErrCorrupt, err)
	}
	if !slices.Contains(pending, id) {
		return nil, nil
	}
	delete(fields, "pending")
	return Encode(fields), nil
}

// HasStaged says whether anything is staged for the arrival of an id, or has its marks still.
func (r *Registry) HasStaged(ctx context.Context, id string) (bool, error) {
	page, err := r.catalog.List(ctx, Query{Prefix: stagedPrefix(id), Limit: 1, KeysOnly: true})
	return len(page) > 0, err
}

// Rollback takes away what was staged and is not committed. What another arrival has
// staged as well stays with that one. The error wraps oci.ErrConflict where it is
// committed: then nothing is taken away.
func (a *Arrival) Rollback(ctx context.Context) error {
	return a.settle(ctx, Absent(committedKey(a.ID)), func(change *Change, key string, record Record) error {
		fields, err := Decode[map[string]json.RawMessage](record)
		if err != nil {
			return err
		}
		var pending []string
		if raw := fields["pending"]; raw == nil {
			return nil
		} else if err := json.Unmarshal(raw, &pending); err != nil {
			return fmt.Errorf("catalog record %s: %w: %w", key, oci.ErrCorrupt, err)
		}
		left := slices.DeleteFunc(slices.Clone(pending), func(id string) bool { return id == a.ID })
		if len(left) == len(pending) {
			return nil
		}
		change.If = append(change.If, Unchanged(record))
		if len(left) == 0 {
			change.Delete = append(change.Delete, key)
			return nil
		}
		fields["pending"] = Encode(left)
		change.Put = append(change.Put, Put{Key: key, Value: Encode(fields)})
		return nil
	}, nil)
}

// settle walks the journal and lets edit change every record that a batch staged, a
// transaction for each batch in which guard must hold, and at last deletes the keys of
// last. Several may settle the same at once: a batch is settled by the first.
func (a *Arrival) settle(ctx context.Context, guard Condition, edit func(*Change, string, Record) error, last []string) error {
	r := a.repo.registry
	for {
		page, err := r.catalog.List(ctx, Query{Prefix: stagedPrefix(a.ID), Limit: 100})
		if err != nil {
			return fmt.Errorf("settle arrival %s: %w", a.ID, err)
		}
		if len(page) == 0 {
			break
		}
		for _, record := range page {
			if err := Retry(ctx, func() error { return a.settleBatch(ctx, record.Key, guard, edit) }); err != nil {
				return fmt.Errorf("settle arrival %s: %w", a.ID, err)
			}
		}
	}
	if len(last) == 0 {
		return nil
	}
	_, err := r.catalog.Commit(ctx, Change{Delete: last})
	return err
}

func (a *Arrival) settleBatch(ctx context.Context, key string, guard Condition, edit func(*Change, string, Record) error) error {
	journal, err := a.repo.get(ctx, key)
	if err != nil || journal.Revision == 0 {
		return err
	}
	batch, err := Decode[stagedRecord](journal)
	if err != nil {
		return err
	}
	records, err := a.stagedBy(ctx, batch)
	if err != nil {
		return err
	}
	change := Change{If: []Condition{guard, Unchanged(journal)}, Delete: []string{journal.Key}}
	for _, record := range records {
		if record.Revision == 0 {
			continue
		}
		if err := edit(&change, record.Key, record); err != nil {
			return err
		}
	}
	t, name := a.repo.Tier, a.repo.Name
	for _, entry := range batch.all() {
		manifest := manifestKey(t.Name, name, entry.Manifest)
		switch {
		case records[manifest].Revision == 0:
			// The manifest is gone, and its references go. That it stays away is compared:
			// another arrival may be staging it.
			change.If = append(change.If, Absent(manifest))
		case !slices.Contains(change.Delete, manifest):
			if err := a.leave(&change, entry, records[manifest]); err != nil {
				return err
			}
			continue
		}
		for _, d := range entry.Refs {
			change.Delete = append(change.Delete, refKey(t.store, d, t.Name, name, entry.Manifest))
		}
		change.Delete = append(change.Delete, selfKey(t.store, entry.Manifest, t.Name, name))
	}
	_, err = a.repo.registry.catalog.Commit(ctx, change)
	return err
}

// leave leaves what was staged of a wide manifest to another arrival that is staging it, too:
// that one may never come to these references, and so would not take them away.
func (a *Arrival) leave(change *Change, entry stagedRecord, manifest Record) error {
	v, err := Decode[ManifestRecord](manifest)
	if err != nil || !entry.Wide {
		return err
	}
	for _, other := range v.Pending {
		if other != a.ID {
			change.If = append(change.If, Unchanged(manifest))
			change.Put = append(change.Put, Put{Key: stagedPrefix(other) + a.repo.registry.NewID(),
				Value: Encode(stagedRecord{Manifest: entry.Manifest, Refs: entry.Refs, Wide: true})})
			break
		}
	}
	return nil
}

// stagedBy reads the records that a batch may have written: of manifests, of blobs, and of
// referrers where a manifest is one.
func (a *Arrival) stagedBy(ctx context.Context, batch stagedRecord) (map[string]Record, error) {
	t, name := a.repo.Tier, a.repo.Name
	var manifests, keys []string
	for _, entry := range batch.all() {
		manifests = append(manifests, manifestKey(t.Name, name, entry.Manifest))
	}
	before, err := a.repo.registry.catalog.Get(ctx, manifests...)
	if err != nil {
		return nil, err
	}
	for i, entry := range batch.all() {
		keys = append(keys, manifests[i])
		for _, d := range entry.Links {
			keys = append(keys, linkKey(t.Name, name, d))
		}
		if before[i].Revision == 0 {
			continue
		}
		if m, err := Decode[ManifestRecord](before[i]); err != nil {
			return nil, err
		} else if m.Subject != "" {
			keys = append(keys, referrerPrefix(t.Name, name, m.Subject)+entry.Manifest.String())
		}
	}
	return a.repo.registry.read(ctx, keys)
}

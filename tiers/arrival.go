package tiers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// blobsPerStage is how many blobs of a manifest are staged in one transaction: two writes
// and up to two conditions each.
const blobsPerStage = 40

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

// stagedRecord is the journal of one batch.
type stagedRecord struct {
	Manifest digest.Digest   `json:"manifest"`
	Links    []digest.Digest `json:"links,omitempty"`
	Refs     []digest.Digest `json:"refs,omitempty"`
}

// Arriving is a manifest to be staged. Its bytes, and those of its blobs, are in the
// store already.
type Arriving struct {
	Descriptor ocispec.Descriptor
	Manifest   *oci.Manifest
	Depth      int
}

// Arrival opens the arrival with the given id. Nothing is staged unless fence holds in the
// same transaction: whoever has lost the right to bring something stages no more of it.
func (r *Repository) Arrival(id string, fence ...Condition) *Arrival {
	return &Arrival{ID: id, repo: r, fence: fence}
}

func stagedPrefix(id string) string { return "staged/" + id + "/" }

// Stage stages one manifest, hidden. What the repository shows already is left as it is.
func (a *Arrival) Stage(ctx context.Context, m Arriving) error {
	err := Retry(ctx, func() error { return a.stage(ctx, m) })
	if err != nil {
		return fmt.Errorf("stage %s@%s: %w", a.repo.FullName(), m.Descriptor.Digest, err)
	}
	return nil
}

func (a *Arrival) stage(ctx context.Context, m Arriving) error {
	record, old, err := a.current(ctx, manifestKey(a.repo.Tier.Name, a.repo.Name, m.Descriptor.Digest))
	if err != nil || record.Revision != 0 && len(old) == 0 {
		return err
	}
	blobs := m.Manifest.Blobs()
	var whole []Condition
	for len(blobs) > blobsPerStage {
		change, err := a.batch(ctx, m, blobs[:blobsPerStage], nil)
		if err != nil {
			return err
		}
		whole = append(whole, Present(change.Put[0].Key))
		if err := a.commit(ctx, change); err != nil {
			return err
		}
		blobs = blobs[blobsPerStage:]
	}
	children := m.Manifest.Children
	for len(children) > blobsPerStage {
		change, err := a.batch(ctx, m, nil, children[:blobsPerStage])
		if err != nil {
			return err
		}
		whole = append(whole, Present(change.Put[0].Key))
		if err := a.commit(ctx, change); err != nil {
			return err
		}
		children = children[blobsPerStage:]
	}
	last, err := a.batch(ctx, m, blobs, children)
	if err != nil {
		return err
	}
	last.If = append(last.If, whole...)
	if err := a.addManifest(ctx, &last, m, record, old); err != nil {
		return err
	}
	return a.commit(ctx, last)
}

func (a *Arrival) commit(ctx context.Context, change Change) error {
	change.If = append(change.If, a.fence...)
	_, err := a.repo.registry.catalog.Commit(ctx, change)
	return err
}

// current reads a record that may be pending.
func (a *Arrival) current(ctx context.Context, key string) (Record, []string, error) {
	record, err := a.repo.get(ctx, key)
	if err != nil || record.Revision == 0 {
		return record, nil, err
	}
	v, err := Decode[struct {
		Pending []string `json:"pending"`
	}](record)
	return record, v.Pending, err
}

// batch makes the transaction for some blobs and children of a manifest, with its journal.
func (a *Arrival) batch(ctx context.Context, m Arriving, blobs, children []ocispec.Descriptor) (Change, error) {
	t, name := a.repo.Tier, a.repo.Name
	var change Change
	entry := stagedRecord{Manifest: m.Descriptor.Digest}
	written := map[digest.Digest]bool{}
	ref := func(d digest.Digest) {
		if !written[d] {
			written[d] = true
			change.If = append(change.If, Present(blobKey(t.store, d)))
			change.Put = append(change.Put, Put{Key: refKey(t.store, d, t.Name, name, m.Descriptor.Digest)})
			entry.Refs = append(entry.Refs, d)
		}
	}
	for _, c := range children {
		ref(c.Digest)
	}
	for _, b := range blobs {
		ref(b.Digest)
		record, pending, err := a.current(ctx, linkKey(t.Name, name, b.Digest))
		if err != nil {
			return change, err
		}
		entry.Links = append(entry.Links, b.Digest)
		if record.Revision != 0 && len(pending) == 0 {
			// The repository shows it already. Where nothing else needs it that may end.
			change.If = append(change.If, Present(record.Key))
			continue
		}
		if slices.Contains(pending, a.ID) {
			// Another manifest of this arrival has marked it, and nobody else takes that mark
			// away. To write it again would conflict with all that are staged beside this one.
			change.If = append(change.If, Present(record.Key))
			continue
		}
		change.If = append(change.If, Unchanged(record))
		change.Put = append(change.Put, Put{Key: record.Key, Value: Encode(LinkRecord{Size: b.Size, Pending: withID(pending, a.ID)})})
	}
	change.Put = append(change.Put, Put{Key: stagedPrefix(a.ID) + a.repo.registry.NewID(), Value: Encode(entry)})
	return change, nil
}

// addManifest adds the records of the manifest itself to its last batch.
func (a *Arrival) addManifest(ctx context.Context, change *Change, m Arriving, record Record, pending []string) error {
	t, name, d := a.repo.Tier, a.repo.Name, m.Descriptor.Digest
	value := ManifestRecord{MediaType: m.Descriptor.MediaType, Size: m.Descriptor.Size, ArtifactType: m.Manifest.ArtifactType,
		Depth: m.Depth, CreatedAt: a.repo.registry.Now(), By: a.repo.Actor, Pending: withID(pending, a.ID)}
	change.If = append(change.If, Unchanged(record), Present(blobKey(t.store, d)))
	if s := m.Manifest.Subject; s != nil {
		value.Subject = s.Digest
		referrer, pending, err := a.current(ctx, referrerPrefix(t.Name, name, s.Digest)+d.String())
		if err != nil {
			return err
		}
		change.If = append(change.If, Unchanged(referrer))
		shown := newReferrer(m.Descriptor, m.Manifest)
		shown.Pending = withID(pending, a.ID)
		change.Put = append(change.Put, Put{Key: referrer.Key, Value: Encode(shown)})
	}
	change.Put = append(change.Put, Put{Key: record.Key, Value: Encode(value)}, Put{Key: selfKey(t.store, d, t.Name, name)})
	return nil
}

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

// SetTag adds to a change that tag points at desc, if nobody moves it meanwhile, and says
// where it pointed. A tag that points there already adds only the condition.
func (a *Arrival) SetTag(ctx context.Context, change *Change, tag string, desc ocispec.Descriptor) (previous digest.Digest, err error) {
	var set Change
	previous, err = a.repo.setTag(ctx, &set, tag, desc)
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
	t, name := a.repo.Tier, a.repo.Name
	journal, err := a.repo.get(ctx, key)
	if err != nil || journal.Revision == 0 {
		return err
	}
	entry, err := Decode[stagedRecord](journal)
	if err != nil {
		return err
	}
	manifest := manifestKey(t.Name, name, entry.Manifest)
	keys := []string{manifest}
	for _, d := range entry.Links {
		keys = append(keys, linkKey(t.Name, name, d))
	}
	before, err := a.repo.get(ctx, manifest)
	if err != nil {
		return err
	}
	if before.Revision != 0 {
		if m, err := Decode[ManifestRecord](before); err != nil {
			return err
		} else if m.Subject != "" {
			keys = append(keys, referrerPrefix(t.Name, name, m.Subject)+entry.Manifest.String())
		}
	}
	records, err := a.repo.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	change := Change{If: []Condition{guard, Unchanged(journal)}, Delete: []string{journal.Key}}
	for i, record := range records {
		if record.Revision == 0 {
			continue
		}
		if err := edit(&change, keys[i], record); err != nil {
			return err
		}
	}
	if records[0].Revision == 0 || slices.Contains(change.Delete, manifest) {
		// The manifest is gone or goes, and its references with it. That it stays away
		// is compared: another arrival may be staging it.
		change.If = append(change.If, Condition{Key: manifest, Revision: records[0].Revision})
		for _, d := range entry.Refs {
			change.Delete = append(change.Delete, refKey(t.store, d, t.Name, name, entry.Manifest))
		}
		change.Delete = append(change.Delete, selfKey(t.store, entry.Manifest, t.Name, name))
	}
	_, err = a.repo.registry.catalog.Commit(ctx, change)
	return err
}

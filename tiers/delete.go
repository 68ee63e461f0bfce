package tiers

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// How many tags, of two writes each, and references go in the transaction that deletes
// their manifest, and how many tags are read at once.
const (
	tagsPerDelete = 20
	refsPerDelete = 60
	tagsPerPage   = 1000
)

// DeleteManifest removes a manifest and the tags that point at it. Its blobs stay as long
// as anything needs them. The error wraps oci.ErrUnsupported for a child of an index of
// the repository, and for evidence whose subject is still here: whoever could delete the
// newest scan could bring back an older one. It wraps oci.ErrTagImmutable while an immutable
// tag points at the manifest.
func (r *Repository) DeleteManifest(ctx context.Context, d digest.Digest) error {
	if err := r.Deletable(d.String()); err != nil {
		return err
	}
	return Retry(ctx, func() error { return r.deleteManifest(ctx, d) })
}

func (r *Repository) deleteManifest(ctx context.Context, d digest.Digest) error {
	record, m, err := r.manifestRecord(ctx, d)
	if err != nil {
		return err
	}
	parents := refPrefix(r.Tier.store, d) + r.Tier.Name + "/" + r.Name + "@"
	if kept, err := r.prune(ctx, parents); err != nil {
		return err
	} else if kept {
		return fmt.Errorf("%w: manifest %s@%s belongs to an index: delete that first", oci.ErrUnsupported, r.FullName(), d)
	}
	evidence := Condition{}
	if m.Subject != "" && oci.IsEvidence(m.ArtifactType) {
		evidence = Absent(manifestKey(r.Tier.Name, r.Name, m.Subject))
		subject, err := r.get(ctx, evidence.Key)
		if err != nil {
			return err
		}
		if subject.Revision != 0 {
			return fmt.Errorf("%w: %s@%s is evidence about %s and goes only with it", oci.ErrUnsupported, r.FullName(), d, m.Subject)
		}
	}
	tags, err := r.dropTags(ctx, d)
	if err != nil {
		return err
	}
	refs, err := r.referencesOf(ctx, d)
	if err != nil {
		return err
	}
	change := Change{If: []Condition{Unchanged(record), None(parents)},
		Delete: append(refs, record.Key, selfKey(r.Tier.store, d, r.Tier.Name, r.Name), pushingKey(r.Tier.Name, r.Name, d))}
	if evidence.Key != "" {
		change.If = append(change.If, evidence)
	}
	if err := r.deleteTags(ctx, &change, d, tags); err != nil {
		return err
	}
	if m.Subject != "" {
		change.Delete = append(change.Delete, referrerPrefix(r.Tier.Name, r.Name, m.Subject)+d.String())
		change.Put = append(change.Put, Put{Key: subjectKey(r.Tier.Name, r.Name, m.Subject), Value: Encode(repositoryRecord{})})
	}
	change.Put = append(change.Put,
		Put{Key: repoKey(r.Tier.Name, r.Name), Value: Encode(repositoryRecord{})},
		r.registry.EventPut(Event{Type: EventManifestDeleted, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name, Tags: tags,
			Digest: d, MediaType: m.MediaType, ArtifactType: m.ArtifactType, Subject: m.Subject, Store: r.Tier.store, Size: m.Size}))
	_, err = r.commitUsage(ctx, change, -m.Size)
	return err // of a conflict the next try finds the reason
}

// dropTags deletes the tags of a manifest but for so many as go in one transaction with it,
// which it returns: a tag without its manifest must never be seen. Nothing is deleted
// where one of them is immutable.
func (r *Repository) dropTags(ctx context.Context, d digest.Digest) (left []string, err error) {
	if err := r.checkTags(ctx, d); err != nil {
		return nil, err
	}
	for {
		tags, next, err := r.registry.listNames(ctx, taggedPrefix(r.Tier.Name, r.Name, d), "", tagsPerPage)
		if err != nil || next == "" && len(tags) <= tagsPerDelete {
			return tags, err
		}
		if next == "" {
			tags = tags[tagsPerDelete:]
		}
		for _, tag := range tags {
			if err := r.deleteTag(ctx, tag, d); err != nil && !isUnknown(err) {
				return nil, err
			}
		}
	}
}

// checkTags looks for a tag of a manifest that keeps it. One that comes later is found
// where it is to go.
func (r *Repository) checkTags(ctx context.Context, d digest.Digest) error {
	for last, more := "", true; more; more = last != "" {
		tags, next, err := r.registry.listNames(ctx, taggedPrefix(r.Tier.Name, r.Name, d), last, tagsPerPage)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if err := r.checkMove(tag, "deleted with its manifest"); err != nil {
				return err
			}
			if _, err := r.loses(ctx, tag, d, nil); err != nil {
				return err
			}
		}
		last = next
	}
	return nil
}

// prune looks at the references behind prefix that manifests of the repository hold. It
// takes away those of manifests that do not exist, which a push that was cut off leaves,
// and the deletion of a manifest with more than fit one transaction. It says whether any
// other is left. Arrivals have no such marker: they come to tiers that clients do not
// write to, so none is under way where anything is pruned.
func (r *Repository) prune(ctx context.Context, prefix string) (kept bool, err error) {
	records, err := r.registry.catalog.List(ctx, Query{Prefix: prefix, Limit: MaxPage})
	if err != nil {
		return false, err
	}
	for _, record := range records {
		d := digest.Digest(record.Key[len(prefix):])
		manifest := manifestKey(r.Tier.Name, r.Name, d)
		_, err := r.registry.catalog.Commit(ctx, Change{
			// A push that is writing these references finds its marker gone and begins anew.
			If:     []Condition{Absent(manifest)},
			Delete: []string{record.Key, pushingKey(r.Tier.Name, r.Name, d)},
		})
		if hasConflict(err, manifest) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// referencesOf lists the references of a manifest that go with it, in the order in which
// a push writes them. Of a manifest with more than fit, the rest keeps its bytes until
// prune finds them or garbage collection does.
func (r *Repository) referencesOf(ctx context.Context, d digest.Digest) ([]string, error) {
	desc, body, err := r.Manifest(ctx, d.String())
	if errors.Is(err, oci.ErrCorrupt) || errors.Is(err, oci.ErrObjectUnknown) {
		return nil, nil // what cannot be read can still be deleted
	}
	if err != nil {
		return nil, err
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		return nil, err
	}
	p := push{repo: r, desc: desc, manifest: m, blobs: m.Blobs()}
	var keys []string
	for _, ref := range p.references() {
		keys = append(keys, ref.Put[0].Key)
	}
	return keys[:min(len(keys), refsPerDelete)], nil
}

// deleteTags adds to change that the tags go, if none of them was moved meanwhile. A tag
// that was added meanwhile has changed the manifest's record.
func (r *Repository) deleteTags(ctx context.Context, change *Change, d digest.Digest, tags []string) error {
	keys := make([]string, len(tags))
	for i, tag := range tags {
		if err := r.checkMove(tag, "deleted with its manifest"); err != nil {
			return err
		}
		kept, err := r.loses(ctx, tag, d, nil)
		if err != nil {
			return err
		}
		change.If = append(change.If, kept...)
		keys[i] = tagKey(r.Tier.Name, r.Name, tag)
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	prefix := taggedPrefix(r.Tier.Name, r.Name, d)
	for i, record := range records {
		change.If = append(change.If, Unchanged(record), Present(prefix+tags[i]))
		change.Delete = append(change.Delete, record.Key, prefix+tags[i])
	}
	return nil
}

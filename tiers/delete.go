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
	return Retry(ctx, func() error { return r.deleteManifest(ctx, d, nil) })
}

// deleteManifest is one try to remove a manifest, by a rule or, where that is nil, for a
// client.
func (r *Repository) deleteManifest(ctx context.Context, d digest.Digest, by *removal) error {
	record, m, err := r.manifestRecord(ctx, d)
	if err != nil {
		return err
	}
	change, err := by.manifest(ctx, d, record, m)
	if err != nil {
		return err
	}
	parents := r.parents(d)
	if kept, err := r.prune(ctx, parents, by != nil); err != nil {
		return err
	} else if kept {
		return fmt.Errorf("%w: manifest %s@%s %w: delete that first", oci.ErrUnsupported, r.FullName(), d, errPart)
	}
	attached, err := r.detached(ctx, d, m)
	if err != nil {
		return err
	}
	tags, err := r.dropTags(ctx, d, by)
	if err != nil {
		return err
	}
	refs, err := r.referencesOf(ctx, d)
	if err != nil {
		return err
	}
	change.If = append(append(change.If, Unchanged(record), None(parents)), attached...)
	change.Delete = append(refs, record.Key, selfKey(r.Tier.store, d, r.Tier.Name, r.Name), pushingKey(r.Tier.Name, r.Name, d))
	if err := r.deleteTags(ctx, &change, d, tags, by); err != nil {
		return err
	}
	if m.Subject != "" {
		change.Delete = append(change.Delete, referrerPrefix(r.Tier.Name, r.Name, m.Subject)+d.String())
		change.Put = append(change.Put, Put{Key: subjectKey(r.Tier.Name, r.Name, m.Subject), Value: Encode(repositoryRecord{})})
	}
	change.Put = append(change.Put,
		Put{Key: repoKey(r.Tier.Name, r.Name), Value: Encode(repositoryRecord{})},
		r.registry.EventPut(Event{Type: EventManifestDeleted, Actor: r.Actor, Tier: r.Tier.Name, Repository: r.Name, Tags: tags, Cause: by.why(),
			Digest: d, MediaType: m.MediaType, ArtifactType: m.ArtifactType, Subject: m.Subject, Store: r.Tier.store, Size: m.Size}))
	if _, err = r.commitUsage(ctx, change, -m.Size); err != nil {
		return err // of a conflict the next try finds the reason
	}
	by.told(d, tags...)
	return nil
}

// errPart is of a manifest that an index of the repository names.
var errPart = errors.New("belongs to an index")

// parents is behind what prefix the indexes of the repository stand that name d.
func (r *Repository) parents(d digest.Digest) string {
	return refPrefix(r.Tier.store, d) + r.Tier.Name + "/" + r.Name + "@"
}

// detached asks of evidence that its subject is gone.
func (r *Repository) detached(ctx context.Context, d digest.Digest, m ManifestRecord) ([]Condition, error) {
	if m.Subject == "" || !oci.IsEvidence(m.ArtifactType) {
		return nil, nil
	}
	gone := Absent(manifestKey(r.Tier.Name, r.Name, m.Subject))
	subject, err := r.get(ctx, gone.Key)
	if err != nil {
		return nil, err
	}
	if subject.Revision != 0 {
		return nil, fmt.Errorf("%w: %s@%s is evidence about %s and goes only with it", oci.ErrUnsupported, r.FullName(), d, m.Subject)
	}
	return []Condition{gone}, nil
}

// dropTags deletes the tags of a manifest but for so many as go in one transaction with it,
// which it returns: a tag without its manifest must never be seen. Nothing is deleted
// where one of them is immutable.
func (r *Repository) dropTags(ctx context.Context, d digest.Digest, by *removal) (left []string, err error) {
	if err := r.checkTags(ctx, d, by); err != nil {
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
			if err := r.deleteTag(ctx, tag, d, by); err != nil && !isUnknown(err) {
				return nil, err
			}
		}
	}
}

// checkTags looks for a tag of a manifest that keeps it. One that comes later is found
// where it is to go.
func (r *Repository) checkTags(ctx context.Context, d digest.Digest, by *removal) error {
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
		if _, err := by.tags(ctx, d, tags); err != nil {
			return err
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
//
// patient waits for pushes: what is being pushed may need what the references are of.
func (r *Repository) prune(ctx context.Context, prefix string, patient bool) (kept bool, err error) {
	records, err := r.registry.catalog.List(ctx, Query{Prefix: prefix, Limit: MaxPage})
	if err != nil {
		return false, err
	}
	for _, record := range records {
		d := digest.Digest(record.Key[len(prefix):])
		manifest, pushing := manifestKey(r.Tier.Name, r.Name, d), pushingKey(r.Tier.Name, r.Name, d)
		// A push that is writing these references finds its marker gone and begins anew.
		change := Change{If: []Condition{Absent(manifest)}, Delete: []string{record.Key, pushing}}
		if patient {
			change = Change{If: []Condition{Absent(manifest), Absent(pushing)}, Delete: []string{record.Key}}
		}
		_, err := r.registry.catalog.Commit(ctx, change)
		if hasConflict(err, manifest) || patient && hasConflict(err, pushing) {
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
func (r *Repository) deleteTags(ctx context.Context, change *Change, d digest.Digest, tags []string, by *removal) error {
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
	held, err := by.tags(ctx, d, tags)
	if err != nil {
		return err
	}
	change.If = append(change.If, held...)
	prefix := taggedPrefix(r.Tier.Name, r.Name, d)
	for i, record := range records {
		change.If = append(change.If, Unchanged(record), Present(prefix+tags[i]))
		change.Delete = append(change.Delete, record.Key, prefix+tags[i])
	}
	return nil
}

package tiers

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Limits of the references of a manifest.
const (
	// Of one transaction: each takes up to two writes, and the last transaction needs
	// room for the manifest itself.
	refsPerChange = 50
	// Of one manifest: more would not fit the transactions of an arrival.
	maxReferences = 1500
)

// Pushed is what a push of a manifest made.
type Pushed struct {
	ocispec.Descriptor
	Subject digest.Digest // empty where the manifest names none
}

// push is a manifest on its way in.
type push struct {
	repo     *Repository
	tag      string
	desc     ocispec.Descriptor
	manifest *oci.Manifest
	depth    int
	blobs    []ocispec.Descriptor
	staged   *Staged
}

// PutManifest stores a manifest under reference, a tag or its digest. Its blobs and
// children must be in the repository; its subject need not be. want is the digest that
// the client expects, empty for none. The manifest can be seen once nil is returned, and
// not before.
func (r *Repository) PutManifest(ctx context.Context, reference string, want digest.Digest, contentType string, body []byte) (Pushed, error) {
	if err := r.Pushable(reference); err != nil {
		return Pushed{}, err
	}
	if err := r.Tier.checkManifest(int64(len(body))); err != nil {
		return Pushed{}, err
	}
	p := push{repo: r}
	if oci.IsDigest(reference) {
		d, err := oci.ParseDigest(reference)
		if err != nil {
			return Pushed{}, err
		}
		want = d
	} else {
		if err := oci.CheckTag(reference); err != nil {
			return Pushed{}, err
		}
		p.tag = reference
	}
	if want == "" {
		want = digest.FromBytes(body)
	} else if got := want.Algorithm().FromBytes(body); got != want {
		return Pushed{}, fmt.Errorf("%w: the manifest's digest is %s, not %s", oci.ErrDigestInvalid, got, want)
	}
	m, err := oci.ParseManifest(contentType, body)
	if err != nil {
		return Pushed{}, err
	}
	p.manifest, p.blobs = m, m.Blobs()
	if n := len(p.blobs) + len(m.Children); n > maxReferences {
		return Pushed{}, fmt.Errorf("%w: the manifest refers to %d blobs and manifests, at most %d are allowed", oci.ErrManifestInvalid, n, maxReferences)
	}
	p.desc = ocispec.Descriptor{MediaType: m.MediaType, Digest: want, Size: int64(len(body)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if err := p.check(ctx); err != nil {
		return Pushed{}, fmt.Errorf("push %s@%s: %w", r.FullName(), want, err)
	}
	if err := p.store(ctx, body); err != nil {
		return Pushed{}, fmt.Errorf("push %s@%s: %w", r.FullName(), want, err)
	}
	pushed := Pushed{Descriptor: p.desc}
	if m.Subject != nil {
		pushed.Subject = m.Subject.Digest
	}
	return pushed, nil
}

// check finds everything that the manifest needs in the repository, of the size and type
// that it says.
func (p *push) check(ctx context.Context) error {
	if err := p.checkTag(ctx); err != nil {
		return err
	}
	if err := p.checkBlobs(ctx); err != nil {
		return err
	}
	if oci.IsIndex(p.desc.MediaType) {
		p.depth = 1
	}
	keys := make([]string, len(p.manifest.Children))
	for i, d := range p.manifest.Children {
		keys[i] = manifestKey(p.repo.Tier.Name, p.repo.Name, d.Digest)
	}
	records, err := p.repo.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, record := range records {
		want := p.manifest.Children[i]
		if record.Revision == 0 {
			return fmt.Errorf("%w: manifest %s is not in %s: push it first", oci.ErrManifestReference, want.Digest, p.repo.FullName())
		}
		child, err := Decode[ManifestRecord](record)
		if err != nil {
			return err
		}
		if child.Size != want.Size || child.MediaType != want.MediaType {
			return fmt.Errorf("%w: manifest %s is a %s of %d bytes, the index says %s of %d", oci.ErrManifestInvalid,
				want.Digest, child.MediaType, child.Size, want.MediaType, want.Size)
		}
		p.depth = max(p.depth, child.Depth+1)
	}
	if p.depth > oci.MaxIndexDepth {
		return fmt.Errorf("%w: indexes are nested %d deep, at most %d are allowed", oci.ErrManifestInvalid, p.depth, oci.MaxIndexDepth)
	}
	return nil
}

// checkTag refuses early, before anything is stored, to move a tag that stays where it is.
func (p *push) checkTag(ctx context.Context) error {
	if p.tag == "" || !p.repo.Tier.Immutable(p.tag) {
		return nil
	}
	_, err := p.repo.setTag(ctx, &Change{}, p.tag, p.desc)
	return err
}

func (p *push) checkBlobs(ctx context.Context) error {
	keys := make([]string, len(p.blobs))
	for i, d := range p.blobs {
		keys[i] = linkKey(p.repo.Tier.Name, p.repo.Name, d.Digest)
	}
	records, err := p.repo.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, record := range records {
		if record.Revision == 0 {
			return fmt.Errorf("%w: blob %s is not in %s: upload it first", oci.ErrManifestReference, p.blobs[i].Digest, p.repo.FullName())
		}
		link, err := Decode[LinkRecord](record)
		if err != nil {
			return err
		}
		if link.Size != p.blobs[i].Size {
			return fmt.Errorf("%w: blob %s has %d bytes, the manifest says %d", oci.ErrManifestInvalid, p.blobs[i].Digest, link.Size, p.blobs[i].Size)
		}
	}
	return nil
}

// store writes the body, then the references in batches where they are many, and with the
// last batch the records that make the manifest seen. A crash in between leaves
// references of a manifest that does not exist, which keep bytes and show nothing; prune
// takes them away where they stand in the way. A manifest that exists has its references.
func (p *push) store(ctx context.Context, body []byte) error {
	r := p.repo.registry
	var err error
	if p.staged, err = r.Stage(ctx, p.repo.Tier, p.desc.Digest, body); err != nil {
		return err
	}
	err = Retry(ctx, func() error {
		record, err := p.repo.get(ctx, manifestKey(p.repo.Tier.Name, p.repo.Name, p.desc.Digest))
		if err != nil {
			return err
		}
		var change Change
		if record.Revision == 0 {
			if change, err = p.stageReferences(ctx); err != nil {
				return p.explain(err)
			}
		}
		if err := p.complete(ctx, &change, record); err != nil || len(change.Put) == 0 {
			return err
		}
		added := p.desc.Size
		if record.Revision != 0 {
			added = 0
		}
		_, err = p.repo.commitUsage(ctx, change, added)
		return p.explain(err)
	})
	p.staged.Settle(ctx, err)
	return err
}

// stageReferences writes all references but the last batch, which it returns. While they
// are being written a marker stands, one for all who push the same manifest at once.
// Whoever takes references of the manifest away deletes the marker too, and so does the
// first of the pushers who is done, so as long as it is unchanged all batches are whole.
func (p *push) stageReferences(ctx context.Context) (last Change, err error) {
	refs := p.references()
	if len(refs) <= refsPerChange {
		return mergeChanges(refs), nil
	}
	marker, err := p.repo.get(ctx, pushingKey(p.repo.Tier.Name, p.repo.Name, p.desc.Digest))
	if err != nil {
		return last, err
	}
	for ; len(refs) > refsPerChange; refs = refs[refsPerChange:] {
		batch := mergeChanges(refs[:refsPerChange])
		batch.If = append(batch.If, Unchanged(marker))
		if marker.Revision == 0 {
			batch.Put = append(batch.Put, Put{Key: marker.Key})
		}
		revision, err := p.repo.registry.catalog.Commit(ctx, batch)
		if err != nil {
			return last, err
		}
		if marker.Revision == 0 {
			marker.Revision = revision
		}
	}
	last = mergeChanges(refs)
	last.If = append(last.If, Unchanged(marker))
	last.Delete = append(last.Delete, marker.Key)
	return last, nil
}

// references makes one small change for every blob and child: it is still there, and from
// now on this manifest needs it.
func (p *push) references() []Change {
	t, name := p.repo.Tier, p.repo.Name
	var refs []Change
	for _, b := range p.blobs {
		ref := Change{
			If: []Condition{Present(blobKey(t.store, b.Digest))},
			Put: []Put{
				{Key: refKey(t.store, b.Digest, t.Name, name, p.desc.Digest)},
				// Written again so that a DELETE of the blob meanwhile takes nothing away.
				{Key: linkKey(t.Name, name, b.Digest), Value: Encode(LinkRecord{Size: b.Size})},
			},
		}
		p.repo.keepsLink(&ref, b.Digest)
		refs = append(refs, ref)
	}
	seen := map[digest.Digest]bool{}
	for _, c := range p.manifest.Children {
		if seen[c.Digest] {
			continue
		}
		seen[c.Digest] = true
		refs = append(refs, Change{
			If:  []Condition{Present(manifestKey(t.Name, name, c.Digest))},
			Put: []Put{{Key: refKey(t.store, c.Digest, t.Name, name, p.desc.Digest)}},
		})
	}
	return refs
}

func mergeChanges(changes []Change) Change {
	var merged Change
	for _, c := range changes {
		merged.If = append(merged.If, c.If...)
		merged.Put = append(merged.Put, c.Put...)
		merged.Delete = append(merged.Delete, c.Delete...)
	}
	return merged
}

// complete adds to the last change what makes the manifest and its tag seen. record is the
// manifest's as it was read. A push that would change nothing is left empty.
func (p *push) complete(ctx context.Context, change *Change, record Record) error {
	t, name, d := p.repo.Tier, p.repo.Name, p.desc.Digest
	isNew := record.Revision == 0
	previous, err := p.repo.setTag(ctx, change, p.tag, p.desc)
	if err != nil {
		return err
	}
	if !isNew && (p.tag == "" || previous == d) {
		*change = Change{} // the same again
		return nil
	}
	if err := p.staged.Change(ctx, change); err != nil {
		return err
	}
	event := Event{Type: EventTagged, Actor: p.repo.Actor, Tier: t.Name, Repository: name, Tag: p.tag, Previous: previous,
		Digest: d, MediaType: p.desc.MediaType, ArtifactType: p.desc.ArtifactType, Store: t.store, Key: p.staged.Key(), Size: p.desc.Size}
	change.If = append(change.If, Unchanged(record))
	change.Put = append(change.Put, Put{Key: repoKey(t.Name, name), Value: Encode(repositoryRecord{})})
	if !isNew {
		// Written again so that a DELETE of the manifest notices the tag.
		change.Put = append(change.Put, Put{Key: record.Key, Value: record.Value})
	} else {
		event.Type = EventManifestPushed
		p.putRecords(change)
		if s := p.manifest.Subject; s != nil {
			event.Subject = s.Digest
		}
	}
	change.Put = append(change.Put, p.repo.registry.EventPut(event))
	return nil
}

// putRecords adds the manifest's record, and the referrer's where it names a subject.
func (p *push) putRecords(change *Change) {
	t, name := p.repo.Tier, p.repo.Name
	m := ManifestRecord{MediaType: p.desc.MediaType, Size: p.desc.Size, ArtifactType: p.desc.ArtifactType,
		Depth: p.depth, CreatedAt: p.repo.registry.Now(), By: p.repo.Actor}
	if s := p.manifest.Subject; s != nil {
		m.Subject = s.Digest
		change.Put = append(change.Put, Put{
			Key: referrerPrefix(t.Name, name, s.Digest) + p.desc.Digest.String(),
			Value: Encode(ReferrerRecord{MediaType: p.desc.MediaType, Size: p.desc.Size,
				ArtifactType: p.desc.ArtifactType, Annotations: p.manifest.Annotations}),
		})
	}
	change.Put = append(change.Put, Put{Key: manifestKey(t.Name, name, p.desc.Digest), Value: Encode(m)})
}

// explain turns the conflict over a blob or child that went away into the answer that a
// push without it would have got.
func (p *push) explain(err error) error {
	for _, b := range p.blobs {
		if hasConflict(err, blobKey(p.repo.Tier.store, b.Digest)) || hasConflict(err, linkKey(p.repo.Tier.Name, p.repo.Name, b.Digest)) {
			return fmt.Errorf("%w: blob %s was removed meanwhile: upload it again", oci.ErrManifestReference, b.Digest)
		}
	}
	for _, c := range p.manifest.Children {
		if hasConflict(err, manifestKey(p.repo.Tier.Name, p.repo.Name, c.Digest)) {
			return fmt.Errorf("%w: manifest %s was removed meanwhile: push it again", oci.ErrManifestReference, c.Digest)
		}
	}
	return err
}

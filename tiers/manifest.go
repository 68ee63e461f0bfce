package tiers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Limits of the references of a manifest.
const (
	// Of one transaction: each takes up to two writes, and the last transaction needs
	// room for the manifest itself and its tags.
	refsPerChange = 50
	// So many fewer for every further tag, which takes up to four writes.
	refsPerTag = 2
	// Of one manifest: more would not fit the transactions of an arrival.
	maxReferences = 1500
)

// MaxPushTags is how many tags one push may set: the least that the distribution spec
// asks for ("Pushing Manifests"), so that all of them fit one transaction.
const MaxPushTags = 10

// Pushed is what a push of a manifest made.
type Pushed struct {
	ocispec.Descriptor
	Subject  digest.Digest // empty where the manifest names none
	Tags     []string      // that point at it now, each once; empty of a push by digest alone
	Manifest *oci.Manifest
}

// push is a manifest on its way in.
type push struct {
	repo     *Repository
	tags     []string // each once
	desc     ocispec.Descriptor
	manifest *oci.Manifest
	depth    int
	blobs    []ocispec.Descriptor
	staged   *Staged
	records  map[string]Record // of the catalog, all that the push looks at, as last read
}

// PutManifest stores a manifest under reference, a tag or its digest. Its blobs and
// children must be in the repository; its subject need not be. want is the digest that
// the client expects, empty for none. tags are further ones to set. The manifest can be
// seen under all of them once nil is returned, and under none before. The error wraps
// oci.ErrTooManyTags for more than MaxPushTags of them.
func (r *Repository) PutManifest(ctx context.Context, reference string, want digest.Digest, contentType string, body []byte, tags ...string) (Pushed, error) {
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
		tags = append([]string{reference}, tags...)
	}
	var err error
	if p.tags, err = DistinctTags(tags); err != nil {
		return Pushed{}, err
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
	pushed := Pushed{Descriptor: p.desc, Tags: p.tags, Manifest: m}
	if m.Subject != nil {
		pushed.Subject = m.Subject.Digest
	}
	return pushed, nil
}

// read reads all that the push looks at in one step, or in few where it refers to much:
// under load each read costs as much as a sync of the catalog. It refuses what is in
// quarantine.
func (p *push) read(ctx context.Context) error {
	t, name := p.repo.Tier, p.repo.Name
	keys := []string{manifestKey(t.Name, name, p.desc.Digest), blobKey(t.store, p.desc.Digest), quarantinedKey}
	for _, tag := range p.tags {
		keys = append(keys, tagKey(t.Name, name, tag))
	}
	for _, b := range p.blobs {
		keys = append(keys, linkKey(t.Name, name, b.Digest))
	}
	for _, c := range p.manifest.Children {
		keys = append(keys, manifestKey(t.Name, name, c.Digest))
	}
	slices.Sort(keys) // one child may stand twice in an index
	keys = slices.Compact(keys)
	records, err := p.repo.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return err
	}
	p.records = make(map[string]Record, len(records))
	for _, record := range records {
		p.records[record.Key] = record
	}
	return p.checkQuarantine(ctx)
}

// check finds everything that the manifest needs in the repository, of the size and type
// that it says.
func (p *push) check(ctx context.Context) error {
	if err := p.read(ctx); err != nil {
		return err
	}
	if _, err := p.setTags(ctx, &Change{}); err != nil { // early, before anything is stored
		return err
	}
	if err := p.checkBlobs(); err != nil {
		return err
	}
	if oci.IsIndex(p.desc.MediaType) {
		p.depth = 1
	}
	for _, want := range p.manifest.Children {
		record := p.records[manifestKey(p.repo.Tier.Name, p.repo.Name, want.Digest)]
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

func (p *push) checkBlobs() error {
	for _, want := range p.blobs {
		record := p.records[linkKey(p.repo.Tier.Name, p.repo.Name, want.Digest)]
		if record.Revision == 0 {
			return fmt.Errorf("%w: blob %s is not in %s: upload it first", oci.ErrManifestReference, want.Digest, p.repo.FullName())
		}
		link, err := Decode[LinkRecord](record)
		if err != nil {
			return err
		}
		if link.Size != want.Size {
			return fmt.Errorf("%w: blob %s has %d bytes, the manifest says %d", oci.ErrManifestInvalid, want.Digest, link.Size, want.Size)
		}
	}
	return nil
}

// store writes the body, then the references in batches where they are many, and with the
// last batch the records that make the manifest seen. A crash in between leaves
// references of a manifest that does not exist, which keep bytes and show nothing; prune
// takes them away where they stand in the way. A manifest that exists has its references.
func (p *push) store(ctx context.Context, body []byte) error {
	r, t := p.repo.registry, p.repo.Tier
	var err error
	if p.staged, err = r.stage(ctx, t, p.desc.Digest, body, p.records[blobKey(t.store, p.desc.Digest)]); err != nil {
		return err
	}
	again := false
	err = Retry(ctx, func() error {
		if again { // somebody changed what was read before
			if err := p.read(ctx); err != nil {
				return err
			}
		}
		again = true
		record := p.records[manifestKey(t.Name, p.repo.Name, p.desc.Digest)]
		var change Change
		var err error
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
		return p.explain(p.staged.failed(err))
	})
	p.staged.Settle(ctx, err)
	if err == nil {
		r.bodies.put(p.desc.Digest, body) // it will be pulled soon
	}
	return err
}

// checkQuarantine refuses a manifest that is in quarantine or holds what is: nobody could pull
// it. Its subject does not count: what is pushed about it may be the evidence against it.
func (p *push) checkQuarantine(ctx context.Context) error {
	descs := []ocispec.Descriptor{{Digest: p.desc.Digest}}
	for _, d := range holdingsOf(p.manifest).blobs {
		descs = append(descs, ocispec.Descriptor{Digest: d})
	}
	for _, desc := range append(descs, p.manifest.Children...) {
		q, err := p.repo.registry.quarantineIn(ctx, p.repo.Tier, p.records[quarantinedKey], desc)
		if err != nil {
			return err
		}
		if q != nil {
			return &QuarantinedError{Quarantine: *q, Digest: p.desc.Digest}
		}
	}
	return nil
}

// stageReferences writes all references but the last batch, which it returns. While they
// are being written a marker stands, one for all who push the same manifest at once.
// Whoever takes references of the manifest away deletes the marker too, and so does the
// first of the pushers who is done, so as long as it is unchanged all batches are whole.
func (p *push) stageReferences(ctx context.Context) (last Change, err error) {
	refs := p.references()
	room := refsPerChange - refsPerTag*max(0, len(p.tags)-1)
	if len(refs) <= room {
		return mergeChanges(refs), nil
	}
	marker, err := p.repo.get(ctx, pushingKey(p.repo.Tier.Name, p.repo.Name, p.desc.Digest))
	if err != nil {
		return last, err
	}
	for ; len(refs) > room; refs = refs[min(refsPerChange, len(refs)):] {
		batch := mergeChanges(refs[:min(refsPerChange, len(refs))])
		batch.If = append(batch.If, Unchanged(marker))
		if marker.Revision == 0 {
			batch.Put = append(batch.Put, Put{Key: marker.Key, Value: Encode(pushingRecord{StartedAt: p.repo.registry.Now()})})
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
				{Key: linkKey(t.Name, name, b.Digest), Value: Encode(LinkRecord{Size: b.Size, RenewedAt: p.promised(b.Digest)})},
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

// promised is when somebody was last told that the repository has a blob. A manifest keeps
// the blob by its reference and tells nobody: the promise of the link must not outlast that
// of the bytes.
func (p *push) promised(d digest.Digest) time.Time {
	record := p.records[linkKey(p.repo.Tier.Name, p.repo.Name, d)]
	if record.Revision == 0 { // it has gone since it was looked for
		return time.Time{}
	}
	link, err := Decode[LinkRecord](record)
	if err != nil { // it was decoded before
		return time.Time{}
	}
	return link.RenewedAt
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

// complete adds to the last change what makes the manifest and its tags seen. record is
// the manifest's as it was read. Of a push that would change nothing only that it came is
// written down, if at all.
//
// Each tag that moves has an event, as if it had been set by itself; the first of a new
// manifest is told with the push.
func (p *push) complete(ctx context.Context, change *Change, record Record) error {
	t, name, d := p.repo.Tier, p.repo.Name, p.desc.Digest
	isNew := record.Revision == 0
	// The bytes were lost, and a repair has made room for them.
	restored := !isNew && p.records[blobKey(t.store, d)].Revision == 0
	events, err := p.setTags(ctx, change)
	if err != nil {
		return err
	}
	if !isNew && len(events) == 0 && !restored {
		return p.again(ctx, change, record)
	}
	if err := p.staged.change(ctx, change, p.records[blobKey(t.store, d)]); err != nil {
		return err
	}
	change.If = append(change.If, Unchanged(p.records[quarantinedKey]))
	change.If = append(change.If, Unchanged(record))
	change.Put = append(change.Put, Put{Key: repoKey(t.Name, name), Value: Encode(repositoryRecord{})})
	if !isNew {
		// Written again so that a DELETE of the manifest notices the tag.
		renewed, err := p.renewed(record)
		if err != nil {
			return err
		}
		tags, err := p.renewedTags(ctx)
		if err != nil {
			return err
		}
		change.Put = append(append(change.Put, renewed), tags...)
	} else {
		p.putRecords(change)
	}
	if isNew || restored {
		if len(events) == 0 {
			events = make([]Event, 1)
		}
		events[0].Type = EventManifestPushed
		if s := p.manifest.Subject; s != nil {
			events[0].Subject = s.Digest
		}
	}
	for i := range events {
		e := &events[i]
		e.Actor, e.Tier, e.Repository, e.Digest, e.MediaType, e.ArtifactType = p.repo.Actor, t.Name, name, d, p.desc.MediaType, p.desc.ArtifactType
		e.Store, e.Key, e.Size = t.store, p.staged.Key(), p.desc.Size
	}
	change.Put = append(change.Put, p.repo.registry.eventPuts(events)...)
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
			Key:   referrerPrefix(t.Name, name, s.Digest) + p.desc.Digest.String(),
			Value: Encode(newReferrer(p.desc, p.manifest)),
		})
	}
	change.Put = append(change.Put,
		Put{Key: manifestKey(t.Name, name, p.desc.Digest), Value: Encode(m)},
		Put{Key: selfKey(t.store, p.desc.Digest, t.Name, name)})
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

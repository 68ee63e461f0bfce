package tiers

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Repository is one repository of one tier, opened for one actor. It is a graph target
// for oras-go: Exists, Fetch, Push, Resolve, Tag and Predecessors have the meaning that
// its content.GraphStorage and content.TagResolver give them.
//
// All methods may be called concurrently.
type Repository struct {
	Tier  *Tier
	Name  string // without the tier
	Actor string // whom the events name

	registry *Registry
	own      bool // the registry itself writes
	pull     bool // a client pulls: it gets nothing that is in quarantine
}

// ForPull is the repository as clients pull from it: Resolve, Manifest, Blob and Promise
// refuse what is in quarantine and every manifest that holds such, with a *QuarantinedError.
// That costs no further read of the catalog while nothing is put there or lifted.
func (r *Repository) ForPull() *Repository {
	pull := *r
	pull.pull = true
	return &pull
}

// AsRegistry is the repository as the registry itself writes to it: what it has verified,
// an approval say, may be attached in a tier that takes nothing from clients. Nothing can
// be deleted so.
func (r *Repository) AsRegistry() *Repository {
	own := *r
	own.own = true
	return &own
}

// FullName is the name that clients use: tier/name.
func (r *Repository) FullName() string { return r.Tier.Name + "/" + r.Name }

// Writable says whether clients may write here; the error wraps oci.ErrDenied and names
// the way in. reference is the tag or digest that was meant, empty if none.
func (r *Repository) Writable(reference string) error {
	if r.Tier.Push {
		return nil
	}
	first := r.Tier
	for first.From != "" {
		below, err := r.registry.Tier(first.From)
		if err != nil {
			return err
		}
		first = below
	}
	sep := ":"
	switch {
	case reference == "":
		reference = "TAG"
	case oci.IsDigest(reference):
		sep = "@"
	}
	return fmt.Errorf("%w: tier %s takes nothing from clients, it is filled by promotion alone: push, sign or attach to HOST/%s/%s%s%s, then run: sluice promote HOST/%s/%s%s%s --to %s",
		oci.ErrDenied, r.Tier.Name, first.Name, r.Name, sep, reference, r.Tier.From, r.Name, sep, reference, r.Tier.Name)
}

// get reads one record of the catalog.
func (r *Repository) get(ctx context.Context, key string) (Record, error) {
	records, err := r.registry.catalog.Get(ctx, key)
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// visible says whether what promotions brought can be seen: one of them has committed.
func (r *Registry) visible(ctx context.Context, pending []string) (bool, error) {
	if len(pending) == 0 {
		return true, nil
	}
	keys := make([]string, len(pending))
	for i, id := range pending {
		keys[i] = committedKey(id)
	}
	records, err := r.catalog.Get(ctx, keys...)
	if err != nil {
		return false, err
	}
	for _, record := range records {
		if record.Revision != 0 {
			return true, nil
		}
	}
	return false, nil
}

// seen decodes a record that promotions may have brought and says whether it can be seen.
// A promotion that finishes takes the marks off its records and then the commit record
// away. Where no commit record is found it may have come so far since record was read, so
// the record must be the same still. The one that the answer is about is returned.
func seen[T interface{ marks() []string }](ctx context.Context, r *Registry, record Record) (Record, T, bool, error) {
	for {
		v, err := Decode[T](record)
		if err != nil {
			return record, v, false, err
		}
		ok, err := r.visible(ctx, v.marks())
		if err != nil || ok {
			return record, v, ok, err
		}
		again, err := r.catalog.Get(ctx, record.Key)
		if err != nil || again[0].Revision == record.Revision || again[0].Revision == 0 {
			return record, v, false, err
		}
		record = again[0]
	}
}

// pulled reads records and, where a client pulls, in the same step the generation of what
// is in quarantine.
func (r *Repository) pulled(ctx context.Context, keys ...string) (records []Record, generation Record, err error) {
	if !r.pull {
		records, err = r.registry.catalog.Get(ctx, keys...)
		return records, Record{}, err
	}
	records, err = r.registry.catalog.Get(ctx, append(keys, quarantinedKey)...)
	if err != nil {
		return nil, Record{}, err
	}
	return records[:len(keys)], records[len(keys)], nil
}

// refuse refuses to have something pulled that is in quarantine at a generation, or holds
// such.
func (r *Repository) refuse(ctx context.Context, generation Record, desc ocispec.Descriptor) error {
	if !r.pull {
		return nil
	}
	q, err := r.registry.quarantineIn(ctx, r.Tier, generation, desc)
	if err == nil && q != nil {
		err = &QuarantinedError{Quarantine: *q, Digest: desc.Digest}
	}
	return err
}

// Resolve finds the manifest that a tag or digest names. The error wraps
// oci.ErrManifestUnknown where there is none.
func (r *Repository) Resolve(ctx context.Context, reference string) (desc ocispec.Descriptor, err error) {
	var generation Record
	if oci.IsDigest(reference) {
		desc, generation, err = r.resolveDigest(ctx, reference)
	} else {
		desc, generation, err = r.resolveTag(ctx, reference)
	}
	if err == nil {
		err = r.refuse(ctx, generation, desc)
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return desc, nil
}

func (r *Repository) resolveDigest(ctx context.Context, reference string) (desc ocispec.Descriptor, generation Record, err error) {
	d, err := oci.ParseDigest(reference)
	if err != nil {
		return desc, generation, err
	}
	records, generation, err := r.pulled(ctx, manifestKey(r.Tier.Name, r.Name, d))
	if err != nil {
		return desc, generation, fmt.Errorf("manifest %s@%s: %w", r.FullName(), d, err)
	}
	_, m, err := r.shownManifest(ctx, d, records[0])
	return m.descriptor(d), generation, err
}

func (r *Repository) resolveTag(ctx context.Context, tag string) (desc ocispec.Descriptor, generation Record, err error) {
	if oci.CheckTag(tag) != nil { // no manifest can have such a name
		return desc, generation, fmt.Errorf("%w: %s:%s", oci.ErrManifestUnknown, r.FullName(), tag)
	}
	records, generation, err := r.pulled(ctx, tagKey(r.Tier.Name, r.Name, tag))
	if err != nil {
		return desc, generation, fmt.Errorf("resolve %s:%s: %w", r.FullName(), tag, err)
	}
	if records[0].Revision == 0 {
		return desc, generation, fmt.Errorf("%w: %s:%s", oci.ErrManifestUnknown, r.FullName(), tag)
	}
	t, err := Decode[TagRecord](records[0])
	return ocispec.Descriptor{MediaType: t.MediaType, Digest: t.Digest, Size: t.Size}, generation, err
}

// manifestRecord reads the record of a manifest that can be seen.
func (r *Repository) manifestRecord(ctx context.Context, d digest.Digest) (Record, ManifestRecord, error) {
	record, err := r.get(ctx, manifestKey(r.Tier.Name, r.Name, d))
	if err != nil {
		return record, ManifestRecord{}, fmt.Errorf("manifest %s@%s: %w", r.FullName(), d, err)
	}
	return r.shownManifest(ctx, d, record)
}

// shownManifest decodes the record of a manifest, as it was read, that can be seen.
func (r *Repository) shownManifest(ctx context.Context, d digest.Digest, record Record) (Record, ManifestRecord, error) {
	if record.Revision == 0 {
		return record, ManifestRecord{}, fmt.Errorf("%w: %s@%s", oci.ErrManifestUnknown, r.FullName(), d)
	}
	record, m, ok, err := seen[ManifestRecord](ctx, r.registry, record)
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s@%s", oci.ErrManifestUnknown, r.FullName(), d)
	}
	return record, m, err
}

// Missing lists those of some manifests that the repository does not show, in few reads.
func (r *Repository) Missing(ctx context.Context, digests []digest.Digest) (missing []digest.Digest, err error) {
	keys := make([]string, len(digests))
	for i, d := range digests {
		keys[i] = manifestKey(r.Tier.Name, r.Name, d)
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("manifests of %s: %w", r.FullName(), err)
	}
	for i, record := range records {
		shown := false
		if record.Revision != 0 {
			if _, _, shown, err = seen[ManifestRecord](ctx, r.registry, record); err != nil {
				return nil, err
			}
		}
		if !shown {
			missing = append(missing, digests[i])
		}
	}
	return missing, nil
}

// Basis is what a decision about an artifact rests on besides its bytes. The transaction
// that acts on the decision compares it.
type Basis struct {
	Generation Record // of the repository: grows with every change of a tag or manifest
	Tag        Record // that the artifact was asked by; the zero record if by digest
	Root       ocispec.Descriptor
}

// Basis resolves a reference once and reads what it rests on.
func (r *Repository) Basis(ctx context.Context, reference string) (Basis, error) {
	var b Basis
	byDigest := oci.IsDigest(reference) || oci.CheckTag(reference) != nil
	keys := []string{repoKey(r.Tier.Name, r.Name)}
	if !byDigest {
		keys = append(keys, tagKey(r.Tier.Name, r.Name, reference))
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return b, fmt.Errorf("repository %s: %w", r.FullName(), err)
	}
	b.Generation = records[0]
	if byDigest {
		b.Root, err = r.Resolve(ctx, reference)
		return b, err
	}
	if b.Tag = records[1]; b.Tag.Revision == 0 {
		return b, fmt.Errorf("%w: %s:%s", oci.ErrManifestUnknown, r.FullName(), reference)
	}
	t, err := Decode[TagRecord](b.Tag)
	b.Root = ocispec.Descriptor{MediaType: t.MediaType, Digest: t.Digest, Size: t.Size}
	return b, err
}

// Generation is the record of the repository, whose revision grows with every change of a
// tag or manifest; its revision is 0 where there is no repository.
func (r *Repository) Generation(ctx context.Context) (Record, error) {
	return r.get(ctx, repoKey(r.Tier.Name, r.Name))
}

// HasManifest asks that the manifest is still in the repository.
func (r *Repository) HasManifest(d digest.Digest) Condition {
	return Present(manifestKey(r.Tier.Name, r.Name, d))
}

// Manifest reads a manifest whole and checks it against its digest. The bytes may be
// shared: nobody may change them.
func (r *Repository) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	desc, err := r.Resolve(ctx, reference)
	if err != nil {
		return desc, nil, err
	}
	if body, ok := r.registry.bodies.get(desc.Digest); ok {
		return desc, body, nil
	}
	body, err := r.registry.content(ctx, r.Tier, desc.Digest, oci.MaxManifestSize)
	if err != nil {
		return desc, nil, fmt.Errorf("manifest %s@%s: %w", r.FullName(), desc.Digest, err)
	}
	r.registry.bodies.put(desc.Digest, body)
	return desc, body, nil
}

// Content reads the bytes of a digest in the store of t whole, checked, at most limit of
// them, whoever may pull them. The error wraps oci.ErrBlobUnknown where the store has none.
func (r *Registry) Content(ctx context.Context, t *Tier, d digest.Digest, limit int64) ([]byte, error) {
	return r.content(ctx, t, d, limit)
}

// content reads the bytes of a digest whole, checked, at most limit of them.
func (r *Registry) content(ctx context.Context, t *Tier, d digest.Digest, limit int64) ([]byte, error) {
	_, blob, err := r.blobRecord(ctx, t.store, d)
	if err != nil {
		return nil, err
	}
	if blob.Size > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", oci.ErrTooLarge, blob.Size, limit)
	}
	rc, err := t.Bucket.Open(ctx, blob.Key, 0, blob.Size)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	var buf bytes.Buffer
	buf.Grow(int(blob.Size))
	if _, err := io.Copy(&buf, rc); err != nil {
		return nil, fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	if d.Algorithm().FromBytes(buf.Bytes()) != d {
		return nil, fmt.Errorf("%w: object %s is not %s", oci.ErrCorrupt, blob.Key, d)
	}
	return buf.Bytes(), nil
}

// blobRecord reads where the bytes of a digest are. The error wraps oci.ErrBlobUnknown
// where the store has none.
func (r *Registry) blobRecord(ctx context.Context, store string, d digest.Digest) (Record, blobRecord, error) {
	records, err := r.catalog.Get(ctx, blobKey(store, d))
	if err != nil {
		return Record{}, blobRecord{}, fmt.Errorf("blob %s: %w", d, err)
	}
	if records[0].Revision == 0 {
		return records[0], blobRecord{}, fmt.Errorf("%w: %s", oci.ErrBlobUnknown, d)
	}
	b, err := Decode[blobRecord](records[0])
	return records[0], b, err
}

// Listed is a manifest in a listing.
type Listed struct {
	ocispec.Descriptor
	Record ManifestRecord
}

// Manifests lists at most n manifests by digest, after last. next is what to ask for as
// last to go on; empty at the end. The error wraps oci.ErrNameUnknown for a repository
// that never held one.
func (r *Repository) Manifests(ctx context.Context, last string, n int) (page []Listed, next string, err error) {
	if err := r.known(ctx); err != nil {
		return nil, "", err
	}
	prefix := manifestPrefix(r.Tier.Name, r.Name)
	records, next, err := r.registry.page(ctx, Query{Prefix: prefix}, last, n)
	if err != nil {
		return nil, "", err
	}
	page = make([]Listed, 0, len(records))
	for _, record := range records {
		_, m, ok, err := seen[ManifestRecord](ctx, r.registry, record)
		if err != nil {
			return nil, "", err
		}
		if ok {
			page = append(page, Listed{Descriptor: m.descriptor(digest.Digest(record.Key[len(prefix):])), Record: m})
		}
	}
	return page, next, nil
}

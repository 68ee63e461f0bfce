package tiers

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// Limits of referrers and of a page of them.
const (
	// Bytes of annotations that a record holds. Larger ones stay in the manifest alone: a
	// record must fit a transaction, and a thousand of them an answer of the catalog.
	maxRecordedAnnotations = 4 << 10
	// A page is read in steps, so that its records need a few MiB at the most.
	referrerStep = 1000
	// Records that the search for one artifact type among many looks at for one page.
	referrerScan = 50_000
	// Bytes of a page, about, as it goes to the client. One referrer always fits.
	referrerBytes = 4 << 20
	// Manifests that are read for the annotations of one page, and bytes of them. Again
	// one always fits.
	referrerBodies    = 32
	referrerBodyBytes = 16 << 20
	// Bytes of a descriptor without its annotations, about.
	descriptorBytes = 320
)

// newReferrer makes the record of a manifest that names a subject.
func newReferrer(desc ocispec.Descriptor, m *oci.Manifest) ReferrerRecord {
	r := ReferrerRecord{MediaType: desc.MediaType, Size: desc.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if len(Encode(m.Annotations)) > maxRecordedAnnotations {
		r.Annotations, r.Large = nil, true
	}
	return r
}

// Referrers lists a page of at most n manifests that name subject, in the order of their
// digests, after last. An empty artifactType lists all. next is what to ask for as last to
// go on; empty at the end. A page may hold fewer than n although there are more: where
// annotations are large, or a type is rare among many. A subject that nothing names, or
// that is not there, has an empty page.
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) (page []ocispec.Descriptor, next string, err error) {
	prefix := referrerPrefix(r.Tier.Name, r.Name, subject)
	kept, _, err := listed(ctx, r, pageKey{list: prefix + artifactType, last: last, n: n}, func() (keptReferrers, int, error) {
		p := referrerPage{repo: r, artifactType: artifactType, list: []ocispec.Descriptor{}}
		next, err := p.fill(ctx, prefix, last, min(max(n, 1), MaxPage-1))
		return keptReferrers{p.list, next}, int(p.bytes), err
	})
	if err != nil {
		return nil, "", fmt.Errorf("referrers of %s@%s: %w", r.FullName(), subject, err)
	}
	return append([]ocispec.Descriptor{}, kept.list...), kept.next, nil
}

// keptReferrers is a page as it is kept in memory; the annotations in it are shared and
// never changed.
type keptReferrers struct {
	list []ocispec.Descriptor
	next string
}

// referrerPage is a page while it is filled.
type referrerPage struct {
	repo         *Repository
	artifactType string
	list         []ocispec.Descriptor
	bytes        int64 // of the list
	bodies       int   // read for it
	bodyBytes    int64
}

func (p *referrerPage) fill(ctx context.Context, prefix, last string, n int) (next string, err error) {
	for scanned := 0; scanned < referrerScan; scanned += referrerStep {
		step := referrerStep
		if p.artifactType == "" {
			step = min(step, n-len(p.list))
		}
		records, more, err := p.repo.registry.page(ctx, Query{Prefix: prefix}, last, step)
		if err != nil {
			return "", err
		}
		for i, record := range records {
			d := digest.Digest(strings.TrimPrefix(record.Key, prefix))
			if full, err := p.add(ctx, record, d); err != nil {
				return "", err
			} else if full {
				return last, nil
			}
			last = d.String()
			if len(p.list) == n && i < len(records)-1 {
				return last, nil
			}
		}
		if more == "" || len(p.list) == n {
			return more, nil
		}
	}
	return last, nil
}

// add adds a referrer to the page if it can be seen and is asked for. The page is full
// where it would get too large with it.
func (p *referrerPage) add(ctx context.Context, record Record, d digest.Digest) (full bool, err error) {
	r := p.repo.registry
	_, ref, ok, err := seen[ReferrerRecord](ctx, r, record)
	if err != nil || !ok || p.artifactType != "" && ref.ArtifactType != p.artifactType {
		return false, err
	}
	if ref.Large {
		if p.bodies > 0 && (p.bodies == referrerBodies || p.bodyBytes+ref.Size > referrerBodyBytes) {
			return true, nil
		}
		p.bodies, p.bodyBytes = p.bodies+1, p.bodyBytes+ref.Size
		body, err := r.content(ctx, p.repo.Tier, d, oci.MaxManifestSize)
		if err != nil {
			return false, fmt.Errorf("annotations of %s: %w", d, err)
		}
		m, err := oci.ParseManifest(ref.MediaType, body)
		if err != nil {
			return false, fmt.Errorf("annotations of %s: %w: %w", d, oci.ErrCorrupt, err)
		}
		ref.Annotations = m.Annotations
	}
	size := int64(descriptorBytes)
	for key, value := range ref.Annotations {
		size += int64(len(key) + len(value) + len(`"":"",`))
	}
	if p.bytes += size; len(p.list) > 0 && p.bytes > referrerBytes {
		return true, nil
	}
	p.list = append(p.list, ocispec.Descriptor{MediaType: ref.MediaType, Digest: d, Size: ref.Size,
		ArtifactType: ref.ArtifactType, Annotations: ref.Annotations})
	return false, nil
}

// Predecessors lists everything that names desc as its subject, as oras-go asks.
func (r *Repository) Predecessors(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	var all []ocispec.Descriptor
	for last := ""; ; {
		page, next, err := r.Referrers(ctx, desc.Digest, "", last, MaxPage-1)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		last = next
	}
}

// HasReferrers says whether anything names subject, seen or not.
func (r *Repository) HasReferrers(ctx context.Context, subject digest.Digest) (bool, error) {
	records, err := r.registry.catalog.List(ctx, Query{Prefix: referrerPrefix(r.Tier.Name, r.Name, subject), Limit: 1, KeysOnly: true})
	if err != nil {
		return false, fmt.Errorf("referrers of %s@%s: %w", r.FullName(), subject, err)
	}
	return len(records) > 0, nil
}

// SubjectGeneration is the record whose revision grows when a referrer of subject goes.
// A decision that rests on the referrers compares it when it takes effect.
func (r *Repository) SubjectGeneration(ctx context.Context, subject digest.Digest) (Record, error) {
	return r.get(ctx, subjectKey(r.Tier.Name, r.Name, subject))
}

// SubjectsSince asks that no referrer of any subject of the repository has gone since a
// generation of the repository: what many subjects of one decision compare.
func (r *Repository) SubjectsSince(generation Record) Condition {
	return NoneSince(subjectPrefix(r.Tier.Name, r.Name), generation.Revision)
}

// SubjectGenerations is SubjectGeneration of many, in few reads.
func (r *Repository) SubjectGenerations(ctx context.Context, subjects ...digest.Digest) ([]Record, error) {
	keys := make([]string, len(subjects))
	for i, s := range subjects {
		keys[i] = subjectKey(r.Tier.Name, r.Name, s)
	}
	records, err := r.registry.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("subjects of %s: %w", r.FullName(), err)
	}
	return records, nil
}

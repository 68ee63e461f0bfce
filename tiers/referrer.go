package tiers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists a page of at most n manifests that name subject, in the order of their
// digests, after last. An empty artifactType lists all; otherwise a page may hold fewer
// than n although there are more. next is what to ask for as last to go on; empty at the
// end. A subject that nothing names, or that is not there, has an empty page.
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) (page []ocispec.Descriptor, next string, err error) {
	prefix := referrerPrefix(r.Tier.Name, r.Name, subject)
	kept, _, err := listed(ctx, r, pageKey{list: prefix + artifactType, last: last, n: n}, func() (referrerPage, int, error) {
		descs, next, err := r.readReferrers(ctx, subject, artifactType, last, n)
		size := 0
		for _, d := range descs {
			size += 300 // digest, types, the struct itself
			for key, value := range d.Annotations {
				size += len(key) + len(value) + 64
			}
		}
		return referrerPage{descs, next}, size, err
	})
	if err != nil {
		return nil, "", err
	}
	return slices.Clone(kept.descriptors), kept.next, nil
}

// referrerPage is a page of referrers as it is kept in memory; the annotations in it are
// shared and never changed.
type referrerPage struct {
	descriptors []ocispec.Descriptor
	next        string
}

func (r *Repository) readReferrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) (page []ocispec.Descriptor, next string, err error) {
	prefix := referrerPrefix(r.Tier.Name, r.Name, subject)
	records, next, err := r.registry.page(ctx, Query{Prefix: prefix}, last, n)
	if err != nil {
		return nil, "", fmt.Errorf("referrers of %s@%s: %w", r.FullName(), subject, err)
	}
	page = make([]ocispec.Descriptor, 0, len(records))
	for _, record := range records {
		_, ref, ok, err := seen[ReferrerRecord](ctx, r.registry, record)
		if err != nil {
			return nil, "", err
		}
		if !ok || artifactType != "" && ref.ArtifactType != artifactType {
			continue
		}
		page = append(page, ocispec.Descriptor{
			MediaType: ref.MediaType, Digest: digest.Digest(strings.TrimPrefix(record.Key, prefix)), Size: ref.Size,
			ArtifactType: ref.ArtifactType, Annotations: ref.Annotations,
		})
	}
	return page, next, nil
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

// SubjectGeneration is the record whose revision grows when a referrer of subject goes.
// A decision that rests on the referrers compares it when it takes effect.
func (r *Repository) SubjectGeneration(ctx context.Context, subject digest.Digest) (Record, error) {
	return r.get(ctx, subjectKey(r.Tier.Name, r.Name, subject))
}

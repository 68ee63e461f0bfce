package attest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// pageSize is how many referrers are asked for at once.
const pageSize = 500

// Find reads everything attached to subject that may be an attestation: its referrers,
// the referrers in the fallback tag, and cosign's .sig, .att and .sbom tags, each manifest once.
// What cannot be read is in the list with a Problem and does not keep the rest from being
// read. The list is in the order of the manifests' digests.
//
// An error means that the list would not be complete, and so that nothing can be decided:
// the source failed, other than by not having what was named.
func Find(ctx context.Context, src Source, subject digest.Digest, limits Limits) ([]Attachment, error) {
	if _, err := oci.ParseDigest(subject.String()); err != nil {
		return nil, fmt.Errorf("find evidence: %w", err)
	}
	f := newFinder(src, limits)
	for _, find := range []func(context.Context, digest.Digest) error{f.referrers, f.fallback, f.cosignTags} {
		if err := find(ctx, subject); err != nil {
			return nil, fmt.Errorf("find evidence of %s: %w", subject, err)
		}
	}
	slices.SortStableFunc(f.found, func(a, b Attachment) int { return cmp.Compare(a.Manifest.Digest, b.Manifest.Digest) })
	return f.found, nil
}

type finder struct {
	src    Source
	limits Limits
	found  []Attachment
	seen   map[digest.Digest]bool // manifests whose layers were read, for they are named in several places
	faults map[fault]bool         // reported problems, for the same reason
	reads  int                    // manifests and attestations, against MaxAttachments
	bytes  int64                  // of attestations, against MaxTotalBytes
	full   bool                   // MaxAttachments was reported
}

type fault struct {
	manifest digest.Digest
	problem  string
}

func newFinder(src Source, limits Limits) *finder {
	return &finder{src: src, limits: limits.withDefaults(), seen: map[digest.Digest]bool{}, faults: map[fault]bool{}}
}

// referrers goes through all pages; only referrers of an evidence type are read.
func (f *finder) referrers(ctx context.Context, subject digest.Digest) error {
	listed, last := 0, ""
	for {
		page, next, err := f.src.Referrers(ctx, subject, "", last, pageSize)
		if err != nil {
			return fmt.Errorf("list referrers: %w", err)
		}
		for _, desc := range page {
			if listed++; listed > f.limits.MaxReferrers {
				f.problem(ocispec.Descriptor{}, fmt.Sprintf("more than %d referrers are attached (MaxReferrers); the rest was not looked at", f.limits.MaxReferrers))
				return nil
			}
			if !oci.IsEvidence(desc.ArtifactType) {
				continue
			}
			if err := f.referrer(ctx, desc, subject); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		if next == last {
			return fmt.Errorf("list referrers: %w: the listing does not get past %q", oci.ErrCorrupt, last)
		}
		last = next
	}
}

// referrer reads one referrer, wherever it was named.
func (f *finder) referrer(ctx context.Context, desc ocispec.Descriptor, subject digest.Digest) error {
	m, err := f.manifest(ctx, desc)
	if m == nil || err != nil {
		return err
	}
	if !oci.IsEvidence(m.ArtifactType) {
		// Only a fallback tag, which clients write, can say otherwise than the manifest.
		if desc.ArtifactType != "" {
			f.problem(desc, fmt.Sprintf("it is listed as %q, the manifest itself is of the type %q", shorten(desc.ArtifactType), shorten(m.ArtifactType)))
		}
		return nil
	}
	switch {
	case m.Subject == nil:
		f.problem(desc, fmt.Sprintf("the manifest has no subject; it must be %s", subject))
		return nil
	case m.Subject.Digest != subject:
		f.problem(desc, fmt.Sprintf("the manifest's subject is %s, not %s", m.Subject.Digest, subject))
		return nil
	}
	if m.ArtifactType == MediaTypeNotary {
		return f.notary(ctx, desc, m, subject)
	}
	return f.layers(ctx, desc, m, formatOf)
}

// manifest reads and parses a manifest. It is nil where there is nothing to go on with:
// its layers were read before, or it has been reported with its problem. A manifest that
// was refused in one place is looked at again in the next: an entry of a fallback tag that
// misdescribes a good manifest must not hide it.
func (f *finder) manifest(ctx context.Context, desc ocispec.Descriptor) (*oci.Manifest, error) {
	if f.seen[desc.Digest] || !f.count() {
		return nil, nil
	}
	body, err := Read(ctx, f.src, desc, oci.MaxManifestSize)
	if err != nil {
		if !isContentFault(err) {
			return nil, err
		}
		f.problem(desc, fmt.Sprintf("the manifest cannot be read: %v", err))
		return nil, nil
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	switch {
	case err != nil:
		f.problem(desc, fmt.Sprintf("the manifest is malformed: %v", err))
		return nil, nil
	case m.Config == nil:
		f.problem(desc, fmt.Sprintf("the manifest is of the type %q; attestations are carried by an image manifest", m.MediaType))
		return nil, nil
	}
	return m, nil
}

// layers reads the layers of which format knows how they are wrapped. A manifest that
// promised evidence and has none says so.
func (f *finder) layers(ctx context.Context, desc ocispec.Descriptor, m *oci.Manifest, format func(mediaType string) Format) error {
	f.seen[desc.Digest] = true
	known := 0
	for _, layer := range m.Layers {
		wrapped := format(layer.MediaType)
		if wrapped == "" {
			continue
		}
		known++
		if !f.count() {
			return nil
		}
		if err := f.layer(ctx, desc, layer, wrapped); err != nil {
			return err
		}
	}
	if known == 0 {
		f.problem(desc, fmt.Sprintf("none of its %d layers is an attestation; a layer must be of the type %q, %q, %q or a Sigstore bundle's", len(m.Layers), MediaTypeDSSE, PayloadType, simpleSigningType))
	}
	return nil
}

func (f *finder) layer(ctx context.Context, desc, layer ocispec.Descriptor, format Format) error {
	att := Attachment{Manifest: desc, Layer: layer, Format: format}
	switch left := f.limits.MaxTotalBytes - f.bytes; {
	case layer.Size > f.limits.MaxAttestationBytes:
		att.Problem = fmt.Sprintf("the attestation has %d bytes, the limit is %d (MaxAttestationBytes); it was not read", layer.Size, f.limits.MaxAttestationBytes)
	case layer.Size > left:
		att.Problem = fmt.Sprintf("the attestation has %d bytes, and of the %d allowed for all attestations together (MaxTotalBytes) %d are left; it was not read", layer.Size, f.limits.MaxTotalBytes, left)
	default:
		content, err := Read(ctx, f.src, layer, f.limits.MaxAttestationBytes)
		switch {
		case err == nil:
			att.Content = content
			f.bytes += layer.Size
		case isContentFault(err):
			att.Problem = fmt.Sprintf("the attestation cannot be read: %v", err)
		default:
			return err
		}
	}
	f.found = append(f.found, att)
	return nil
}

// count takes one read from the budget, and says so once when it is used up.
func (f *finder) count() bool {
	if f.reads < f.limits.MaxAttachments {
		f.reads++
		return true
	}
	if !f.full {
		f.full = true
		f.problem(ocispec.Descriptor{}, fmt.Sprintf("more than %d manifests and attestations are attached (MaxAttachments); the rest was not read", f.limits.MaxAttachments))
	}
	return false
}

// problem reports a manifest that leads no further, once.
func (f *finder) problem(manifest ocispec.Descriptor, problem string) {
	key := fault{manifest.Digest, problem}
	if !f.faults[key] {
		f.faults[key] = true
		f.found = append(f.found, Attachment{Manifest: manifest, Problem: problem})
	}
}

// isContentFault tells what is wrong with one attachment from a source that failed. What
// is not known to be the first is taken for the second, and aborts.
func isContentFault(err error) bool {
	for _, fault := range []error{
		oci.ErrManifestUnknown, oci.ErrBlobUnknown, oci.ErrTooLarge, oci.ErrSizeInvalid,
		oci.ErrDigestInvalid, oci.ErrManifestInvalid, oci.ErrCorrupt, oci.ErrObjectUnknown,
	} {
		if errors.Is(err, fault) && !errors.Is(err, oci.ErrUnavailable) {
			return true
		}
	}
	return false
}

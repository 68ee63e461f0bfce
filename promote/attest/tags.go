package attest

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// fallback reads the index that clients keep under a tag where they do not know of, or do
// not trust, the referrers API (distribution spec, "Referrers Tag Schema"). Its entries
// are what a client wrote: each manifest is looked at for itself.
func (f *finder) fallback(ctx context.Context, subject digest.Digest) error {
	tag := oci.FallbackTag(subject)
	desc, err := f.resolve(ctx, tag)
	if err != nil || desc == nil {
		return err
	}
	body, err := Read(ctx, f.src, *desc, oci.MaxManifestSize)
	if err != nil {
		if !isContentFault(err) {
			return err
		}
		f.problem(*desc, fmt.Sprintf("the fallback tag %s cannot be read: %v", tag, err))
		return nil
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		f.problem(*desc, fmt.Sprintf("the fallback tag %s is malformed: %v", tag, err))
		return nil
	}
	if !oci.IsIndex(m.MediaType) {
		f.problem(*desc, fmt.Sprintf("the fallback tag %s is of the type %q; it must be an index", tag, m.MediaType))
		return nil
	}
	for _, child := range m.Children {
		// Where the entry does not say its type, only the manifest can.
		if child.ArtifactType != "" && !oci.IsEvidence(child.ArtifactType) {
			continue
		}
		if err := f.referrer(ctx, child, subject); err != nil {
			return err
		}
	}
	return nil
}

// cosignTags reads the tags that cosign kept signatures, attestations and SBOMs under
// before there were referrers. Their manifests need no subject: the tag is the attachment, and what an
// envelope or a payload is about is in what was signed.
func (f *finder) cosignTags(ctx context.Context, subject digest.Digest) error {
	if subject.Algorithm() != digest.SHA256 {
		return nil // cosign's tags of longer digests do not fit into a tag
	}
	formats := map[string]func(string) Format{".sig": formatOf, ".att": attFormat, ".sbom": sbomFormat}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		desc, err := f.resolve(ctx, "sha256-"+subject.Encoded()+suffix)
		if err != nil {
			return err
		}
		if desc == nil {
			continue
		}
		m, err := f.manifest(ctx, *desc)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		if err := f.layers(ctx, *desc, m, formats[suffix]); err != nil {
			return err
		}
	}
	return nil
}

// attFormat: cosign's .att layers are envelopes.
func attFormat(mediaType string) Format {
	format := formatOf(mediaType)
	if format == FormatDSSE {
		return FormatCosignAtt
	}
	return format
}

// sbomFormat: the SBOMs under .sbom are of many types, and nobody signed them, unless the
// tag was set to a manifest of attestations.
func sbomFormat(mediaType string) Format { return cmp.Or(formatOf(mediaType), FormatUnsigned) }

// resolve finds a tag; nil where there is none.
func (f *finder) resolve(ctx context.Context, tag string) (*ocispec.Descriptor, error) {
	desc, err := f.src.Resolve(ctx, tag)
	switch {
	case errors.Is(err, oci.ErrManifestUnknown):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("resolve %s: %w", tag, err)
	}
	return &desc, nil
}

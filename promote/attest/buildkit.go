package attest

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// BuildKitSubject is the image that an entry of an index claims to describe, where the
// entry is labelled as one of BuildKit's attestation manifests. It is a claim of whoever
// wrote the index: FindUnsigned says what the manifest holds.
func BuildKitSubject(entry ocispec.Descriptor) (subject digest.Digest, labelled bool) {
	if entry.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
		return "", false
	}
	subject, err := oci.ParseDigest(entry.Annotations["vnd.docker.reference.digest"])
	if err != nil {
		return "", true
	}
	return subject, true
}

// FindUnsigned reads the in-toto statements in the layers of a manifest, such as
// BuildKit's attestation manifests, which are children of an image's index. Nobody signed
// them.
//
// only says that the manifest holds statements and nothing else: it has layers, each is
// labelled as an in-toto statement, was read in full, and parses as one. Such a manifest
// cannot be run as an image, whatever it is labelled; one that is labelled as attestation
// and is not only statements can. The error is as Find's.
func FindUnsigned(ctx context.Context, src Source, manifest ocispec.Descriptor, limits Limits) (found []Attachment, only bool, err error) {
	f := newFinder(src, limits)
	m, err := f.manifest(ctx, manifest)
	if err != nil {
		return nil, false, fmt.Errorf("find statements in %s: %w", manifest.Digest, err)
	}
	if m == nil {
		return f.found, false, nil
	}
	statements := 0
	for _, layer := range m.Layers {
		if formatOf(layer.MediaType) != FormatUnsigned {
			continue
		}
		if !f.count() {
			return f.found, false, nil
		}
		if err := f.layer(ctx, manifest, layer, FormatUnsigned); err != nil {
			return nil, false, fmt.Errorf("find statements in %s: %w", manifest.Digest, err)
		}
		if isStatement(f.found[len(f.found)-1]) {
			statements++
		}
	}
	return f.found, statements > 0 && statements == len(m.Layers), nil
}

func isStatement(att Attachment) bool {
	if att.Problem != "" {
		return false
	}
	tree, err := DecodeStrict(att.Content, MaxDepth)
	return err == nil && checkTypes(tree) == nil
}

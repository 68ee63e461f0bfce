package promote

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// runnable says whether a container runtime might run the manifest as an image: it has an
// image configuration and a layer that is more than an attestation, signature or SBOM.
//
// cosign and BuildKit write image configurations for their attestations, with the same
// rootfs as an image has. What tells them from an image is in the layers, and not in the
// types that these are given, which a runtime may pass over. So each has to be of such a
// type and to be JSON that is no tar archive. SBOMs in other forms, such as cosign's
// text/spdx, stay behind with an image configuration: of free text nobody can tell.
func (p *planner) runnable(ctx context.Context, d digest.Digest, m *oci.Manifest) (bool, error) {
	if oci.IsIndex(m.MediaType) {
		return true, nil
	}
	if m.Config == nil || !isImageConfig(m.Config.MediaType) {
		return false, nil
	}
	for _, layer := range m.Layers {
		if !oci.IsAttestationLayer(layer.MediaType) {
			return true, nil
		}
	}
	for _, layer := range m.Layers {
		if ok, err := p.isJSON(ctx, layer, p.verified[d][layer.Digest]); err != nil || !ok {
			return true, err
		}
	}
	return len(m.Layers) == 0, nil
}

// isJSON reads a layer, unless that was done before. What is larger than an attestation may
// be is none. The rest of what is attached to an artifact shares a bound; what was verified
// has been within one already, and nobody can use that up for it.
func (p *planner) isJSON(ctx context.Context, layer ocispec.Descriptor, verified bool) (bool, error) {
	if known, ok := p.json[layer.Digest]; ok {
		return known, nil
	}
	limits := attest.DefaultLimits()
	if layer.Size > limits.MaxAttestationBytes || !verified && layer.Size > limits.MaxTotalBytes-p.jsonBytes {
		return false, nil
	}
	if !verified {
		p.jsonBytes += layer.Size
	}
	content, err := attest.Read(ctx, p.source, layer, limits.MaxAttestationBytes)
	if errors.Is(err, oci.ErrUnavailable) || ctx.Err() != nil {
		return false, err
	}
	p.json[layer.Digest] = err == nil && json.Valid(content) && !isTar(content)
	return p.json[layer.Digest], nil
}

// isTar says whether a tar reader finds a file. A header of the oldest form needs no zeros,
// so that it can be within a string of JSON.
func isTar(content []byte) bool {
	header, _ := tar.NewReader(bytes.NewReader(content)).Next()
	return header != nil
}

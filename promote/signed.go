package promote

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// Configurations of manifests that hold attestations: cosign's lists each layer.
const (
	configBytes         = 1024
	configBytesPerLayer = 256
)

// signedLayers are the layers whose attestation was verified, by the manifest they are in.
type signedLayers map[digest.Digest]map[digest.Digest]bool

func (s signedLayers) add(ev attest.Evidence) {
	if s[ev.Manifest] == nil {
		s[ev.Manifest] = map[digest.Digest]bool{}
	}
	s[ev.Manifest][ev.Layer] = true
}

// wholly says whether a manifest holds verified attestations and nothing else. Who signed
// an attestation did not sign the manifest: anybody may put a copy of it beside content of
// their own.
func (s signedLayers) wholly(d digest.Digest, m *oci.Manifest) bool {
	for _, layer := range m.Layers {
		if !attest.Holds(layer.MediaType) || !s[d][layer.Digest] {
			return false
		}
	}
	return len(m.Layers) > 0 && len(m.Children) == 0 && m.Config != nil && plainConfig(*m.Config, len(m.Layers))
}

// plainConfig says whether a configuration is one that cosign, notation or an OCI 1.1 client
// writes for a manifest of attestations, and too small to hold anything beside.
func plainConfig(config ocispec.Descriptor, layers int) bool {
	switch {
	case config.MediaType == ocispec.MediaTypeEmptyJSON:
		return config.Digest == ocispec.DescriptorEmptyJSON.Digest && config.Size == ocispec.DescriptorEmptyJSON.Size
	case isImageConfig(config.MediaType), oci.IsEvidence(config.MediaType):
		return config.Size <= configBytes+configBytesPerLayer*int64(layers)
	}
	return false
}

func isImageConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == oci.MediaTypeDockerConfig
}

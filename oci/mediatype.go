package oci

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types that image-spec has no constant for.
const (
	// MediaTypeDockerManifest and MediaTypeDockerList are Docker's schema 2, which docker
	// still pushes.
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	// MediaTypeArtifactManifest is the artifact manifest of the image spec's release
	// candidates, withdrawn before 1.1; older oras clients still push it.
	MediaTypeArtifactManifest = "application/vnd.oci.artifact.manifest.v1+json"
	// MediaTypeInToto is a bare in-toto statement, the layers of BuildKit's attestations.
	MediaTypeInToto = "application/vnd.in-toto+json"
	// MediaTypeInTotoLink is a signed link file of in-toto's own command.
	MediaTypeInTotoLink = "application/vnd.in-toto.link+json"

	// MediaTypeDockerConfig is the configuration of an image of schema 2.
	MediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json"
	// mediaTypeSimpleSigning is the payload of a cosign signature.
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	// MediaTypeDSSE is a DSSE envelope.
	MediaTypeDSSE = "application/vnd.dsse.envelope.v1+json"
	// MediaTypeNotary is the artifact type of a Notary Project signature (signature
	// specification, "OCI Signatures").
	MediaTypeNotary = "application/vnd.cncf.notary.signature"
	// MediaTypeCosignAtt and MediaTypeCosignSig are the artifact types that cosign's
	// experimental OCI 1.1 mode writes.
	MediaTypeCosignAtt = "application/vnd.dev.cosign.artifact.att.v1+json"
	MediaTypeCosignSig = "application/vnd.dev.cosign.artifact.sig.v1+json"

	// Both are deprecated by their specifications and still pushed.
	nonDistributable   = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// IsIndex says whether a media type is that of an index, a manifest of manifests.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerList
}

// IsManifest says whether a media type is one that the manifest endpoint stores.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest, MediaTypeArtifactManifest:
		return true
	}
	return IsIndex(mediaType)
}

// IsDistributable says whether a layer has to be present in the registry. Layers that
// licences forbid to distribute name URLs instead (image spec, "Non-Distributable
// Layers"); those URLs are never fetched here.
func IsDistributable(mediaType string) bool {
	return mediaType != dockerForeignLayer && !strings.HasPrefix(mediaType, nonDistributable)
}

// IsEvidence says whether manifests of an artifact type may carry attestations or
// signatures: what a promotion may rest on, and what goes only with its subject.
func IsEvidence(artifactType string) bool {
	switch artifactType {
	case MediaTypeInToto, MediaTypeInTotoLink, MediaTypeDSSE, MediaTypeNotary, MediaTypeCosignAtt, MediaTypeCosignSig:
		return true
	}
	return strings.HasPrefix(artifactType, "application/vnd.dev.sigstore.bundle")
}

// IsAttestationLayer says whether a layer of a media type holds a signature, an
// attestation or an SBOM as cosign and BuildKit store them, in JSON. Whoever pushed it chose
// the type: what is in it may be anything.
func IsAttestationLayer(mediaType string) bool {
	switch mediaType {
	case MediaTypeInToto, MediaTypeInTotoLink, MediaTypeDSSE, mediaTypeSimpleSigning, "text/spdx+json", "application/vnd.cyclonedx+json":
		return true
	}
	return strings.HasPrefix(mediaType, "application/vnd.dev.sigstore.bundle")
}

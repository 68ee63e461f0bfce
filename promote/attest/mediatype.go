package attest

import (
	"strings"

	"sluice.dev/sluice/oci"
)

// Media types of attestations.
const (
	// MediaTypeBundle is the Sigstore bundle that is written here and by cosign; v0.1 to
	// v0.3 are also read in the older spelling with a version parameter.
	MediaTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// MediaTypeDSSE is a bare DSSE envelope.
	MediaTypeDSSE = "application/vnd.dsse.envelope.v1+json"
	// MediaTypeLink is a link as in-toto's own command writes it to a .link file: a metablock
	// {signed, signatures}, or a DSSE envelope. No specification names a media type for it.
	MediaTypeLink = oci.MediaTypeInTotoLink
	// PayloadType is the one payload type of an envelope that states something here.
	PayloadType = oci.MediaTypeInToto

	bundlePrefix = "application/vnd.dev.sigstore.bundle"
	// simpleSigningType is the payload that a cosign signature is over.
	simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
)

// isBundle goes by the family, so that an unknown version is reported, not passed over.
func isBundle(mediaType string) bool { return strings.HasPrefix(mediaType, bundlePrefix) }

// Holds says whether a layer of a media type may hold an attestation that somebody signed.
func Holds(mediaType string) bool {
	format := formatOf(mediaType)
	return format != "" && format != FormatUnsigned || notaryFormat(mediaType) != ""
}

// formatOf is how the content of a layer is wrapped; empty where it is no attestation.
func formatOf(mediaType string) Format {
	switch {
	case isBundle(mediaType):
		return FormatBundle
	case mediaType == MediaTypeDSSE:
		return FormatDSSE
	case mediaType == MediaTypeLink:
		return FormatLink
	case mediaType == simpleSigningType:
		return FormatCosignSig
	case mediaType == PayloadType:
		return FormatUnsigned
	}
	return ""
}

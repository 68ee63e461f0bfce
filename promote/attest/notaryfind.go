package attest

import (
	"context"
	"fmt"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// notaryFormat is the format of a signature's layer; empty where it is none.
func notaryFormat(mediaType string) Format {
	switch mediaType {
	case jws.MediaTypeEnvelope:
		return FormatNotaryJWS
	case cose.MediaTypeEnvelope:
		return FormatNotaryCOSE
	}
	return ""
}

// notary reads the signature of a manifest, which has exactly one (signature specification,
// "OCI Signatures"). A second one could be there for another reader than the first.
func (f *finder) notary(ctx context.Context, desc ocispec.Descriptor, m *oci.Manifest, subject digest.Digest) error {
	f.seen[desc.Digest] = true
	if len(m.Layers) != 1 {
		f.problem(desc, fmt.Sprintf("the manifest of a Notary Project signature has %d layers; it must have exactly one", len(m.Layers)))
		return nil
	}
	format := notaryFormat(m.Layers[0].MediaType)
	if format == "" {
		f.problem(desc, fmt.Sprintf("the Notary Project signature is a %q; %q and %q can be read", shorten(m.Layers[0].MediaType), jws.MediaTypeEnvelope, cose.MediaTypeEnvelope))
		return nil
	}
	if !f.count() {
		return nil
	}
	// The signature names the artifact's type and size too. What the signature's manifest
	// says of them was written by whoever pushed it, so the source is asked.
	target, err := f.resolve(ctx, subject.String())
	if err != nil {
		return err
	}
	if err := f.layer(ctx, desc, m.Layers[0], format); err != nil {
		return err
	}
	if target != nil {
		f.found[len(f.found)-1].Target = *target
	}
	return nil
}

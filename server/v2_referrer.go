package server

import (
	"bytes"
	"encoding/json"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// referrerDefault is large, because cosign reads only the first page.
const referrerDefault = 1000

// listReferrers answers "GET /v2/<name>/referrers/<digest>" ("Listing Referrers"). A
// subject that is not here has none. A page is bounded in bytes too: where annotations are
// large it is shorter, and the link says where the list goes on.
func (s *Server) listReferrers(r v2Request) error {
	subject, err := oci.ParseDigest(r.route.ref)
	if err != nil {
		return err
	}
	n, last, err := pageParams(r, referrerDefault)
	if err != nil {
		return err
	}
	artifactType := r.QueryParam("artifactType")
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	if n > 0 {
		var next string
		if index.Manifests, next, err = r.repo.Referrers(r.Request().Context(), subject, artifactType, last, n); err != nil {
			return err
		}
		if next != "" {
			linkNext(r, r.path("referrers", subject.String()), n, next)
		}
	}
	if artifactType != "" {
		r.Response().Header().Set("OCI-Filters-Applied", "artifactType")
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // it would make six bytes of one
	if err := enc.Encode(index); err != nil {
		return err
	}
	return r.whole(ocispec.MediaTypeImageIndex, body.Bytes())
}

package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A page of referrers is large, because cosign reads only the first. The search for one
// artifact type among many looks at no more than referrerScan.
const (
	referrerDefault = 1000
	referrerScan    = 50_000
)

// listReferrers answers "GET /v2/<name>/referrers/<digest>" ("Listing Referrers"). A
// subject that is not here has none.
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
		if index.Manifests, next, err = referrers(r.Request().Context(), r.repo, subject, artifactType, last, n); err != nil {
			return err
		}
		if next != "" {
			linkNext(r, r.path("referrers", subject.String()), n, next)
		}
	}
	if artifactType != "" {
		r.Response().Header().Set("OCI-Filters-Applied", "artifactType")
	}
	body, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return r.Blob(http.StatusOK, ocispec.MediaTypeImageIndex, body)
}

// referrers fills a page although the type that is asked for may be rare.
func referrers(ctx context.Context, repo *tiers.Repository, subject digest.Digest, artifactType, last string, n int) (page []ocispec.Descriptor, next string, err error) {
	page = []ocispec.Descriptor{}
	step := max(n, referrerDefault)
	if artifactType == "" {
		step = n
	}
	for scanned := 0; scanned < referrerScan; scanned += step {
		found, next, err := repo.Referrers(ctx, subject, artifactType, last, step)
		if err != nil {
			return nil, "", err
		}
		room := n - len(page)
		page = append(page, found[:min(room, len(found))]...)
		switch {
		case len(found) > room || len(found) == room && next != "":
			return page, page[n-1].Digest.String(), nil
		case next == "":
			return page, "", nil
		}
		last = next
	}
	return page, last, nil
}

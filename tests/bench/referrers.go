package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	fewReferrers    = 10
	leastOnPage     = 1000 // cosign reads the first page only
	fewReferrersOf  = "bench/few-referrers"
	manyReferrersOf = "bench/many-referrers"
)

// referrers lists what refers to a subject, of which there is little or very much.
type referrers struct {
	*bench
	few, many registry
	subjects  [2]digest.Digest // of the two
	bareKey   server
	bareRange server
}

// referrersPrefix is what the keys of the referrers in dev begin with; see tiers/keys.go.
func referrersPrefix(repo string, subject digest.Digest) string {
	return "tier/dev/referrer/" + repo + "@" + subject.String() + "/"
}

func (r *referrers) setup(ctx context.Context) error {
	r.few, r.many = r.sluice.at("dev/"+fewReferrersOf), r.sluice.at("dev/"+manyReferrersOf)
	for i, c := range []struct {
		registry
		repo string
		n    int
	}{{r.few, fewReferrersOf, fewReferrers}, {r.many, manyReferrersOf, r.settings.referrers}} {
		subject, err := c.pushImage(ctx, "subject", newBlobs(1, smallBlob))
		if err != nil {
			return err
		}
		r.subjects[i] = subject.Digest
		if err := pushReferrer(ctx, c.registry, subject); err != nil {
			return err
		}
		name := func(i int) string { return digest.FromString(fmt.Sprint(i)).String() }
		if err := r.multiply(ctx, referrersPrefix(c.repo, subject.Digest), c.n, name); err != nil {
			return err
		}
	}
	body, err := r.few.body(ctx, "/referrers/"+r.subjects[0].String())
	if err != nil {
		return err
	}
	a := answer{key: tagsPrefix(fewReferrersOf) + "subject", body: body, mediaType: ocispec.MediaTypeImageIndex}
	if r.bareKey, err = r.startBare(a); err != nil {
		return err
	}
	a.key, a.limit = referrersPrefix(fewReferrersOf, r.subjects[0]), leastOnPage
	r.bareRange, err = r.startBare(a)
	return err
}

// pushReferrer attaches an attestation's manifest to a subject.
func pushReferrer(ctx context.Context, r registry, subject ocispec.Descriptor) error {
	empty := newBlob([]byte("{}"))
	if err := r.push(ctx, empty, byPut); err != nil {
		return err
	}
	manifest := ocispec.Manifest{MediaType: mediaMfst, ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}, Subject: &subject,
		Annotations: map[string]string{"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}}
	manifest.SchemaVersion = 2
	_, err := r.pushManifest(ctx, "", manifest)
	return err
}

func (r *referrers) round(ctx context.Context) error {
	path := func(i int) string { return "/referrers/" + r.subjects[i].String() }
	get := func(from registry, path string) func(context.Context, int) error {
		return func(ctx context.Context, _ int) error { return from.get(ctx, http.MethodGet, path) }
	}
	err := r.compare(ctx, load{name: "referrers", clients: clients, seconds: r.seconds},
		contender{theBare, r.bareKey.usage, get(r.bareKey.registry, path(0))},
		contender{theRange, r.bareRange.usage, get(r.bareRange.registry, path(0))},
		contender{theSluice, r.sluice.usage, get(r.few, path(0))})
	if err != nil {
		return err
	}
	if err := r.compare(ctx, load{name: "many referrers", clients: clients, seconds: r.seconds},
		contender{theSluice, r.sluice.usage, get(r.many, path(1))}); err != nil {
		return err
	}
	body, err := r.many.body(ctx, path(1))
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(body, &index); err != nil {
		return err
	}
	r.count("page of referrers", theSluice, len(index.Manifests))
	return nil
}

func (r *referrers) rows() {
	work := fmt.Sprintf("referrers, %d of a subject", fewReferrers)
	r.ratioRow(work, "ratio to a bare handler with one linearizable read", "referrers", theSluice, theBare, rate, "/s", atLeast(0.8))
	r.ratioRow(work, "ratio to one that reads such a page", "referrers", theSluice, theRange, rate, "/s", owed{})
	r.medianRow(work, "p99", "referrers", theSluice, p99, "ms", owed{})
	work = fmt.Sprintf("referrers, %d of a subject", r.settings.referrers)
	r.valueRow(work, "on the first page, least of a round", "page of referrers", theSluice, count, slices.Min[[]float64], "", atLeast(leastOnPage))
	r.medianRow(work, "p99", "many referrers", theSluice, p99, "ms", atMost(50))
}

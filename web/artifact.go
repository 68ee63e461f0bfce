package web

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What the page of an artifact shows at the most.
const (
	artifactTags      = 50
	artifactContent   = 200 // platforms, or blobs
	artifactHistory   = 10
	artifactRemembers = 100 // promotions of the repository that are looked through
)

type artifactView struct {
	*tiers.Tier
	Repository string
	Reference  string // as it was asked: a tag or the digest
	Host       string
	Descriptor ocispec.Descriptor
	Kind       string
	Total      int64 // bytes of the manifest and its blobs
	Subject    digest.Digest
	Tags       []string
	MoreTags   int
	Platforms  []platformRow
	Blobs      []ocispec.Descriptor
	MoreInside int
	Stands     []place
	Steps      []step
	History    []promotionRow
	Evidence   evidenceView
	Quarantine *tiers.Quarantine // what keeps it from being pulled
}

// platformRow is a manifest of an index.
type platformRow struct {
	ocispec.Descriptor
	Name string
}

// place is a tier, and whether the artifact is there.
type place struct {
	Tier string
	Here bool // it is the tier of the page
	In   bool
	Tags []string
}

// step is a promotion that could be asked for next.
type step struct {
	gate
	Badge   badge
	Command string
}

// artifact shows one manifest with its evidence.
func (q *query) artifact(tier, repository, reference string) (result, error) {
	ctx := q.r.Context()
	t := q.findTier(tier)
	if t == nil || !q.sees(tier, repository) {
		return result{}, fmt.Errorf("%w: %s/%s", oci.ErrManifestUnknown, tier, repository)
	}
	desc, body, err := q.Registry.Manifest(ctx, tier, repository, reference)
	if err != nil {
		return result{}, fmt.Errorf("manifest %s: %w", artifactURL(tier, repository, reference), err)
	}
	manifest, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		return result{}, fmt.Errorf("manifest %s: %w", artifactURL(tier, repository, reference), err)
	}
	view := artifactView{Tier: t, Repository: repository, Reference: reference, Host: q.Host, Descriptor: desc, Kind: kind(desc.MediaType, manifest.ArtifactType)}
	if view.Quarantine, err = q.Registry.Quarantine(ctx, tier, repository, desc); err != nil {
		return result{}, fmt.Errorf("quarantine of %s: %w", desc.Digest, err)
	}
	view.Descriptor.ArtifactType = manifest.ArtifactType
	view.addContent(manifest)
	tags, err := q.Registry.TagsOf(ctx, tier, repository, desc.Digest)
	if err != nil {
		return result{}, fmt.Errorf("tags of %s: %w", desc.Digest, err)
	}
	view.Tags = tags[:min(len(tags), artifactTags)]
	view.MoreTags = len(tags) - len(view.Tags)
	if err := q.addPlaces(ctx, &view); err != nil {
		return result{}, err
	}
	if err := q.addPromotions(ctx, &view); err != nil {
		return result{}, err
	}
	if err := q.addEvidence(ctx, &view); err != nil {
		return result{}, err
	}
	title := tier + "/" + repository + ":" + reference
	if oci.IsDigest(reference) {
		title = tier + "/" + repository + "@" + shortDigest(desc.Digest)
	}
	return result{template: "artifact", title: title, section: tier, body: view}, nil
}

// addContent lists what the manifest names.
func (v *artifactView) addContent(m *oci.Manifest) {
	v.Total = v.Descriptor.Size
	if m.Subject != nil {
		v.Subject = m.Subject.Digest
	}
	for _, c := range m.Children {
		if len(v.Platforms) == artifactContent {
			v.MoreInside++
			continue
		}
		v.Platforms = append(v.Platforms, platformRow{Descriptor: c, Name: platformName(c)})
	}
	blobs := m.Blobs()
	for _, b := range blobs {
		v.Total += b.Size
	}
	v.Blobs = blobs[:min(len(blobs), artifactContent)]
	v.MoreInside += len(blobs) - len(v.Blobs)
}

// platformName is os/architecture/variant. BuildKit marks its attestations by an unknown
// platform.
func platformName(d ocispec.Descriptor) string {
	if d.Platform == nil || d.Platform.OS == "unknown" || d.Platform.OS == "" {
		return ""
	}
	name := d.Platform.OS + "/" + d.Platform.Architecture
	if d.Platform.Variant != "" {
		name += "/" + d.Platform.Variant
	}
	return name
}

// addPlaces says in which tiers the artifact stands, of those that the caller may see.
func (q *query) addPlaces(ctx context.Context, v *artifactView) error {
	for _, t := range q.Registry.Tiers() {
		if !q.sees(t.Name, v.Repository) {
			continue
		}
		p := place{Tier: t.Name, Here: t.Name == v.Tier.Name, In: t.Name == v.Tier.Name, Tags: v.Tags}
		if !p.Here {
			_, err := q.Registry.Resolve(ctx, t.Name, v.Repository, v.Descriptor.Digest.String())
			if err != nil && !isMissing(err) {
				return fmt.Errorf("resolve in %s: %w", t.Name, err)
			}
			if p.In = err == nil; p.In {
				tags, err := q.Registry.TagsOf(ctx, t.Name, v.Repository, v.Descriptor.Digest)
				if err != nil {
					return fmt.Errorf("tags in %s: %w", t.Name, err)
				}
				p.Tags = tags[:min(len(tags), artifactTags)]
			}
		}
		v.Stands = append(v.Stands, p)
	}
	return nil
}

// addPromotions finds the newest promotions of the artifact, and what could be asked for
// next. What is attached to something else rises with it and is not asked for.
func (q *query) addPromotions(ctx context.Context, v *artifactView) error {
	known, _, err := q.promotions(ctx, promote.Filter{Repository: v.Repository}, "", artifactRemembers)
	if err != nil {
		return err
	}
	for _, p := range known {
		if p.Digest == v.Descriptor.Digest && len(v.History) < artifactHistory {
			v.History = append(v.History, q.row(p))
		}
	}
	if v.Subject != "" {
		return nil
	}
	policies, err := q.policies(ctx)
	if err != nil {
		return err
	}
	for _, next := range q.above(v.Tier.Name) {
		s := step{gate: *q.gate(next, nil, policies)}
		if s.Badge, err = q.standingIn(ctx, next.Name, v.Tier.Name, v.Repository, v.Descriptor.Digest, known); err != nil {
			return err
		}
		if s.Badge.Kind != "ok" {
			separator := ":"
			if oci.IsDigest(v.Reference) {
				separator = "@"
			}
			s.Command = fmt.Sprintf("sluice promote %s/%s/%s%s%s --to %s", q.Host, v.Tier.Name, v.Repository, separator, v.Reference, next.Name)
		}
		v.Steps = append(v.Steps, s)
	}
	return nil
}

// kind is what people call a manifest.
func kind(mediaType, artifactType string) string {
	switch {
	case oci.IsIndex(mediaType):
		return "index"
	case oci.IsEvidence(artifactType):
		return "attestation"
	case artifactType == "", artifactType == ocispec.MediaTypeImageConfig, artifactType == "application/vnd.docker.container.image.v1+json":
		return "image"
	case strings.HasPrefix(artifactType, "application/vnd.cncf.helm."):
		return "Helm chart"
	}
	return "artifact"
}

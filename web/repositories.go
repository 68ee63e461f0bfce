package web

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

const (
	repositoriesPage = 100
	manifestsPage    = 50
	tagsPage         = 50
	// A tier is searched so far for names that the caller may see; see namePage.Cut.
	namesRead    = 1000
	maxNameReads = 50
)

// namePage is a page of names that the caller may see.
type namePage struct {
	Names []string
	Next  string // always a name of the page, so it tells nothing of others
	// Cut says that the search ended for its length: there may be more, but to go on the
	// address would have to name a repository that the caller may not see.
	Cut bool
}

// names lists at most n repositories of a tier that the caller may see.
func (q *query) names(ctx context.Context, tier, last string, n int) (namePage, error) {
	var page namePage
	want := n
	if q.Allow != nil {
		want = namesRead
	}
	for range maxNameReads {
		read, next, err := q.Registry.Repositories(ctx, tier, last, want)
		if err != nil {
			return page, fmt.Errorf("repositories of %q: %w", tier, err)
		}
		for _, name := range read {
			if !q.sees(tier, name) {
				continue
			}
			if len(page.Names) == n {
				page.Next = page.Names[n-1]
				return page, nil
			}
			page.Names = append(page.Names, name)
		}
		if next == "" {
			return page, nil
		}
		if len(page.Names) == n && q.Allow == nil {
			page.Next = page.Names[n-1]
			return page, nil
		}
		last = next
	}
	page.Cut = true
	return page, nil
}

type tierView struct {
	*tiers.Tier
	Page  namePage
	First bool
	Above []*tiers.Tier
}

// tier lists the repositories of a tier.
func (q *query) tier(name string) (result, error) {
	t := q.findTier(name)
	if t == nil {
		return result{}, fmt.Errorf("%w: %q", oci.ErrTierUnknown, name)
	}
	last, err := q.cursor("last")
	if err != nil {
		return result{}, err
	}
	page, err := q.names(q.r.Context(), name, last, repositoriesPage)
	if err != nil {
		return result{}, err
	}
	view := tierView{Tier: t, Page: page, First: last == "", Above: q.above(name)}
	return result{template: "tier", title: "Tier " + name, section: name, body: view}, nil
}

// tagRow is a tag with what it points at and how that stands in the tiers above.
type tagRow struct {
	Tier, Repository, Tag string
	Digest                digest.Digest
	Kind                  string
	Size                  int64
	Standing              []badge
}

func (q *query) tagRow(ctx context.Context, tier, repository, tag string, known []promote.Promotion) (tagRow, error) {
	desc, err := q.Registry.Resolve(ctx, tier, repository, tag)
	if err != nil {
		return tagRow{}, fmt.Errorf("resolve %s/%s:%s: %w", tier, repository, tag, err)
	}
	row := tagRow{Tier: tier, Repository: repository, Tag: tag, Digest: desc.Digest, Kind: kind(desc.MediaType, desc.ArtifactType), Size: desc.Size}
	row.Standing, err = q.standing(ctx, tier, repository, desc.Digest, known)
	return row, err
}

type repositoryView struct {
	*tiers.Tier
	Name      string
	Host      string
	Gates     []*gate // out of this tier
	Tags      []tagRow
	TagsNext  string
	Artifacts []artifactRow
	Next      string
	First     bool
	Elsewhere []string // other tiers that hold the name
}

// artifactRow is a manifest in a list.
type artifactRow struct {
	promote.Artifact
	Kind     string
	Standing []badge
}

// repository lists the tags and the manifests of a repository.
func (q *query) repository(tier, name string) (result, error) {
	ctx := q.r.Context()
	t := q.findTier(tier)
	if t == nil || !q.sees(tier, name) {
		return result{}, fmt.Errorf("%w: %s/%s", oci.ErrNameUnknown, tier, name)
	}
	known, _, err := q.promotions(ctx, promote.Filter{Repository: name}, "", recentPromotions)
	if err != nil {
		return result{}, err
	}
	policies, err := q.policies(ctx)
	if err != nil {
		return result{}, err
	}
	view := repositoryView{Tier: t, Name: name, Host: q.Host}
	for _, next := range q.above(tier) {
		view.Gates = append(view.Gates, q.gate(next, known, policies))
	}
	if err := q.repositoryTags(ctx, &view, known); err != nil {
		return result{}, err
	}
	if err := q.repositoryArtifacts(ctx, &view, known); err != nil {
		return result{}, err
	}
	for _, other := range q.Registry.Tiers() {
		if other.Name == tier || !q.sees(other.Name, name) {
			continue
		}
		_, _, err := q.Registry.Tags(ctx, other.Name, name, "", 1)
		if err == nil {
			view.Elsewhere = append(view.Elsewhere, other.Name)
		} else if !isMissing(err) {
			return result{}, fmt.Errorf("tags of %s/%s: %w", other.Name, name, err)
		}
	}
	return result{template: "repository", title: tier + "/" + name, section: tier, body: view}, nil
}

func (q *query) repositoryTags(ctx context.Context, view *repositoryView, known []promote.Promotion) error {
	last, err := q.cursor("tags")
	if err != nil {
		return err
	}
	tags, next, err := q.Registry.Tags(ctx, view.Tier.Name, view.Name, last, tagsPage)
	if err != nil {
		return fmt.Errorf("tags of %s/%s: %w", view.Tier.Name, view.Name, err)
	}
	for _, tag := range tags {
		row, err := q.tagRow(ctx, view.Tier.Name, view.Name, tag, known)
		if isMissing(err) { // gone since
			continue
		}
		if err != nil {
			return err
		}
		view.Tags = append(view.Tags, row)
	}
	view.First = last == ""
	if next != "" {
		view.TagsNext = more("tags", next)
	}
	return nil
}

func (q *query) repositoryArtifacts(ctx context.Context, view *repositoryView, known []promote.Promotion) error {
	last, err := q.cursor("manifests")
	if err != nil {
		return err
	}
	artifacts, next, err := q.Gate.Artifacts(ctx, view.Tier.Name, view.Name, last, manifestsPage)
	if err != nil {
		return fmt.Errorf("artifacts of %s/%s: %w", view.Tier.Name, view.Name, err)
	}
	for _, a := range artifacts {
		row := artifactRow{Artifact: a, Kind: kind(a.MediaType, a.ArtifactType)}
		if a.Subject == "" {
			if row.Standing, err = q.standing(ctx, view.Tier.Name, view.Name, a.Digest, known); err != nil {
				return err
			}
		}
		view.Artifacts = append(view.Artifacts, row)
	}
	view.First = view.First && last == ""
	if next != "" {
		view.Next = more("manifests", next)
	}
	return nil
}

package web

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What the first page shows at the most.
const (
	overviewRepositories = 6   // in each tier
	overviewTags         = 4   // of each repository
	overviewPromotions   = 8   // of those that were read
	recentPromotions     = 50  // read to know how artifacts stand
	tagsRead             = 100 // of a repository, to show the last ones by name
)

type overviewView struct {
	Locks      []lock
	Promotions []promotionRow
	More       bool
	Host       string
}

// lock is a tier with the gate that leads into it.
type lock struct {
	*tiers.Tier
	Gate         *gate // nil for a tier that clients push to
	Drop         int   // how far below the highest tier it lies, for the eye
	Top          bool  // nothing is promoted out of it
	Repositories []card
	More         bool
}

// gate is what stands between two tiers.
type gate struct {
	From, To string
	Policies []promote.PolicyInfo
	Last     *promotionRow // the newest decision among those read
}

// card is a repository of a tier with some of its tags.
type card struct {
	Tier, Name string
	Tags       []tagRow
	More       bool
}

func (q *query) overview() (result, error) {
	ctx := q.r.Context()
	recent, next, err := q.promotions(ctx, promote.Filter{}, "", recentPromotions)
	if err != nil {
		return result{}, err
	}
	policies, err := q.policies(ctx)
	if err != nil {
		return result{}, err
	}
	view := overviewView{Host: q.Host}
	for _, t := range q.Registry.Tiers() {
		l := lock{Tier: t, Drop: q.drop(t), Top: len(q.above(t.Name)) == 0}
		if t.From != "" {
			l.Gate = q.gate(t, recent, policies)
		}
		if err := q.fill(ctx, &l, recent); err != nil {
			return result{}, err
		}
		view.Locks = append(view.Locks, l)
	}
	view.Promotions = q.rows(recent[:min(len(recent), overviewPromotions)])
	view.More = next != "" || len(recent) > overviewPromotions
	return result{template: "overview", title: "Overview", section: "overview", body: view}, nil
}

// drop is how many levels a tier lies below the highest, at most 4.
func (q *query) drop(tier *tiers.Tier) int {
	highest := 0
	for _, t := range q.Registry.Tiers() {
		highest = max(highest, q.level(t))
	}
	return min(highest-q.level(tier), 4)
}

// level counts the tiers that an artifact passes before this one.
func (q *query) level(tier *tiers.Tier) int {
	level := 0
	for tier != nil && tier.From != "" && level < len(q.Registry.Tiers()) {
		tier = q.findTier(tier.From)
		level++
	}
	return level
}

func (q *query) gate(t *tiers.Tier, recent []promote.Promotion, policies []promote.PolicyInfo) *gate {
	g := &gate{From: t.From, To: t.Name}
	for _, p := range policies {
		if p.From == t.From && p.To == t.Name && len(g.Policies) < 4 {
			g.Policies = append(g.Policies, p)
		}
	}
	for _, p := range recent {
		if p.From == t.From && p.To == t.Name && p.State.Terminal() {
			row := q.row(p)
			g.Last = &row
			break
		}
	}
	return g
}

// fill puts repositories into a tier: first those that the last promotions were about,
// then the first by name.
func (q *query) fill(ctx context.Context, l *lock, recent []promote.Promotion) error {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, p := range recent {
		if (p.From == l.Name || p.To == l.Name && p.State == promote.Succeeded) && q.sees(l.Name, p.Repository) && len(names) < overviewRepositories {
			add(p.Repository)
		}
	}
	page, err := q.names(ctx, l.Name, "", overviewRepositories)
	if err != nil {
		return err
	}
	for _, name := range page.Names {
		add(name)
	}
	for i, name := range names {
		if len(l.Repositories) == overviewRepositories {
			l.More = true
			break
		}
		c, err := q.card(ctx, l.Name, name, recent)
		if isMissing(err) { // gone since
			continue
		}
		if err != nil {
			return err
		}
		l.Repositories = append(l.Repositories, c)
		l.More = page.Next != "" || page.Cut || i < len(names)-1
	}
	return nil
}

// card reads some tags of a repository: those that the last promotions were about, then
// the last by name, which are the newest where tags are versions.
func (q *query) card(ctx context.Context, tier, repository string, recent []promote.Promotion) (card, error) {
	c := card{Tier: tier, Name: repository}
	listed, next, err := q.Registry.Tags(ctx, tier, repository, "", tagsRead)
	if err != nil {
		return c, fmt.Errorf("tags of %s/%s: %w", tier, repository, err)
	}
	var tags []string
	add := func(tag string) {
		if oci.CheckTag(tag) == nil && !isAttachmentTag(tag) && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	for _, p := range recent {
		switch {
		case p.Repository != repository:
		case p.From == tier:
			add(p.Reference) // a digest is no tag and is left out
		case p.To == tier && p.State == promote.Succeeded:
			for _, tag := range p.Tags {
				add(tag)
			}
		}
	}
	for _, tag := range slices.Backward(listed) {
		add(tag)
	}
	for i, tag := range tags {
		if len(c.Tags) == overviewTags {
			break
		}
		row, err := q.tagRow(ctx, tier, repository, tag, recent)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return c, err
		}
		c.Tags = append(c.Tags, row)
		c.More = next != "" || i < len(tags)-1
	}
	return c, nil
}

// isAttachmentTag tells the tags under which clients keep attestations of a digest
// (sha256-<hex>, with .sig or .att behind it) from those that people gave.
func isAttachmentTag(tag string) bool {
	hex, ok := strings.CutPrefix(tag, "sha256-")
	if !ok {
		hex, ok = strings.CutPrefix(tag, "sha512-")
	}
	return ok && len(hex) >= 64 && strings.Trim(hex[:64], "0123456789abcdef") == ""
}

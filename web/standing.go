package web

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// badge is a state in a word. Kind picks sign and colour: ok, no, warn, run or idle.
type badge struct {
	Kind, Label string
	URL         string // where the reason is; empty if nowhere
}

// stateBadge says in a person's words how far a promotion has come.
func stateBadge(state promote.State) badge {
	switch state {
	case promote.Succeeded:
		return badge{Kind: "ok", Label: "promoted"}
	case promote.Failed:
		return badge{Kind: "no", Label: "refused"}
	case promote.Errored:
		return badge{Kind: "warn", Label: "undecided"}
	}
	return badge{Kind: "run", Label: "under way"}
}

// above lists the tiers that fill from a tier.
func (q *query) above(tier string) []*tiers.Tier {
	return slices.DeleteFunc(q.Registry.Tiers(), func(t *tiers.Tier) bool { return t.From != tier })
}

// findTier finds a tier by name, nil where there is none.
func (q *query) findTier(name string) *tiers.Tier {
	for _, t := range q.Registry.Tiers() {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// standing says for each tier above whether the artifact is there, and otherwise what the
// newest promotion among known said of it. Tiers that the caller may not see are told
// apart from those where it is not only by a promotion that he may see.
func (q *query) standing(ctx context.Context, tier, repository string, d digest.Digest, known []promote.Promotion) ([]badge, error) {
	var badges []badge
	for _, next := range q.above(tier) {
		b, err := q.standingIn(ctx, next.Name, tier, repository, d, known)
		if err != nil {
			return nil, err
		}
		if b.Label != "" {
			badges = append(badges, b)
		}
	}
	return badges, nil
}

func (q *query) standingIn(ctx context.Context, next, tier, repository string, d digest.Digest, known []promote.Promotion) (badge, error) {
	if q.sees(next, repository) {
		_, err := q.Registry.Resolve(ctx, next, repository, d.String())
		if err == nil {
			return badge{Kind: "ok", Label: "in " + next, URL: artifactURL(next, repository, d)}, nil
		}
		if !isMissing(err) {
			return badge{}, err
		}
	}
	for _, p := range known {
		if p.Repository != repository || p.Digest != d || p.From != tier || p.To != next || p.State == promote.Succeeded {
			continue
		}
		b := stateBadge(p.State)
		if len(q.above(tier)) > 1 {
			b.Label += " at " + next
		}
		b.URL = promotionURL(p.ID)
		return b, nil
	}
	if !q.sees(next, repository) {
		return badge{}, nil
	}
	return badge{Kind: "idle", Label: "not in " + next}, nil
}

// outcome sums a promotion up in a line.
func outcome(p promote.Promotion) string {
	if p.Verdict == nil {
		if p.State == promote.Errored {
			return p.Error
		}
		return ""
	}
	var refused, warned []string
	held := 0
	for _, rule := range p.Verdict.Rules {
		switch {
		case rule.Mode == policy.Off:
		case rule.Allowed:
			held++
		case rule.Mode == policy.Warn:
			warned = append(warned, rule.Name)
		default:
			refused = append(refused, rule.Name)
		}
	}
	parts := make([]string, 0, 3)
	if len(refused) > 0 {
		parts = append(parts, "wants "+names(refused))
	}
	if held > 0 || len(refused) == 0 {
		parts = append(parts, count(held, "rule held", "rules held"))
	}
	if len(warned) > 0 {
		parts = append(parts, "warned of "+names(warned))
	}
	if p.State == promote.Errored {
		parts = append(parts, p.Error)
	}
	return strings.Join(parts, "; ")
}

// names lists the first few.
func names(all []string) string {
	const most = 4
	if more := len(all) - most; more > 0 {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(all, ", ")
}

package events

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Bounds of a filter.
const (
	maxPatterns    = 100
	longestPattern = 255 // bytes; no name is longer
)

// Filter says which events somebody asks for: those that are as every list wants that is not
// empty. The zero value asks for all.
type Filter struct {
	// Types are patterns of types as the ledger has them: promotion.succeeded, promotion.*.
	Types []string
	// Tiers are names: of the tier that the event happened in, of a promotion the one above.
	Tiers []string
	// Repositories are patterns without the tier (doublestar: * within a component, ** over
	// several). An event that is about no repository, a change of policy say, is about none.
	Repositories []string
}

// Check tells add of each problem, with the field that it is in: types, tiers or repositories,
// and the place in it.
func (f Filter) Check(add func(field, problem string)) {
	for _, list := range []struct {
		field    string
		patterns []string
		valid    func(string) bool
		want     string
	}{
		{"types", f.Types, func(p string) bool { _, err := path.Match(p, ""); return err == nil }, "is no pattern of types, as promotion.* is"},
		{"tiers", f.Tiers, func(t string) bool { return !strings.Contains(t, "/") }, "is no tier"},
		{"repositories", f.Repositories, func(p string) bool { return doublestar.ValidatePattern(p) && !strings.HasPrefix(p, "/") }, "is no pattern over repository names without the tier, as acme/** is"},
	} {
		if len(list.patterns) > maxPatterns {
			add(list.field, fmt.Sprintf("are %d: want up to %d", len(list.patterns), maxPatterns))
		}
		for i, pattern := range list.patterns {
			if pattern == "" || len(pattern) > longestPattern || !list.valid(pattern) {
				add(fmt.Sprintf("%s[%d]", list.field, i), fmt.Sprintf("%q %s", pattern, list.want))
			}
		}
	}
}

// Selects says whether the filter asks for an event. Of an entry that is no event nobody knows
// what it is about, so only who asks for all gets it.
func (f Filter) Selects(e Event) bool {
	if !e.readable {
		return len(f.Types)+len(f.Tiers)+len(f.Repositories) == 0
	}
	return selects(f.Types, string(e.Type), func(pattern, name string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}) && selects(f.Tiers, e.Tier, func(tier, name string) bool { return tier == name }) &&
		selects(f.Repositories, e.Repository, func(pattern, name string) bool {
			return name != "" && doublestar.MatchUnvalidated(pattern, name)
		})
}

func selects(patterns []string, name string, match func(pattern, name string) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, name) })
}

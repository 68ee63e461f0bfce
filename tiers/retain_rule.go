package tiers

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Bounds of what retention may say.
const (
	maxRules       = 100    // of one tier
	maxPatterns    = 100    // of repositories, or of tags, in one rule
	maxKeepLast    = 10_000 // they are held in memory, for one repository at a time
	minUntagged    = time.Hour
	longestPattern = 255 // bytes; no name and no tag is longer
)

// Retention is what goes by itself from a tier that clients push to. The zero value keeps
// everything.
//
// The rules are asked in their order. The first that is about a tag of a repository decides
// about it, and a tag that no rule is about stays. An image goes with its last tag; see
// Retain for what stays whatever the rules say.
type Retention struct {
	Rules []RetentionRule
}

// RetentionRule says which tags of some repositories stay, or for how long manifests that
// have none. It is about tags where it has Keep, KeepLast or KeepFor, and about manifests
// without a tag where it has Untagged.
type RetentionRule struct {
	// Repositories are patterns without the tier (doublestar: * within a component, ** over
	// several); empty: all.
	Repositories []string
	// Tags are patterns (path.Match); empty: all.
	Tags []string
	// Keep keeps all of them: the rules that follow are about others. Without Tags it keeps
	// manifests without a tag too.
	Keep bool
	// KeepLast is how many of the tags of a repository that the rule decides about stay, by
	// when they were set. Of those set at once the later name counts as the newer.
	KeepLast int
	// KeepFor is for how long a tag stays from when it was set, or pushed again. With
	// KeepLast as well a tag goes once neither keeps it.
	KeepFor time.Duration
	// Untagged is for how long a manifest stays from when it was pushed that has no tag, that
	// no index names and whose subject is not there.
	Untagged time.Duration
}

// none says whether there are no rules.
func (r Retention) none() bool { return len(r.Rules) == 0 }

// Problems lists everything that is wrong with the rules of a tier; push says whether
// clients push to it. Fields begin with the index of the rule: [0].keepLast.
func (r Retention) Problems(push bool) []Problem {
	var found []Problem
	add := func(field, format string, args ...any) {
		found = append(found, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case r.none():
		return nil
	case !push:
		add("", "takes nothing away here: what was promoted to this tier stays; name the rules in the tier that clients push to")
		return found
	case len(r.Rules) > maxRules:
		add("", "has %d rules: want up to %d", len(r.Rules), maxRules)
		return found
	}
	for i, rule := range r.Rules {
		at := fmt.Sprintf("[%d]", i)
		rule.problems(func(field, format string, args ...any) { add(at+field, format, args...) })
		for j, earlier := range r.Rules[:i] {
			if earlier.hides(rule) {
				add(at, "never decides: rule [%d] is about everything that it could be about, and the first one decides: put this one before it", j)
				break
			}
		}
	}
	return found
}

// problems says what is wrong with a rule by itself.
func (r RetentionRule) problems(add func(field, format string, args ...any)) {
	if len(r.Repositories) > maxPatterns {
		add(".repositories", "are %d patterns: want up to %d", len(r.Repositories), maxPatterns)
	}
	for i, pattern := range r.Repositories {
		if !doublestar.ValidatePattern(pattern) || pattern == "" || strings.HasPrefix(pattern, "/") || len(pattern) > longestPattern {
			add(fmt.Sprintf(".repositories[%d]", i), "%q is no pattern over repository names without the tier, as acme/** is", pattern)
		}
	}
	if len(r.Tags) > maxPatterns {
		add(".tags", "are %d patterns: want up to %d", len(r.Tags), maxPatterns)
	}
	for i, pattern := range r.Tags {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || len(pattern) > longestPattern {
			add(fmt.Sprintf(".tags[%d]", i), "%q is no pattern: * is any run of characters, ? one", pattern)
		}
	}
	if r.KeepLast < 0 || r.KeepLast > maxKeepLast {
		add(".keepLast", "is %d: want how many tags stay, up to %d", r.KeepLast, maxKeepLast)
	}
	if r.KeepFor < 0 {
		add(".keepFor", "is %s: want for how long tags stay, 720h say", brief(r.KeepFor))
	}
	if r.Untagged < 0 || r.Untagged > 0 && r.Untagged < minUntagged {
		add(".untagged", "is %s: want %s or more: a client pushes the platforms of an index, which have no tags, before the index", brief(r.Untagged), brief(minUntagged))
	}
	keeps := r.KeepLast != 0 || r.KeepFor != 0
	switch {
	case r.Untagged != 0 && (keeps || r.Keep || len(r.Tags) > 0):
		add(".untagged", "is about manifests without a tag, and the rule about tags: make two rules of it")
	case r.Keep && keeps:
		add(".keep", "keeps everything that the rule is about, so keepLast and keepFor say nothing: leave it out, or them")
	case r.Untagged == 0 && !r.Keep && !keeps:
		add("", "keeps nothing: want keepLast, keepFor or keep: true for tags, or untagged for manifests without one")
	}
}

// hides says whether a later rule never decides because of this one.
func (r RetentionRule) hides(later RetentionRule) bool {
	if len(r.Repositories) > 0 && !slices.Contains(r.Repositories, "**") {
		return false
	}
	if later.Untagged != 0 {
		return r.aboutUntagged()
	}
	return r.aboutTags() && (len(r.Tags) == 0 || slices.Contains(r.Tags, "*"))
}

// aboutTags and aboutUntagged say what a rule is about.
func (r RetentionRule) aboutTags() bool { return r.Untagged == 0 }

func (r RetentionRule) aboutUntagged() bool { return r.Untagged != 0 || r.Keep && len(r.Tags) == 0 }

// covers says whether the rule is about a repository.
func (r RetentionRule) covers(repository string) bool {
	return len(r.Repositories) == 0 || slices.ContainsFunc(r.Repositories, func(pattern string) bool {
		return doublestar.MatchUnvalidated(pattern, repository)
	})
}

// has says whether the rule is about a tag of a repository that it covers.
func (r RetentionRule) has(tag string) bool {
	return r.aboutTags() && (len(r.Tags) == 0 || matches(r.Tags, tag))
}

// String says what the rule says.
func (r RetentionRule) String() string {
	var words []string
	if len(r.Repositories) > 0 {
		words = append(words, "repositories "+strings.Join(r.Repositories, " "))
	}
	if len(r.Tags) > 0 {
		words = append(words, "tags "+strings.Join(r.Tags, " "))
	}
	if r.Keep {
		words = append(words, "keep")
	}
	if r.KeepLast > 0 {
		words = append(words, fmt.Sprintf("keepLast %d", r.KeepLast))
	}
	if r.KeepFor > 0 {
		words = append(words, "keepFor "+brief(r.KeepFor))
	}
	if r.Untagged > 0 {
		words = append(words, "untagged "+brief(r.Untagged))
	}
	return strings.Join(words, ", ")
}

// brief writes a duration without the zeros at its end.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// setRetention checks the rules and makes them the tier's own.
func (t *Tier) setRetention() error {
	var problems []error
	for _, p := range t.Retention.Problems(t.Push) {
		problems = append(problems, fmt.Errorf("tier %q: retention%s %s", t.Name, p.Field, p.Text))
	}
	rules := make([]RetentionRule, len(t.Retention.Rules))
	for i, rule := range t.Retention.Rules {
		rule.Repositories, rule.Tags = slices.Clone(rule.Repositories), slices.Clone(rule.Tags)
		rules[i] = rule
	}
	t.Retention.Rules = rules
	return errors.Join(problems...)
}

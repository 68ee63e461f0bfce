package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

// Bounds of the search for links that satisfy the artifact rules.
const (
	maxTries = 10_000 // of the rules of a step
	// maxMatching is about how many bytes are looked at, some tenths of a second: those of
	// patterns and paths while matching, and what handing artifacts over and going through
	// them takes, which is counted as so many bytes for each.
	maxMatching  = 1 << 27
	costArtifact = 256 // that a link of a try has
	costMatch    = 128 // of an artifact with a rule
)

// search looks for one account of each step so that all artifact rules hold. It goes from
// the last step, which few links can stand for as they name the artifact, to the first, and
// tries the rules of a step as soon as all steps that they refer to are chosen: links of
// other builds, which anybody may attach here, cost one try each.
type search struct {
	check   *layoutCheck
	trial   *trial
	choices [][]account // of each step
	chosen  []*account  // of each step; nil where none is yet
	tries   int
	budget  int    // of maxMatching
	reason  string // the first rule that did not hold
	limit   string // why the search was given up
}

func (c *layoutCheck) choose(t *trial, choices [][]account) ([]*account, string) {
	s := &search{check: c, trial: t, choices: choices, chosen: make([]*account, len(choices)), budget: maxMatching}
	if s.from(len(choices) - 1) {
		return s.chosen, ""
	}
	if s.limit != "" {
		return nil, s.limit
	}
	return nil, s.reason
}

// from chooses an account for a step and for all before it.
func (s *search) from(step int) bool {
	if step < 0 {
		return true
	}
	for i := range s.choices[step] {
		s.chosen[step] = &s.choices[step][i]
		if s.holds(step) && s.from(step-1) {
			return true
		}
		s.chosen[step] = nil
		if s.limit != "" {
			return false
		}
	}
	return false
}

// holds tries the rules of the steps that can be judged now that a step is chosen.
func (s *search) holds(chosen int) bool {
	for i := range s.check.steps {
		step := &s.check.steps[i]
		if s.chosen[i] == nil || i != chosen && !step.refers[chosen] {
			continue
		}
		if slices.ContainsFunc(slices.Collect(maps.Keys(step.refers)), func(k int) bool { return s.chosen[k] == nil }) {
			continue
		}
		if s.trial.over() {
			s.limit = "the decision was given up"
			return false
		}
		if s.tries++; s.tries > maxTries {
			s.limit = fmt.Sprintf("the links of repeated steps can be combined in so many ways that the layout's rules were not found to hold in %d tries", maxTries)
			return false
		}
		if s.budget -= s.cost(i); s.budget < 0 {
			s.limit = "matching the layout's patterns with so many artifacts takes too long; record fewer, or use fewer patterns with something behind a *"
			return false
		}
		if reason := s.broken(i); reason != "" {
			if s.reason == "" {
				s.reason = reason
			}
			return false
		}
	}
	return true
}

// broken says which artifact rule of a step does not hold; empty where all do. The library
// gets copies: it writes to what it is given.
func (s *search) broken(step int) string {
	links := map[string]map[string]intoto.Metadata{}
	layout := intoto.Layout{}
	for i, account := range s.chosen {
		name := s.check.steps[i].Name
		if i != step && !s.check.steps[step].refers[i] {
			continue
		}
		layout.Steps = append(layout.Steps, s.check.steps[i].Step)
		links[name] = map[string]intoto.Metadata{}
		// All performances of an account say the same of artifacts.
		links[name][account.performances[0].signer.KeyID] = &intoto.Metablock{Signed: intoto.Link{
			Type: "link", Name: name, Materials: copied(account.link.Materials), Products: copied(account.link.Products),
		}}
	}
	reduced, err := intoto.ReduceStepsMetadata(layout, links)
	if err == nil {
		err = intoto.VerifyArtifacts([]any{s.check.steps[step].Step}, reduced)
	}
	if err != nil {
		return tidied(err)
	}
	return ""
}

func copied(artifacts attest.Artifacts) map[string]intoto.HashObj {
	out := make(map[string]intoto.HashObj, len(artifacts))
	for name, digests := range artifacts {
		out[name] = maps.Clone(digests)
	}
	return out
}

// cost estimates what trying the rules of a step takes, of maxMatching: its links and those
// of the steps that it refers to are handed over, and its own are matched.
func (s *search) cost(step int) int {
	own := &s.check.steps[step]
	total := own.cost(s.chosen[step].link)
	for i, account := range s.chosen {
		if i == step || own.refers[i] {
			total += costArtifact * (1 + len(account.link.Materials) + len(account.link.Products))
		}
	}
	return total
}

// cost of matching: a pattern costs its own length with each path, and where something
// follows a *, that with each place in the path.
func (s *layoutStep) cost(link attest.Link) int {
	total := 0
	for _, side := range []struct {
		rules     [][]string
		artifacts attest.Artifacts
	}{{s.ExpectedMaterials, link.Materials}, {s.ExpectedProducts, link.Products}} {
		length := 0
		for name := range side.artifacts {
			length += len(name)
		}
		for _, rule := range side.rules {
			_, behind, _ := strings.Cut(rule[1], "*")
			if total += (len(rule[1])+costMatch)*len(side.artifacts) + len(behind)*length; total > maxMatching {
				return total
			}
		}
	}
	return total
}

// tidied puts the names that in-toto's library lists in the order of a map into one order,
// and names a few.
func tidied(err error) string {
	text := strings.NewReplacer("artifact verification failed for Step", "the layout does not hold: step", "artifact verification failed for ", "the layout does not hold: ").Replace(err.Error())
	lists := regexp.MustCompile(`(products|materials|in) \[([^\]]*)\]`)
	text = lists.ReplaceAllStringFunc(text, func(list string) string {
		parts := lists.FindStringSubmatch(list)
		names := strings.Fields(parts[2])
		slices.Sort(names)
		for i := range names {
			names[i] = clipped(names[i])
		}
		return parts[1] + " [" + limited(names, " ") + "]"
	})
	const most = 1000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

package policy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

// Bounds of one verification.
const (
	maxLinks        = 1000    // of the layout's steps, attached to one artifact
	maxCombinations = 64      // of links that could stand for the steps
	maxMatching     = 1 << 29 // bytes looked at while matching patterns: about a second
)

var _ soleCheck = (*layoutCheck)(nil)

// performance is one link with one functionary who signed it and may perform the step.
type performance struct {
	attest.Evidence
	link   attest.Link
	signer attest.Signer
}

// account is what functionaries agree on that a step was given and made.
type account struct {
	link         attest.Link
	performances []performance
}

// examine looks for links that are attached to the target and by which the layout holds.
//
// It decides as in-toto does on a folder with one link of each functionary for each step
// (spec 1.0, section 4.5): enough functionaries, all of whom agree, and links that satisfy
// the artifact rules. Where a functionary left several links of one step, because a step
// was repeated, one choice of them has to hold. Beyond in-toto, functionaries are counted
// by distinct principals with distinct keys, and the last step has to have made the target.
func (c *layoutCheck) examine(t *trial, target Platform) finding {
	out := finding{target: target}
	if out.together = c.outdated(t.Now); out.together != "" {
		return out
	}
	performed, reasons := c.gather(t.Evidence, target)
	out.reasons = reasons
	choices := make([][]account, len(c.steps))
	for i := range c.steps {
		step := &c.steps[i]
		var missing string
		if choices[i], missing = step.accounts(performed[step.Name], target, i == len(c.steps)-1); missing != "" {
			out.together = fmt.Sprintf("step %s of the layout: %s", step.Name, missing)
			out.steps = append(out.steps, step.Name)
			return out
		}
	}
	chosen, failed := c.choose(choices)
	if failed != "" {
		out.together = failed
		return out
	}
	for i, account := range chosen {
		for _, p := range account.performances {
			out.accepted = append(out.accepted, claim{Evidence: p.Evidence, signer: p.signer})
			out.notes = append(out.notes, misaligned(c.steps[i].Step, p)...)
		}
	}
	out.claims, out.reasons = len(out.accepted), nil
	return out
}

// outdated says why the layout itself does not count at a time.
func (c *layoutCheck) outdated(now time.Time) string {
	if !now.Before(c.expires) {
		return fmt.Sprintf("the layout expired at %s", c.expires.UTC().Format(time.RFC3339))
	}
	for _, owner := range c.owners {
		if !slices.ContainsFunc(owner.keys, func(k attest.Key) bool {
			return (k.NotBefore.IsZero() || !now.Before(k.NotBefore)) && (k.NotAfter.IsZero() || !now.After(k.NotAfter))
		}) {
			return fmt.Sprintf("the key that %s signed the layout with is not valid now (see notBefore and notAfter)", owner.name)
		}
	}
	return ""
}

// gather finds the links of the steps, and says of others why they do not count.
func (c *layoutCheck) gather(evidence []attest.Evidence, target Platform) (map[string][]performance, []string) {
	performed := map[string][]performance{}
	var reasons []string
	count := 0
	for _, e := range evidence {
		if e.Subject != target.Digest || !e.IsLink() {
			continue
		}
		link, err := e.Link()
		if err != nil {
			reasons = append(reasons, fmt.Sprintf("%s is malformed: %v", short(e.Manifest), err))
			continue
		}
		i := slices.IndexFunc(c.steps, func(s layoutStep) bool { return s.Name == link.Name })
		if i < 0 {
			reasons = append(reasons, fmt.Sprintf("%s is of the step %q, which the layout does not have", short(e.Manifest), clipped(link.Name)))
			continue
		}
		known := false
		for _, s := range e.Functionaries {
			if c.steps[i].keys[s.KeyID] {
				known = true
				performed[link.Name] = append(performed[link.Name], performance{e, link, s})
			}
		}
		if known {
			if count++; count > maxLinks {
				return nil, []string{fmt.Sprintf("more than %d links are attached", maxLinks)}
			}
			continue
		}
		reasons = append(reasons, fmt.Sprintf("%s (step %s) %s", short(e.Manifest), link.Name, stranger(e)))
	}
	return performed, reasons
}

// stranger says why nobody who may perform the step signed a link.
func stranger(e attest.Evidence) string {
	if len(e.Functionaries) > 0 {
		return fmt.Sprintf("is signed by %s, who may not perform it", e.Functionaries[0].Authority)
	}
	if len(e.Signers) > 0 {
		return fmt.Sprintf("is signed by %s, who is no functionary of the layout", e.Signers[0].Authority)
	}
	return "is signed by no functionary of the layout: " + e.Problem
}

// accounts groups the links of a step by what they say. One counts if enough functionaries
// share it, and if nobody who may perform the step says something else; of the last step,
// if it names the target.
func (s *layoutStep) accounts(performed []performance, target Platform, last bool) ([]account, string) {
	byArtifacts := map[[32]byte]int{}
	var all []account
	everybody := map[string]bool{}
	var signers []attest.Signer
	for _, p := range performed {
		everybody[p.signer.KeyID] = true
		signers = append(signers, p.signer)
		key := fingerprintOf(p.link)
		i, ok := byArtifacts[key]
		if !ok {
			i = len(all)
			byArtifacts[key] = i
			all = append(all, account{link: p.link})
		}
		all[i].performances = append(all[i].performances, p)
	}
	if have := distinct(signers); have < s.Threshold {
		missing := fmt.Sprintf("%d of %d functionaries attached a link", have, s.Threshold)
		if len(signers) > have {
			missing += " (one principal, or one key, counts once)"
		}
		return nil, missing
	}
	agreed := slices.DeleteFunc(all, func(a account) bool { return !a.unanimous(everybody, s.Threshold) })
	if len(agreed) == 0 {
		return nil, fmt.Sprintf("its functionaries recorded different materials or products: %s", limited(manifestsOf(performed), ", "))
	}
	if !last {
		return agreed, ""
	}
	named := slices.DeleteFunc(agreed, func(a account) bool { return !a.made(target) })
	if len(named) == 0 {
		return nil, fmt.Sprintf("it is the last, and no product of it is %s: the layout says nothing about this artifact", target.Digest)
	}
	return named, ""
}

// fingerprintOf tells what links say apart; maps are encoded in the order of their keys.
func fingerprintOf(link attest.Link) [32]byte {
	text, err := json.Marshal([]attest.Artifacts{link.Materials, link.Products})
	if err != nil {
		panic(err) // strings in maps; a panic is a no
	}
	return sha256.Sum256(text)
}

func (a account) unanimous(everybody map[string]bool, threshold int) bool {
	mine := map[string]bool{}
	var signers []attest.Signer
	for _, p := range a.performances {
		mine[p.signer.KeyID] = true
		signers = append(signers, p.signer)
	}
	return len(mine) == len(everybody) && distinct(signers) >= threshold
}

// made says whether the target is among the products, by its digest under the same
// algorithm.
func (a account) made(target Platform) bool {
	for _, digests := range a.link.Products {
		if digests[target.Digest.Algorithm().String()] == target.Digest.Encoded() {
			return true
		}
	}
	return false
}

// choose tries the combinations of accounts until the artifact rules hold of one.
func (c *layoutCheck) choose(choices [][]account) ([]account, string) {
	combinations := 1
	for _, options := range choices {
		if combinations *= len(options); combinations > maxCombinations {
			return nil, fmt.Sprintf("the links of repeated steps can be combined in more than %d ways, which are not all tried", maxCombinations)
		}
	}
	budget := maxMatching
	var first string
	for n := range combinations {
		chosen := make([]account, len(choices))
		for i, options := range choices {
			chosen[i] = options[n%len(options)]
			n /= len(options)
		}
		if budget -= c.cost(chosen); budget < 0 {
			return nil, "matching the layout's patterns with so many artifacts takes too long; record fewer, or use fewer patterns with * inside"
		}
		reason := c.broken(chosen)
		if reason == "" {
			return chosen, ""
		}
		if first == "" {
			first = reason
		}
	}
	return nil, first
}

// broken says which artifact rule does not hold; empty where all do. The library gets
// copies: it writes to what it is given.
func (c *layoutCheck) broken(chosen []account) string {
	links := map[string]map[string]intoto.Metadata{}
	items := make([]any, len(c.steps))
	for i, account := range chosen {
		step := c.steps[i].Step
		items[i] = step
		links[step.Name] = map[string]intoto.Metadata{}
		for _, p := range account.performances {
			links[step.Name][p.signer.KeyID] = &intoto.Metablock{Signed: intoto.Link{
				Type: "link", Name: step.Name, Command: p.link.Command, Materials: copied(p.link.Materials), Products: copied(p.link.Products),
			}}
		}
	}
	reduced, err := intoto.ReduceStepsMetadata(c.layout, links)
	if err == nil {
		err = intoto.VerifyArtifacts(items, reduced)
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

// cost estimates how many bytes matching looks at. A pattern costs its own length with each
// path, and where something follows a *, that with each place in the path.
func (c *layoutCheck) cost(chosen []account) int {
	total := 0
	for i, account := range chosen {
		for _, side := range []struct {
			rules     [][]string
			artifacts attest.Artifacts
		}{{c.steps[i].ExpectedMaterials, account.link.Materials}, {c.steps[i].ExpectedProducts, account.link.Products}} {
			length := 0
			for name := range side.artifacts {
				length += len(name)
			}
			for _, rule := range side.rules {
				_, behind, _ := strings.Cut(rule[1], "*")
				total += len(rule[1])*len(side.artifacts) + len(behind)*length
				if total > maxMatching {
					return total
				}
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

// misaligned warns where another command was run than the layout expects. In-toto does not
// refuse that either (spec 1.0, section 4.3.3): a command is what its caller says it was.
func misaligned(step intoto.Step, p performance) []string {
	if slices.Equal(step.ExpectedCommand, p.link.Command) || len(step.ExpectedCommand) == 0 && len(p.link.Command) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("warning: step %s ran `%s`, the layout expects `%s`", step.Name,
		clipped(strings.Join(p.link.Command, " ")), clipped(strings.Join(step.ExpectedCommand, " ")))}
}

func manifestsOf(performed []performance) []string {
	var names []string
	for _, p := range performed {
		names = append(names, fmt.Sprintf("%s by %s", short(p.Manifest), p.signer.Authority))
	}
	return names
}

// remedy is how a step is performed and its link attached; for an outdated layout, how that
// is signed anew.
func (c *layoutCheck) remedy(f Facts, found finding) string {
	if c.outdated(f.Now) != "" {
		return fmt.Sprintf("in-toto sign --file LAYOUT --key %s.key   # with a later \"expires\"; then apply the policy again", c.owners[0].name)
	}
	steps := found.steps
	if len(steps) == 0 { // the rules between steps do not hold: any of them may be at fault
		steps = []string{c.steps[len(c.steps)-1].Name}
	}
	var commands []string
	for _, name := range steps {
		i := slices.IndexFunc(c.steps, func(s layoutStep) bool { return s.Name == name })
		words := make([]string, len(c.steps[i].ExpectedCommand))
		for k, word := range c.steps[i].ExpectedCommand {
			words[k] = quote(word)
		}
		run := "--no-command"
		if len(words) > 0 {
			run = "-- " + strings.Join(words, " ")
		}
		commands = append(commands, fmt.Sprintf("in-toto run --name %s --key FUNCTIONARY.key --materials . --products . %s && oras attach --artifact-type %s %s %s.*.link:%s",
			name, run, attest.MediaTypeLink, quote(named(f, found.target.Digest)), name, attest.MediaTypeLink))
	}
	return strings.Join(commands, "\n")
}

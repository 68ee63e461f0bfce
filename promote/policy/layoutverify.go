package policy

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

// maxLinks is how many links of the layout's steps may be attached to one artifact.
const maxLinks = 5000

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
// It decides as in-toto does on a folder of links (spec 1.0, section 4.5): enough
// functionaries, and links that satisfy the artifact rules. Where a step was repeated, or
// links of other builds are attached, one choice of them has to hold. Beyond in-toto,
// functionaries are counted by distinct principals with distinct keys, and the last step
// has to have made the target.
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
	chosen, failed := c.choose(t, choices)
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

// accounts groups the links of a step by what they say, and gives those that enough
// functionaries share. Where several are asked for, nobody who may perform the step may say
// something else; where one suffices, each may be the one (as in-toto's reference
// implementation has it). Links of the last step that do not name the target are of other
// artifacts.
func (s *layoutStep) accounts(performed []performance, target Platform, last bool) ([]account, string) {
	if last {
		named := slices.DeleteFunc(slices.Clone(performed), func(p performance) bool { return !produces(p.link, target) })
		if len(named) == 0 && len(performed) > 0 {
			return nil, fmt.Sprintf("it is the last, and no product of it is %s: the layout says nothing about this artifact", target.Digest)
		}
		performed = named
	}
	type word struct {
		account int
		signer  attest.Signer
	}
	byArtifacts := map[[32]byte]int{}
	var all []account
	counted := map[word]bool{}
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
		if by := (word{i, p.signer}); !counted[by] { // another link that says the same adds nothing
			counted[by] = true
			all[i].performances = append(all[i].performances, p)
		}
	}
	if have := distinct(signers); have < s.Threshold {
		missing := fmt.Sprintf("%d of %d functionaries attached a link", have, s.Threshold)
		if len(signers) > have {
			missing += " (one principal, or one key, counts once)"
		}
		return nil, missing
	}
	if s.Threshold == 1 {
		return all, ""
	}
	agreed := slices.DeleteFunc(all, func(a account) bool { return !a.unanimous(everybody) })
	if len(agreed) == 0 {
		return nil, fmt.Sprintf("its functionaries recorded different materials or products: %s", limited(manifestsOf(performed), ", "))
	}
	return agreed, ""
}

// fingerprintOf tells what links say apart.
func fingerprintOf(link attest.Link) [32]byte {
	h := sha256.New()
	for _, artifacts := range []attest.Artifacts{link.Materials, link.Products} {
		fmt.Fprintf(h, "%d\n", len(artifacts))
		for _, name := range slices.Sorted(maps.Keys(artifacts)) {
			fmt.Fprintf(h, "%q %q\n", name, artifacts[name]) // fmt prints maps in the order of their keys
		}
	}
	return [32]byte(h.Sum(nil))
}

// unanimous says whether everybody who performed the step says this of it.
func (a account) unanimous(everybody map[string]bool) bool {
	mine := map[string]bool{}
	for _, p := range a.performances {
		mine[p.signer.KeyID] = true
	}
	return len(mine) == len(everybody)
}

// produces says whether the target is among the products, by its digest under the same
// algorithm.
func produces(link attest.Link, target Platform) bool {
	for _, digests := range link.Products {
		if digests[target.Digest.Algorithm().String()] == target.Digest.Encoded() {
			return true
		}
	}
	return false
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
		ref := quote(named(f, found.target.Digest))
		command := fmt.Sprintf("in-toto run --name %s --key FUNCTIONARY.key --materials . --products . %s && oras attach --artifact-type %s %s %s.*.link:%s",
			name, run, attest.MediaTypeLink, ref, name, attest.MediaTypeLink)
		if i == len(c.steps)-1 { // its products have to name the artifact
			command = fmt.Sprintf("oras manifest fetch --output manifest.json %s && %s", ref, command)
		}
		commands = append(commands, command)
	}
	return strings.Join(commands, "\n")
}

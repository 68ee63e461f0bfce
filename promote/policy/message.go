package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// maxReasons is how many near misses a message names; thousands of attestations may be
// attached.
const maxReasons = 5

// maxTargets is how many platforms a message and a remedy name: an index may have thousands.
const maxTargets = 100

// message says what satisfied the rule, or what is missing for each target that lacks it.
func (r *rule) message(facts Facts, findings []finding) string {
	bad := slices.DeleteFunc(slices.Clone(findings), func(f finding) bool { return f.satisfied(r) })
	tell := r.praise
	if len(bad) > 0 {
		findings = bad
		tell = func(f finding) string { return r.complaint(facts, f) }
	}
	var texts []string
	for _, f := range findings[:min(len(findings), maxTargets)] {
		texts = append(texts, tell(f))
	}
	return limitedTo(maxTargets, texts, len(findings), "; ")
}

func (r *rule) praise(f finding) string {
	if f.waiver != nil {
		return about(f.target) + f.waiver.describe()
	}
	var names []string
	for _, u := range f.used() {
		names = append(names, fmt.Sprintf("%s by %s", short(u.Digest), u.Authority))
	}
	return strings.Join(append([]string{about(f.target) + limited(names, ", ")}, f.notes...), "; ")
}

func (r *rule) complaint(facts Facts, f finding) string {
	text := about(f.target)
	wanted := strings.Join(briefTypes(r.PredicateTypes), " or ")
	switch have := distinct(f.signers()); {
	case r.sole != nil:
		text += f.together
	case r.overAll && f.claims == 0:
		text += "nothing that an authority of the policy signed is attached"
	case f.claims == 0:
		text += fmt.Sprintf("no attestation %s by %s", wanted, strings.Join(r.From.Authorities, " or "))
	case f.together != "":
		text += f.together
	case r.From.Threshold == 1:
		text += fmt.Sprintf("no attestation %s holds", wanted)
	default:
		text += fmt.Sprintf("%d of %d distinct signers of %s", have, r.From.Threshold, wanted)
		if len(f.used()) > have {
			text += " (one principal, or one key, counts once)"
		}
	}
	reasons := slices.Clip(f.reasons)
	for _, e := range f.others.first {
		reasons = append(reasons, fmt.Sprintf("%s is about %s", short(e.Manifest), describe(facts, e.Subject)))
	}
	if len(reasons) > 0 {
		text += ": " + limitedTo(maxReasons, reasons, len(f.reasons)+f.others.count, "; ")
	}
	return text
}

// briefTypes leaves out the versions of a type that is listed without one.
func briefTypes(types []string) []string {
	return slices.DeleteFunc(slices.Clone(types), func(t string) bool {
		return slices.ContainsFunc(types, func(other string) bool { return strings.HasPrefix(t, other+"/") })
	})
}

func about(target Platform) string {
	if target.Name == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s): ", target.Name, short(target.Digest))
}

// describe names the subject of a near miss.
func describe(f Facts, d digest.Digest) string {
	if d == f.Digest {
		return "the artifact itself, " + short(d)
	}
	for _, p := range f.Platforms {
		if p.Digest == d && p.Name != "" {
			return fmt.Sprintf("its platform %s, %s", p.Name, short(d))
		}
	}
	return short(d)
}

// limited joins the first texts, and says how many there were besides.
func limited(texts []string, separator string) string {
	return limitedTo(maxReasons, texts, len(texts), separator)
}

// limitedTo is limited to so many texts; of all that there are, texts are the first.
func limitedTo(most int, texts []string, all int, separator string) string {
	if all > most {
		texts = append(texts[:most:most], fmt.Sprintf("and %d more", all-most))
	}
	return strings.Join(texts, separator)
}

// short is enough of a digest for a person to find it by.
func short(d digest.Digest) string {
	const most = len("sha256:") + 12
	if len(d) <= most {
		return string(d)
	}
	return string(d[:most]) + "…"
}

// remedy is the command, one a line for each target, that attaches what is missing. It
// names a key after an authority that has not signed yet.
func (r *rule) remedy(f Facts, findings []finding) string {
	var commands []string
	if r.overAll {
		return fmt.Sprintf("sluice evidence %s   # what there is; the rule is about all of it", quote(named(f, f.Digest)))
	}
	missing := slices.DeleteFunc(slices.Clone(findings), func(f finding) bool { return f.satisfied(r) })
	for i, found := range missing {
		if i == maxTargets {
			commands = append(commands, fmt.Sprintf("# and the same for %d more", len(missing)-i))
			break
		}
		if r.sole != nil {
			commands = append(commands, r.sole.remedy(f, found))
			continue
		}
		if found.vetoed {
			commands = append(commands, r.exceptionRemedy(named(f, found.target.Digest)))
			continue
		}
		authority := r.From.Authorities[0]
		for _, name := range r.From.Authorities {
			if !slices.ContainsFunc(found.accepted, func(c claim) bool { return c.signer.Authority == name }) {
				authority = name
				break
			}
		}
		if command := r.ownRemedy(named(f, found.target.Digest), authority); command != "" {
			commands = append(commands, command)
			continue
		}
		t := r.PredicateTypes[0]
		if t == attest.PredicateNotary {
			commands = append(commands, "notation sign "+quote(named(f, found.target.Digest)))
			continue
		}
		commands = append(commands, fmt.Sprintf("sluice attest %s --type %s --predicate %s --key %s.key",
			quote(named(f, found.target.Digest)), quote(t), kindOf(t).file, authority))
	}
	return strings.Join(commands, "\n")
}

// ownRemedy is the command of a check that has one of its own.
func (r *rule) ownRemedy(ref, authority string) string {
	for _, check := range r.checks {
		if own, ok := check.(remediedCheck); ok {
			return own.remedy(ref, authority)
		}
	}
	return ""
}

// exceptionRemedy is what helps where more evidence does not.
func (r *rule) exceptionRemedy(ref string) string {
	if len(r.exceptors) == 0 {
		return "# no other statement takes this back: build without it, or have the policy allow it"
	}
	return fmt.Sprintf("sluice attest %s --type exception --predicate exception.json --key %s.key", quote(ref), r.exceptors[0])
}

// named is how a person names an artifact or one of its platforms: always by digest.
func named(f Facts, d digest.Digest) string {
	ref, err := oci.ParseReference(f.Reference)
	if err != nil {
		return f.Repository + "@" + d.String()
	}
	if d != f.Digest {
		ref.Tag = "" // it names the index, not its platform
	}
	ref.Digest = d
	return ref.String()
}

// quote keeps what a policy or an artifact says from being more than a word in a shell.
func quote(word string) string {
	if regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`).MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

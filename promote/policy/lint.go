package policy

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// loader checks a parsed document, fills in its defaults and compiles it.
type loader struct {
	*problems
	doc      *Document
	read     func(file string) ([]byte, error)
	names    []string // of requirements and freezes
	warnings []string
	// functionaries are those of the layouts.
	functionaries []attest.Authority
}

// ruleName checks a name that the verdict lists a rule under.
func (l *loader) ruleName(path, name, kind string) {
	l.name(path, name)
	if slices.Contains(l.names, name) {
		l.add(path, "%q names two %s", name, kind)
	}
	l.names = append(l.names, name)
}

// Limits that keep a policy from being a burden to whoever evaluates it.
const (
	maxAuthorities = 100
	maxRules       = 100
	maxConditions  = 50
)

func (l *loader) header() {
	doc := l.doc
	if doc.APIVersion != APIVersion {
		l.add("apiVersion", "is %q, want %s", doc.APIVersion, APIVersion)
	}
	if doc.Kind != Kind {
		l.add("kind", "is %q, want %s", doc.Kind, Kind)
	}
	l.name("metadata.name", doc.Metadata.Name)
	l.tier("spec.from", doc.Spec.From)
	l.tier("spec.to", doc.Spec.To)
	if doc.Spec.From == doc.Spec.To && doc.Spec.To != "" {
		l.add("spec.to", "is %q like spec.from: a promotion goes from one tier to another", doc.Spec.To)
	}
	if !l.has("spec.repositories") {
		doc.Spec.Repositories = []string{"**"}
	}
	if len(doc.Spec.Repositories) == 0 {
		l.add("spec.repositories", "is empty: leave it out for all repositories")
	}
	if l.has("spec.onRevoked") && doc.Spec.OnRevoked != Report && doc.Spec.OnRevoked != Quarantine {
		l.add("spec.onRevoked", "is %q, want report or quarantine", doc.Spec.OnRevoked)
	}
	for i, glob := range doc.Spec.Repositories {
		if !doublestar.ValidatePattern(glob) || strings.HasPrefix(glob, "/") {
			l.add(fmt.Sprintf("spec.repositories[%d]", i), "%q is no glob over repository names, as acme/** is", glob)
		}
	}
}

func (l *loader) tier(path, tier string) {
	if oci.CheckName(tier) != nil || strings.Contains(tier, "/") {
		l.add(path, "is %q, want the name of a tier", tier)
	}
}

// name checks a name that ends up in URLs, messages and shell commands.
func (l *loader) name(path, name string) {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name) {
		l.add(path, "is %q, want at most 63 letters, digits, '.', '_' and '-', beginning with a letter or digit", name)
	}
}

// rules checks and compiles the requirements.
func (l *loader) rules(authorities []attest.Authority) []rule {
	spec := &l.doc.Spec
	compiler, err := newCompiler()
	if err != nil {
		l.add("spec.require", "conditions cannot be compiled: %v", err)
		return nil
	}
	if len(spec.Require) > maxRules {
		l.add("spec.require", "has %d requirements, at most %d are allowed", len(spec.Require), maxRules)
		return nil
	}
	rules := make([]rule, 0, len(spec.Require))
	enforced := false
	for i := range spec.Require {
		path, r := fmt.Sprintf("spec.require[%d]", i), &spec.Require[i]
		l.ruleName(path+".name", r.Name, "requirements")
		rules = append(rules, l.rule(path, r, compiler, authorities))
		// Conditions over everything hold of nothing signed as well.
		enforced = enforced || r.Mode == Enforce && !r.overAll()
	}
	if !enforced {
		l.add("spec.require", "no enforced requirement asks for a signature: such a policy lets everything pass")
	}
	return rules
}

// rule checks and compiles one requirement. Typed checks come first: they fill in what
// they imply.
func (l *loader) rule(path string, r *Requirement, compiler *compiler, authorities []attest.Authority) rule {
	l.choices(path, r)
	compiled := rule{checks: l.checks(path, r)}
	if r.Layout != nil {
		if layout := l.layout(path+".layout", r, authorities); layout != nil {
			compiled.sole = layout
		}
	} else if compiled.overAll = r.overAll(); !compiled.overAll {
		l.predicateTypes(path+".predicateTypes", r.PredicateTypes)
	}
	compiled.maxAge, compiled.minAge = l.age(path+".maxAge", &r.MaxAge), l.age(path+".minAge", &r.MinAge)
	if compiled.maxAge > 0 && compiled.minAge >= compiled.maxAge {
		l.add(path+".minAge", "is %s and maxAge is %s: nothing is ever of the right age", r.MinAge, r.MaxAge)
	}
	compiled.from, compiled.until = l.time(path+".effectiveOn", &r.EffectiveOn), l.time(path+".effectiveUntil", &r.EffectiveUntil)
	if !compiled.until.IsZero() && !compiled.until.After(compiled.from) {
		l.add(path+".effectiveUntil", "is not after effectiveOn: the requirement would never be in force")
	}
	compiled.conditions = l.conditions(path+".where", r.Where, compiler.compile)
	if all := l.conditions(path+".whereAll", r.WhereAll, compiler.compileAll); len(all) > 0 {
		compiled.checks = append(compiled.checks, conditionsOverAll(all))
	}
	if compiled.overAll && len(r.Where) > 0 {
		l.add(path+".where", "is about one attestation: name the predicateTypes and from whom it has to be")
	}
	compiled.Requirement = *r
	return compiled
}

// choices fills in and checks what is one of a few words.
func (l *loader) choices(path string, r *Requirement) {
	l.mode(path+".mode", &r.Mode)
	if !l.has(path + ".scope") {
		r.Scope = ScopeIndex
	}
	if r.Scope != ScopeIndex && r.Scope != ScopeEach {
		l.add(path+".scope", "is %q, want index or each", r.Scope)
	}
}

func (l *loader) mode(path string, mode *Mode) {
	if !l.has(path) {
		*mode = Enforce
	}
	if *mode != Enforce && *mode != Warn && *mode != Off {
		l.add(path, "is %q, want enforce, warn or off", *mode)
	}
}

func (l *loader) predicateTypes(path string, types []string) {
	if len(types) == 0 {
		l.add(path, "is missing: name the predicate types that satisfy the requirement")
	}
	for i, t := range types {
		at := fmt.Sprintf("%s[%d]", path, i)
		u, err := url.Parse(t)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" || strings.ContainsAny(t, " \t\n"):
			l.add(at, "%q is no absolute URI, as https://slsa.dev/provenance/v1 is", t)
		case strings.HasSuffix(t, "/"):
			l.add(at, "%q ends with a slash: a predicate type names one type and its version", t)
		case slices.Contains(types[:i], t):
			l.add(at, "%q stands there twice", t)
		}
	}
}

// age reads a duration and writes it back in one form.
func (l *loader) age(path string, text *string) time.Duration {
	if !l.has(path) {
		return 0
	}
	age, err := time.ParseDuration(*text)
	if err != nil || age <= 0 {
		l.add(path, "is %q, want a duration above zero in hours, minutes or seconds, as 168h is", *text)
		return 0
	}
	*text = age.String()
	return age
}

func (l *loader) conditions(path string, where []string, compile func(text string) (*condition, error)) []*condition {
	if l.has(path) && len(where) == 0 {
		l.add(path, "is empty: leave it out where the signature alone suffices")
	}
	if len(where) > maxConditions {
		l.add(path, "has %d conditions, at most %d are allowed", len(where), maxConditions)
		return nil
	}
	var conditions []*condition
	for i, text := range where {
		compiled, err := compile(text)
		if err != nil {
			l.add(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			continue
		}
		conditions = append(conditions, compiled)
	}
	return conditions
}

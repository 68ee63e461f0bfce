package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ProvenanceSpec asks for SLSA provenance (v0.2 or v1) of a build that may be trusted. The
// builder has to be one of the signer's own, wherever the signer has any; where MinLevel,
// Builders or another check asks which builder it was, a signer without builders does not
// count.
type ProvenanceSpec struct {
	// MinLevel is the SLSA build level, 1 to 3, that the builder has to be worth under
	// its signer (maxBuildLevel of the authority's builders).
	MinLevel int `json:"minLevel,omitempty" yaml:"minLevel"`
	// Builders are the ids of the builders that count, all of the signer's where left out.
	Builders []string `json:"builders,omitempty" yaml:"builders"`
	// BuildTypes are the build types that count, any where left out.
	BuildTypes []string `json:"buildTypes,omitempty" yaml:"buildTypes"`
	// Source bounds what the artifact was built from.
	Source *SourceSpec `json:"source,omitempty" yaml:"source"`
	// Dependencies bounds what the build used of this registry.
	Dependencies *DependenciesSpec `json:"dependencies,omitempty" yaml:"dependencies"`
}

// SourceSpec says what an artifact may be built from.
type SourceSpec struct {
	// Repositories are globs over URLs of git repositories, https://github.com/acme/*: the
	// host is literal, * stays within one part of the path, ** alone crosses parts.
	Repositories []string `json:"repositories,omitempty" yaml:"repositories"`
	// Refs are globs over full refs, refs/heads/main or refs/tags/v*.
	Refs []string `json:"refs,omitempty" yaml:"refs"`
}

// maxChoices bounds each list of a typed check.
const maxChoices = 200

// provenanceCheck is a ProvenanceSpec, compiled.
type provenanceCheck struct {
	spec         ProvenanceSpec
	repositories []repositoryGlob
	dependencies *dependencyCheck // nil where not asked
}

// provenance compiles the check of a requirement; nil where it has none.
func (l *loader) provenance(path string, spec *ProvenanceSpec) *provenanceCheck {
	k := &provenanceCheck{spec: *spec}
	if l.has(path+".minLevel") && (spec.MinLevel < 1 || spec.MinLevel > maxBuildLevel) {
		l.add(path+".minLevel", "is %d, want a SLSA build level of 1 to %d", spec.MinLevel, maxBuildLevel)
	}
	l.choice(path+".builders", spec.Builders)
	l.choice(path+".buildTypes", spec.BuildTypes)
	if s := spec.Source; s != nil {
		at := path + ".source"
		if len(s.Repositories) == 0 && len(s.Refs) == 0 {
			l.add(at, "asks for nothing: name repositories, or refs")
		}
		l.choice(at+".repositories", s.Repositories)
		l.choice(at+".refs", s.Refs)
		for i, text := range s.Repositories {
			glob, err := parseRepositoryGlob(text)
			if err != nil {
				l.add(fmt.Sprintf("%s.repositories[%d]", at, i), "%q %v", text, err)
			}
			k.repositories = append(k.repositories, glob)
		}
		for i, text := range s.Refs {
			if err := checkRefGlob(text); err != nil {
				l.add(fmt.Sprintf("%s.refs[%d]", at, i), "%q %v", text, err)
			}
		}
	}
	if d := spec.Dependencies; d != nil {
		k.dependencies = l.dependencies(path+".dependencies", d)
	}
	return k
}

// choice checks a list of which one has to be: not empty where it is written, nothing in it
// twice.
func (l *loader) choice(path string, list []string) {
	if l.has(path) && len(list) == 0 {
		l.add(path, "is empty: leave it out where any will do")
	}
	if len(list) > maxChoices {
		l.add(path, "has %d entries, at most %d are allowed", len(list), maxChoices)
	}
	for i, item := range list {
		if slices.Contains(list[:i], item) {
			l.add(fmt.Sprintf("%s[%d]", path, i), "%q stands there twice", item)
		}
	}
}

// holds implements check.
func (k *provenanceCheck) holds(t *trial, c claim) string {
	p, reason := provenanceOf(c)
	if reason != "" {
		return reason
	}
	got, reason := t.vouched(c, p.builder, k.spec.MinLevel > 0 || len(k.spec.Builders) > 0)
	switch {
	case reason != "":
		return reason
	case got < k.spec.MinLevel:
		return fmt.Sprintf("builder %q is worth SLSA build level %d under %s, minLevel is %d", brief(p.builder), got, c.signer.Authority, k.spec.MinLevel)
	case len(k.spec.Builders) > 0 && !slices.Contains(k.spec.Builders, p.builder):
		return fmt.Sprintf("it was built by %q, want %s", brief(p.builder), strings.Join(k.spec.Builders, " or "))
	case len(k.spec.BuildTypes) > 0 && !slices.Contains(k.spec.BuildTypes, p.buildType):
		return fmt.Sprintf("its build type is %q, want %s", brief(p.buildType), strings.Join(k.spec.BuildTypes, " or "))
	}
	if reason := k.source(p); reason != "" {
		return reason
	}
	if k.dependencies != nil {
		return k.dependencies.holds(t, p)
	}
	return ""
}

// source says why what the build was made from is not what is asked.
func (k *provenanceCheck) source(p *provenance) string {
	if k.spec.Source == nil {
		return ""
	}
	if p.sourceless != nil {
		return fmt.Sprintf("its source cannot be told: %v", p.sourceless)
	}
	for _, s := range p.sources {
		if len(k.repositories) > 0 && !slices.ContainsFunc(k.repositories, func(g repositoryGlob) bool { return g.matches(s.repository) }) {
			return fmt.Sprintf("it was built from %s, want %s", brief(s.repository), strings.Join(k.spec.Source.Repositories, " or "))
		}
		if len(k.spec.Source.Refs) == 0 {
			continue
		}
		wanted := strings.Join(k.spec.Source.Refs, " or ")
		switch {
		case s.ref == "":
			return fmt.Sprintf("it does not say from which ref of %s it was built, want %s", brief(s.repository), wanted)
		case !plainRef(s.ref):
			return fmt.Sprintf("it was built from %q of %s, which is no full ref as refs/heads/main is, want %s", brief(s.ref), brief(s.repository), wanted)
		case !matchesAny(k.spec.Source.Refs, s.ref):
			return fmt.Sprintf("it was built from %s of %s, want %s", brief(s.ref), brief(s.repository), wanted)
		}
	}
	return ""
}

// buildLevel is the SLSA build level that the artifact has by a rule that was satisfied and
// asked for one: of each target the best, and of the targets the lowest. 0: it did not ask,
// or an exception took the place of the evidence.
func (t *trial) buildLevel(findings []finding) int {
	if t.Provenance == nil || t.Provenance.MinLevel == 0 {
		return 0
	}
	lowest := maxBuildLevel
	for _, f := range findings {
		best := 0
		if f.waiver != nil {
			return 0
		}
		for _, c := range f.accepted {
			if p, reason := provenanceOf(c); reason == "" {
				best = max(best, level(t.policy.builders[c.signer.Authority], p.builder))
			}
		}
		lowest = min(lowest, best)
	}
	return lowest
}

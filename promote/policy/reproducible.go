package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ReproducibleSpec asks that the artifact was built several times, independently, with the
// same result: provenance about its digest by distinct principals, with distinct keys, of
// distinct builders, that agree on the source repository and the commit. Every builder has
// to be one of its signer's own.
type ReproducibleSpec struct {
	// Builds is how many builds have to agree, 2 where left out.
	Builds int `json:"builds" yaml:"builds"`
}

// maxReproducible bounds Builds.
const maxReproducible = 10

type reproducibleCheck struct{ builds int }

func (l *loader) reproducible(path string, r *Requirement) check {
	spec := r.Reproducible
	if !l.has(path + ".builds") {
		spec.Builds = 2
	}
	switch {
	case spec.Builds < 2 || spec.Builds > maxReproducible:
		l.add(path+".builds", "is %d, want 2 to %d: one build alone shows nothing", spec.Builds, maxReproducible)
	case len(r.From.Authorities) < spec.Builds:
		l.add(path+".builds", "is %d, but only %s may sign", spec.Builds, strings.Join(r.From.Authorities, " and "))
	}
	return &reproducibleCheck{builds: spec.Builds}
}

// holds implements check.
func (k *reproducibleCheck) holds(t *trial, c claim) string {
	p, reason := provenanceOf(c)
	if reason != "" {
		return reason
	}
	if _, reason := t.vouched(c, p.builder, true); reason != "" {
		return reason
	}
	if p.sourceless != nil {
		return fmt.Sprintf("its source cannot be told: %v", p.sourceless)
	}
	for _, s := range p.sources {
		if s.commit == "" {
			return fmt.Sprintf("it does not say from which commit of %s it was built", brief(s.repository))
		}
	}
	return ""
}

// jointly implements jointCheck.
func (k *reproducibleCheck) jointly(_ *trial, _ Platform, accepted []claim) string {
	bySource := map[string][]claim{}
	var order []string
	for _, c := range accepted {
		p, reason := provenanceOf(c)
		if reason != "" {
			continue
		}
		at := p.commits()
		if bySource[at] == nil {
			order = append(order, at)
		}
		bySource[at] = append(bySource[at], c)
	}
	for _, at := range order {
		ok, err := independent(buildsOf(bySource[at]), k.builds)
		if err != nil {
			return err.Error()
		}
		if ok {
			return ""
		}
	}
	if len(order) == 1 {
		return fmt.Sprintf("want %d builds by distinct builders and principals: %s", k.builds, describeBuilds(accepted))
	}
	var texts []string
	for _, at := range order {
		texts = append(texts, fmt.Sprintf("from %s: %s", brief(at), describeBuilds(bySource[at])))
	}
	return fmt.Sprintf("want %d builds by distinct builders and principals from one source, but they differ in it: %s", k.builds, limited(texts, "; "))
}

// commits names the sources of a build so that the same ones give the same text, in
// whatever order they are listed and by whatever ref they were found.
func (p *provenance) commits() string {
	var all []string
	for _, s := range p.sources {
		if at := s.repository + "@" + s.commit; !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " and ")
}

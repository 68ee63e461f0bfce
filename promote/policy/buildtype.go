package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// buildTypeKind is where builds of a type say what they were made from.
type buildTypeKind struct {
	prefix string // of the build type
	// source reads the one source that the builder was told to build, out of
	// externalParameters (v1) or invocation (v0.2); nil where the build type names it only
	// among the dependencies.
	source func(r *reader, parameters map[string]any) (uri, ref string, digests map[string]string)
}

// buildTypes lists the build types whose parameters are documented. Everything else is
// judged by all that it took from git, which is stricter and needs no knowledge.
func buildTypes() []buildTypeKind {
	return []buildTypeKind{
		// https://actions.github.io/buildtypes/workflow/v1: GitHub's own attestations.
		{"https://actions.github.io/buildtypes/workflow/v1", workflowSource},
		{"https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1", workflowSource},
		// slsa-github-generator: the container-based builder, then those that write v0.2.
		{"https://slsa.dev/container-based-build/v0.1", describedSource("source")},
		{"https://github.com/slsa-framework/slsa-github-generator/delegator", nil},
		{"https://github.com/slsa-framework/slsa-github-generator", describedSource("configSource")},
		// BuildKit (docs.docker.com/build/metadata/attestations/slsa-definitions): empty for
		// a build from a local directory, about which it then knows nothing.
		{"https://mobyproject.org/buildkit@v1", describedSource("configSource")},
		{"https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md", describedSource("configSource")},
		// Tekton Chains: configSource is where the pipeline's definition came from; the
		// code is among the materials (v0.2) or the resolved dependencies (v1).
		{"tekton.dev/", nil},
		{"https://tekton.dev/", nil},
	}
}

func workflowSource(r *reader, parameters map[string]any) (string, string, map[string]string) {
	workflow := r.object(parameters, "workflow")
	return r.text(workflow, "repository"), r.text(workflow, "ref"), nil
}

func describedSource(field string) func(*reader, map[string]any) (string, string, map[string]string) {
	return func(r *reader, parameters map[string]any) (string, string, map[string]string) {
		d := r.descriptor(r.object(parameters, field))
		return d.uri, "", d.digests
	}
}

// sourcesOf says what a build was made from. The error says why that cannot be told.
func sourcesOf(predicateType, buildType string, parameters map[string]any, dependencies []dependency) ([]source, error) {
	kinds := buildTypes()
	i := slices.IndexFunc(kinds, func(k buildTypeKind) bool { return strings.HasPrefix(buildType, k.prefix) })
	if i >= 0 && kinds[i].source != nil {
		r := &reader{}
		uri, ref, digests := kinds[i].source(r, parameters)
		if r.err != nil {
			return nil, r.err
		}
		return namedSource(uri, ref, digests, dependencies)
	}
	var config *dependency
	if i < 0 && predicateType == provenanceV02 { // what decides how the build is made counts as well
		r := &reader{}
		d := r.descriptor(r.object(parameters, "configSource"))
		if r.err != nil {
			return nil, r.err
		}
		if d.uri != "" {
			config = &d
		}
	}
	return takenSources(config, dependencies)
}

// namedSource completes the source that a build's parameters name by the dependency that is
// the same repository: the builder resolved the commit, the caller only the name.
func namedSource(uri, ref string, digests map[string]string, dependencies []dependency) ([]source, error) {
	if uri == "" {
		return nil, errors.New("the build names no source repository")
	}
	s, err := parseSource(uri)
	if err != nil {
		return nil, fmt.Errorf("its source: %w", err)
	}
	s.ref = cmp.Or(s.ref, ref)
	if err := s.fix(digests); err != nil {
		return nil, err
	}
	for _, d := range dependencies {
		if !d.isGit() {
			continue
		}
		other, err := d.source()
		switch {
		case err != nil || other.repository != s.repository || other.ref != "" && s.ref != "" && other.ref != s.ref:
			continue
		case s.commit != "" && other.commit != "" && s.commit != other.commit:
			return nil, fmt.Errorf("its source %s has two commits, %s and %s", s.repository, s.commit, other.commit)
		}
		s.ref, s.commit = cmp.Or(s.ref, other.ref), cmp.Or(s.commit, other.commit)
	}
	return []source{s}, nil
}

// takenSources are all repositories that a build took something from.
func takenSources(config *dependency, dependencies []dependency) ([]source, error) {
	var sources []source
	if config != nil {
		s, err := config.source()
		if err != nil {
			return nil, fmt.Errorf("its configSource: %w", err)
		}
		sources = append(sources, s)
	}
	for _, d := range dependencies {
		if !d.isGit() {
			continue
		}
		s, err := d.source()
		if err != nil {
			return nil, fmt.Errorf("its dependency %s: %w", d, err)
		}
		if !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	if len(sources) == 0 {
		return nil, errors.New("nothing among its dependencies was taken from a git repository")
	}
	return sources, nil
}

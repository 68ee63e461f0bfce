package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The predicate types of SLSA provenance that are read. Version 1.1 of the specification
// uses the URI of 1.0.
const (
	provenanceV1  = "https://slsa.dev/provenance/v1"
	provenanceV02 = "https://slsa.dev/provenance/v0.2"
)

// maxDependencies bounds the resolved dependencies of one provenance.
const maxDependencies = 10_000

// provenance is what a SLSA provenance says of a build, in either version.
type provenance struct {
	builder    string
	buildType  string
	invocation string    // empty where it states none
	started    time.Time // zero where it states none
	finished   time.Time // zero where it states none
	// sources are the repositories that the build was made from. Most build types name
	// one; of one that is not known, all that the build took from git are in question.
	sources []source
	// sourceless says why there is no source that could be judged; nil where there is.
	sourceless   error
	dependencies []dependency
}

// dependency is a resource descriptor of resolvedDependencies (v1) or materials (v0.2).
type dependency struct {
	uri      string
	location string // downloadLocation, v1 only
	digests  map[string]string
}

// readProvenance takes the facts out of the predicate's tree. A field that is there and of
// another kind than the specification says makes the whole unreadable: half of what a
// builder says is not what it says.
func readProvenance(predicateType string, predicate map[string]any) (*provenance, error) {
	r := &reader{}
	p := &provenance{}
	var parameters map[string]any
	switch predicateType {
	case provenanceV1:
		definition, run := r.object(predicate, "buildDefinition"), r.object(predicate, "runDetails")
		p.builder = r.text(r.object(run, "builder"), "id")
		p.buildType = r.text(definition, "buildType")
		metadata := r.object(run, "metadata")
		p.invocation = r.text(metadata, "invocationId")
		p.started, p.finished = r.time(metadata, "startedOn"), r.time(metadata, "finishedOn")
		p.dependencies = r.dependencies(definition, "resolvedDependencies")
		parameters = r.object(definition, "externalParameters")
	case provenanceV02:
		p.builder = r.text(r.object(predicate, "builder"), "id")
		p.buildType = r.text(predicate, "buildType")
		metadata := r.object(predicate, "metadata")
		p.invocation = r.text(metadata, "buildInvocationId")
		p.started, p.finished = r.time(metadata, "buildStartedOn"), r.time(metadata, "buildFinishedOn")
		p.dependencies = r.dependencies(predicate, "materials")
		parameters = r.object(predicate, "invocation")
	default:
		return nil, fmt.Errorf("%s is no SLSA provenance that can be read: %s and %s are", predicateType, provenanceV1, provenanceV02)
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case p.builder == "":
		return nil, errors.New("the provenance names no builder")
	case p.buildType == "":
		return nil, errors.New("the provenance names no buildType, without which nothing in it has a meaning")
	}
	p.sources, p.sourceless = sourcesOf(predicateType, p.buildType, parameters, p.dependencies)
	return p, nil
}

// provenanceOf reads the provenance of a claim.
func provenanceOf(c claim) (*provenance, string) {
	predicate := c.Predicate()
	if predicate == nil {
		return nil, "the provenance has no predicate"
	}
	p, err := readProvenance(c.PredicateType, predicate)
	if err != nil {
		return nil, err.Error()
	}
	return p, ""
}

// reader takes fields out of a tree. What is missing, or null, is empty; the first field
// that is of another kind than it has to be is kept as the error.
type reader struct{ err error }

func (r *reader) wrong(field, kind string) {
	if r.err == nil {
		r.err = fmt.Errorf("the provenance's %s is no %s", field, kind)
	}
}

func (r *reader) object(in map[string]any, field string) map[string]any {
	object, ok := in[field].(map[string]any)
	if !ok && in[field] != nil {
		r.wrong(field, "object")
	}
	return object
}

func (r *reader) text(in map[string]any, field string) string {
	text, ok := in[field].(string)
	if !ok && in[field] != nil {
		r.wrong(field, "string")
	}
	return text
}

func (r *reader) time(in map[string]any, field string) time.Time {
	text := r.text(in, field)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.wrong(field, "time")
	}
	return t
}

func (r *reader) dependencies(in map[string]any, field string) []dependency {
	list, ok := in[field].([]any)
	if !ok && in[field] != nil {
		r.wrong(field, "list")
	}
	if len(list) > maxDependencies {
		if r.err == nil {
			r.err = fmt.Errorf("the provenance lists %d %s, at most %d are read", len(list), field, maxDependencies)
		}
		return nil
	}
	all := make([]dependency, 0, len(list))
	for i, item := range list {
		entry, ok := item.(map[string]any)
		if !ok {
			r.wrong(fmt.Sprintf("%s[%d]", field, i), "object")
			return nil
		}
		all = append(all, r.descriptor(entry))
	}
	return all
}

func (r *reader) descriptor(entry map[string]any) dependency {
	d := dependency{uri: r.text(entry, "uri"), location: r.text(entry, "downloadLocation"), digests: map[string]string{}}
	for algorithm := range r.object(entry, "digest") {
		d.digests[algorithm] = r.text(r.object(entry, "digest"), algorithm)
	}
	return d
}

// String names a dependency in a message.
func (d dependency) String() string {
	switch {
	case d.uri != "":
		return brief(d.uri)
	case d.location != "":
		return brief(d.location)
	}
	for _, algorithm := range []string{"sha256", "gitCommit", "sha1"} {
		if value := d.digests[algorithm]; value != "" {
			return algorithm + ":" + brief(value)
		}
	}
	return "one without a name"
}

// brief keeps what others wrote from filling a message, or from moving a terminal's cursor.
func brief(text string) string {
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) || r == '\n' || r == '\t' {
			return '�'
		}
		return r
	}, text)
}

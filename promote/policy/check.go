package policy

import (
	"fmt"
	"slices"
	"strings"
)

// check is a typed condition of a requirement: what everybody asks of a kind of evidence,
// and should not have to write in CEL. Each stands in a file of its own, with the part of
// the document that configures it. Checks are immutable and safe for concurrent use.
type check interface {
	// holds says why a claim that a right authority signed does not satisfy the check,
	// for a person to read; empty where it does. What it cannot decide does not hold.
	holds(t *trial, c claim) string
}

// jointCheck is a check that also looks at the accepted claims about one target together.
type jointCheck interface {
	check
	// jointly says why they do not suffice; empty where they do. There is at least one.
	jointly(t *trial, target Platform, accepted []claim) string
}

// everyCheck is a check by which one claim can spoil it for all: bad news that others do
// not mention is bad news.
type everyCheck interface {
	check
	// vetoes says why a claim that a right authority signed, whatever its age and whether or
	// not it holds, refuses the rule; empty where it does not.
	vetoes(t *trial, c claim) string
}

// scopedCheck is a check of evidence that belongs to one decision alone.
type scopedCheck interface {
	check
	// elsewhere says which other decision a claim is about; empty where it is about this
	// one, or that cannot be told. Such a claim is passed over, and replaces none.
	elsewhere(t *trial, c claim) string
}

// soleCheck is all that a requirement asks: it finds its own evidence about a target.
type soleCheck interface {
	// examine says whether the evidence suffices. What it accepts has at least one signer.
	examine(t *trial, target Platform) finding
	// remedy is the command that supplies what a finding lacks.
	remedy(f Facts, found finding) string
}

// remediedCheck is a check whose evidence another command supplies than sluice attest.
type remediedCheck interface {
	check
	// remedy is the command by which an authority supplies what ref is missing.
	remedy(ref, authority string) string
}

// checks compiles the typed checks of a requirement. One that implies predicate types fills
// them in where the requirement names none (implied).
func (l *loader) checks(path string, r *Requirement) []check {
	var checks []check
	if r.SBOM != nil {
		checks = append(checks, l.sbom(path, r))
	}
	if r.Licences != nil {
		checks = append(checks, l.licences(path, r))
	}
	checks = append(checks, l.vulnerabilities(path, r)...)
	checks = append(checks, l.tests(path, r)...)
	checks = append(checks, l.approval(path, r)...)
	checks = append(checks, l.buildChecks(path, r)...)
	return checks
}

// implied fills in the predicate types that a check reads where the requirement leaves them
// out.
func (l *loader) implied(path string, r *Requirement, types ...string) {
	if !l.has(path + ".predicateTypes") {
		r.PredicateTypes = append(r.PredicateTypes, types...)
	}
}

// reads refuses predicate types that a check cannot read.
func (l *loader) reads(path, check string, r *Requirement, types ...string) {
	for i, t := range r.PredicateTypes {
		if !slices.Contains(types, t) {
			l.add(fmt.Sprintf("%s.predicateTypes[%d]", path, i), "%q cannot be read by %s, which reads %s", t, check, strings.Join(types, " and "))
		}
	}
}

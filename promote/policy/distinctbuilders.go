package policy

import (
	"fmt"
	"slices"
)

// distinctBuilders is from.distinct with builder in it: those who are counted also have to
// differ in what they say built the artifact.
type distinctBuilders struct{ threshold int }

// holds implements check.
func (k *distinctBuilders) holds(t *trial, c claim) string {
	p, reason := provenanceOf(c)
	if reason == "" {
		_, reason = t.vouched(c, p.builder, true)
	}
	return reason
}

// jointly implements jointCheck.
func (k *distinctBuilders) jointly(_ *trial, _ Platform, accepted []claim) string {
	ok, err := independent(buildsOf(accepted), k.threshold)
	switch {
	case err != nil:
		return err.Error()
	case ok:
		return ""
	}
	return fmt.Sprintf("want %d distinct signers with distinct builders: %s", k.threshold, describeBuilds(accepted))
}

// Distinct, as it is written in a document.
const (
	distinctPrincipal = "principal"
	distinctBuilder   = "builder"
)

// distinct checks in what those who are counted have to differ.
func (l *loader) distinct(path string, r *Requirement) []check {
	l.choice(path, r.From.Distinct)
	for i, word := range r.From.Distinct {
		if word != distinctPrincipal && word != distinctBuilder {
			l.add(fmt.Sprintf("%s[%d]", path, i), "is %q, want %s or %s", word, distinctPrincipal, distinctBuilder)
		}
	}
	if len(r.From.Distinct) > 0 && !slices.Contains(r.From.Distinct, distinctPrincipal) {
		l.add(path, "lacks %s: signers always have to be distinct, builders besides", distinctPrincipal)
	}
	if !slices.Contains(r.From.Distinct, distinctBuilder) {
		return nil
	}
	return []check{&distinctBuilders{threshold: max(r.From.Threshold, 1)}}
}

// buildChecks compiles the checks that read provenance, and the one that reads summaries.
func (l *loader) buildChecks(path string, r *Requirement) []check {
	checks := l.distinct(path+".from.distinct", r)
	if r.Provenance != nil {
		checks = append(checks, l.provenance(path+".provenance", r.Provenance))
	}
	if r.Reproducible != nil {
		checks = append(checks, l.reproducible(path+".reproducible", r))
	}
	if len(checks) > 0 {
		l.implied(path, r, provenanceV1, provenanceV02)
		l.reads(path, "provenance", r, provenanceV1, provenanceV02)
	}
	if r.Summary != nil {
		checks = append(checks, l.summary(path+".summary", r.Summary))
		l.implied(path, r, summaryV1)
		l.reads(path, "summary", r, summaryV1)
	}
	return checks
}

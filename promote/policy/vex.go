package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"sluice.dev/sluice/promote/attest"
)

// VEXSpec says whose VEX takes a finding out of a scan, and which. Only OpenVEX is read.
type VEXSpec struct {
	// Authorities whose VEX counts. The scanner is none of them unless it is listed.
	Authorities []string `json:"authorities" yaml:"authorities"`
	// Statuses that take a finding out: not_affected, fixed. Both by default.
	Statuses []string `json:"statuses" yaml:"statuses"`
	// Justifications of which not_affected needs one; all that OpenVEX has by default. A
	// free impact_statement is none.
	Justifications []string `json:"justifications" yaml:"justifications"`
	// MaxAge is how old a statement may be, as a Go duration; empty for no limit.
	MaxAge string `json:"maxAge,omitempty" yaml:"maxAge"`
}

// vexRule is the compiled part of the document.
type vexRule struct {
	VEXSpec
	maxAge time.Duration
}

// vex checks and compiles the part of a requirement.
func (l *loader) vex(path string, spec *VEXSpec) *vexRule {
	if spec == nil {
		return nil
	}
	if len(spec.Authorities) == 0 {
		l.add(path+".authorities", "is missing: name whose VEX counts")
	}
	for i, name := range spec.Authorities {
		at := fmt.Sprintf("%s.authorities[%d]", path, i)
		switch {
		case !slices.ContainsFunc(l.doc.Spec.Authorities, func(a AuthoritySpec) bool { return a.Name == name }):
			l.add(at, "%q is no authority of this policy", name)
		case slices.Contains(spec.Authorities[:i], name):
			l.add(at, "%q stands there twice", name)
		}
	}
	l.words(path+".statuses", &spec.Statuses, []string{vexNotAffected, vexFixed})
	l.words(path+".justifications", &spec.Justifications, vexJustifications())
	return &vexRule{VEXSpec: *spec, maxAge: l.age(path+".maxAge", &spec.MaxAge)}
}

// words checks a list of some of a few words; all of them where it is left out.
func (l *loader) words(path string, list *[]string, all []string) {
	if !l.has(path) {
		*list = all
	}
	if len(*list) == 0 {
		l.add(path, "is empty: leave it out for all")
	}
	for i, word := range *list {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !slices.Contains(all, word):
			l.add(at, "is %q, want one of %v", word, all)
		case slices.Contains((*list)[:i], word):
			l.add(at, "%q stands there twice", word)
		}
	}
}

// vexBook is what VEX says about one artifact.
type vexBook struct {
	*vexRule
	now      time.Time
	by       map[string][]*vexStatement // vulnerability: what those say whose VEX counts
	sweeping []*vexStatement            // documents that cannot be read
	others   map[string][]string        // vulnerability: why what others say does not count
}

// gather reads the VEX among the evidence. What others attach is read for the sake of
// messages, as far as the limit goes, and blocks nothing.
func (v *vexRule) gather(t *trial, subject digest.Digest) (*vexBook, error) {
	b := &vexBook{vexRule: v, now: t.Now, by: map[string][]*vexStatement{}, others: map[string][]string{}}
	reader, stranger := &vexReader{artifact: subject}, &vexReader{artifact: subject}
	for _, e := range t.Evidence {
		if !claimsVEX(e.PredicateType) {
			continue
		}
		signers, reason := v.signersOf(t, e, subject)
		if reason != "" {
			statements, err := stranger.of(e)
			if err == nil {
				b.note(statements, reason)
			}
			continue
		}
		statements, err := reader.of(e)
		if errors.Is(err, errManyVEX) {
			return nil, err
		}
		b.enter(t.Facts, e, signers, statements, err)
	}
	return b, nil
}

// signersOf are the signers whose VEX counts; the reason says why a document does not.
func (v *vexRule) signersOf(t *trial, e attest.Evidence, subject digest.Digest) ([]attest.Signer, string) {
	switch {
	case e.Problem != "":
		return nil, fmt.Sprintf("VEX %s does not count: %s", short(e.Manifest), e.Problem)
	case !e.Verified():
		return nil, fmt.Sprintf("VEX %s does not count: it is signed by nobody whom the policy knows", short(e.Manifest))
	}
	var signers []attest.Signer
	for _, s := range e.Signers {
		if slices.Contains(v.Authorities, s.Authority) {
			signers = append(signers, s)
		}
	}
	who := e.Signers[0].Authority
	switch {
	case len(signers) == 0:
		return nil, fmt.Sprintf("VEX by %s does not count: not listed", who)
	case e.Subject != subject:
		return nil, fmt.Sprintf("VEX by %s does not count: it is attached to %s, not to %s", signers[0].Authority, describe(t.Facts, e.Subject), describe(t.Facts, subject))
	}
	return signers, ""
}

// note keeps why statements that would help do not count.
func (b *vexBook) note(statements []vexStatement, reason string) {
	for _, s := range statements {
		if !slices.Contains(b.Statuses, s.status) {
			continue
		}
		for _, id := range s.vulnerabilities {
			if notes := b.others[id]; len(notes) < maxReasons && !slices.Contains(notes, reason) {
				b.others[id] = append(notes, reason)
			}
		}
	}
}

// enter takes up a document for each of its signers. One that cannot be read is taken up
// as something that may be said about every vulnerability.
func (b *vexBook) enter(f Facts, e attest.Evidence, signers []attest.Signer, statements []vexStatement, unreadable error) {
	when, undone := dated(f, e)
	for _, signer := range signers {
		if unreadable != nil {
			b.sweeping = append(b.sweeping, &vexStatement{evidence: e, signer: signer, when: when, undone: undone, unreadable: unreadable})
			continue
		}
		for _, s := range statements {
			s.evidence, s.signer = e, signer
			s.date(f, e.SignedAt, when, undone)
			for _, id := range s.vulnerabilities {
				b.by[id] = append(b.by[id], &s)
			}
		}
	}
}

// judge says whether VEX takes a finding out: the statements that do it, else, where tell is
// set, why those that are about it do not. Of each author the newest statements count, and all of them
// where it is not known which is the newest, as of scans (groups). One author's word is
// enough, unless another listed one says otherwise that it is affected, and not earlier.
func (b *vexBook) judge(v *vulnerability, tell bool) (by []*vexStatement, reasons []string) {
	related := b.by[v.id]
	if len(b.sweeping) > 0 {
		related = slices.Concat(related, b.sweeping)
	}
	if len(related) == 0 {
		return nil, b.others[v.id]
	}
	part := newPart(v.purl)
	var open []*vexStatement // that say it is not taken out
	for _, author := range b.Authorities {
		current := currentVEX(related, author, part)
		if tell {
			reasons = append(reasons, missedVEX(related, author, part)...)
		}
		good := len(current) > 0
		for _, s := range current {
			reason := b.unfit(s)
			if reason == "" {
				continue
			}
			good, reasons = false, append(reasons, fmt.Sprintf("VEX by %s %s", author, reason))
			if s.opens() {
				open = append(open, s)
			}
		}
		if good && (by == nil || later(current[0], by[0])) {
			by = current
		}
	}
	for _, s := range open {
		if by != nil && !later(by[0], s) {
			reasons = append(reasons, fmt.Sprintf("VEX by %s says %s, and not later", by[0].signer.Authority, by[0].status))
			by = nil
		}
	}
	if by != nil {
		return by, nil
	}
	return nil, slices.Concat(reasons, b.others[v.id])
}

// currentVEX are the statements of one author that count for a part of the artifact. One
// that opens a finding counts unless it is about something else for certain, any other only
// if it is about this.
func currentVEX(related []*vexStatement, author string, part part) []*vexStatement {
	var mine []*vexStatement
	for _, s := range related {
		if s.signer.Authority != author {
			continue
		}
		if about := s.about(part); about == aboutIt || about == aboutAnything && s.opens() {
			mine = append(mine, s)
		}
	}
	return newest(mine, func(s *vexStatement) (time.Time, error) { return s.when, s.undone })
}

// missedVEX says why statements of an author that would help are not about the part.
func missedVEX(related []*vexStatement, author string, part part) []string {
	var reasons []string
	for _, s := range related {
		if s.signer.Authority != author || s.opens() || s.about(part) == aboutIt {
			continue
		}
		reasons = append(reasons, fmt.Sprintf("VEX by %s does not count: %s", author, s.miss(part)))
	}
	return reasons
}

// unfit says why a statement that is about the finding does not take it out.
func (b *vexBook) unfit(s *vexStatement) string {
	age := b.now.Sub(s.when)
	switch {
	case s.unreadable != nil:
		return fmt.Sprintf("cannot be read: %v (%s)", s.unreadable, short(s.evidence.Manifest))
	case s.opens():
		return "says " + s.status
	case !slices.Contains(b.Statuses, s.status):
		return fmt.Sprintf("does not count: %s is not asked for", s.status)
	case s.status == vexNotAffected && s.justification == "":
		return "does not count: it has no justification"
	case s.status == vexNotAffected && !slices.Contains(b.Justifications, s.justification):
		return fmt.Sprintf("does not count: the justification %q is not asked for", printable(s.justification))
	case s.undone != nil && b.maxAge > 0:
		return fmt.Sprintf("does not count: maxAge %s cannot be decided: %v", b.MaxAge, s.undone)
	case s.undone != nil && !s.when.IsZero():
		return fmt.Sprintf("does not count: %v", s.undone)
	case b.maxAge > 0 && age > b.maxAge:
		return fmt.Sprintf("does not count: it is %s old, maxAge is %s", age.Round(time.Second), b.MaxAge)
	}
	return ""
}

// date gives a statement its time: its own where it has one, else the document's, which
// cascades down (OpenVEX, "Inheritance Flow"). A document whose time does not count gives
// its statements none, and none is made after it was signed.
func (s *vexStatement) date(f Facts, signed, when time.Time, undone error) {
	switch {
	case !s.stated || undone != nil && !when.IsZero():
		s.when, s.undone = when, undone
	case s.undone != nil: // its own time cannot be read
	case s.when.Sub(f.Now) > skew:
		s.undone = inFuture(s.when)
	case !signed.IsZero() && s.when.Sub(signed) > skew:
		s.undone = fmt.Errorf("it is dated %s, after it was signed", s.when.UTC().Format(time.RFC3339))
	}
}

// opens says whether the statement keeps a finding, or may keep it.
func (s *vexStatement) opens() bool {
	return s.unreadable != nil || s.status == vexAffected || s.status == vexUnderInvestigation
}

// later says whether a statement is known to be of a later time than another.
func later(s, than *vexStatement) bool {
	return s.undone == nil && than.undone == nil && s.when.After(than.when)
}

// part is a package that a finding is about; purl is nil where it is not known.
type part struct{ purl *packageurl.PackageURL }

func newPart(text string) part {
	purl, err := packageurl.FromString(text)
	if err != nil {
		return part{}
	}
	return part{&purl}
}

// relation is whether a statement is about a part of the artifact.
type relation int

const (
	aboutElse     relation = iota // it is about something else
	aboutAnything                 // what it is about cannot be told
	aboutIt
)

func (s *vexStatement) about(p part) relation {
	switch {
	case s.whole || s.unreadable != nil:
		return aboutIt
	case p.purl != nil && len(s.parts) > 0 && slices.ContainsFunc(s.parts[partKey(*p.purl)], func(pattern packageurl.PackageURL) bool { return covers(pattern, *p.purl) }):
		return aboutIt
	case s.unnamed || s.opaque || len(s.parts) > 0 && p.purl == nil:
		return aboutAnything
	}
	return aboutElse
}

// miss says why a statement is not about a part.
func (s *vexStatement) miss(p part) string {
	switch {
	case s.unnamed:
		return "it names no product by the digest"
	case len(s.parts) > 0 && p.purl == nil:
		return "it is about a component, and the scan gives no package URL"
	case s.opaque:
		return "it names a component by no package URL"
	case len(s.parts) > 0:
		return "it is about another component"
	case len(s.others) > 0:
		return strings.TrimSuffix("it is about another product, "+s.others[0], ", ")
	}
	return "it is about no product"
}

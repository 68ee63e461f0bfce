package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// licencesCheck is the check, compiled.
type licencesCheck struct {
	allow       map[licence]bool // nil: whatever is not denied
	deny        map[string][]string
	unknown     Unknown
	unknownRoot Unknown
	exceptions  map[packageName][]licenceException
	extra       map[licence]bool // by an exception, whatever deny says
	versions    map[string][]string
}

// packageName is what exceptions are found by.
type packageName struct{ kind, namespace, name string }

type licenceException struct {
	purl     packageurl.PackageURL
	licences map[licence]bool
}

var _ everyCheck = (*licencesCheck)(nil)

// holds asks that there be something to look at; what there is, vetoes judges.
func (c *licencesCheck) holds(t *trial, claim claim) string {
	b, err := t.bill(claim)
	switch {
	case err != nil:
		return err.Error()
	case b.empty():
		return "it lists no package besides what it describes"
	}
	return ""
}

// vetoes names the packages whose licences are refused. An SBOM that cannot be read may
// hold anything.
func (c *licencesCheck) vetoes(t *trial, claim claim) string {
	b, err := t.bill(claim)
	if err != nil {
		return err.Error()
	}
	judged := &licenceJudge{licencesCheck: c, answers: map[licenceQuestion]string{}}
	var found offenders
	if b.root != nil {
		found.add(judged.offence(t, b.root, true))
	}
	for i := range b.packages {
		found.add(judged.offence(t, &b.packages[i], b.packages[i].system))
	}
	return found.String()
}

// offenders are the first texts of many, and how many there are besides.
type offenders struct {
	first []string
	more  int
}

func (o *offenders) add(text string) {
	switch {
	case text == "":
	case len(o.first) < maxReasons:
		o.first = append(o.first, text)
	default:
		o.more++
	}
}

func (o *offenders) String() string {
	texts := o.first
	if o.more > 0 {
		texts = append(slices.Clone(texts), fmt.Sprintf("and %d more", o.more))
	}
	return strings.Join(texts, "; ")
}

// licenceJudge remembers its answers for one SBOM: thousands of packages share some dozens
// of expressions.
type licenceJudge struct {
	*licencesCheck
	answers map[licenceQuestion]string
}

type licenceQuestion struct {
	statedLicence
	unknown Unknown
}

// offence says what is wrong with the licences of a package; empty where nothing is, or
// where an exception covers it.
func (j *licenceJudge) offence(t *trial, c *component, root bool) string {
	unknown := j.unknown
	if root && j.unknownRoot == UnknownAllow {
		unknown = UnknownAllow
	}
	reason := j.refusal(c, unknown)
	if reason == "" {
		return ""
	}
	if extra := j.excepts(c); extra != nil {
		more := *j.licencesCheck
		more.extra = extra
		apart := &licenceJudge{licencesCheck: &more, answers: map[licenceQuestion]string{}}
		if reason = apart.refusal(c, unknown); reason == "" {
			return ""
		}
	}
	if t.excepted("", c.purls...) {
		return ""
	}
	return c.String() + ": " + reason
}

func (j *licenceJudge) refusal(c *component, unknown Unknown) string {
	if len(c.licences) == 0 {
		if j.refuses(unlisted(spdxNoAssertion), unknown) != "" {
			return "no licence is stated"
		}
		return ""
	}
	var reasons []string
	for _, stated := range c.licences {
		question := licenceQuestion{stated, unknown}
		answer, ok := j.answers[question]
		if !ok {
			answer = j.judge(stated, unknown)
			j.answers[question] = answer
		}
		if answer != "" && !slices.Contains(reasons, answer) {
			reasons = append(reasons, answer)
		}
	}
	return limited(reasons, ", ")
}

// judge says why a licence, as it is stated, is refused.
func (c *licencesCheck) judge(stated statedLicence, unknown Unknown) string {
	e, err := parseExpression(stated.text)
	switch {
	case err != nil && !stated.free:
		return fmt.Sprintf("the licence %q cannot be read: %v", plain(stated.text), err)
	case err != nil:
		e = &expression{licence: unlisted(stated.text)}
	}
	reasons := e.refusal(func(l licence) string { return c.refuses(l, unknown) })
	if len(reasons) == 0 {
		return ""
	}
	slices.Sort(reasons)
	text := limited(slices.Compact(reasons), ", ")
	if e.terms != nil {
		text += fmt.Sprintf(" (licence %s)", plain(stated.text))
	}
	return text
}

// refuses says why a single licence may not be chosen.
func (c *licencesCheck) refuses(l licence, unknown Unknown) string {
	choices := l.choices(c.versions)
	if c.extra[l] || slices.ContainsFunc(choices, func(one licence) bool { return c.extra[one] }) {
		return ""
	}
	choices = slices.DeleteFunc(choices, c.denied)
	switch {
	case len(choices) == 0:
		return l.String() + " is denied"
	case c.allow[l] || slices.ContainsFunc(choices, func(one licence) bool { return c.allow[one] }):
		return ""
	case !l.known && unknown == UnknownAllow:
		return ""
	case l.id == spdxNoAssertion || l.id == spdxNone:
		return l.id + " states no licence"
	case l.isReference():
		return l.String() + " is defined by the SBOM alone"
	case !l.known:
		return l.String() + " is not on SPDX's list"
	case c.allow == nil:
		return ""
	}
	return l.String() + " is not allowed"
}

// denied says whether one version of a licence is denied.
func (c *licencesCheck) denied(l licence) bool {
	for _, exception := range c.deny[foldLicence(l.id)] {
		if exception == "" || exception == l.exception {
			return true
		}
	}
	return false
}

// foldLicence makes a denied LicenseRef- stand for all its spellings.
func foldLicence(id string) string { return strings.ToLower(id) }

// excepts are the licences that exceptions of the policy allow to a package.
func (c *licencesCheck) excepts(of *component) map[licence]bool {
	if len(c.exceptions) == 0 {
		return nil
	}
	var extra map[licence]bool
	for _, purl := range readablePURLs(of.purls) {
		for _, x := range c.exceptions[packageName{purl.Type, purl.Namespace, purl.Name}] {
			if !covers(x.purl, purl) {
				continue
			}
			if extra == nil {
				extra = map[licence]bool{}
			}
			for l := range x.licences {
				extra[l] = true
			}
		}
	}
	return extra
}

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// The most licences and exceptions that a requirement lists.
const (
	maxLicences          = 1000
	maxLicenceExceptions = 1000
)

// LicencesSpec says under which licences packages may be. It is held against every SBOM
// that the requirement's authorities signed about the target, of any age: one that lists
// less does not hide what another lists. What an SBOM concludes counts, else what the
// package declares; of several licences that CycloneDX lists all apply. Files are not
// looked at.
type LicencesSpec struct {
	// Allow lists the licences that are allowed; all that Deny does not list by default.
	// An entry is a licence of SPDX's list, with an exception where WITH names one, or a
	// LicenseRef-. It allows exactly that licence; of "any later version" somebody may
	// choose one that is allowed.
	Allow []string `json:"allow,omitempty" yaml:"allow"`
	// Deny lists licences that are denied even if Allow lists them. An entry denies the
	// licence with every exception; one that ends in -or-later or + denies the later
	// versions too.
	Deny []string `json:"deny,omitempty" yaml:"deny"`
	// Unknown is what becomes of NOASSERTION, NONE, no licence at all, a LicenseRef- that
	// Allow does not list and what is not on SPDX's list: refuse (the default) or allow.
	Unknown Unknown `json:"unknown" yaml:"unknown"`
	// UnknownRoot is the same for what the SBOM describes and for an operating system that
	// it lists, to which many tools give no licence: refuse (the default) or allow.
	UnknownRoot Unknown `json:"unknownRoot" yaml:"unknownRoot"`
	// Exceptions allow single packages more.
	Exceptions []LicenceException `json:"exceptions,omitempty" yaml:"exceptions"`
}

// Unknown says what becomes of a licence that is not known.
type Unknown string

// What may become of it.
const (
	UnknownRefuse Unknown = "refuse"
	UnknownAllow  Unknown = "allow"
)

// LicenceException allows further licences to a package.
type LicenceException struct {
	// PURL names the package: without a version every version of it, without qualifiers
	// whatever they are.
	PURL string `json:"purl" yaml:"purl"`
	// Licences are allowed there even if they are denied. NOASSERTION stands for none
	// stated, and text that is no licence of SPDX's for just that text.
	Licences []string `json:"licences" yaml:"licences"`
	// Reason says why, for whoever reads the policy.
	Reason string `json:"reason" yaml:"reason"`
}

// licences checks and compiles the licences of a requirement.
func (l *loader) licences(path string, r *Requirement) check {
	if r.SBOM == nil { // which implies those of its formats
		l.implied(path, r, billTypes(FormatSPDX, FormatCycloneDX)...)
	}
	path, spec := path+".licences", r.Licences
	c := &licencesCheck{versions: versions()}
	if spec.Allow == nil && spec.Deny == nil {
		l.add(path, "has neither allow nor deny: list licences")
	}
	if allowed := l.licenceList(path+".allow", spec.Allow, false); spec.Allow != nil {
		c.allow = set(allowed)
	}
	c.deny = map[string][]string{}
	for _, denied := range l.licenceList(path+".deny", spec.Deny, false) {
		for _, one := range denied.choices(c.versions) {
			id := foldLicence(one.id)
			c.deny[id] = append(c.deny[id], one.exception)
		}
	}
	for one := range c.allow {
		if len(slices.DeleteFunc(one.choices(c.versions), c.denied)) == 0 {
			l.add(path+".allow", "lists %s, which deny denies", one)
		}
	}
	c.unknown = l.unknown(path+".unknown", &spec.Unknown)
	c.unknownRoot = l.unknown(path+".unknownRoot", &spec.UnknownRoot)
	c.exceptions = l.licenceExceptions(path+".exceptions", spec.Exceptions)
	return c
}

func (l *loader) unknown(path string, u *Unknown) Unknown {
	if !l.has(path) {
		*u = UnknownRefuse
	}
	if *u != UnknownRefuse && *u != UnknownAllow {
		l.add(path, "is %q, want refuse or allow", *u)
	}
	return *u
}

// licenceList reads licences and writes them back as SPDX spells them. Where text may
// stand, what is no licence of SPDX's is taken as it is, with a warning.
func (l *loader) licenceList(path string, list []string, text bool) []licence {
	switch {
	case l.has(path) && len(list) == 0:
		l.add(path, "is empty: leave it out or list licences")
	case len(list) > maxLicences:
		l.add(path, "has %d licences, at most %d are allowed", len(list), maxLicences)
		return nil
	}
	var licences []licence
	for i := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		e, err := parseExpression(list[i])
		switch {
		case err != nil && text:
			e = &expression{licence: unlisted(list[i])}
		case err != nil:
			l.add(at, "%q is no licence: %v", list[i], err)
			continue
		case e.terms != nil:
			l.add(at, "%q are several licences: list them one by one", list[i])
			continue
		}
		one := e.licence
		switch says := one.id == spdxNoAssertion || one.id == spdxNone; {
		case one.known || one.isReference() && one.exception == "" || text && says:
		case text:
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %q is not on SPDX's list of licences: it stands for just that text", at, list[i]))
		case says:
			l.add(at, "%s states no licence: see unknown", list[i])
			continue
		default:
			l.add(at, "%q is not on SPDX's list of licences and exceptions: see https://spdx.org/licenses", list[i])
			continue
		}
		if slices.Contains(licences, one) {
			l.add(at, "%q stands there twice", list[i])
		}
		if one.known {
			list[i] = one.String()
		}
		licences = append(licences, one)
	}
	return licences
}

func (l *loader) licenceExceptions(path string, list []LicenceException) map[packageName][]licenceException {
	if l.has(path) && len(list) == 0 {
		l.add(path, "is empty: leave it out or name packages")
	}
	if len(list) > maxLicenceExceptions {
		l.add(path, "has %d exceptions, at most %d are allowed", len(list), maxLicenceExceptions)
		return nil
	}
	exceptions := map[packageName][]licenceException{}
	for i, x := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		purl, err := packageurl.FromString(x.PURL)
		if err != nil {
			l.add(at+".purl", "%q is no package URL, as pkg:npm/left-pad@1.3.0 is", x.PURL)
		}
		if strings.TrimSpace(x.Reason) == "" {
			l.add(at+".reason", "is missing: say why the package may have these licences")
		}
		if !l.has(at + ".licences") {
			l.add(at+".licences", "is missing: list what the package may have")
		}
		name := packageName{purl.Type, purl.Namespace, purl.Name}
		exceptions[name] = append(exceptions[name], licenceException{purl, set(l.licenceList(at+".licences", x.Licences, true))})
	}
	return exceptions
}

func set(licences []licence) map[licence]bool {
	set := make(map[licence]bool, len(licences))
	for _, one := range licences {
		set[one] = true
	}
	return set
}

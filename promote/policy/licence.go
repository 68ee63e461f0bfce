package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// licence is one licence of an expression, in the one form that all its spellings have:
// GPL-2.0, GPL-2.0-only and gpl-2.0-only are the same.
type licence struct {
	id        string // without -only, -or-later and +
	later     bool   // or any later version
	exception string // after WITH
	known     bool   // to SPDX, and the exception too
	gnu       bool   // a family in which versions are written -only and -or-later
}

// newLicence reads a licence of an expression.
func newLicence(id, exception string) (licence, error) {
	l := licence{exception: exception}
	if exception != "" {
		if strings.ContainsAny(exception, "+:") {
			return l, fmt.Errorf("%q is no exception", plain(exception))
		}
		l.known, l.exception = spdxlicenses.IsException(exception)
	} else {
		l.known = true
	}
	if strings.Contains(id, ":") || strings.HasPrefix(id, "LicenseRef-") || strings.HasPrefix(id, "DocumentRef-") {
		return l.reference(id)
	}
	// GNU's licences stand in the list under all their spellings, GPL-2.0+ among them.
	bare, plus := strings.CutSuffix(id, "+")
	if bare == "" || strings.Contains(bare, "+") {
		return l, fmt.Errorf("%q is no licence", plain(id))
	}
	listed, name := spdxlicenses.IsActiveLicense(bare)
	if !listed {
		if listed, name = spdxlicenses.IsDeprecatedLicense(bare); listed {
			if other, ok := withinName()[name]; ok && (plus || exception != "") {
				return l, fmt.Errorf("%q has an exception already", plain(id))
			} else if ok {
				return other, nil
			}
		}
	}
	l.id, l.later, l.known = name, plus, l.known && listed
	if !listed {
		return l, nil
	}
	if base, ok := strings.CutSuffix(name, "-only"); ok {
		if plus {
			return l, fmt.Errorf("%q is one version and any later one", plain(id))
		}
		l.id, l.gnu = base, true
	} else if base, ok := strings.CutSuffix(name, "-or-later"); ok {
		l.id, l.gnu, l.later = base, true, true
	} else if only, _ := spdxlicenses.IsActiveLicense(name + "-only"); only {
		l.gnu = true
	}
	return l, nil
}

// reference reads LicenseRef-x and DocumentRef-y:LicenseRef-x: licences that an SBOM
// defines, of whose text only its author knows.
func (l licence) reference(id string) (licence, error) {
	document, reference, ok := strings.Cut(id, ":")
	if !ok {
		document, reference = "", id
	}
	name, isReference := strings.CutPrefix(reference, "LicenseRef-")
	if !isReference || name == "" || strings.ContainsAny(name, "+:") || ok && (!strings.HasPrefix(document, "DocumentRef-") || document == "DocumentRef-") {
		return l, fmt.Errorf("%q is no reference to a licence", plain(id))
	}
	l.id, l.known = id, false
	return l, nil
}

// unlisted is what stands for text that is no licence of SPDX.
func unlisted(text string) licence { return licence{id: text} }

// isReference says whether an SBOM has to define the licence.
func (l licence) isReference() bool {
	return strings.HasPrefix(l.id, "LicenseRef-") || strings.HasPrefix(l.id, "DocumentRef-")
}

// withinName are the identifiers, now deprecated, of which a licence and an exception are
// the parts: a rule about the licence has to see it in them.
func withinName() map[string]licence {
	gpl := func(id string, later bool, exception string) licence {
		return licence{id: id, later: later, exception: exception, known: true, gnu: true}
	}
	return map[string]licence{
		"GPL-2.0-with-autoconf-exception":  gpl("GPL-2.0", false, "Autoconf-exception-2.0"),
		"GPL-2.0-with-bison-exception":     gpl("GPL-2.0", false, "Bison-exception-2.2"),
		"GPL-2.0-with-classpath-exception": gpl("GPL-2.0", false, "Classpath-exception-2.0"),
		"GPL-2.0-with-font-exception":      gpl("GPL-2.0", false, "Font-exception-2.0"),
		"GPL-2.0-with-GCC-exception":       gpl("GPL-2.0", false, "GCC-exception-2.0"),
		"GPL-3.0-with-autoconf-exception":  gpl("GPL-3.0", false, "Autoconf-exception-3.0"),
		"GPL-3.0-with-GCC-exception":       gpl("GPL-3.0", false, "GCC-exception-3.1"),
		"eCos-2.0":                         gpl("GPL-2.0", true, "eCos-exception-2.0"),
		"wxWindows":                        gpl("LGPL-2.0", true, "WxWindows-exception-3.1"),
	}
}

// String is the licence as SPDX writes it today.
func (l licence) String() string {
	text := plain(l.id)
	switch {
	case l.gnu && l.later:
		text += "-or-later"
	case l.gnu:
		text += "-only"
	case l.later:
		text += "+"
	}
	if l.exception != "" {
		text += " WITH " + plain(l.exception)
	}
	return text
}

// versions gives, of each licence that has several versions, those from it on. SPDX's list
// does not relate them, go-spdx does.
func versions() map[string][]string {
	from := map[string][]string{}
	for _, family := range spdxlicenses.LicenseRanges() {
		var line []string // the versions in order
		for _, version := range family {
			for _, id := range version {
				id = strings.TrimSuffix(id, "-only")
				if !strings.HasSuffix(id, "-or-later") && !slices.Contains(line, id) {
					line = append(line, id)
				}
			}
		}
		for i, id := range line {
			for _, later := range line[i:] {
				if !slices.Contains(from[id], later) {
					from[id] = append(from[id], later)
				}
			}
		}
	}
	return from
}

// choices are what somebody to whom a licence is granted may choose from: of one "or
// later" each version that is known, else the licence alone.
func (l licence) choices(versions map[string][]string) []licence {
	if !l.later {
		return []licence{l}
	}
	ids := versions[l.id]
	if ids == nil {
		ids = []string{l.id}
	}
	choices := make([]licence, 0, len(ids))
	for _, id := range ids {
		choices = append(choices, licence{id: id, exception: l.exception, known: l.known, gnu: l.gnu})
	}
	return choices
}

package policy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// spdxUnder lists a package x 1 under a licence, and others that are free of blame.
func spdxUnder(expression string) string {
	return spdxDoc(`{"name": "fine", "versionInfo": "1", "licenseConcluded": "MIT"}`,
		`{"name": "x", "versionInfo": "1", "licenseConcluded": "`+expression+`", "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:npm/x@1"}]}`)
}

func cycloneUnder(licenses string) string {
	return cycloneDoc(`{"name": "fine", "version": "1", "licenses": [{"license": {"id": "MIT"}}]}`,
		`{"name": "x", "version": "1", "purl": "pkg:npm/x@1", "licenses": [`+licenses+`]}`)
}

// TestLicences tries single packages against lists.
func TestLicences(t *testing.T) {
	s := newStudio(t)
	const (
		allow   = "allow: [MIT, Apache-2.0, BSD-3-Clause, GPL-2.0-only WITH Classpath-exception-2.0]"
		mit     = "allow: [MIT]"
		deny    = "deny: [GPL-1.0-or-later]"
		lenient = ", unknown: allow"
		one     = "x 1 (pkg:npm/x@1): "
	)
	tests := []struct{ name, lists, expression, refused string }{
		{"one of the list", allow, "Apache-2.0", ""},
		{"in another case", allow, "apache-2.0", ""},
		{"not in the list", allow, "WTFPL", one + "WTFPL is not allowed"},
		{"MIT OR GPL-3.0-only", mit, "MIT OR GPL-3.0-only", ""},
		{"GPL-3.0-only OR MIT", mit, "GPL-3.0-only OR MIT", ""},
		{"MIT AND GPL-3.0-only", mit, "MIT AND GPL-3.0-only", one + "GPL-3.0-only is not allowed (licence MIT AND GPL-3.0-only)"},
		{"GPL-3.0-only AND MIT", mit, "GPL-3.0-only AND MIT", one + "GPL-3.0-only is not allowed"},
		{"AND binds tighter", mit, "MIT OR ISC AND GPL-3.0-only", ""},
		{"AND of ORs", mit, "(MIT OR ISC) AND (GPL-3.0-only OR ISC)", one + "GPL-3.0-only is not allowed, ISC is not allowed"},
		{"nested", allow, "(MIT AND (WTFPL OR Apache-2.0)) OR ISC", ""},

		{"NOASSERTION", mit, "NOASSERTION", one + "no licence is stated"},
		{"NONE", mit, "NONE", one + "NONE states no licence"},
		{"nothing", mit, "", one + "no licence is stated"},
		{"NOASSERTION and MIT", mit, "NOASSERTION AND MIT", one + "NOASSERTION states no licence"},
		{"NOASSERTION or MIT", mit, "NOASSERTION OR MIT", ""},
		{"unknown", mit, "Beer-1.0", one + "Beer-1.0 is not on SPDX's list"},
		{"unknown beside MIT", mit, "MIT AND Beer-1.0", one + "Beer-1.0 is not on SPDX's list"},
		{"a licence that only begins alike", mit, "MIT-0", one + "MIT-0 is not allowed"},
		{"a name that go-spdx takes for MIT", mit, "MIT-only", one + "MIT-only is not on SPDX's list"},
		{"LicenseRef", mit, "LicenseRef-acme", one + "LicenseRef-acme is defined by the SBOM alone"},
		{"LicenseRef listed", "allow: [MIT, LicenseRef-acme]", "LicenseRef-acme AND MIT", ""},
		{"another LicenseRef listed", "allow: [MIT, LicenseRef-acme]", "LicenseRef-ACME", one + "LicenseRef-ACME is defined by the SBOM alone"},
		{"of another document", "allow: [MIT, LicenseRef-acme]", "DocumentRef-x:LicenseRef-acme", one + "DocumentRef-x:LicenseRef-acme is defined"},
		{"malformed", mit, "MIT ORGPL-3.0-only", one + `the licence "MIT ORGPL-3.0-only" cannot be read: an operator is missing before "ORGPL-3.0-only"`},
		{"free text", mit, "MIT License", one + `the licence "MIT License" cannot be read`},
		{"malformed, unknown allowed", mit + lenient, "GPL-3.0-only AND", one + `the licence "GPL-3.0-only AND" cannot be read`},
		{"too long", mit, strings.Repeat("MIT AND ", 2100) + "MIT", "at most 16384 are read"},

		{"NOASSERTION let pass", mit + lenient, "NOASSERTION", ""},
		{"NONE let pass", mit + lenient, "NONE", ""},
		{"nothing let pass", mit + lenient, "", ""},
		{"unknown let pass", mit + lenient, "MIT AND Beer-1.0 AND LicenseRef-x", ""},
		{"known and not allowed", mit + lenient, "Beer-1.0 AND WTFPL", one + "WTFPL is not allowed"},

		{"exception of the list", allow, "GPL-2.0-only WITH Classpath-exception-2.0", ""},
		{"the same, as it was written once", allow, "GPL-2.0-with-classpath-exception", ""},
		{"without the exception", allow, "GPL-2.0-only", one + "GPL-2.0-only is not allowed"},
		{"another exception", allow, "GPL-2.0-only WITH GCC-exception-2.0", one + "GPL-2.0-only WITH GCC-exception-2.0 is not allowed"},
		{"exception to another", allow, "GPL-3.0-only WITH Classpath-exception-2.0", one + "GPL-3.0-only WITH Classpath-exception-2.0 is not allowed"},
		{"exception to what is allowed", allow, "MIT WITH Classpath-exception-2.0", one + "MIT WITH Classpath-exception-2.0 is not allowed"},
		{"unknown exception", mit, "MIT WITH Beer-exception", one + "MIT WITH Beer-exception is not on SPDX's list"},

		{"later versions offer the allowed", "allow: [MIT, GPL-3.0-only]", "GPL-2.0-or-later", ""},
		{"written with a plus", "allow: [MIT, GPL-3.0-only]", "GPL-2.0+", ""},
		{"earlier versions do not", "allow: [MIT, GPL-2.0-only]", "GPL-3.0-or-later", one + "GPL-3.0-or-later is not allowed"},
		{"the deprecated name", "allow: [MIT, GPL-2.0-only]", "GPL-2.0", ""},
		{"a list in deprecated names", "allow: [MIT, GPL-2.0]", "GPL-2.0-only", ""},
		{"or-later is no list of versions", "allow: [MIT, GPL-2.0-or-later]", "GPL-3.0-only", one + "GPL-3.0-only is not allowed"},
		{"or-later", "allow: [MIT, GPL-2.0-or-later]", "GPL-2.0+", ""},
		{"plus", "allow: [MIT, Apache-2.0]", "Apache-1.1+", ""},
		{"plus of one version", mit, "MIT+", ""},

		{"not denied", deny, "WTFPL", ""},
		{"denied", deny, "GPL-3.0-only", one + "GPL-3.0-only is denied"},
		{"denied in another form", deny, "gpl-2.0+", one + "GPL-2.0-or-later is denied"},
		{"avoided", deny, "GPL-3.0-only OR MIT", ""},
		{"not avoided", deny, "GPL-3.0-only AND MIT", one + "GPL-3.0-only is denied (licence GPL-3.0-only AND MIT)"},
		{"denied with an exception", deny, "GPL-2.0-only WITH Classpath-exception-2.0", one + "GPL-2.0-only WITH Classpath-exception-2.0 is denied"},
		{"denied in a deprecated name", deny, "GPL-2.0-with-classpath-exception", one + "GPL-2.0-only WITH Classpath-exception-2.0 is denied"},
		{"denied with an unknown exception", deny + lenient, "GPL-2.0-only WITH Beer-exception", one + "GPL-2.0-only WITH Beer-exception is denied"},
		{"another family", deny, "LGPL-2.1-only", ""},
		{"one version denied, others offered", "deny: [GPL-2.0-only]", "GPL-2.0-or-later", ""},
		{"the last version denied", "deny: [GPL-3.0-only]", "GPL-3.0-or-later", one + "GPL-3.0-or-later is denied"},
		{"all versions denied", "deny: [GPL-2.0-only, GPL-3.0-only]", "GPL-2.0-or-later", one + "GPL-2.0-or-later is denied"},
		{"an exception denied", "deny: [GPL-2.0-only WITH Classpath-exception-2.0]", "GPL-2.0-only WITH Classpath-exception-2.0", one + "GPL-2.0-only WITH Classpath-exception-2.0 is denied"},
		{"only that", "deny: [GPL-2.0-only WITH Classpath-exception-2.0]", "GPL-2.0-only", ""},
		{"unknown under a deny list", deny, "NOASSERTION", one + "no licence is stated"},
		{"unknown id under a deny list", deny, "Beer-1.0", one + "Beer-1.0 is not on SPDX's list"},
		{"unknown under a lenient deny list", deny + lenient, "NOASSERTION", ""},
		{"denied LicenseRef", "deny: [LicenseRef-acme]" + lenient, "LicenseRef-Acme", one + "LicenseRef-Acme is denied"},
		{"both lists", mit + ", " + deny, "MIT OR GPL-2.0-only", ""},
		{"neither of both", mit + ", " + deny, "WTFPL OR GPL-2.0-only", one + "GPL-2.0-only is denied, WTFPL is not allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, s.keys, asking("licences: {"+tt.lists+"}"))
			decided(t, p.Evaluate(s.facts(p, s.attest("a", typeSPDX, spdxUnder(tt.expression)))), tt.refused == "", tt.refused)
			// CycloneDX says the same; but an expression is not empty there.
			license := fmt.Sprintf(`{"expression": %q}`, tt.expression)
			if tt.expression == "" || tt.expression == "NOASSERTION" {
				license = ""
			}
			decided(t, p.Evaluate(s.facts(p, s.attest("a", typeCycloneDX, cycloneUnder(license)))), tt.refused == "", tt.refused)
		})
	}
}

// TestStatedLicences is about where and how SBOMs state licences.
func TestStatedLicences(t *testing.T) {
	s := newStudio(t)
	pkg := func(fields string) string { return spdxDoc(`{"name": "x", ` + fields + `}`) }
	const mit, deny = "allow: [MIT]", "deny: [GPL-3.0-only], unknown: allow"
	rooted := func(doc, licence string) string { return strings.Replace(doc, `"licenseDeclared": "MIT"`, licence, 1) }
	tests := []struct{ name, lists, predicateType, predicate, refused string }{
		{"concluded before declared", mit, typeSPDX, pkg(`"licenseConcluded": "MIT", "licenseDeclared": "WTFPL"`), ""},
		{"concluded to be another", mit, typeSPDX, pkg(`"licenseConcluded": "WTFPL", "licenseDeclared": "MIT"`), "x: WTFPL is not allowed"},
		{"nothing concluded", mit, typeSPDX, pkg(`"licenseConcluded": "NOASSERTION", "licenseDeclared": "MIT"`), ""},
		{"nothing at all", mit, typeSPDX, pkg(`"licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION"`), "x: no licence is stated"},
		{"concluded that there is none", mit, typeSPDX, pkg(`"licenseConcluded": "NONE", "licenseDeclared": "MIT"`), "x: NONE states no licence"},
		{"licences of files", mit, typeSPDX, pkg(`"licenseConcluded": "MIT", "licenseInfoFromFiles": ["WTFPL"]`), ""},

		{"id", mit, typeCycloneDX, cycloneUnder(`{"license": {"id": "MIT"}}`), ""},
		{"id not allowed", mit, typeCycloneDX, cycloneUnder(`{"license": {"id": "WTFPL"}}`), "WTFPL is not allowed"},
		{"all of a list apply", mit, typeCycloneDX, cycloneUnder(`{"license": {"id": "MIT"}}, {"license": {"id": "WTFPL"}}`), "WTFPL is not allowed"},
		{"an id among names", mit, typeCycloneDX, cycloneUnder(`{"license": {"name": "mit"}}`), ""},
		{"an expression among names", mit, typeCycloneDX, cycloneUnder(`{"license": {"name": "MIT OR WTFPL"}}`), ""},
		{"a denied expression among names", deny, typeCycloneDX, cycloneUnder(`{"license": {"name": "MIT AND GPL-3.0-only"}}`), "GPL-3.0-only is denied"},
		{"a denied id among names", deny, typeCycloneDX, cycloneUnder(`{"license": {"name": "gpl-3.0"}}`), "GPL-3.0-only is denied"},
		{"a name", mit, typeCycloneDX, cycloneUnder(`{"license": {"name": "The MIT License (MIT)"}}`), "The MIT License (MIT) is not on SPDX's list"},
		{"a name let pass", deny, typeCycloneDX, cycloneUnder(`{"license": {"name": "The Beer License, v1"}}`), ""},
		{"an expression that is none", deny, typeCycloneDX, cycloneUnder(`{"expression": "The Beer License"}`), "cannot be read"},
		{"part of a component", mit, typeCycloneDX, cycloneDoc(`{"name": "x", "licenses": [{"license": {"id": "MIT"}}], "components": [{"type": "library", "name": "part", "licenses": [{"license": {"id": "WTFPL"}}]}]}`), "part: WTFPL is not allowed"},
		{"file", mit, typeCycloneDX, cycloneDoc(`{"name": "x", "licenses": [{"license": {"id": "MIT"}}], "components": [{"type": "file", "name": "part"}]}`), ""},

		{"root not allowed", mit, typeSPDX, rooted(spdxUnder("MIT"), `"licenseDeclared": "WTFPL"`), "acme/app: WTFPL is not allowed"},
		{"root unknown", mit, typeSPDX, rooted(spdxUnder("MIT"), `"licenseDeclared": "NOASSERTION"`), "acme/app: no licence is stated"},
		{"root let pass", mit + ", unknownRoot: allow", typeSPDX, rooted(spdxUnder("MIT"), `"licenseDeclared": "NOASSERTION"`), ""},
		{"root let pass, package not", mit + ", unknownRoot: allow", typeSPDX, rooted(spdxUnder("NOASSERTION"), `"licenseDeclared": "NOASSERTION"`), "x 1 (pkg:npm/x@1): no licence is stated"},
		{"known root not let pass", mit + ", unknownRoot: allow", typeSPDX, rooted(spdxUnder("MIT"), `"licenseDeclared": "WTFPL"`), "acme/app: WTFPL is not allowed"},
		{"root let pass, a package of the same not", mit + ", unknownRoot: allow", typeSPDX, rooted(spdxUnder("LicenseRef-acme"), `"licenseDeclared": "LicenseRef-acme"`), "x 1 (pkg:npm/x@1): LicenseRef-acme is defined by the SBOM alone"},
		{"system", mit, typeCycloneDX, strings.Replace(cycloneDoc(`{"name": "debian"}`, `{"name": "x", "licenses": [{"license": {"id": "MIT"}}]}`), "library", "operating-system", 1), "debian: no licence is stated"},
		{"system let pass", mit + ", unknownRoot: allow", typeCycloneDX, strings.Replace(cycloneDoc(`{"name": "debian"}`, `{"name": "x", "licenses": [{"license": {"id": "MIT"}}]}`), "library", "operating-system", 1), ""},
		{"nothing but a root", mit, typeSPDX, spdxDoc(), "lists no package besides what it describes"},
		{"malformed", mit, typeSPDX, strings.Replace(spdxUnder("MIT"), `"name": "fine"`, `"name": 1`, 1), "package 1 has a name that is no text"},
		{"about another image", mit, typeCycloneDX, strings.Replace(cycloneUnder(`{"license": {"id": "MIT"}}`), `"name": "acme/app"`, `"name": "acme/app", "purl": "pkg:oci/other@`+arm64.Digest.String()+`"`, 1), "it describes pkg:oci/other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, s.keys, asking("licences: {"+tt.lists+"}"))
			decided(t, p.Evaluate(s.facts(p, s.attest("a", tt.predicateType, tt.predicate))), tt.refused == "", tt.refused)
		})
	}
}

func TestLicenceExceptions(t *testing.T) {
	s := newStudio(t)
	tests := []struct{ exception, expression, refused string }{
		{`{purl: "pkg:npm/x", licences: [WTFPL], reason: r}`, "WTFPL", ""},
		{`{purl: "pkg:npm/x@1", licences: [wtfpl], reason: r}`, "MIT AND WTFPL", ""},
		{`{purl: "pkg:npm/x@2", licences: [WTFPL], reason: r}`, "WTFPL", "WTFPL is not allowed"},
		{`{purl: "pkg:npm/x?os=linux", licences: [WTFPL], reason: r}`, "WTFPL", "WTFPL is not allowed"},
		{`{purl: "pkg:npm/%40acme/x", licences: [WTFPL], reason: r}`, "WTFPL", "WTFPL is not allowed"},
		{`{purl: "pkg:pypi/x", licences: [WTFPL], reason: r}`, "WTFPL", "WTFPL is not allowed"},
		{`{purl: "pkg:npm/xy", licences: [WTFPL], reason: r}`, "WTFPL", "WTFPL is not allowed"},
		{`{purl: "pkg:npm/x", licences: [WTFPL], reason: r}`, "WTFPL AND ISC", "ISC is not allowed"},
		{`{purl: "pkg:npm/x", licences: [WTFPL], reason: r}, {purl: "pkg:npm/x@1", licences: [ISC], reason: r}`, "WTFPL AND ISC", ""},
		{`{purl: "pkg:npm/x", licences: [GPL-3.0-only], reason: r}`, "GPL-3.0-only", ""}, // though denied
		{`{purl: "pkg:npm/x", licences: [GPL-3.0-only], reason: r}`, "GPL-2.0-or-later", ""},
		{`{purl: "pkg:npm/x", licences: [NOASSERTION], reason: r}`, "NOASSERTION", ""},
		{`{purl: "pkg:npm/x", licences: [NOASSERTION], reason: r}`, "NONE", "NONE states no licence"},
		{`{purl: "pkg:npm/x", licences: [NONE], reason: r}`, "NONE", ""},
		{`{purl: "pkg:npm/x", licences: [Beer-1.0], reason: r}`, "Beer-1.0", ""},
		{`{purl: "pkg:npm/x", licences: [Beer-1.0], reason: r}`, "Beer-2.0", "Beer-2.0 is not on SPDX's list"},
		{`{purl: "pkg:npm/x", licences: [LicenseRef-x], reason: r}`, "LicenseRef-x", ""},
	}
	for _, tt := range tests {
		p := load(t, s.keys, asking("licences: {allow: [MIT], deny: [GPL-3.0-only], exceptions: ["+tt.exception+"]}"))
		t.Run(tt.exception+" "+tt.expression, func(t *testing.T) {
			decided(t, p.Evaluate(s.facts(p, s.attest("a", typeSPDX, spdxUnder(tt.expression)))), tt.refused == "", tt.refused)
		})
	}
	p := load(t, s.keys, asking(`licences: {allow: [MIT], exceptions: [{purl: "pkg:npm/x", licences: ["The Beer License, v1"], reason: r}]}`))
	decided(t, p.Evaluate(s.facts(p, s.attest("a", typeCycloneDX, cycloneUnder(`{"license": {"name": "The Beer License, v1"}}`)))), true, "by a")
	if w := p.Warnings(); len(w) != 2 || !strings.Contains(w[1], "stands for just that text") {
		t.Errorf("warnings %q", w)
	}
}

// A signed exception lets a package pass, and the verdict shows it.
func TestSignedLicenceException(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, asking("licences: {allow: [MIT]}")+"  exceptions: {from: {authorities: [b]}, rules: [checked]}\n")
	exception := func(by, purl string) made {
		return s.attest(by, ExceptionType, fmt.Sprintf(`{"rule": "checked", "purl": %q, "reason": "a fork is under way", "owner": "jo", "timestamp": "2026-11-21T00:00:00Z", "expires": "2026-12-21T00:00:00Z"}`, purl))
	}
	bad := s.attest("a", typeSPDX, spdxUnder("WTFPL"))
	v := p.Evaluate(s.facts(p, bad, exception("b", "pkg:npm/x")))
	decided(t, v, true, "by a")
	if used := v.Rules[0].Exceptions; len(used) != 1 || used[0].PURL != "pkg:npm/x" || used[0].Owner != "jo" {
		t.Errorf("used %+v", used)
	}
	decided(t, p.Evaluate(s.facts(p, bad, exception("b", "pkg:npm/y"))), false, "x 1 (pkg:npm/x@1): WTFPL is not allowed")
	decided(t, p.Evaluate(s.facts(p, bad, exception("a", "pkg:npm/x"))), false, "x 1 (pkg:npm/x@1): WTFPL is not allowed")
	v = p.Evaluate(s.facts(p, s.attest("a", typeSPDX, spdxUnder("MIT")), exception("b", "pkg:npm/x")))
	if len(v.Rules[0].Exceptions) != 0 {
		t.Error("an exception that nothing needs was used")
	}
}

// An SBOM that lists less does not hide what another lists, however old that is.
func TestLicencesOfEverySBOM(t *testing.T) {
	s := newStudio(t)
	good, bad := s.attest("a", typeSPDX, spdxUnder("MIT")), s.attest("a", typeCycloneDX, cycloneUnder(`{"license": {"id": "WTFPL"}}`))
	old := s.attest("a", typeSPDX, strings.Replace(spdxUnder("WTFPL"), "2026-11-20", "2020-11-20", 1))
	oldGood := s.attest("a", typeSPDX, strings.Replace(spdxUnder("MIT"), "2026-11-20", "2020-11-20", 1))
	unreadable := s.attest("a", typeSPDX, strings.Replace(spdxUnder("MIT"), `"name": "fine"`, `"name": 1`, 1))
	empty := s.attest("a", typeSPDX, spdxDoc())
	refused := func(name, rule, message string, all ...made) {
		t.Run(name, func(t *testing.T) {
			p := load(t, s.keys, asking(rule+"licences: {allow: [MIT]}"))
			decided(t, p.Evaluate(s.facts(p, all...)), message == "", message)
		})
	}
	refused("good then bad", "", "x 1 (pkg:npm/x@1): WTFPL is not allowed", good, bad)
	refused("bad then good", "", "x 1 (pkg:npm/x@1): WTFPL is not allowed", bad, good)
	refused("good and unreadable", "", "package 1 has a name that is no text", good, unreadable)
	refused("good and empty", "", "", good, empty)
	refused("empty alone", "", "lists no package besides what it describes", empty)
	refused("old and bad beside good", "maxAge: 720h, ", "WTFPL is not allowed", good, old)
	refused("old and good beside good", "maxAge: 720h, ", "", good, oldGood)
	refused("old and good alone", "maxAge: 720h, ", "maxAge is 720h", oldGood)
	refused("bad that conditions leave out", `where: ["has(predicate.spdxVersion)"], `, "WTFPL is not allowed", good, bad)
	refused("bad of another authority", "from: {authorities: [a, b]}, ", "by b: x 1", good, s.attest("b", typeSPDX, spdxUnder("WTFPL")))
	refused("bad of one who is not asked", "", "", good, s.attest("b", typeSPDX, spdxUnder("WTFPL")))
	refused("bad about another", "", "", good, s.attestOn(arm64.Digest, "a", typeSPDX, spdxUnder("WTFPL")))
	refused("too few signers", "from: {authorities: [a, b], threshold: 2}, ", "1 of 2 distinct signers", good)
	refused("nothing", "", "no attestation https://spdx.dev/Document or https://cyclonedx.org/bom by a")

	// Another SBOM would not help, so it is not what is advised.
	plain := asking("licences: {allow: [MIT]}")
	p := load(t, s.keys, plain)
	if remedy := p.Evaluate(s.facts(p, bad)).Rules[0].Remedy; !strings.HasPrefix(remedy, "# no other statement") {
		t.Errorf("remedy %q", remedy)
	}
	p = load(t, s.keys, plain+"  exceptions: {from: {authorities: [b]}, rules: ["+p.Document().Spec.Require[0].Name+"]}\n")
	if remedy := p.Evaluate(s.facts(p, bad)).Rules[0].Remedy; !strings.HasSuffix(remedy, "--type exception --predicate exception.json --key b.key") {
		t.Errorf("remedy %q", remedy)
	}

	each := load(t, s.keys, asking("scope: each, licences: {allow: [MIT]}"))
	f := s.facts(each, s.attestOn(amd64.Digest, "a", typeSPDX, spdxUnder("MIT")), s.attestOn(arm64.Digest, "a", typeSPDX, spdxUnder("MIT AND GPL-3.0-only")))
	f.MediaType, f.Platforms = "application/vnd.oci.image.index.v1+json", []Platform{amd64, arm64}
	decided(t, each.Evaluate(f), false, "linux/arm64 ("+short(arm64.Digest)+"): ")

	// Signed by two in one bundle, it is told once.
	p = load(t, s.keys, asking("from: {authorities: [a, d]}, licences: {allow: [MIT]}"))
	if m := p.Evaluate(s.facts(p, bad)).Rules[0].Message; strings.Count(m, "WTFPL is not allowed") != 1 {
		t.Errorf("told twice: %s", m)
	}
	both := load(t, s.keys, asking("sbom: {requirePurls: true}, licences: {allow: [MIT]}"))
	decided(t, both.Evaluate(s.facts(both, good)), false, "1 of 2 packages have no package URL that can be read: fine 1")
}

func TestLoadLicences(t *testing.T) {
	s := newStudio(t)
	for check, want := range map[string]string{
		"licences: {}":                                                "licences: has neither allow nor deny",
		"licences: {allow: []}":                                       "allow: is empty",
		"licences: {deny: []}":                                        "deny: is empty",
		"licences: {allow: [MIT, mit]}":                               `allow[1]: "mit" stands there twice`,
		"licences: {allow: [GPL-2.0, GPL-2.0-only]}":                  `allow[1]: "GPL-2.0-only" stands there twice`,
		"licences: {allow: [Beer-1.0]}":                               `allow[0]: "Beer-1.0" is not on SPDX's list`,
		"licences: {deny: [GPL]}":                                     `deny[0]: "GPL" is not on SPDX's list`,
		`licences: {allow: ["MIT OR ISC"]}`:                           "are several licences: list them one by one",
		`licences: {allow: ["MIT License"]}`:                          `"MIT License" is no licence: an operator is missing`,
		`licences: {allow: ["MIT WITH Beer"]}`:                        "is not on SPDX's list of licences and exceptions",
		"licences: {allow: [NOASSERTION]}":                            "NOASSERTION states no licence: see unknown",
		"licences: {deny: [NONE]}":                                    "NONE states no licence: see unknown",
		"licences: {allow: [MIT], deny: [MIT]}":                       "lists MIT, which deny denies",
		"licences: {allow: [GPL-3.0-only], deny: [GPL-2.0-or-later]}": "lists GPL-3.0-only, which deny denies",
		"licences: {allow: [MIT], unknown: maybe}":                    `unknown: is "maybe", want refuse or allow`,
		"licences: {allow: [MIT], unknownRoot: true}":                 `unknownRoot: is "true", want refuse or allow`,
		"licences: {allow: [MIT], exceptions: []}":                    "exceptions: is empty",
		"licences: {allow: [MIT], exceptions: [{purl: left-pad, licences: [ISC], reason: r}]}": `exceptions[0].purl: "left-pad" is no package URL`,
		`licences: {allow: [MIT], exceptions: [{purl: "pkg:npm/x", licences: [ISC]}]}`:         "exceptions[0].reason: is missing",
		`licences: {allow: [MIT], exceptions: [{purl: "pkg:npm/x", reason: r}]}`:               "exceptions[0].licences: is missing",
		`licences: {allow: [MIT], exceptions: [{purl: "pkg:npm/x", licences: [], reason: r}]}`: "exceptions[0].licences: is empty",
		"licenses: {allow: [MIT]}":                                   `unknown key "licenses"`,
		"licences: {allow: [" + strings.Repeat("MIT, ", 1001) + "]}": "has 1001 licences, at most 1000",
	} {
		_, err := Load([]byte(asking(check)), s.keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
	p := load(t, s.keys, asking(`licences: {allow: [mit, "gpl-2.0 with classpath-exception-2.0"], exceptions: [{purl: "pkg:npm/x", licences: [wtfpl, NOASSERTION], reason: r}]}`))
	spec := p.Document().Spec.Require[0].Licences
	if fmt.Sprint(*spec) != "{[MIT GPL-2.0-only WITH Classpath-exception-2.0] [] refuse refuse [{pkg:npm/x [WTFPL NOASSERTION] r}]}" {
		t.Errorf("filled in: %v", *spec)
	}
	again, err := Load(p.Canonical(), nil)
	if err != nil || again.Digest() != p.Digest() || !bytes.Equal(again.Canonical(), p.Canonical()) {
		t.Errorf("the canonical form is another policy: %v", err)
	}
}

// largeBill is an SBOM of n packages, each with words of its own, as a statement.
func largeBill(n int, licence func(i int) string) attest.Evidence {
	packages := make([]any, n)
	for i := range packages {
		packages[i] = map[string]any{
			"SPDXID": fmt.Sprintf("SPDXRef-%d", i), "name": fmt.Sprintf("package-%d", i), "versionInfo": "1.0", "supplier": "Organization: X",
			"licenseConcluded": spdxNoAssertion, "licenseDeclared": licence(i),
			"checksums":    []any{map[string]any{"algorithm": "SHA256", "checksumValue": strongSum}},
			"externalRefs": []any{map[string]any{"referenceType": "purl", "referenceLocator": fmt.Sprintf("pkg:npm/package-%d@1.0", i)}},
		}
	}
	predicate := map[string]any{"spdxVersion": "SPDX-2.3", "SPDXID": spdxDocument, "packages": packages}
	return attest.Evidence{Manifest: root, Subject: root, PredicateType: typeSPDX, Statement: map[string]any{"predicate": predicate},
		Signers: []attest.Signer{{Authority: "a", Principal: "a", KeyID: "a"}}}
}

// licenceKinds are what packages are under when all share some expressions, when each has
// one of its own, and when each is refused.
func licenceKinds() map[string]func(i int) string {
	return map[string]func(i int) string{
		"shared":  func(i int) string { return []string{"MIT", "MIT OR GPL-3.0-only", "Apache-2.0 AND MIT"}[i%3] },
		"own":     func(i int) string { return fmt.Sprintf("MIT OR LicenseRef-%d", i) },
		"refused": func(i int) string { return fmt.Sprintf("MIT AND LicenseRef-%d", i) },
	}
}

const largePolicy = `sbom: {requireSuppliers: true, requirePurls: true, requireHashes: true},
      licences: {allow: [MIT, Apache-2.0], exceptions: [{purl: "pkg:npm/other", licences: [WTFPL], reason: r}]}`

func TestLargeSBOM(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, asking(largePolicy))
	for name, licence := range licenceKinds() {
		f := s.facts(p)
		f.Evidence = []attest.Evidence{largeBill(20_000, licence)}
		start := time.Now()
		v := p.Evaluate(f)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %s", name, took)
		}
		if v.Allowed == (name == "refused") {
			t.Errorf("%s: allowed %v: %s", name, v.Allowed, v.Rules[0].Message)
		}
		if m := v.Rules[0].Message; name == "refused" && (!strings.Contains(m, "and 19995 more") || len(m) > 2000) {
			t.Errorf("message %s", m)
		}
	}
}

func BenchmarkLargeSBOM(b *testing.B) {
	s := newStudio(b)
	p := load(b, s.keys, asking(largePolicy))
	for name, licence := range licenceKinds() {
		b.Run(name, func(b *testing.B) {
			f := s.facts(p)
			f.Evidence = []attest.Evidence{largeBill(50_000, licence)}
			b.ReportAllocs()
			for b.Loop() {
				p.Evaluate(f)
			}
		})
	}
}

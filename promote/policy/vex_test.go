package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

const typeOpenVEX = "https://openvex.dev/ns/v0.2.0"

// vexBy is an OpenVEX document about the root, with changes to what testdata has.
func (s scene) vexBy(authority string, changes ...string) attest.Evidence {
	s.t.Helper()
	e := s.signed("vex"+authority+strings.Join(changes, " "), typeOpenVEX, predicateOf(s.t, "openvex.json", changes...))
	if authority != "" {
		e.Signers = s.signed("", "", nil, authority).Signers
	}
	return e
}

const (
	vexStatements = "statements/0/"
	vexProduct    = "statements/0/products/0"
	otherDigest   = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// dayOf is a time that a document or statement states, some days before noon.
func dayOf(field string, days int) []string {
	return []string{field, fmt.Sprintf("%q", noon.AddDate(0, 0, -days).Format(time.RFC3339))}
}

// Evidence 18: a critical vulnerability, and VEX about it.
func TestVEX(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	const finding = "1 critical (at most 0): CVE-2024-45337 (critical, golang.org/x/crypto v0.17.0, fixed in 0.31.0)"
	const miss = finding + ": VEX by b does not count: "
	purl := func(product string) []string { return []string{vexProduct, `{"@id":` + product + `}`} }
	whole := []string{vexProduct + "/subcomponents", "-"}
	sub := func(list string) []string { return []string{vexProduct + "/subcomponents", list} }
	named := func(vulnerability string) []string { return []string{vexStatements + "vulnerability", vulnerability} }
	tests := []struct {
		name     string
		evidence []attest.Evidence
		allowed  bool
		message  string
	}{
		{"none", nil, false, finding},
		{"as it should be", []attest.Evidence{s.vexBy("b")}, true, "by a"},
		{"by an author not listed", []attest.Evidence{s.vexBy("c")}, false, finding + ": VEX by c does not count: not listed"},
		{"by the scanner", []attest.Evidence{s.vexBy("a")}, false, finding + ": VEX by a does not count: not listed"},
		{"by the scanner's key under another name", []attest.Evidence{s.vexBy("d")}, false, "VEX by d does not count: not listed"},
		{"by nobody", []attest.Evidence{s.vexBy("")}, false, "is signed by nobody whom the policy knows"},
		{"badly signed", []attest.Evidence{broken(s.vexBy("b"), "bad signature")}, false, "does not count: bad signature"},
		{"attached to another", []attest.Evidence{on(s.vexBy("b"), amd64.Digest)}, false, miss + "it is attached to sha256:"},
		{"of another type", []attest.Evidence{s.signed("x", "https://openvex.dev/ns/v0.3.0", predicateOf(t, "openvex.json"), "b")}, false, finding},

		{"another product", []attest.Evidence{s.vexBy("b", purl(`"pkg:oci/other@`+otherDigest+`"`)...)}, false, miss + "it is about another product, pkg:oci/other@" + otherDigest},
		{"another product by its hash", []attest.Evidence{s.vexBy("b", vexProduct+"/hashes/sha-256", `"`+otherDigest[7:]+`"`)}, false, miss + "it is about another product"},
		{"another product by its identifier", []attest.Evidence{s.vexBy("b", vexProduct+"/identifiers", `{"purl":"pkg:oci/other@`+otherDigest+`"}`)}, false, miss + "it is about another product"},
		{"upper-case digest", []attest.Evidence{s.vexBy("b", purl(`"pkg:oci/app@sha256:`+strings.ToUpper(root.Encoded())+`"`)...)}, false, miss + "it is about another product"},
		{"product without a digest", []attest.Evidence{s.vexBy("b", purl(`"pkg:oci/app?tag=1.0"`)...)}, false, miss + "it names no product by the digest"},
		{"product of a version", []attest.Evidence{s.vexBy("b", purl(`"pkg:golang/acme.example/app@v1.0.0"`)...)}, false, miss + "it names no product by the digest"},
		{"digest by another algorithm", []attest.Evidence{s.vexBy("b", vexProduct, `{"hashes":{"sha-512":"`+root.Encoded()+`"}}`)}, false, miss + "it names no product by the digest"},
		{"no products", []attest.Evidence{s.vexBy("b", vexStatements+"products", `[]`)}, false, miss + "it is about no product"},
		{"product is the subject", []attest.Evidence{s.vexBy("b", vexStatements+"products", `-`)}, true, ""},
		{"product by a package URL", []attest.Evidence{s.vexBy("b", purl(`"pkg:oci/app@`+root.String()+`?repository_url=x.example/app"`)...)}, true, ""},
		{"product by a reference", []attest.Evidence{s.vexBy("b", purl(`"x.example/acme/app@`+root.String()+`"`)...)}, true, ""},
		{"product by the digest", []attest.Evidence{s.vexBy("b", purl(`"`+root.String()+`"`)...)}, true, ""},
		{"product by an identifier", []attest.Evidence{s.vexBy("b", vexProduct, `{"@id":"https://acme.example/app","identifiers":{"purl":"pkg:docker/app@`+root.String()+`"}}`)}, true, ""},
		{"product by a hash", []attest.Evidence{s.vexBy("b", vexProduct, `{"hashes":{"sha-256":"`+root.Encoded()+`"}}`)}, true, ""},
		{"one of two products", []attest.Evidence{s.vexBy("b", vexStatements+"products", `[{"@id":"pkg:oci/other@`+otherDigest+`"},{"@id":"`+root.String()+`"}]`)}, true, ""},

		{"the artifact as a whole", []attest.Evidence{s.vexBy("b", whole...)}, true, ""},
		{"another component", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:golang/golang.org/x/net@v0.17.0"}]`)...)}, false, miss + "it is about another component"},
		{"another version", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:golang/golang.org/x/crypto@v0.16.0"}]`)...)}, false, miss + "it is about another component"},
		{"any version", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:golang/golang.org/x/crypto"}]`)...)}, true, ""},
		{"a qualifier that the finding lacks", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:golang/golang.org/x/crypto@v0.17.0?goos=linux"}]`)...)}, false, miss + "it is about another component"},
		{"one of two components", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:npm/a@1"},{"identifiers":{"purl":"pkg:golang/golang.org/x/crypto@v0.17.0"}}]`)...)}, true, ""},
		{"a component by its name", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"golang.org/x/crypto"}]`)...)}, false, miss + "it names a component by no package URL"},
		{"a component of two names", []attest.Evidence{s.vexBy("b", sub(`[{"@id":"pkg:npm/a@1","identifiers":{"purl":"pkg:golang/golang.org/x/crypto@v0.17.0"}}]`)...)}, false, miss + "it names a component by no package URL"},
		{"subcomponents of the first version", []attest.Evidence{s.vexBy("b", "@context", `"https://openvex.dev/ns/v0.0.1"`, vexStatements+"vulnerability", `"CVE-2024-45337"`, vexStatements+"products", `["`+root.String()+`"]`, vexStatements+"subcomponents", `["pkg:npm/a@1"]`)}, false, miss + "it is about another component"},
		{"the first version", []attest.Evidence{s.vexBy("b", "@context", `"https://openvex.dev/ns"`, vexStatements+"vulnerability", `"CVE-2024-45337"`, vexStatements+"products", `["`+root.String()+`"]`)}, true, ""},

		{"no justification", []attest.Evidence{s.vexBy("b", vexStatements+"justification", "-")}, false, miss + "it has no justification"},
		{"another justification", []attest.Evidence{s.vexBy("b", vexStatements+"justification", `"inline_mitigations_already_exist"`)}, false, miss + `the justification "inline_mitigations_already_exist" is not asked for`},
		{"an invented justification", []attest.Evidence{s.vexBy("b", vexStatements+"justification", `"trust_me"`)}, false, miss + `the justification "trust_me" is not asked for`},
		{"another justification that is asked for", []attest.Evidence{s.vexBy("b", vexStatements+"justification", `"component_not_present"`)}, true, ""},
		{"affected", []attest.Evidence{s.vexBy("b", vexStatements+"status", `"affected"`)}, false, finding + ": VEX by b says affected"},
		{"under investigation", []attest.Evidence{s.vexBy("b", vexStatements+"status", `"under_investigation"`)}, false, finding + ": VEX by b says under_investigation"},
		{"fixed, which is not asked for", []attest.Evidence{s.vexBy("b", vexStatements+"status", `"fixed"`)}, false, miss + "fixed is not asked for"},

		{"another vulnerability", []attest.Evidence{s.vexBy("b", named(`{"name":"CVE-2024-45338"}`)...)}, false, finding},
		{"the id in lower case", []attest.Evidence{s.vexBy("b", named(`{"name":"cve-2024-45337"}`)...)}, false, finding},
		{"a prefix of the id", []attest.Evidence{s.vexBy("b", named(`{"name":"CVE-2024-4533"}`)...)}, false, finding},
		{"by an alias", []attest.Evidence{s.vexBy("b", named(`{"name":"GHSA-v778-237x-gjrc","aliases":["GO-1","CVE-2024-45337"]}`)...)}, true, ""},
		{"by the @id", []attest.Evidence{s.vexBy("b", named(`{"name":"GHSA-v778-237x-gjrc","@id":"CVE-2024-45337"}`)...)}, true, ""},

		{"too old", []attest.Evidence{s.vexBy("b", dayOf("timestamp", 91)...)}, false, miss + "it is 2184h0m0s old, maxAge is 2160h0m0s"},
		{"a document updated since", []attest.Evidence{s.vexBy("b", append(dayOf("timestamp", 91), dayOf("last_updated", 1)...)...)}, true, ""},
		{"an old statement in a new document", []attest.Evidence{s.vexBy("b", dayOf(vexStatements+"timestamp", 91)...)}, false, miss + "it is 2184h0m0s old"},
		{"no time", []attest.Evidence{s.vexBy("b", "timestamp", "-")}, false, miss + "maxAge 2160h0m0s cannot be decided"},
		{"in the future", []attest.Evidence{s.vexBy("b", dayOf("timestamp", -1)...)}, false, miss + "maxAge 2160h0m0s cannot be decided: it is dated 2026-11-23T12:00:00Z, which is in the future"},
		{"a statement in the future", []attest.Evidence{s.vexBy("b", dayOf(vexStatements+"timestamp", -1)...)}, false, "it is dated 2026-11-23T12:00:00Z, which is in the future"},
		{"a statement later than its signature", []attest.Evidence{at(s.vexBy("b", dayOf(vexStatements+"timestamp", 1)...), noon.AddDate(0, 0, -2))}, false, "after it was signed"},
		{"proven to be old", []attest.Evidence{at(s.vexBy("b"), noon.AddDate(0, 0, -91))}, false, miss + "it is 2184h0m0s old"},
	}
	p := load(t, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b], statuses: [not_affected], justifications: [vulnerable_code_not_in_execute_path, component_not_present], maxAge: 2160h}", ""))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := p.Evaluate(s.facts(append(tt.evidence, s.scanned("scan-trivy.json"))...))
			decided(t, v, tt.allowed, tt.message)
			if used := v.Rules[0].Evidence; tt.allowed && (len(used) != 2 || used[1].Digest != tt.evidence[0].Manifest || used[1].Authority != "b") {
				t.Errorf("the verdict does not show the VEX: %+v", used)
			}
		})
	}
}

// The newest statement of an author counts; what may be newer counts as well.
func TestVEXNewest(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	says := func(authority, status string, days int, changes ...string) attest.Evidence {
		changes = append(changes, vexStatements+"status", `"`+status+`"`)
		if days < 0 {
			return s.vexBy(authority, append(changes, "timestamp", "-")...)
		}
		return s.vexBy(authority, append(changes, dayOf("timestamp", days)...)...)
	}
	not, affected, open := vexNotAffected, vexAffected, vexUnderInvestigation
	whole := []string{vexProduct + "/subcomponents", "-"}
	other := []string{vexProduct + "/subcomponents", `[{"@id":"pkg:npm/a@1"}]`}
	opaque := []string{vexProduct + "/subcomponents", `[{"@id":"crypto"}]`}
	nameless := []string{vexProduct, `{"@id":"pkg:oci/app"}`}
	elsewhere := []string{vexProduct, `{"@id":"pkg:oci/app@` + otherDigest + `"}`}
	unreadable := []string{vexStatements + "vulnerability", "-"}
	tests := []struct {
		name     string
		evidence []attest.Evidence
		allowed  bool
		message  string
	}{
		{"affected, then not", []attest.Evidence{says("b", affected, 2), says("b", not, 1)}, true, ""},
		{"not, then affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1)}, false, "VEX by b says affected"},
		{"not, then affected, listed the other way", []attest.Evidence{says("b", affected, 1), says("b", not, 2)}, false, "VEX by b says affected"},
		{"not, then investigated", []attest.Evidence{says("b", not, 2), says("b", open, 1)}, false, "VEX by b says under_investigation"},
		{"investigated, then fixed", []attest.Evidence{says("b", open, 2), says("b", vexFixed, 1)}, true, ""},
		{"at the same time", []attest.Evidence{says("b", not, 1), says("b", affected, 1)}, false, "says affected"},
		{"affected some day", []attest.Evidence{says("b", not, 1), says("b", affected, -1)}, false, "says affected"},
		{"not affected some day", []attest.Evidence{says("b", not, -1)}, true, ""},
		{"not affected some day, and affected", []attest.Evidence{says("b", not, -1), says("b", affected, 1)}, false, "says affected"},
		{"not, then without justification", []attest.Evidence{says("b", not, 2), says("b", not, 1, vexStatements+"justification", "-")}, false, "it has no justification"},
		{"not affected in the future", []attest.Evidence{says("b", not, 2), s.vexBy("b", dayOf("timestamp", -1)...)}, false, "in the future"},
		{"a dated statement in a document of the future", []attest.Evidence{at(says("b", not, 2, dayOf(vexStatements+"timestamp", 1)...), noon.AddDate(0, 0, 1))}, false, "in the future"},
		{"affected in the future", []attest.Evidence{says("b", not, 2), s.vexBy("b", append(dayOf("timestamp", -1), vexStatements+"status", `"affected"`)...)}, false, "says affected"},
		{"two statements of one document", []attest.Evidence{s.vexBy("b", "statements", `[{"vulnerability":{"name":"CVE-2024-45337"},"status":"not_affected","justification":"component_not_present"},{"vulnerability":{"name":"CVE-2024-45337"},"status":"affected"}]`)}, false, "says affected"},
		{"two dated statements of one document", []attest.Evidence{s.vexBy("b", "statements", `[{"vulnerability":{"name":"CVE-2024-45337"},"status":"not_affected","justification":"component_not_present"},{"vulnerability":{"name":"CVE-2024-45337"},"status":"affected","timestamp":"2026-11-01T00:00:00Z"}]`)}, true, ""},
		{"an old statement repeated later", []attest.Evidence{says("b", affected, 5), says("b", not, 1, dayOf(vexStatements+"timestamp", 9)...)}, false, "says affected"},
		{"a statement without a time that can be read", []attest.Evidence{says("b", affected, 5), says("b", not, 1, vexStatements+"timestamp", `"now"`)}, false, "says affected"},

		{"affected as a whole", []attest.Evidence{says("b", not, 2), says("b", affected, 1, whole...)}, false, "says affected"},
		{"another component affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1, other...)}, true, ""},
		{"another product affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1, elsewhere...)}, true, ""},
		{"some component affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1, opaque...)}, false, "says affected"},
		{"some product affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1, nameless...)}, false, "says affected"},
		{"some product not affected", []attest.Evidence{says("b", affected, 2), says("b", not, 1, nameless...)}, false, "says affected"},
		{"another vulnerability affected", []attest.Evidence{says("b", not, 2), says("b", affected, 1, vexStatements+"vulnerability", `{"name":"CVE-1"}`)}, true, ""},
		{"affected under an alias", []attest.Evidence{says("b", not, 2), says("b", affected, 1, vexStatements+"vulnerability", `{"name":"GHSA-1","aliases":["CVE-2024-45337"]}`)}, false, "says affected"},

		{"a later document cannot be read", []attest.Evidence{says("b", not, 2), says("b", not, 1, unreadable...)}, false, "VEX by b cannot be read: its statement 0 has no vulnerability.name"},
		{"a document without a time cannot be read", []attest.Evidence{says("b", not, 2), says("b", not, -1, unreadable...)}, false, "cannot be read"},
		{"an earlier document cannot be read", []attest.Evidence{says("b", not, 2, unreadable...), says("b", not, 1)}, true, ""},
		{"a stranger's document cannot be read", []attest.Evidence{says("b", not, 2), says("a", not, 1, unreadable...)}, true, ""},
		{"a stranger says affected", []attest.Evidence{says("b", not, 2), says("a", affected, 1)}, true, ""},
		{"nobody says affected", []attest.Evidence{says("b", not, 2), says("", affected, 1)}, true, ""},

		{"another author says affected later", []attest.Evidence{says("b", not, 2), says("c", affected, 1)}, false, "VEX by c says affected, VEX by b says not_affected, and not later"},
		{"another author said affected earlier", []attest.Evidence{says("b", not, 1), says("c", affected, 2)}, true, ""},
		{"another author says affected some day", []attest.Evidence{says("b", not, 1), says("c", affected, -1)}, false, "VEX by c says affected"},
		{"a third author says not affected later still", []attest.Evidence{says("b", not, 3), says("c", affected, 2), says("d", not, 1)}, true, ""},
		{"a third author said not affected earlier", []attest.Evidence{says("b", not, 3), says("c", affected, 1), says("d", not, 2)}, false, "VEX by c says affected"},
		{"another author agrees", []attest.Evidence{says("b", not, 2), says("c", not, 1)}, true, ""},
		{"another author agrees without saying why", []attest.Evidence{says("b", not, 2), says("c", not, 1, vexStatements+"justification", "-")}, true, ""},
		{"another author's document cannot be read", []attest.Evidence{says("b", not, 2), says("c", not, 1, unreadable...)}, false, "VEX by c cannot be read"},
	}
	p := load(t, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b, c, d]}", ""))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decided(t, p.Evaluate(s.facts(append(tt.evidence, s.scanned("scan-trivy.json"))...)), tt.allowed, tt.message)
		})
	}
}

// The documents that cannot be read, and why.
func TestVEXRefuses(t *testing.T) {
	for want, changes := range map[string][]string{
		`its @context is "https://openvex.dev/ns/v0.3.0"`: {"@context", `"https://openvex.dev/ns/v0.3.0"`},
		`its @context is ""`:                              {"@context", `["https://openvex.dev/ns"]`},
		"no list of statements":                           {"statements", "null"},
		`the status ""`:                                   {vexStatements + "status", "-"},
		`the status "exploitable"`:                        {vexStatements + "status", `"exploitable"`},
		`the status "Affected"`:                           {vexStatements + "status", `"Affected"`},
		"no vulnerability.name":                           {vexStatements + "vulnerability", `{"@id":"CVE-1"}`},
		"aliases that are no list":                        {vexStatements + "vulnerability/aliases", `"CVE-1"`},
		"aliases that is no name":                         {vexStatements + "vulnerability/aliases", `[1]`},
		"products that are no list":                       {vexStatements + "products", `{}`},
		"product or subcomponent that is no object":       {vexProduct, `1`},
		"subcomponents that are no list":                  {vexProduct + "/subcomponents", `{}`},
		"or an empty one":                                 {vexProduct + "/subcomponents", `[]`},
		"subcomponents at two places":                     {vexStatements + "subcomponents", `["pkg:npm/a@1"]`},
		"its statement 0 has the status":                  {"statements/0", `"x"`},
	} {
		r := vexReader{artifact: root}
		if got, err := r.document(predicateOf(t, "openvex.json", changes...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %+v, %v; want %q", changes, got, err, want)
		}
	}
	r := vexReader{artifact: root}
	if _, err := r.document(nil); err == nil {
		t.Error("no predicate passes")
	}
}

// VEX is looked at only where a budget is exceeded without it, and takes out no more than
// it is about.
func TestVEXWithinBudgets(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	vex := s.vexBy("b")
	for check, allowed := range map[string]bool{
		"max: {critical: 0, unknown: 1}": true,
		"max: {critical: 1}":             true, // the unknown one stays
		"max: {critical: 0}":             false,
	} {
		p := load(t, keys, scannedBy(check+", vex: {authorities: [b]}", ""))
		if v := p.Evaluate(s.facts(vex, s.scanned("scan-trivy.json"))); v.Allowed != allowed {
			t.Errorf("%s: %s", check, v.Rules[0].Message)
		}
	}
	p := load(t, keys, scannedBy("max: {critical: 2}, vex: {authorities: [b]}", ""))
	if v := p.Evaluate(s.facts(vex, s.scanned("scan-trivy.json"))); !v.Allowed || len(v.Rules[0].Evidence) != 1 {
		t.Errorf("VEX was used though it was not needed: %+v", v.Rules[0])
	}
	// What VEX took out of a scan that fails all the same is no evidence for another scan.
	p = load(t, keys, strings.Replace(scannedBy("max: {critical: 0}, vex: {authorities: [b]}", ""), "[a]", "[a, c]", 1))
	clean := s.signed("clean", typeScanInTotoV02, predicateOf(t, "scan-intoto-v0.2.json", "scanner/result", "[]"), "c")
	if v := p.Evaluate(s.facts(vex, s.scanned("scan-trivy.json"), clean)); !v.Allowed || len(v.Rules[0].Evidence) != 1 {
		t.Errorf("evidence %+v", v.Rules[0])
	}
	// A scan without packages is covered only by VEX about the artifact as a whole.
	p = load(t, keys, scannedBy("max: {high: 0}, vex: {authorities: [b]}", ""))
	name := []string{vexStatements + "vulnerability", `{"name":"CVE-2024-6119"}`}
	scan := s.scanned("scan-intoto-v0.2.json")
	decided(t, p.Evaluate(s.facts(scan, s.vexBy("b", name...))), false, "it is about a component, and the scan gives no package URL")
	decided(t, p.Evaluate(s.facts(scan, s.vexBy("b", append(name, vexProduct+"/subcomponents", "-")...))), true, "")
	whole := s.vexBy("b", append(name, vexProduct+"/subcomponents", "-")...)
	opened := s.vexBy("b", slices.Concat(name, dayOf("timestamp", 1), []string{vexStatements + "status", `"affected"`})...)
	decided(t, p.Evaluate(s.facts(scan, whole, opened)), false, "VEX by b says affected") // of a component, which may be this one
}

// Each platform needs VEX of its own; what is attached to the index is about the index.
func TestVEXOfPlatforms(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b]}", ", scope: each"))
	about := func(d digest.Digest) attest.Evidence {
		return on(s.vexBy("b", vexProduct+"/@id", `"`+d.String()+`"`, vexProduct+"/hashes", "-"), d)
	}
	scans := []attest.Evidence{on(s.scanned("scan-trivy.json"), amd64.Digest), on(s.scanned("scan-trivy.json"), arm64.Digest)}
	platforms := []Platform{amd64, arm64}
	decided(t, p.Evaluate(s.index(platforms, append(scans, about(amd64.Digest), about(arm64.Digest))...)), true, "linux/arm64")
	decided(t, p.Evaluate(s.index(platforms, append(scans, about(amd64.Digest))...)), false, "linux/arm64")
	decided(t, p.Evaluate(s.index(platforms, append(scans, about(amd64.Digest), on(about(arm64.Digest), root))...)), false, "VEX by b does not count: it is attached to the artifact itself")
	decided(t, p.Evaluate(s.index(platforms, append(scans, about(amd64.Digest), on(about(amd64.Digest), arm64.Digest))...)), false, "it is about another product, "+amd64.Digest.String())
}

// The whole way, as scanners and people attach it: signed, verified, decided.
func TestVEXSigned(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b], maxAge: 2160h}", ", maxAge: 24h"))
	file := func(name string, changes ...string) string {
		text, err := json.Marshal(predicateOf(t, name, changes...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	scan := s.attest("a", typeScanCosign, file("scan-trivy.json"))
	vex := file("openvex.json")
	const finding = "1 critical (at most 0): CVE-2024-45337 (critical, golang.org/x/crypto v0.17.0, fixed in 0.31.0)"
	for name, tt := range map[string]struct {
		vex     []made
		allowed bool
		message string
	}{
		"none":               {nil, false, finding},
		"listed":             {[]made{s.attest("b", typeOpenVEX, vex)}, true, "by a"},
		"cosign's type":      {[]made{s.attest("b", "https://openvex.dev/ns", vex)}, true, "by a"},
		"not listed":         {[]made{s.attest("c", typeOpenVEX, vex)}, false, finding + ": VEX by c does not count: not listed"},
		"the scanner's":      {[]made{s.attest("a", typeOpenVEX, vex)}, false, finding + ": VEX by a does not count: not listed"},
		"another's subject":  {[]made{{root, s.attestOn(amd64.Digest, "b", typeOpenVEX, vex).bundle}}, false, "does not count: the statement is about " + amd64.Digest.String()},
		"another's product":  {[]made{s.attest("b", typeOpenVEX, strings.ReplaceAll(vex, root.Encoded(), amd64.Digest.Encoded()))}, false, "it is about another product"},
		"signature broken":   {[]made{{root, bytes.Replace(s.attest("b", typeOpenVEX, vex).bundle, []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1)}}, false, "VEX sha256:"},
		"opened again since": {[]made{s.attest("b", typeOpenVEX, vex), s.attest("b", typeOpenVEX, file("openvex.json", append(dayOf("timestamp", 1), vexStatements+"status", `"affected"`)...))}, false, finding + ": VEX by b says affected"},
	} {
		t.Run(name, func(t *testing.T) {
			decided(t, p.Evaluate(s.facts(p, append(tt.vex, scan)...)), tt.allowed, tt.message)
		})
	}
}

// Over the limit nothing is believed of the authors whose VEX counts; what others attach
// is over no limit.
func TestVEXBound(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b]}", ""))
	many := make([]any, maxVEX)
	for i := range many {
		many[i] = map[string]any{"vulnerability": "CVE-1", "status": vexAffected}
	}
	flood := func(authority string) attest.Evidence {
		e := s.vexBy(authority)
		e.Statement["predicate"].(map[string]any)["statements"] = many
		return e
	}
	decided(t, p.Evaluate(s.facts(s.scanned("scan-trivy.json"), s.vexBy("b"), flood("b"))), false, "has more than 100000 statements, products and subcomponents, which is the limit")
	decided(t, p.Evaluate(s.facts(s.scanned("scan-trivy.json"), flood("a"), s.vexBy("b"), flood(""))), true, "")
}

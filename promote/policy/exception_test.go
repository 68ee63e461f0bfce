package policy

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// excepting is a policy with one rule, which a has to meet, and exceptions by b (and d,
// who has a's key).
func excepting(extra string) string {
	return document(plainRule) + "  exceptions: {from: {authorities: [b]}, rules: [built]" + extra + "}\n"
}

// exceptionBy is an exception from the rule built for the root, dated an hour ago, with
// some fields changed; an empty text leaves a field out.
func (s scene) exceptionBy(authority string, changes map[string]string) attest.Evidence {
	fields := map[string]string{
		"rule": "built", "digest": root.String(), "reason": "hotfix", "owner": "jane@example.com",
		"timestamp": noon.Add(-time.Hour).Format(time.RFC3339), "expires": noon.Add(time.Hour).Format(time.RFC3339),
	}
	maps.Copy(fields, changes)
	predicate := map[string]any{}
	for name, value := range fields {
		if value != "" {
			predicate[name] = value
		}
	}
	return s.signed(fmt.Sprint(authority, fields), ExceptionType, predicate, authority)
}

func TestExceptionFromRule(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	ago := func(d time.Duration) string { return noon.Add(-d).Format(time.RFC3339) }
	by := func(authority string, changes ...string) attest.Evidence {
		fields := map[string]string{}
		for i := 0; i+1 < len(changes); i += 2 {
			fields[changes[i]] = changes[i+1]
		}
		return s.exceptionBy(authority, fields)
	}
	list := by("b")
	list.Statement["predicate"].(map[string]any)["rule"] = []any{"built"}
	tests := []struct {
		name     string
		evidence []attest.Evidence
		allowed  bool
		message  string
	}{
		{"none", nil, false, "no attestation"},
		{"holds", []attest.Evidence{by("b")}, true, "excepted until 2026-11-22T13:00:00Z by b, owner jane@example.com: hotfix"},
		{"proven time", []attest.Evidence{at(by("b", "timestamp", ""), noon)}, true, "excepted"},
		{"by another", []attest.Evidence{by("a")}, false, "signed by a, who is not asked for exceptions"},
		{"by nobody", []attest.Evidence{broken(by("b"), "not valid")}, false, "no attestation"},
		{"another rule", []attest.Evidence{by("b", "rule", "scan")}, false, "no attestation"},
		{"another digest", []attest.Evidence{by("b", "digest", digest.FromString("x").String())}, false, "it is about sha256:"},
		{"attached elsewhere", []attest.Evidence{on(by("b"), digest.FromString("x"))}, false, "and attached to sha256:"},
		{"about elsewhere", []attest.Evidence{on(by("b", "digest", digest.FromString("x").String()), digest.FromString("x"))}, false, "no attestation"},
		{"expired", []attest.Evidence{by("b", "expires", ago(time.Minute))}, false, "expired at 2026-11-22T11:59:00Z"},
		{"expires now", []attest.Evidence{by("b", "expires", ago(0))}, false, "expired at"},
		{"dated in the future", []attest.Evidence{by("b", "timestamp", ago(-10*time.Minute))}, false, "in the future"},
		{"undated", []attest.Evidence{by("b", "timestamp", "")}, false, "carries no time"},
		{"too long", []attest.Evidence{by("b", "expires", ago(-720*time.Hour))}, false, "at most 48h0m0s are allowed"},
		{"no reason", []attest.Evidence{by("b", "reason", "")}, false, "it has no reason"},
		{"no owner", []attest.Evidence{by("b", "owner", "")}, false, "it has no owner"},
		{"no expiry", []attest.Evidence{by("b", "expires", "")}, false, "it has no expires"},
		{"expiry is no time", []attest.Evidence{by("b", "expires", "soon")}, false, "expires is no time"},
		{"about nothing", []attest.Evidence{by("b", "digest", "")}, false, "has to be about a digest"},
		{"about two things", []attest.Evidence{by("b", "purl", "pkg:npm/x")}, false, "has to be about a digest"},
		{"about a package only", []attest.Evidence{by("b", "digest", "", "purl", "pkg:npm/x")}, false, "no attestation"},
		{"no purl", []attest.Evidence{by("b", "digest", "", "purl", "left-pad")}, false, "its purl cannot be read"},
		{"unknown field", []attest.Evidence{by("b", "tier", "stable")}, false, "a field tier, which is unknown"},
		{"no text", []attest.Evidence{list}, false, "no attestation"},
		{"withdrawn", []attest.Evidence{by("b"), by("b", "timestamp", ago(time.Minute), "expires", ago(time.Second))}, false, "expired"},
		{"withdrawn and given again", []attest.Evidence{by("b", "expires", ago(time.Second)), by("b", "timestamp", ago(time.Minute))}, true, "excepted"},
		{"two of one time", []attest.Evidence{by("b"), by("b", "expires", ago(time.Second))}, false, "expired"},
		{"bad beside good", []attest.Evidence{by("b", "reason", ""), by("b")}, true, "excepted"},
	}
	p := load(t, keys, excepting(", maxDuration: 48h"))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := p.Evaluate(s.facts(tt.evidence...))
			r := v.Rules[0]
			if v.Allowed != tt.allowed || !strings.Contains(r.Message, tt.message) {
				t.Errorf("allowed %v, want %v: %q lacks %q", v.Allowed, tt.allowed, r.Message, tt.message)
			}
			if used := len(r.Exceptions); tt.allowed != (used == 1) {
				t.Errorf("%d exceptions used", used)
			}
		})
	}
	many := make([]attest.Evidence, maxExceptions+1)
	for i := range many {
		many[i] = by("b")
	}
	if v := p.Evaluate(s.facts(many...)); v.Allowed || !strings.Contains(v.Rules[0].Message, "more than 1000 exceptions") {
		t.Errorf("too many: %+v", v.Rules[0])
	}
	for i := range many {
		many[i].Signed = digest.FromString("one exception that is attached again and again")
	}
	if v := p.Evaluate(s.facts(many...)); !v.Allowed || len(v.Rules[0].Exceptions) != 1 {
		t.Errorf("copies: %+v", v.Rules[0])
	}
}

// A policy that names nobody for exceptions has none.
func TestExceptionsNotAccepted(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, document(plainRule))
	decided(t, p.Evaluate(s.facts(s.exceptionBy("b", nil))), false, "no attestation")
}

// Exceptions are made from the rules that the policy names, and from no others.
func TestExceptionFromUnlistedRule(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	both := plainRule + strings.Replace(plainRule, "built", "other", 1)
	p := load(t, keys, strings.Replace(excepting(""), plainRule, both, 1))
	unlisted := s.exceptionBy("b", map[string]string{"rule": "other"})
	v := p.Evaluate(s.facts(s.exceptionBy("b", nil), unlisted))
	if v.Allowed || !v.Rules[0].Allowed || v.Rules[1].Allowed || len(v.Rules[1].Exceptions) > 0 ||
		!strings.Contains(v.Rules[1].Message, "no exception may be made from the rule other") {
		t.Errorf("%+v", v.Rules)
	}
}

func TestExceptionThreshold(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, strings.Replace(excepting(""), "[b]}", "[b, c, a], threshold: 2}", 1))
	b, c, a := s.exceptionBy("b", nil), s.exceptionBy("c", nil), s.exceptionBy("a", map[string]string{"expires": noon.Add(time.Minute).Format(time.RFC3339)})
	for _, tt := range []struct {
		name     string
		evidence []attest.Evidence
		message  string
	}{
		{"one", []attest.Evidence{b}, "1 of 2 distinct signers"},
		{"one principal twice", []attest.Evidence{b, c}, "1 of 2 distinct signers"},
		{"about two things", []attest.Evidence{b, s.exceptionBy("a", map[string]string{"digest": "", "vulnerability": "CVE-1"})}, "1 of 2 distinct signers"},
		{"two", []attest.Evidence{b, a}, "excepted until 2026-11-22T12:01:00Z by a and b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := p.Evaluate(s.facts(tt.evidence...))
			if r := v.Rules[0]; v.Allowed != (tt.name == "two") || !strings.Contains(r.Message, tt.message) {
				t.Errorf("allowed %v: %q lacks %q", v.Allowed, r.Message, tt.message)
			}
		})
	}
}

// Scope each: an exception about one platform is none for the others, one about the index
// is one for all.
func TestExceptionFromPlatform(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, strings.Replace(excepting(""), "from: {authorities: [a]}", "from: {authorities: [a]}, scope: each", 1))
	both := []Platform{amd64, arm64}
	one := on(s.exceptionBy("b", map[string]string{"digest": amd64.Digest.String()}), amd64.Digest)
	for name, tt := range map[string]struct {
		facts   Facts
		allowed bool
	}{
		"index":             {s.index(both, s.exceptionBy("b", nil)), true},
		"one platform":      {s.index(both, one), false},
		"one, evidence too": {s.index(both, one, on(s.signed("x", typeProvenance, nil, "a"), arm64.Digest)), true},
	} {
		if v := p.Evaluate(tt.facts); v.Allowed != tt.allowed {
			t.Errorf("%s: allowed %v: %s", name, v.Allowed, v.Rules[0].Message)
		}
	}
}

// found is a check that refuses findings which no exception covers.
type found []struct{ vulnerability, purl string }

func (f found) holds(t *trial, _ claim) string {
	for _, one := range f {
		if !t.excepted(one.vulnerability, one.purl) {
			return "found " + one.vulnerability + " in " + one.purl
		}
	}
	return ""
}

func TestExceptionFromFinding(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	about := func(vulnerability, purl string) attest.Evidence {
		return s.exceptionBy("b", map[string]string{"digest": "", "vulnerability": vulnerability, "purl": purl})
	}
	const left, right = "pkg:npm/left-pad@1.3.0", "pkg:npm/right-pad@1.3.0"
	for _, tt := range []struct {
		name      string
		exception attest.Evidence
		found     found
		allowed   bool
	}{
		{"vulnerability", about("CVE-1", ""), found{{"CVE-1", left}, {"CVE-1", right}}, true},
		{"another vulnerability", about("CVE-1", ""), found{{"CVE-10", left}}, false},
		{"package", about("", "pkg:npm/left-pad"), found{{"CVE-1", left}, {"", left}}, true},
		{"version", about("", left), found{{"CVE-1", left}}, true},
		{"another version", about("", "pkg:npm/left-pad@1.3.1"), found{{"CVE-1", left}}, false},
		{"another package", about("", "pkg:npm/left"), found{{"CVE-1", left}}, false},
		{"another type", about("", "pkg:pypi/left-pad"), found{{"CVE-1", left}}, false},
		{"both", about("CVE-1", left), found{{"CVE-1", left}}, true},
		{"both, another package", about("CVE-1", left), found{{"CVE-1", right}}, false},
		{"both, the package as such", about("CVE-1", left), found{{"", left}}, false},
		{"qualifier", about("", "pkg:deb/debian/ssl?arch=amd64"), found{{"CVE-1", "pkg:deb/debian/ssl@3?arch=amd64&distro=12"}}, true},
		{"another qualifier", about("", "pkg:deb/debian/ssl?arch=arm64"), found{{"CVE-1", "pkg:deb/debian/ssl@3?arch=amd64"}}, false},
		{"no purl", about("", left), found{{"CVE-1", ""}}, false},
		{"attached elsewhere", on(about("CVE-1", ""), digest.FromString("x")), found{{"CVE-1", left}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, excepting(""))
			p.rules[0].checks = append(p.rules[0].checks, tt.found)
			v := p.Evaluate(s.facts(s.signed("x", typeProvenance, nil, "a"), tt.exception))
			if v.Allowed != tt.allowed || tt.allowed && (len(v.Rules[0].Exceptions) != 1 || !strings.Contains(v.Rules[0].Message, "excepted until")) {
				t.Errorf("allowed %v: %s, exceptions %v", v.Allowed, v.Rules[0].Message, v.Rules[0].Exceptions)
			}
		})
	}
}

func TestLoadExceptions(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for text, want := range map[string]string{
		"exceptions: {rules: [built]}":                                                                 "exceptions.from.authorities",
		"exceptions: {from: {authorities: [b]}}":                                                       "name the rules",
		"exceptions: {from: {authorities: [x]}, rules: [built]}":                                       `"x" is no authority`,
		"exceptions: {from: {authorities: [b]}, rules: [other]}":                                       `"other" is no requirement or freeze`,
		"exceptions: {from: {authorities: [b]}, rules: [built, built]}":                                "twice",
		"exceptions: {from: {authorities: [b], threshold: 2}, rules: [built]}":                         "at most 1 times",
		"exceptions: {from: {authorities: [b]}, rules: [built], maxDuration: 30d}":                     "want a duration",
		"exceptions: {from: {authorities: [b]}, rules: [built], until: 2027-01-01T00:00:00Z}":          "unknown key",
		"freeze: [{name: built, days: [Fri]}]":                                                         `"built" names two rules`,
		"freeze: [{name: f}]":                                                                          "from and until, or days",
		"freeze: [{name: f, from: 2026-12-20T00:00:00Z}]":                                              "a freeze begins and ends",
		"freeze: [{name: f, from: 2026-12-20T00:00:00Z, until: 2026-12-20T00:00:00Z}]":                 "is not after from",
		"freeze: [{name: f, from: 2026-12-20T00:00:00Z, until: 2026-12-21T00:00:00Z, start: '10:00'}]": "belongs to days",
		"freeze: [{name: f, days: [Friday]}]":                                                          "want one of Sun",
		"freeze: [{name: f, days: [Fri, Fri]}]":                                                        "twice",
		"freeze: [{name: f, days: []}]":                                                                "name the days",
		"freeze: [{name: f, days: [Fri], start: '24:00'}]":                                             "is not after start",
		"freeze: [{name: f, days: [Fri], start: '9:00'}]":                                              "want a time of day",
		"freeze: [{name: f, days: [Fri], timeZone: Local}]":                                            "no time zone",
		"freeze: [{name: f, days: [Fri], timeZone: Mars/Olympus}]":                                     "no time zone",
		"freeze: [{name: f, days: [Fri], mode: maybe}]":                                                "want enforce, warn or off",
	} {
		_, err := Load([]byte(document(plainRule)+"  "+text+"\n"), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

func passing(check, extra string) string {
	return document("    - {name: tests, from: {authorities: [a]}, tests: {" + check + "}" + extra + "}\n")
}

// ran is a test run by a, which ended some hours ago; less than none for no time.
func (s scene) ran(hours int, changes ...string) attest.Evidence {
	s.t.Helper()
	predicate := predicateOf(s.t, "test-result.json", changes...)
	if hours >= 0 {
		predicate["finishedOn"] = noon.Add(-time.Duration(hours) * time.Hour).Format(time.RFC3339)
	}
	return s.signed(strings.Join(changes, " "), typeTestResult, predicate, "a")
}

func TestTestResults(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	unit, lint := `configurations: ["unit tests"]`, []string{"configuration", `[{"name":"lint"}]`}
	failedLint := s.ran(1, append(lint, "result", `"FAILED"`)...)
	one := func(changes ...string) []attest.Evidence { return []attest.Evidence{s.ran(-1, changes...)} }
	tests := []struct {
		name, check string
		evidence    []attest.Evidence
		allowed     bool
		message     string
	}{
		{"passed", "result: PASSED", one(), true, "by a"},
		{"passed where a warning suffices", "result: WARNED", one(), true, ""},
		{"warned", "result: PASSED", one("result", `"WARNED"`, "warnedTests", `["slow"]`), false, "its result is WARNED, want PASSED: slow"},
		{"warned suffices", "result: WARNED", one("result", `"WARNED"`, "warnedTests", `["slow"]`), true, ""},
		{"failed", "result: PASSED", one("result", `"FAILED"`, "failedTests", `["TestA","TestB\u001b[0m"]`), false, "its result is FAILED, want PASSED: TestA, TestB[0m"},
		{"failed where a warning suffices", "result: WARNED", one("result", `"FAILED"`), false, "its result is FAILED, want WARNED"},
		{"many failed", "result: PASSED", one("result", `"FAILED"`, "failedTests", `["1","2","3","4","5","6","7"]`), false, "1, 2, 3, 4, 5, and 2 more"},
		{"no result", "result: PASSED", one("result", "-"), false, `its result is "", want PASSED`},
		{"another word", "result: WARNED", one("result", `"passed"`), false, `its result is "passed", want WARNED`},
		{"result of another kind", "result: PASSED", one("result", `true`), false, `its result is ""`},
		{"passed with a failed test", "result: PASSED", one("failedTests", `["TestA"]`), false, "its result is PASSED, but there are failed tests: TestA"},
		{"warned with a failed test", "result: WARNED", one("result", `"WARNED"`, "failedTests", `["TestA"]`), false, "but there are failed tests: TestA"},
		{"passed with a warning", "result: PASSED", one("warnedTests", `["slow"]`), false, "its result is PASSED, but there are tests with warnings: slow"},
		{"lists left out", "result: PASSED", one("passedTests", "-", "warnedTests", "-", "failedTests", "null"), true, ""},
		{"list of another kind", "result: PASSED", one("failedTests", `{}`), false, "its failedTests is no list of names"},
		{"names of another kind", "result: PASSED", one("failedTests", `[1]`), false, "its failedTests is no list of names"},

		{"configuration", unit, one(), true, ""},
		{"two configurations", `configurations: ["unit tests", .github/workflows/ci.yml]`, one(), true, ""},
		{"one of two", `configurations: ["unit tests", lint]`, one(), false, "its configuration is unit tests, .github/workflows/ci.yml, and lacks lint"},
		{"another configuration", unit, one(lint...), false, "by a: it is about the configuration lint"},
		{"another in upper case", unit, one("configuration", `[{"name":"Unit Tests"}]`), false, "it is about the configuration Unit Tests"},
		{"no configuration", unit, one("configuration", "-"), false, "its configuration names nothing, want unit tests"},
		{"unnamed configuration", unit, one("configuration", `[{"uri":"unit tests"}]`), false, "its configuration names nothing"},
		{"configuration of another kind", unit, one("configuration", `"unit tests"`), false, "its configuration names nothing"},

		{"newest fails", "result: PASSED", []attest.Evidence{s.ran(2), s.ran(1, "result", `"FAILED"`)}, false, "its result is FAILED"},
		{"newest passes", "result: PASSED", []attest.Evidence{s.ran(1), s.ran(2, "result", `"FAILED"`)}, true, ""},
		{"a later failure of other tests", unit, []attest.Evidence{s.ran(2), failedLint}, true, ""},
		{"a later success of other tests", unit, []attest.Evidence{s.ran(2, "result", `"FAILED"`), s.ran(1, lint...)}, false, "its result is FAILED"},
		{"a later failure of who knows what", unit, []attest.Evidence{s.ran(2), s.ran(1, "configuration", `[{"name":"lint"},{}]`, "result", `"FAILED"`)}, false, "its result is FAILED"},
		{"other tests count where none are named", "result: PASSED", []attest.Evidence{s.ran(2), failedLint}, false, "its result is FAILED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decided(t, load(t, keys, passing(tt.check, "")).Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
	none := s.signed("x", typeTestResult, nil, "a")
	decided(t, load(t, keys, passing("result: PASSED", "")).Evaluate(s.facts(none)), false, `its result is ""`)
}

func TestLoadTests(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for check, want := range map[string]string{
		"result: FAILED":           `tests.result: is "FAILED", want PASSED or WARNED`,
		"result: passed":           "want PASSED or WARNED",
		"configurations: []":       "configurations: is empty",
		"configurations: [a, a]":   "stands there twice",
		"configuration: [a]":       `unknown key "configuration"`,
		"configurations: [\"\"]":   "is empty",
		"result: [PASSED, WARNED]": "cannot unmarshal",
	} {
		_, err := Load([]byte(passing(check, "")), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
	_, err := Load([]byte(passing("result: PASSED", `, predicateTypes: ["https://in-toto.io/attestation/test-result/v0.2"]`)), keys.read)
	if err := wants(err, oci.ErrPolicyInvalid, "cannot be read by tests"); err != nil {
		t.Error(err)
	}
	p := load(t, keys, passing("configurations: [unit]", ""))
	if r := p.Document().Spec.Require[0]; r.Tests.Result != testPassed || !slices.Equal(r.PredicateTypes, []string{typeTestResult}) {
		t.Errorf("defaults %+v, %v", r.Tests, r.PredicateTypes)
	}
	if again, err := Load(p.Canonical(), nil); err != nil || again.Digest() != p.Digest() {
		t.Errorf("the canonical form loads as another policy: %v", err)
	}
}

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// typeTestResult is in-toto's predicate type of test results.
const typeTestResult = "https://in-toto.io/attestation/test-result/v0.1"

// The results of a test run.
const (
	testPassed = "PASSED"
	testWarned = "WARNED"
	testFailed = "FAILED"
)

// TestSpec is a check of test results.
type TestSpec struct {
	// Result is PASSED, by default, or WARNED, which PASSED is better than.
	Result string `json:"result" yaml:"result"`
	// Configurations are names that the run's configuration has to have, all of them. A run
	// with none of them is of other tests: it does not replace one with them.
	Configurations []string `json:"configurations,omitempty" yaml:"configurations"`
}

// testCheck is the compiled check.
type testCheck struct{ TestSpec }

func (l *loader) tests(path string, r *Requirement) []check {
	spec := r.Tests
	if spec == nil {
		return nil
	}
	l.implied(path, r, typeTestResult)
	l.reads(path, "tests", r, typeTestResult)
	path += ".tests"
	if !l.has(path + ".result") {
		spec.Result = testPassed
	}
	if spec.Result != testPassed && spec.Result != testWarned {
		l.add(path+".result", "is %q, want %s or %s", spec.Result, testPassed, testWarned)
	}
	if l.has(path+".configurations") && len(spec.Configurations) == 0 {
		l.add(path+".configurations", "is empty: leave it out for any")
	}
	for i, name := range spec.Configurations {
		if slices.Contains(spec.Configurations[:i], name) {
			l.add(fmt.Sprintf("%s.configurations[%d]", path, i), "%q stands there twice", name)
		}
	}
	return []check{testCheck{*spec}}
}

// elsewhere passes over runs of other configurations, so that those of an authority that
// runs several suites do not replace one another.
func (c testCheck) elsewhere(_ *trial, run claim) string {
	names, complete := configurations(run.Predicate())
	if !complete || len(names) == 0 || len(c.Configurations) == 0 {
		return ""
	}
	if slices.ContainsFunc(c.Configurations, func(name string) bool { return slices.Contains(names, name) }) {
		return ""
	}
	return "it is about the configuration " + printable(strings.Join(names, ", "))
}

// holds compares the result. The lists of tests have to agree with it where they are there:
// what says PASSED and lists a failed test is not believed.
func (c testCheck) holds(_ *trial, run claim) string {
	predicate := run.Predicate()
	lists := map[string][]string{}
	for _, field := range []string{"passedTests", "warnedTests", "failedTests"} {
		names, ok := textsIn(predicate, field)
		if !ok {
			return fmt.Sprintf("its %s is no list of names", field)
		}
		lists[field] = names
	}
	warned, failed := lists["warnedTests"], lists["failedTests"]
	switch result := textIn(predicate, "result"); {
	case result != testPassed && result != testWarned && result != testFailed:
		return fmt.Sprintf("its result is %q, want %s", printable(result), c.Result)
	case result == testFailed:
		return fmt.Sprintf("its result is FAILED, want %s%s", c.Result, listed(failed))
	case result == testWarned && c.Result == testPassed:
		return fmt.Sprintf("its result is WARNED, want PASSED%s", listed(warned))
	case len(failed) > 0:
		return fmt.Sprintf("its result is %s, but there are failed tests%s", result, listed(failed))
	case len(warned) > 0 && c.Result == testPassed:
		return fmt.Sprintf("its result is PASSED, but there are tests with warnings%s", listed(warned))
	}
	return c.misconfigured(predicate)
}

// misconfigured says which configurations a run lacks.
func (c testCheck) misconfigured(predicate map[string]any) string {
	if len(c.Configurations) == 0 {
		return ""
	}
	names, _ := configurations(predicate)
	missing := slices.DeleteFunc(slices.Clone(c.Configurations), func(name string) bool { return slices.Contains(names, name) })
	if len(missing) == 0 {
		return ""
	}
	if len(names) == 0 {
		return "its configuration names nothing, want " + limited(missing, ", ")
	}
	return fmt.Sprintf("its configuration is %s, and lacks %s", printable(strings.Join(names, ", ")), limited(missing, ", "))
}

// configurations are the names of the resources that a run was configured by, and whether
// all of them have one.
func configurations(predicate map[string]any) (names []string, complete bool) {
	list, complete := listIn(predicate, "configuration")
	for _, item := range list {
		if name := textIn(item, "name"); name != "" {
			names = append(names, name)
		} else {
			complete = false
		}
	}
	return names, complete
}

// textsIn finds a list of strings in an object; none where it is left out.
func textsIn(object map[string]any, field string) ([]string, bool) {
	list, ok := listIn(object, field)
	texts := make([]string, 0, len(list))
	for _, item := range list {
		text, isText := item.(string)
		ok = ok && isText
		texts = append(texts, text)
	}
	return texts, ok
}

// listed names the first tests of a list, after what is said of them.
func listed(tests []string) string {
	if len(tests) == 0 {
		return ""
	}
	var names []string
	for _, name := range tests[:min(len(tests), maxReasons)] {
		names = append(names, printable(name))
	}
	if more := len(tests) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return ": " + strings.Join(names, ", ")
}

package policy

import (
	"strconv"
	"strings"
	"time"
)

// summaryV1 is the predicate type of a SLSA Verification Summary (VSA).
const summaryV1 = "https://slsa.dev/verification_summary/v1"

// Summary is what a SLSA Verification Summary states
// (https://slsa.dev/spec/v1.1/verification_summary). What is not of the type that it has to
// be stays empty, and what is empty satisfies nobody.
type Summary struct {
	Result       string // PASSED or FAILED
	Verifier     string // the id of whoever verified
	ResourceURI  string
	PolicyURI    string
	PolicyDigest string // sha256:…
	TimeVerified string
	Levels       []string
}

// ReadSummary takes the fields out of a predicate's tree.
func ReadSummary(predicate map[string]any) Summary {
	text := func(object map[string]any, name string) string {
		s, _ := object[name].(string)
		return s
	}
	verifier, _ := predicate["verifier"].(map[string]any)
	policy, _ := predicate["policy"].(map[string]any)
	s := Summary{
		Result:       text(predicate, "verificationResult"),
		Verifier:     text(verifier, "id"),
		ResourceURI:  text(predicate, "resourceUri"),
		PolicyURI:    text(policy, "uri"),
		TimeVerified: text(predicate, "timeVerified"),
	}
	digests, _ := policy["digest"].(map[string]any)
	if sum := text(digests, "sha256"); sum != "" {
		s.PolicyDigest = "sha256:" + sum
	}
	levels, _ := predicate["verifiedLevels"].([]any)
	for _, level := range levels {
		if text, ok := level.(string); ok {
			s.Levels = append(s.Levels, text)
		}
	}
	return s
}

// When is the time of the verification, zero where the summary states none that is one.
func (s Summary) When() time.Time {
	t, err := time.Parse(time.RFC3339, s.TimeVerified)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Resource is the resource URI without the tag and digest that it may end in.
func (s Summary) Resource() string {
	scheme, name, ok := strings.Cut(s.ResourceURI, "://")
	if !ok {
		scheme, name = "", s.ResourceURI
	}
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if ok {
		return scheme + "://" + name
	}
	return name
}

// Names says whether the summary is about a repository, named with its tier: one about
// another repository or tier that holds the same bytes proves nothing about this one.
func (s Summary) Names(name string) bool { return strings.HasSuffix(s.Resource(), "/"+name) }

// HasLevel says whether a level was verified. Of SLSA's own, SLSA_<TRACK>_LEVEL_<n>, a
// higher one of the same track is as good.
func (s Summary) HasLevel(wanted string) bool {
	track, n, ok := splitLevel(wanted)
	for _, got := range s.Levels {
		if got == wanted {
			return true
		}
		if other, m, known := splitLevel(got); ok && known && other == track && m >= n {
			return true
		}
	}
	return false
}

func splitLevel(level string) (track string, n int, ok bool) {
	rest, ok := strings.CutPrefix(level, "SLSA_")
	i := strings.LastIndex(rest, "_LEVEL_")
	if !ok || i < 1 {
		return "", 0, false
	}
	n, err := strconv.Atoi(rest[i+len("_LEVEL_"):])
	return rest[:i], n, err == nil
}

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A rule may ask about each of very many platforms: it is decided all the same, and what it
// says stays short enough to be kept.
func TestManyPlatforms(t *testing.T) {
	const many = 20_000
	s := scene{t, newKeyring(t, "a", "b", "c")}
	p := load(t, s.keys, document(strings.Replace(plainRule, "{authorities: [a]}", "{authorities: [a]}, scope: each", 1)))
	var platforms []Platform
	f := s.facts()
	for i := range many {
		platform := Platform{Digest: digest.FromString(fmt.Sprint("platform ", i)), Name: fmt.Sprintf("linux/p%d", i)}
		platforms = append(platforms, platform)
		f.Evidence = append(f.Evidence, on(s.signed(fmt.Sprint("e", i), typeProvenance, nil, "a"), platform.Digest))
	}
	f = s.index(platforms, f.Evidence...)
	v := p.Evaluate(f)
	decided(t, v, true, "linux/p0 ")
	if r := v.Rules[0]; len(r.Message) > 32<<10 || !strings.Contains(r.Message, fmt.Sprintf("and %d more", many-100)) || len(r.Evidence) != many {
		t.Errorf("a message of %d bytes, %d attestations: %.200s", len(r.Message), len(r.Evidence), r.Message)
	}

	f.Evidence = f.Evidence[:1]
	v = p.Evaluate(f)
	decided(t, v, false, "linux/p1 ")
	r := v.Rules[0]
	for text, more := range map[string]string{r.Message: fmt.Sprintf("and %d more", many-101), r.Remedy: fmt.Sprintf("for %d more", many-101)} {
		if len(text) > 64<<10 || !strings.Contains(text, more) || strings.Contains(text, "linux/p0 ") {
			t.Errorf("%d bytes, want %q in them: %.200s", len(text), more, text)
		}
	}
	if !strings.Contains(r.Message, "is about its platform linux/p0") {
		t.Errorf("what is about another platform is not told: %.200s", r.Message)
	}
}

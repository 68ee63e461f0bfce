package policy

import (
	"fmt"
	"regexp"
	"strings"
)

// maxBuilders bounds the builders of one authority.
const maxBuilders = 100

// maxBuildLevel is the highest level of SLSA's build track (v1.0 to v1.2, "Tracks and
// levels").
const maxBuildLevel = 3

// BuilderSpec ties a builder to the authority that may sign for it.
type BuilderSpec struct {
	// ID is the builder's id as provenance states it, letter for letter; IDRegExp an
	// expression over all of it, with ^ and $, in its place.
	ID       string `json:"id,omitempty" yaml:"id"`
	IDRegExp string `json:"idRegExp,omitempty" yaml:"idRegExp"`
	// MaxBuildLevel is the SLSA build level, 1 to 3, that this builder is worth under the
	// authority's signature.
	MaxBuildLevel int `json:"maxBuildLevel" yaml:"maxBuildLevel"`
}

// builder is a BuilderSpec, compiled.
type builder struct {
	id      string         // or the expression, as it is written
	pattern *regexp.Regexp // nil where there is an id
	level   int
}

// builders compiles what ties builders to authorities, by the authority's name.
func (l *loader) builders() map[string][]builder {
	all := map[string][]builder{}
	for i, a := range l.doc.Spec.Authorities {
		path := fmt.Sprintf("spec.authorities[%d].builders", i)
		if l.has(path) && len(a.Builders) == 0 {
			l.add(path, "is empty: leave it out where the authority signs for no builder")
		}
		if len(a.Builders) > maxBuilders {
			l.add(path, "has %d builders, at most %d are allowed", len(a.Builders), maxBuilders)
			continue
		}
		for j, spec := range a.Builders {
			all[a.Name] = append(all[a.Name], l.builder(fmt.Sprintf("%s[%d]", path, j), spec))
		}
	}
	return all
}

func (l *loader) builder(path string, spec BuilderSpec) builder {
	b := builder{id: spec.ID + spec.IDRegExp, level: spec.MaxBuildLevel}
	switch {
	case spec.ID != "" && spec.IDRegExp != "":
		l.add(path, "has an id and an idRegExp: want one of them")
	case spec.ID == "" && spec.IDRegExp == "":
		l.add(path, "has no id: give the builder's id, or an idRegExp over all of it")
	case spec.IDRegExp != "":
		pattern, err := compileBuilder(spec.IDRegExp)
		if err != nil {
			l.add(path+".idRegExp", "%q %v", spec.IDRegExp, err)
		}
		b.pattern = pattern
	}
	switch {
	case !l.has(path + ".maxBuildLevel"):
		l.add(path+".maxBuildLevel", "is missing: say which SLSA build level the builder is worth, 1 to %d", maxBuildLevel)
	case b.level < 1 || b.level > maxBuildLevel:
		l.add(path+".maxBuildLevel", "is %d, want a SLSA build level of 1 to %d", b.level, maxBuildLevel)
	}
	return b
}

// compileBuilder compiles an expression that has to match a whole id. What stands between
// the anchors is compiled by itself first, so that neither ^a|b$ nor ^a)|(b$ gets out of
// them.
func compileBuilder(text string) (*regexp.Regexp, error) {
	if !strings.HasPrefix(text, "^") || !strings.HasSuffix(text, "$") || len(text) < 2 {
		return nil, fmt.Errorf("is not anchored: it has to begin with ^ and end with $")
	}
	inner := text[1 : len(text)-1]
	if _, err := regexp.Compile(inner); err != nil {
		return nil, fmt.Errorf("is no regular expression: %w", err)
	}
	return regexp.Compile(`\A(?:` + inner + `)\z`)
}

// level is what a builder is worth among an authority's: an exact id is meant more than an
// expression, and of several expressions the lowest counts. 0: not one of them.
func level(builders []builder, id string) int {
	lowest := 0
	for _, b := range builders {
		switch {
		case b.pattern == nil && b.id == id:
			return b.level
		case b.pattern != nil && b.pattern.MatchString(id) && (lowest == 0 || b.level < lowest):
			lowest = b.level
		}
	}
	return lowest
}

// vouched says which level a builder has under the claim's signer, or why the signer may
// not vouch for it. An authority that is tied to no builder may sign for any where the rule
// does not ask which it was; asked says whether it does.
func (t *trial) vouched(c claim, id string, asked bool) (int, string) {
	builders := t.policy.builders[c.signer.Authority]
	if len(builders) == 0 {
		if asked {
			return 0, fmt.Sprintf("authority %s is tied to no builder, so its word for %q does not count: list the builder under its builders", c.signer.Authority, id)
		}
		return 0, ""
	}
	if n := level(builders, id); n > 0 {
		return n, ""
	}
	var own []string
	for _, b := range builders {
		own = append(own, b.id)
	}
	return 0, fmt.Sprintf("authority %s may not sign for builder %q: its own are %s", c.signer.Authority, id, limited(own, ", "))
}

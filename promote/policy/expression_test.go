package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseExpression(t *testing.T) {
	deep := strings.Repeat("(", 51) + "MIT" + strings.Repeat(")", 51)
	tests := []struct{ text, want, problem string }{
		{"MIT", "MIT", ""},
		{"mit", "MIT", ""},
		{" MIT\n", "MIT", ""},
		{"MIT OR Apache-2.0", "(MIT or Apache-2.0)", ""},
		{"MIT or Apache-2.0", "(MIT or Apache-2.0)", ""},
		{"MIT OR ISC AND GPL-2.0", "(MIT or (ISC and GPL-2.0-only))", ""},
		{"MIT AND ISC OR GPL-2.0+", "((MIT and ISC) or GPL-2.0-or-later)", ""},
		{"(MIT OR ISC) AND (GPL-3.0-or-later)", "((MIT or ISC) and GPL-3.0-or-later)", ""},
		{"GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", ""},
		{"GPL-2.0-only WITH classpath-exception-2.0 OR MIT", "(GPL-2.0-only WITH Classpath-exception-2.0 or MIT)", ""},
		{"GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0", ""},
		{"eCos-2.0", "GPL-2.0-or-later WITH eCos-exception-2.0", ""},
		{"Apache-2.0+", "Apache-2.0+", ""},
		{"GPL-2.0-or-later+", "GPL-2.0-or-later", ""},
		{"LicenseRef-x OR DocumentRef-y:LicenseRef-x", "(LicenseRef-x? or DocumentRef-y:LicenseRef-x?)", ""},
		{"MIT-only", "MIT-only?", ""}, // no licence has this name
		{"MITANDISC", "MITANDISC?", ""},
		{"MIT WITH Nothing-exception", "MIT WITH Nothing-exception?", ""},
		{"NOASSERTION AND MIT", "(NOASSERTION? and MIT)", ""},

		{"", "", "a licence is missing at its end"},
		{"(", "", "a licence is missing at its end"},
		{"MIT AND (", "", "a licence is missing at its end"},
		{"MIT AND", "", "a licence is missing at its end"},
		{"AND MIT", "", `a licence is missing before "AND"`},
		{"MIT OR OR ISC", "", `a licence is missing before "OR"`},
		{"MIT ORGPL-3.0-only", "", `an operator is missing before "ORGPL-3.0-only"`},
		{"MIT ISC", "", `an operator is missing before "ISC"`},
		{"MIT And ISC", "", `an operator is missing before "And"`},
		{"(MIT", "", "a parenthesis is not closed"},
		{"MIT)", "", `an operator is missing before ")"`},
		{"()", "", `a licence is missing before ")"`},
		{"MIT WITH", "", "an exception is missing at its end"},
		{"MIT WITH (ISC)", "", `an exception is missing before "("`},
		{"(MIT) WITH Classpath-exception-2.0", "", "an operator is missing"},
		{"GPL-2.0 + OR MIT", "", `an operator is missing before "+"`},
		{"+", "", `"+" is no licence`},
		{"MIT++", "", `"MIT++" is no licence`},
		{"GPL-2.0-only+", "", "is one version and any later one"},
		{"GPL-2.0-with-classpath-exception+", "", "has an exception already"},
		{"GPL-2.0-with-classpath-exception WITH Bison-exception-2.2", "", "has an exception already"},
		{"DocumentRef-x", "", "is no reference"},
		{"DocumentRef-:LicenseRef-x", "", "is no reference"},
		{"DocumentRef-x:MIT", "", "is no reference"},
		{"LicenseRef-", "", "is no reference"},
		{"MIT:ISC", "", "is no reference"},
		{"MIT, ISC", "", "',' cannot stand in it"},
		{"MIT/ISC", "", "'/' cannot stand in it"},
		{"МIT", "", "cannot stand in it"}, // a Cyrillic letter
		{"MIT\u00a0OR ISC", "", "cannot stand in it"},
		{deep, "", "nest deeper than 50"},
		{strings.Repeat("MIT OR ", 3000) + "MIT", "", "at most 16384 are read"},
	}
	for _, tt := range tests {
		e, err := parseExpression(tt.text)
		switch {
		case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
			t.Errorf("%.80q: %v, want %q", tt.text, err, tt.problem)
		case tt.problem == "" && err != nil:
			t.Errorf("%q: %v", tt.text, err)
		case tt.problem == "" && e.render() != tt.want:
			t.Errorf("%q is %s, want %s", tt.text, e.render(), tt.want)
		}
	}
}

func (e *expression) render() string {
	if e.terms == nil {
		mark := "?"
		if e.licence.known {
			mark = ""
		}
		return e.licence.String() + mark
	}
	var terms []string
	for _, term := range e.terms {
		terms = append(terms, term.render())
	}
	operator := " and "
	if e.or {
		operator = " or "
	}
	return "(" + strings.Join(terms, operator) + ")"
}

// An expression whose alternatives multiply out to 2^500 is decided at once.
func TestExpressionsDoNotExplode(t *testing.T) {
	terms := make([]string, 500)
	for i := range terms {
		terms[i] = "(MIT OR ISC)"
	}
	c := &licencesCheck{allow: licenceSet(t, "MIT")}
	start := time.Now()
	if reason := c.judge(statedLicence{text: strings.Join(terms, " AND ")}, UnknownRefuse); reason != "" {
		t.Error(reason)
	}
	if reason := c.judge(statedLicence{text: strings.Join(terms, " AND ") + " AND 0BSD"}, UnknownRefuse); !strings.HasPrefix(reason, "0BSD is not allowed") {
		t.Error(reason)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s", took)
	}
}

func licenceSet(t testing.TB, texts ...string) map[licence]bool {
	t.Helper()
	set := map[licence]bool{}
	for _, text := range texts {
		e, err := parseExpression(text)
		if err != nil {
			t.Fatal(err)
		}
		set[e.licence] = true
	}
	return set
}

// Random expressions under random lists, against what they were made to mean. (go-spdx's
// Satisfies says of some of them that they are refused where one alternative is allowed.)
func TestExpressionsMean(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ids := []string{"MIT", "ISC", "0BSD", "Zlib", "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only", "LicenseRef-x"}
	type meaning func(allowed map[string]bool) bool
	var alternatives func(depth int) (string, meaning)
	joined := func(operator string, read func() (string, meaning)) (string, meaning) {
		var texts []string
		var parts []meaning
		for range 1 + random.IntN(3) {
			text, part := read()
			texts, parts = append(texts, text), append(parts, part)
		}
		return strings.Join(texts, operator), func(allowed map[string]bool) bool {
			yes := 0
			for _, part := range parts {
				if part(allowed) {
					yes++
				}
			}
			return yes == len(parts) || operator == " OR " && yes > 0
		}
	}
	alternatives = func(depth int) (string, meaning) {
		return joined(" OR ", func() (string, meaning) {
			return joined(" AND ", func() (string, meaning) {
				if depth > 0 && random.IntN(2) == 0 {
					text, part := alternatives(depth - 1)
					return "(" + text + ")", part
				}
				id := ids[random.IntN(len(ids))]
				return id, func(allowed map[string]bool) bool { return allowed[id] }
			})
		})
	}
	outcomes := map[bool]int{}
	for range 2000 {
		text, meaning := alternatives(3)
		allowed := map[string]bool{}
		var list []string
		for _, id := range ids {
			if random.IntN(2) == 0 {
				allowed[id], list = true, append(list, id)
			}
		}
		want := meaning(allowed)
		c := &licencesCheck{allow: licenceSet(t, list...)}
		if got := c.judge(statedLicence{text: text}, UnknownRefuse); (got == "") != want {
			t.Fatalf("%s under %v: %q, want %v", text, list, got, want)
		}
		outcomes[want]++
	}
	if outcomes[true] < 200 || outcomes[false] < 200 {
		t.Errorf("outcomes %v", outcomes)
	}
}

// FuzzExpression: nothing breaks the parser, and what it reads is the same when it is
// written down and read again.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{"MIT", "(MIT OR ISC) AND GPL-2.0+", "GPL-2.0-only WITH Classpath-exception-2.0", "(", "DocumentRef-x:LicenseRef-y", "MIT ORGPL", "((MIT))", "a+", "NONE or noassertion"} {
		f.Add(text)
	}
	allow, versions := licenceSet(f, "MIT", "GPL-2.0-or-later"), versions()
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseExpression(text)
		if err != nil {
			return
		}
		again, err := parseExpression(strings.NewReplacer("?", "", " and ", " AND ", " or ", " OR ").Replace(e.render()))
		if err != nil || again.render() != e.render() {
			if len(text) < maxExpression/8 { // what is written down has more parentheses
				t.Fatalf("%q is %s, then %v, %v", text, e.render(), again, err)
			}
		}
		c := &licencesCheck{allow: allow, versions: versions}
		refused := fmt.Sprint(c.judge(statedLicence{text: text}, UnknownRefuse))
		if lenient := c.judge(statedLicence{text: text}, UnknownAllow); refused == "" && lenient != "" {
			t.Fatalf("%q: strict allows what lenient refuses: %s", text, lenient)
		}
		everything := &licencesCheck{deny: map[string][]string{}, versions: versions}
		for _, l := range e.licences() {
			for _, one := range l.choices(everything.versions) {
				everything.deny[foldLicence(one.id)] = []string{""}
			}
		}
		if everything.judge(statedLicence{text: text}, UnknownAllow) == "" {
			t.Fatalf("%q passes where each of its licences is denied", text)
		}
	})
}

func (e *expression) licences() []licence {
	if e.terms == nil {
		return []licence{e.licence}
	}
	var all []licence
	for _, term := range e.terms {
		all = append(all, term.licences()...)
	}
	return all
}

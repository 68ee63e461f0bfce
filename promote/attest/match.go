package attest

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// Match says which texts are meant: one exactly, or those of an expression. The zero value
// matches nothing.
type Match struct {
	exact string
	whole *regexp.Regexp
}

// Exactly matches one text.
func Exactly(text string) Match { return Match{exact: text} }

// Anchored matches the texts that an expression (RE2) describes from their beginning to
// their end. It has to begin with ^ and to end with $, and both have to hold for all of
// it: "^a|b$" matches whatever begins with a, and is refused.
func Anchored(expression string) (Match, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return Match{}, fmt.Errorf("is no regular expression: %w", err)
	}
	if n := len(parsed.Sub); parsed.Op != syntax.OpConcat || parsed.Sub[0].Op != syntax.OpBeginText || parsed.Sub[n-1].Op != syntax.OpEndText {
		return Match{}, errors.New("is not anchored: it has to begin with ^ and to end with $, alternatives in parentheses between them")
	}
	whole, err := regexp.Compile(expression)
	if err != nil {
		return Match{}, fmt.Errorf("is no regular expression: %w", err)
	}
	return Match{whole: whole}, nil
}

func (m Match) holds(text string) bool {
	if m.whole != nil {
		return m.whole.MatchString(text)
	}
	return m.exact != "" && text == m.exact
}

func (m Match) isZero() bool { return m.whole == nil && m.exact == "" }

// String is how the text, or the expression, is written.
func (m Match) String() string {
	if m.whole != nil {
		return m.whole.String()
	}
	return m.exact
}

// id tells a text from an expression that is written alike.
func (m Match) id() string {
	if m.whole != nil {
		return "~" + m.whole.String()
	}
	return "=" + m.exact
}

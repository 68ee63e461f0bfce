package policy

import (
	"fmt"
	"slices"
	"strings"
)

// maxExpression bounds a licence expression, in bytes. Those of whole distributions'
// packages, which join what all their files say, have some thousands.
const maxExpression = 16 << 10

// expression is a parsed SPDX licence expression (SPDX 2.3, annex D): a licence, or a
// list of which one (or) or every one applies.
type expression struct {
	licence licence
	or      bool
	terms   []*expression
}

// parseExpression reads an expression. Operators are written all in upper case or all in
// lower case (SPDX 3.0.1, annex B; SPDX 2.3 has upper case alone). Identifiers that SPDX does not
// list are read as licences that are not known: only the grammar can be wrong here.
//
// go-spdx's own parser and evaluator are not used, only what it knows of SPDX's lists: they
// panic on "(" and "DocumentRef-x", read "MIT ORGPL-3.0-only" as two licences and
// "MIT-only" as MIT, multiply every AND of ORs out, and v2.7.0 refuses "Zlib OR (MIT AND
// (0BSD OR ISC))" where MIT and ISC are allowed.
func parseExpression(text string) (*expression, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(text), maxExpression)
	}
	p := &expressionParser{}
	if err := p.scan(text); err != nil {
		return nil, err
	}
	e, err := p.alternatives(0)
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("an operator is missing before %q", plain(p.peek()))
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

type expressionParser struct {
	tokens []string
	next   int
}

// The tokens that are no identifiers.
const (
	tokenAnd   = "AND"
	tokenOr    = "OR"
	tokenWith  = "WITH"
	tokenOpen  = "("
	tokenClose = ")"
)

func (p *expressionParser) scan(text string) error {
	start := -1 // of the word being read
	word := func(end int) {
		if start < 0 {
			return
		}
		token := text[start:end]
		if upper := strings.ToUpper(token); slices.Contains([]string{tokenAnd, tokenOr, tokenWith}, upper) && token == strings.ToLower(token) {
			token = upper
		}
		p.tokens, start = append(p.tokens, token), -1
	}
	for i, r := range text {
		switch {
		case r == '(' || r == ')':
			word(i)
			p.tokens = append(p.tokens, string(r))
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			word(i)
		case isIdentifier(r) || r == '+' || r == ':':
			if start < 0 {
				start = i
			}
		default:
			return fmt.Errorf("%q cannot stand in it", r)
		}
	}
	word(len(text))
	return nil
}

func isIdentifier(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.'
}

// peek is the next token; empty at the end.
func (p *expressionParser) peek() string {
	if p.next < len(p.tokens) {
		return p.tokens[p.next]
	}
	return ""
}

func (p *expressionParser) take(token string) bool {
	if p.peek() != token {
		return false
	}
	p.next++
	return true
}

// alternatives reads terms joined by OR, which binds least.
func (p *expressionParser) alternatives(depth int) (*expression, error) {
	return p.joined(tokenOr, func() (*expression, error) {
		return p.joined(tokenAnd, func() (*expression, error) { return p.term(depth) })
	})
}

func (p *expressionParser) joined(operator string, read func() (*expression, error)) (*expression, error) {
	list := &expression{or: operator == tokenOr}
	for {
		e, err := read()
		if err != nil {
			return nil, err
		}
		list.terms = append(list.terms, e)
		if !p.take(operator) {
			break
		}
	}
	if len(list.terms) == 1 {
		return list.terms[0], nil
	}
	return list, nil
}

// term reads a licence, with its exception, or an expression in parentheses.
func (p *expressionParser) term(depth int) (*expression, error) {
	if p.take(tokenOpen) {
		if depth++; depth > maxNesting {
			return nil, fmt.Errorf("its parentheses nest deeper than %d", maxNesting)
		}
		e, err := p.alternatives(depth)
		if err == nil && !p.take(tokenClose) {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return e, err
	}
	id, err := p.word("a licence")
	if err != nil {
		return nil, err
	}
	exception := ""
	if p.take(tokenWith) {
		if exception, err = p.word("an exception"); err != nil {
			return nil, err
		}
	}
	l, err := newLicence(id, exception)
	return &expression{licence: l}, err
}

func (p *expressionParser) word(what string) (string, error) {
	switch token := p.peek(); token {
	case "":
		return "", fmt.Errorf("%s is missing at its end", what)
	case tokenAnd, tokenOr, tokenWith, tokenOpen, tokenClose:
		return "", fmt.Errorf("%s is missing before %q", what, token)
	default:
		p.next++
		return token, nil
	}
}

// refusal says why an expression cannot be satisfied, of each licence that stands in the
// way; nil where it can. judge says why a licence may not be chosen.
func (e *expression) refusal(judge func(licence) string) []string {
	if e.terms == nil {
		if reason := judge(e.licence); reason != "" {
			return []string{reason}
		}
		return nil
	}
	var reasons []string
	for _, term := range e.terms {
		refused := term.refusal(judge)
		if e.or && refused == nil {
			return nil
		}
		reasons = append(reasons, refused...)
	}
	return reasons
}

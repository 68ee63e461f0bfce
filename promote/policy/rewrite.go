package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// makeStrict replaces the logical operators of a parsed expression; see strictLibrary.
func makeStrict(tree *ast.AST) {
	r := rewriter{make: ast.NewExprFactory(), next: ast.MaxID(tree), info: tree.SourceInfo()}
	r.rewrite(tree.Expr())
}

type rewriter struct {
	make ast.ExprFactory
	next int64
	info *ast.SourceInfo
}

// id makes a node id that errors report at the place of an existing node.
func (r *rewriter) id(at int64) int64 {
	r.next++
	if place, ok := r.info.GetOffsetRange(at); ok {
		r.info.SetOffsetRange(r.next, place)
	}
	return r.next
}

func (r *rewriter) rewrite(e ast.Expr) {
	for _, operator := range []string{operators.LogicalOr, operators.LogicalAnd} {
		if !isCall(e, operator) {
			continue
		}
		terms := flatten(e, operator)
		for _, t := range terms {
			r.rewrite(t)
		}
		e.SetKindCase(r.chain(e.ID(), operator, terms))
		return
	}
	for _, child := range children(e) {
		r.rewrite(child)
	}
}

// chain folds the terms of one operator from the right, so that they are looked at in the
// order in which they are written. (The parser balances them into a tree.)
func (r *rewriter) chain(at int64, operator string, terms []ast.Expr) ast.Expr {
	first := terms[0]
	if len(terms) == 1 {
		return first
	}
	guarded := operator == operators.LogicalOr && isGuard(first, terms[1:])
	rest := r.chain(at, operator, terms[1:])
	switch {
	case operator == operators.LogicalAnd:
		return r.make.NewCall(r.id(at), operators.Conditional, first, r.bool(at, rest), r.make.NewLiteral(r.id(at), types.False))
	case guarded:
		return r.make.NewCall(r.id(at), operators.Conditional, first, r.make.NewLiteral(r.id(at), types.True), r.bool(at, rest))
	}
	return r.make.NewCall(r.id(at), fnOr, first, rest)
}

func (r *rewriter) bool(at int64, e ast.Expr) ast.Expr { return r.make.NewCall(r.id(at), fnBool, e) }

func isCall(e ast.Expr, function string) bool {
	return e.Kind() == ast.CallKind && e.AsCall().FunctionName() == function
}

// flatten lists the terms of a tree of one operator from left to right.
func flatten(e ast.Expr, operator string) []ast.Expr {
	if !isCall(e, operator) {
		return []ast.Expr{e}
	}
	var terms []ast.Expr
	for _, arg := range e.AsCall().Args() {
		terms = append(terms, flatten(arg, operator)...)
	}
	return terms
}

// isGuard says whether a term of a disjunction tests for the absence of something that a
// later term looks at: `!has(x.y)` and `size(x) == 0`. Those are how conditions about what
// is optional are written; when one is true, what follows would err and is not looked at.
func isGuard(term ast.Expr, later []ast.Expr) bool {
	tested := ""
	switch {
	case isCall(term, operators.LogicalNot):
		if arg := term.AsCall().Args()[0]; arg.Kind() == ast.SelectKind && arg.AsSelect().IsTestOnly() {
			tested = join(path(arg.AsSelect().Operand()), arg.AsSelect().FieldName())
		}
	case isCall(term, operators.Equals):
		args := term.AsCall().Args()
		if isCall(args[0], overloads.Size) && args[1].Kind() == ast.LiteralKind && args[1].AsLiteral() == types.IntZero {
			size := args[0].AsCall()
			switch {
			case size.IsMemberFunction() && len(size.Args()) == 0:
				tested = path(size.Target())
			case !size.IsMemberFunction() && len(size.Args()) == 1:
				tested = path(size.Args()[0])
			}
		}
	}
	return tested != "" && slices.ContainsFunc(later, func(e ast.Expr) bool { return mentions(e, tested) })
}

func mentions(e ast.Expr, tested string) bool {
	return path(e) == tested || slices.ContainsFunc(children(e), func(c ast.Expr) bool { return mentions(c, tested) })
}

// path renders a chain of fields from a variable, and is empty for anything else. The
// separator cannot stand in a name.
func path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if !e.AsSelect().IsTestOnly() {
			return join(path(e.AsSelect().Operand()), e.AsSelect().FieldName())
		}
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() == operators.Index && call.Args()[1].Kind() == ast.LiteralKind {
			if key, ok := call.Args()[1].AsLiteral().(types.String); ok {
				return join(path(call.Args()[0]), string(key))
			}
		}
	}
	return ""
}

func join(operand, field string) string {
	if operand == "" {
		return ""
	}
	return operand + "\x00" + field
}

// children lists the expressions directly inside another.
func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return append([]ast.Expr{call.Target()}, call.Args()...)
		}
		return call.Args()
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var all []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			all = append(all, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return all
	case ast.StructKind:
		var all []ast.Expr
		for _, field := range e.AsStruct().Fields() {
			all = append(all, field.AsStructField().Value())
		}
		return all
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		return []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}
	}
	return nil
}

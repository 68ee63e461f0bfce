package policy

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"
)

// CEL's logical operators absorb errors: `predicate.typo == 1 || true` is true. For a gate
// that is wrong, so expressions are rewritten between parsing and checking:
//
//	a || b         @or(a, b), a common function: an error on either side is the result
//	a && b         a ? @bool(b) : false, which stops at the first no from the left
//	!has(x) || b   has(x) ? @bool(b) : true, where b looks at x; size(x) == 0 likewise
//	x.all(e, p)    over @nonempty(x), stopping at the first no
//	x.exists(e, p) over all of x, so that an error in any element is seen
//
// Functions that begin with @ cannot be written in an expression.
const (
	fnOr       = "@or"
	fnBool     = "@bool"
	fnNonEmpty = "@nonempty"
)

// strictLibrary declares the functions of the rewriting, and the macros that use them in
// place of CEL's own.
func strictLibrary() cel.EnvOption {
	a, k, v := cel.TypeParamType("A"), cel.TypeParamType("K"), cel.TypeParamType("V")
	list, object := cel.ListType(a), cel.MapType(k, v)
	options := []cel.EnvOption{
		cel.Function(fnOr, cel.Overload("strict_or", []*cel.Type{cel.BoolType, cel.BoolType}, cel.BoolType,
			cel.BinaryBinding(func(x, y ref.Val) ref.Val { return types.Bool(x == types.True || y == types.True) }))),
		cel.Function(fnBool, cel.Overload("strict_bool", []*cel.Type{cel.BoolType}, cel.BoolType,
			cel.UnaryBinding(func(x ref.Val) ref.Val { return x }))),
		cel.Function(fnNonEmpty,
			cel.Overload("nonempty_list", []*cel.Type{list}, list, cel.UnaryBinding(nonEmpty)),
			cel.Overload("nonempty_map", []*cel.Type{object}, object, cel.UnaryBinding(nonEmpty))),
		cel.ClearMacros(),
		cel.Macros(parser.HasMacro, parser.ExistsOneMacro, parser.ExistsOneMacroNew, parser.MapMacro, parser.MapFilterMacro, parser.FilterMacro,
			parser.NewReceiverMacro(operators.All, 2, quantifier(expandAll)),
			parser.NewReceiverMacro(operators.Exists, 2, quantifier(expandExists))),
	}
	return func(env *cel.Env) (*cel.Env, error) {
		for _, option := range options {
			var err error
			if env, err = option(env); err != nil {
				return nil, err
			}
		}
		return env, nil
	}
}

// nonEmpty refuses what all() would be vacuously true of.
func nonEmpty(x ref.Val) ref.Val {
	sized, ok := x.(traits.Sizer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(x)
	}
	if sized.Size() == types.IntZero {
		return types.NewErr("all() over an empty list or map proves nothing; where empty is fine write size(x) == 0 || x.all(…)")
	}
	return x
}

type expansion func(eh parser.ExprHelper, over ast.Expr, name string, body ast.Expr) ast.Expr

// quantifier checks the arguments of all and exists as CEL's own macros do.
func quantifier(expand expansion) parser.MacroExpander {
	return func(eh parser.ExprHelper, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		if args[0].Kind() != ast.IdentKind || args[0].AsIdent() == eh.AccuIdentName() {
			return nil, eh.NewError(args[0].ID(), "argument must be a simple name")
		}
		return expand(eh, target, args[0].AsIdent(), args[1]), nil
	}
}

func expandAll(eh parser.ExprHelper, over ast.Expr, name string, body ast.Expr) ast.Expr {
	step := eh.NewCall(operators.Conditional, eh.NewAccuIdent(), eh.NewCall(fnBool, body), eh.NewLiteral(types.False))
	return eh.NewComprehension(eh.NewCall(fnNonEmpty, over), name, eh.AccuIdentName(), eh.NewLiteral(types.True),
		eh.NewCall(operators.NotStrictlyFalse, eh.NewAccuIdent()), step, eh.NewAccuIdent())
}

func expandExists(eh parser.ExprHelper, over ast.Expr, name string, body ast.Expr) ast.Expr {
	return eh.NewComprehension(over, name, eh.AccuIdentName(), eh.NewLiteral(types.False),
		eh.NewLiteral(types.True), eh.NewCall(fnOr, eh.NewAccuIdent(), body), eh.NewAccuIdent())
}

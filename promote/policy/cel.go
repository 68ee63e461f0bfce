package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"sluice.dev/sluice/promote/attest"
)

// Limits of a condition. Costs are CEL's units, about one for a step or ten bytes looked
// at; what attestations hold is not known when a condition is compiled, so every list and
// string of them is assumed to be of assumedSize.
const (
	maxConditionSize = 4 << 10 // characters
	maxNesting       = 50      // parentheses in parentheses
	assumedSize      = 1_000   // elements or bytes
	maxStaticCost    = 1_000_000_000
	maxCost          = 2_000_000 // of one evaluation, some tenths of a second
	maxRegexProgram  = 2_000     // instructions
	// evalTimeout is far beyond what maxCost allows: it catches what the cost model
	// does not see, at the price of a no that a repetition might not give.
	evalTimeout = 10 * time.Second
)

// compiler compiles the conditions of one policy.
type compiler struct {
	env *cel.Env // of conditions over one attestation
	all *cel.Env // of conditions over a list of them
}

// condition is one compiled expression of a where list.
type condition struct {
	text    string
	program cel.Program
}

// newCompiler declares what conditions can look at. signer and image are declared field by
// field, so that a misspelt one is found when the policy loads; the predicate and the
// statement are the attestation's own, and a field that they lack is an error in evaluation.
// No extension library is loaded: their functions can make much out of little.
func newCompiler() (*compiler, error) {
	object := cel.MapType(cel.StringType, cel.DynType)
	base, err := cel.NewEnv(
		cel.Variable("image.repository", cel.StringType),
		cel.Variable("image.digest", cel.StringType),
		cel.Variable("image.mediaType", cel.StringType),
		cel.Variable("image.platforms", cel.ListType(cel.MapType(cel.StringType, cel.StringType))),
		cel.Variable("now", cel.TimestampType),
		strictLibrary(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableHiddenAccumulatorName(true),
		cel.ParserExpressionSizeLimit(maxConditionSize),
		cel.ParserRecursionLimit(maxNesting),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
	if err != nil {
		return nil, err
	}
	env, err := base.Extend(
		cel.Variable("predicate", object),
		cel.Variable("statement", object),
		cel.Variable("signer.authority", cel.StringType),
		cel.Variable("signer.principal", cel.StringType),
		cel.Variable("signer.keyId", cel.StringType),
		cel.Variable("signer.issuer", cel.StringType),
		cel.Variable("signer.subject", cel.StringType),
		cel.Variable("signedAt", cel.TimestampType),
	)
	if err != nil {
		return nil, err
	}
	all, err := base.Extend(cel.Variable("attestations", cel.ListType(object)))
	if err != nil {
		return nil, err
	}
	return &compiler{env: env, all: all}, nil
}

// compile compiles a condition over one attestation, and compileAll one over a list.
func (c *compiler) compile(text string) (*condition, error)    { return compileIn(c.env, text) }
func (c *compiler) compileAll(text string) (*condition, error) { return compileIn(c.all, text) }

// compileIn parses, makes strict, type-checks and prices a condition.
func compileIn(env *cel.Env, text string) (*condition, error) {
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("does not parse: %s", oneLine(err))
	}
	makeStrict(parsed.NativeRep())
	checked, issues := env.Check(parsed)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("does not compile: %s", oneLine(err))
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		hint := ""
		if out.IsExactType(cel.DynType) {
			hint = fmt.Sprintf(": compare it, as in %s == true", text)
		}
		return nil, fmt.Errorf("`%s` gives %s, a condition has to give bool%s", text, out, hint)
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, fmt.Errorf("cannot be priced: %s", oneLine(err))
	}
	if estimate.Max > maxStaticCost {
		return nil, fmt.Errorf("`%s` may cost %d, the limit is %d: nest fewer loops", text, estimate.Max, maxStaticCost)
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(100),
		cel.OptimizeRegex(interpreter.MatchesRegexOptimization))
	if err != nil {
		return nil, fmt.Errorf("does not compile: %s", oneLine(err))
	}
	return &condition{text: text, program: program}, nil
}

// holds evaluates the condition, until ctx ends. The text says why not, and is empty where
// it holds.
func (c *condition) holds(ctx context.Context, vars map[string]any) string {
	ctx, cancel := context.WithTimeout(ctx, evalTimeout)
	defer cancel()
	out, _, err := c.program.ContextEval(ctx, vars)
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return fmt.Sprintf("condition `%s` costs more than the limit of %d", c.text, maxCost)
	case err != nil && strings.Contains(err.Error(), "no such attribute") && strings.Contains(err.Error(), "signedAt"):
		return fmt.Sprintf("condition `%s` needs signedAt, but no time of signing was proven", c.text)
	case err != nil:
		return fmt.Sprintf("condition `%s` failed: %s", c.text, oneLine(err))
	case out != types.True:
		return fmt.Sprintf("condition `%s` is false", c.text)
	}
	return ""
}

// variables are what conditions see of one attestation and one of its signers. What is not
// known is left out: looking at it is an error, and an error is a no.
func (e *evaluation) variables(ev attest.Evidence, s attest.Signer) map[string]any {
	vars := e.imageVariables()
	vars["signer.authority"], vars["signer.principal"], vars["signer.keyId"] = s.Authority, s.Principal, s.KeyID
	if s.Subject != "" { // a certificate signed
		vars["signer.issuer"], vars["signer.subject"] = s.Issuer, s.Subject
	}
	if ev.Statement != nil {
		vars["statement"] = ev.Statement
	}
	if predicate, ok := ev.Statement["predicate"].(map[string]any); ok {
		vars["predicate"] = predicate
	}
	if !ev.SignedAt.IsZero() {
		vars["signedAt"] = ev.SignedAt
	}
	return vars
}

// imageVariables are what all conditions see. They are made once: an index may have ten
// thousand platforms, each with claims of its own.
func (e *evaluation) imageVariables() map[string]any {
	if e.image == nil {
		platforms := make([]map[string]string, 0, len(e.Platforms))
		for _, p := range e.Platforms {
			platforms = append(platforms, map[string]string{"digest": p.Digest.String(), "platform": p.Name})
		}
		e.image = map[string]any{
			"image.repository": e.Repository,
			"image.digest":     e.Digest.String(),
			"image.mediaType":  e.MediaType,
			"image.platforms":  platforms,
			"now":              e.Now,
		}
	}
	return maps.Clone(e.image)
}

// sizes tells the cost estimate how large things are assumed to be.
type sizes struct{}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if node.ComputedSize() != nil { // a literal, say
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: assumedSize}
}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if function != fnNonEmpty || len(args) != 1 {
		return nil
	}
	size := cost.EstimateSize(sizes{}, args[0])
	return &cost.CallEstimate{CostEstimate: cost.FixedCostEstimate(1), ResultSize: &size}
}

// oneLine makes CEL's multi-line errors fit a message.
func oneLine(err error) string {
	text := strings.TrimPrefix(err.Error(), "ERROR: <input>:")
	first, _, _ := strings.Cut(text, "\n")
	return first
}

package policy

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"sluice.dev/sluice/promote/attest"
)

func newTestCompiler(t testing.TB) *compiler {
	t.Helper()
	c, err := newCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testVariables(predicate map[string]any) map[string]any {
	e := evaluation{Facts: Facts{Repository: "acme/app", Digest: root, MediaType: "application/x", Now: noon, Platforms: []Platform{amd64, arm64}}}
	return e.variables(
		attest.Evidence{Statement: map[string]any{"predicate": predicate, "_type": "https://in-toto.io/Statement/v1"}},
		attest.Signer{Authority: "ci", Principal: "builders", KeyID: "abc"})
}

func testPredicate() map[string]any {
	return map[string]any{
		"name": "x", "flag": true, "off": false, "text": "true", "ratio": 0.5, "nothing": nil,
		"big": int64(math.MaxInt64), "huge": uint64(math.MaxUint64), "count": int64(3),
		"list": []any{int64(1), int64(2), int64(3)}, "empty": []any{}, "object": map[string]any{"a": "b"}, "void": map[string]any{},
		"items": []any{map[string]any{"id": "a", "ok": true}, map[string]any{"id": "b"}},
	}
}

// Evidence 21: an empty text is a condition that holds, any other one that does not.
func TestConditions(t *testing.T) {
	tests := []struct{ expression, want string }{
		{`predicate.name == 'x'`, ""},
		{`predicate.name == 'y'`, "is false"},
		{`statement._type == 'https://in-toto.io/Statement/v1'`, ""},
		{`signer.authority == 'ci' && signer.principal == 'builders' && signer.keyId == 'abc'`, ""},
		{`image.repository.startsWith('acme/') && image.digest.startsWith('sha256:') && image.mediaType != ''`, ""},
		{`image.platforms.exists(p, p.platform == 'linux/arm64')`, ""},
		{`now == timestamp('2026-11-22T12:00:00Z')`, ""},
		{`now - duration('1h') < now`, ""},
		{`signedAt < now`, "no time of signing was proven"},

		// a missing field
		{`predicate.missing == 1`, "no such key: missing"},
		{`predicate.missing != 1`, "no such key: missing"},
		{`!(predicate.missing == 1)`, "no such key: missing"},
		{`predicate.object.missing.deeper == 1`, "no such key: missing"},
		{`has(predicate.missing)`, "is false"},
		{`has(predicate.missing.deeper)`, "no such key: missing"},
		{`has(predicate.missing) ? predicate.missing == 1 : true`, ""},
		{`predicate.nothing == 1`, "is false"},
		{`predicate.name.deeper == 1`, "failed"},

		// an error on one side of ||
		{`predicate.missing == 1 || true`, "no such key"},
		{`true || predicate.missing == 1`, "no such key"},
		{`predicate.name == 'x' || predicate.missing == 1`, "no such key"},
		{`predicate.missing == 1 || predicate.name == 'x' || predicate.name == 'y'`, "no such key"},
		{`predicate.name == 'y' || predicate.name == 'x' || predicate.missing == 1`, "no such key"},
		{`(predicate.missing == 1 || true) && true`, "no such key"},
		{`!(predicate.missing == 1 && false)`, "no such key"},
		{`predicate.missing == 1 && false`, "no such key"},
		{`false && predicate.missing == 1`, "is false"},
		{`!(false && predicate.missing == 1)`, ""},
		{`[predicate.missing == 1 || true][0]`, "no such key"},
		{`{'k': predicate.missing == 1 || true}.k`, "no such key"},
		{`predicate.list.map(x, x == 9 || predicate.missing == 1 || true).size() == 3`, "no such key"},
		{`predicate.list.exists(x, predicate.missing == x) || true`, "no such key"},
		{`(predicate.flag || predicate.off) == true`, ""},
		{`predicate.name == 'x' || predicate.name == 'y'`, ""},
		{`predicate.text || true`, "no such overload"},
		{`true && predicate.text`, "no such overload"},
		{`true && predicate.flag`, ""},
		{`1/0 == 1 || true`, "division by zero"},

		// absence may be asked first
		{`!has(predicate.missing) || predicate.missing == 1`, ""},
		{`!has(predicate.missing) || predicate.missing == 1 || predicate.missing == 2`, ""},
		{`!has(predicate['object'].a) || predicate.object.a == 'c'`, "is false"},
		{`!has(predicate.missing) || predicate.other == 1`, "no such key: other"},
		{`has(predicate.name) || predicate.missing == 1`, "no such key: missing"},
		{`size(predicate.empty) == 0 || predicate.empty.all(x, x > 0)`, ""},
		{`predicate.empty.size() == 0 || predicate.empty.all(x, x > 0)`, ""},
		{`size(predicate.list) == 0 || predicate.list.all(x, x > 0)`, ""},

		// an empty list under all
		{`[].all(x, x > 0)`, "proves nothing"},
		{`predicate.empty.all(x, x > 0)`, "proves nothing"},
		{`!predicate.empty.all(x, x > 0)`, "proves nothing"},
		{`predicate.void.all(k, k != '')`, "proves nothing"},
		{`predicate.list.filter(x, x > 9).all(x, x > 0)`, "proves nothing"},
		{`predicate.empty.all(x, x > 0) || true`, "proves nothing"},
		{`predicate.list.all(x, x > 0)`, ""},
		{`predicate.list.all(x, x > 1)`, "is false"},
		{`predicate.object.all(k, k == 'a')`, ""},
		{`predicate.name.all(x, true)`, "failed"},
		{`predicate.items.all(i, i.ok)`, "no such key: ok"},
		{`predicate.items.all(i, i.id != '')`, ""},

		// exists looks at every element
		{`predicate.items.exists(i, i.ok)`, "no such key: ok"},
		{`predicate.items.exists(i, has(i.ok) && i.ok)`, ""},
		{`predicate.empty.exists(x, x == 1)`, "is false"},
		{`predicate.list.exists_one(x, x == 1)`, ""},
		{`predicate.list.existsOne(x, x > 1)`, "is false"},

		// numbers are exact
		{`predicate.big == 9223372036854775807`, ""},
		{`predicate.big == 9223372036854775806`, "is false"},
		{`predicate.huge == 18446744073709551615u`, ""},
		{`predicate.huge > predicate.big`, ""},
		{`predicate.count == 3 && predicate.count < 3.5 && predicate.ratio < 1`, ""},
		{`predicate.big + 1 > 0`, "overflow"},

		// over cost
		{`predicate.list.all(a, range.all(b, b == a))`, "compile"},
		{`[0,1,2,3,4,5,6,7,8,9].map(a, [0,1,2,3,4,5,6,7,8,9].map(b, [0,1,2,3,4,5,6,7,8,9].map(c,
			[0,1,2,3,4,5,6,7,8,9].map(d, [0,1,2,3,4,5,6,7,8,9].map(e, a+b+c+d+e))))).size() > 0`, "more than the limit"},
	}
	compiler := newTestCompiler(t)
	for _, tt := range tests {
		got := ""
		c, err := compiler.compile(tt.expression)
		if err != nil {
			got = err.Error()
		} else {
			got = c.holds(t.Context(), testVariables(testPredicate()))
		}
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s\n\tgot  %q\n\twant %q", tt.expression, got, tt.want)
		}
	}
}

func TestConditionsThatDoNotCompile(t *testing.T) {
	compiler := newTestCompiler(t)
	for expression, want := range map[string]string{
		``:                                          "does not parse",
		`predicate.x ==`:                            "does not parse",
		`predicate.flag`:                            "as in predicate.flag == true",
		`predicate.count + 1`:                       "a condition has to give bool",
		`'true'`:                                    "gives string",
		`predicate.list`:                            "gives dyn",
		`signer.name == 'x'`:                        "undeclared",
		`image.reference == 'x'`:                    "undeclared",
		`evidence == 1`:                             "undeclared",
		`signer.authority == 1`:                     "no matching overload",
		`predicate.name.matches('(')`:               "invalid matches argument",
		`timestamp('yesterday') < now`:              "invalid timestamp",
		`@or(true, true)`:                           "does not parse",
		`predicate.s.lowerAscii() == 'x'`:           "undeclared",
		strings.Repeat("(", 100) + "true":           "does not parse",
		`'` + strings.Repeat("x", 5000) + `' == ''`: "does not parse",
		`predicate.a.all(a, predicate.b.all(b, predicate.c.all(c, predicate.d.all(d, a == b && c == d))))`: "nest fewer loops",
	} {
		if c, err := compiler.compile(expression); err == nil {
			t.Errorf("%.60s: compiled: %v", expression, c)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: %q lacks %q", expression, err, want)
		}
	}
}

func TestConditionsOfUsefulSizeCompile(t *testing.T) {
	compiler := newTestCompiler(t)
	for _, expression := range []string{
		`predicate.packages.all(p, p.licenses.exists(l, l in ['MIT', 'Apache-2.0']))`,
		`predicate.scanner.result.all(r, r.severity.all(s, s.score != 'CRITICAL'))`,
		`predicate.buildDefinition.externalParameters.ref.matches('^refs/tags/v[0-9]+$')`,
		`now - timestamp(predicate.metadata.finishedOn) < duration('24h')`,
	} {
		if _, err := compiler.compile(expression); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

// A list of the size that real SBOMs have must not be over cost.
func TestConditionOverALargeList(t *testing.T) {
	packages := make([]any, 20_000)
	for i := range packages {
		packages[i] = map[string]any{"name": "a-package-of-some-name", "license": "MIT"}
	}
	c, err := newTestCompiler(t).compile(`predicate.packages.all(p, p.name != '' && (p.license == 'MIT' || p.license == 'BSD-3-Clause'))`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if got := c.holds(t.Context(), testVariables(map[string]any{"packages": packages})); got != "" {
		t.Error(got)
	}
	t.Logf("20,000 packages in %s", time.Since(start))
}

// FuzzWhere holds strict evaluation against CEL's own: what is true here is true there.
// (Not the reverse: CEL absorbs errors.)
func FuzzWhere(f *testing.F) {
	compiler := newTestCompiler(f)
	lax, err := cel.NewEnv(cel.Variable("predicate", cel.MapType(cel.StringType, cel.DynType)), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`predicate.a == 1 || predicate.b == 2 && !has(predicate.c)`, `{"a":1,"b":2}`)
	f.Add(`!has(predicate.c) || predicate.c.all(x, x > 0) || size(predicate.d) == 0`, `{"c":[1],"d":[]}`)
	f.Add(`predicate.l.exists(x, x.y == 'z' || predicate.l.map(e, [e || true])[0])`, `{"l":[{"y":"z"}]}`)
	f.Fuzz(func(t *testing.T, expression, predicate string) {
		var object map[string]any
		if json.Unmarshal([]byte(predicate), &object) != nil {
			return
		}
		c, err := compiler.compile(expression)
		if err != nil || c.holds(t.Context(), testVariables(object)) != "" {
			return
		}
		ast, issues := lax.Compile(expression)
		if issues.Err() != nil {
			return // it looks at more than the predicate
		}
		program, err := lax.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		if out, _, err := program.Eval(map[string]any{"predicate": object}); err != nil || out != types.True {
			t.Fatalf("%s over %s holds here, CEL gives %v %v", expression, predicate, out, err)
		}
	})
}

package policy

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// builds is a document whose authorities are tied to builders: a to A, b to those of B's
// runs, c (of b's principal) to C, d (with a's key) to D, and e to none.
func builds(require string) string {
	return `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: a, key: {file: a.pub}, builders: [{id: "https://a.example/A", maxBuildLevel: 3}]}
    - {name: b, key: {file: b.pub}, builders: [{idRegExp: "^https://b\\.example/run/[0-9]+$", maxBuildLevel: 2}, {id: "https://shared.example/S", maxBuildLevel: 2}]}
    - {name: c, principal: b, key: {file: c.pub}, builders: [{id: "https://c.example/C", maxBuildLevel: 2}]}
    - {name: d, key: {file: a.pub}, builders: [{id: "https://d.example/D", maxBuildLevel: 1}, {id: "https://shared.example/S", maxBuildLevel: 1}]}
    - {name: e, key: {file: e.pub}}
    - {name: f, key: {file: f.pub}, builders: [{id: "https://f.example/F", maxBuildLevel: 2}, {id: "https://shared.example/S", maxBuildLevel: 2}]}
  require:
    - name: built
` + require
}

func buildKeys(t testing.TB) keyring { return newKeyring(t, "a", "b", "c", "e", "f") }

const (
	builderA, builderB, builderC = "https://a.example/A", "https://b.example/run/7", "https://c.example/C"
	builderD, builderF           = "https://d.example/D", "https://f.example/F"
	builderShared                = "https://shared.example/S"
	mainRef                      = "refs/heads/main"
)

// built is a v1 provenance of GitHub's build type.
func built(builder, repository, ref, commit string, dependencies ...map[string]any) map[string]any {
	resolved := []any{map[string]any{"uri": "git+" + repository + "@" + ref, "digest": map[string]any{"gitCommit": commit}}}
	for _, d := range dependencies {
		resolved = append(resolved, d)
	}
	return map[string]any{
		"buildDefinition": map[string]any{
			"buildType":            "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters":   map[string]any{"workflow": map[string]any{"repository": repository, "ref": ref, "path": ".github/workflows/release.yml"}},
			"resolvedDependencies": resolved,
		},
		"runDetails": map[string]any{"builder": map[string]any{"id": builder}},
	}
}

// builtV02 is the same in version 0.2.
func builtV02(builder, repository, ref, commit string) map[string]any {
	at := map[string]any{"uri": "git+" + repository + "@" + ref, "digest": map[string]any{"sha1": commit}}
	return map[string]any{
		"builder": map[string]any{"id": builder}, "buildType": "https://github.com/slsa-framework/slsa-github-generator/container@v1",
		"invocation": map[string]any{"configSource": at}, "materials": []any{at},
	}
}

// by is an attestation of a build by one authority.
func (s scene) by(authority, builder string) attest.Evidence {
	return s.signed(authority+builder, provenanceV1, built(builder, app, mainRef, slsa), authority)
}

// TestBuilders holds CASES 7: an authority that signs for a builder that is not its own.
func TestBuilders(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	const anyBuilder = "from: {authorities: [a, b, e]}, provenance: {}"
	for _, tt := range []struct {
		name, rule string
		evidence   attest.Evidence
		allowed    bool
		message    string
	}{
		{"its own", anyBuilder, s.by("a", builderA), true, "by a"},
		{"its own, by expression", anyBuilder, s.by("b", builderB), true, "by b"},
		{"its own, v0.2", anyBuilder, s.signed("x", provenanceV02, builtV02(builderA, app, mainRef, slsa), "a"), true, "by a"},
		{"another's", anyBuilder, s.by("a", builderB), false, `authority a may not sign for builder "` + builderB + `": its own are ` + builderA},
		{"another's, v0.2", anyBuilder, s.signed("x", provenanceV02, builtV02(builderB, app, mainRef, slsa), "a"), false, "may not sign for builder"},
		{"nobody's", anyBuilder, s.by("b", "https://evil.example/B"), false, `its own are ^https://b\.example/run/[0-9]+$, ` + builderShared},
		{"begins like its own", anyBuilder, s.by("a", builderA+"/evil"), false, "may not sign for builder"},
		{"ends like its own", anyBuilder, s.by("a", "https://evil.example/?"+builderA), false, "may not sign for builder"},
		{"in other case", anyBuilder, s.by("a", strings.ToLower(builderA)), false, "may not sign for builder"},
		{"only within the expression", anyBuilder, s.by("b", "https://evil.example/#"+builderB+"/x"), false, "may not sign for builder"},
		{"a line after the expression's end", anyBuilder, s.by("b", builderB+"\nhttps://evil.example"), false, "may not sign for builder"},
		{"one without builders, not asked", anyBuilder, s.by("e", builderA), true, "by e"},
		{"one without builders, level asked", "from: {authorities: [e]}, provenance: {minLevel: 1}", s.by("e", builderA), false, "authority e is tied to no builder"},
		{"one without builders, builder asked", `from: {authorities: [e]}, provenance: {builders: ["` + builderA + `"]}`, s.by("e", builderA), false, "list the builder under its builders"},
		{"both sign, one may", anyBuilder, s.signed("x", provenanceV1, built(builderA, app, mainRef, slsa), "a", "b"), true, "by a"},
		{"both sign, two wanted, one may", "from: {authorities: [a, b], threshold: 2}, provenance: {}", s.signed("x", provenanceV1, built(builderA, app, mainRef, slsa), "a", "b"), false, "authority b may not sign for builder"},
		{"no predicate", anyBuilder, s.signed("x", provenanceV1, nil, "a"), false, "the provenance has no predicate"},
		{"unreadable", anyBuilder, s.signed("x", provenanceV1, map[string]any{"runDetails": "x"}, "a"), false, "runDetails is no object"},

		{"level reached", "from: {authorities: [a]}, provenance: {minLevel: 3}", s.by("a", builderA), true, "by a"},
		{"level not reached", "from: {authorities: [b]}, provenance: {minLevel: 3}", s.by("b", builderB), false, `is worth SLSA build level 2 under b, minLevel is 3`},
		{"level of the pair: one", "from: {authorities: [f]}, provenance: {minLevel: 2}", s.by("f", builderShared), true, "by f"},
		{"level of the pair: the other", "from: {authorities: [d]}, provenance: {minLevel: 2}", s.by("d", builderShared), false, "is worth SLSA build level 1 under d"},
		{"builder asked", `from: {authorities: [b]}, provenance: {builders: ["` + builderShared + `"]}`, s.by("b", builderShared), true, "by b"},
		{"another of its own", `from: {authorities: [b]}, provenance: {builders: ["` + builderShared + `"]}`, s.by("b", builderB), false, `it was built by "` + builderB + `", want ` + builderShared},
		{"build type", `from: {authorities: [a]}, provenance: {buildTypes: ["https://actions.github.io/buildtypes/workflow/v1"]}`, s.by("a", builderA), true, "by a"},
		{"another build type", `from: {authorities: [a]}, provenance: {buildTypes: ["https://actions.github.io/buildtypes/workflow/v2"]}`, s.by("a", builderA), false, "its build type is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, builds("      "+strings.ReplaceAll(tt.rule, "}, provenance", "}\n      provenance")+"\n"))
			decided(t, p.Evaluate(s.facts(tt.evidence)), tt.allowed, tt.message)
		})
	}
}

func TestBuildLevel(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	rule := "      from: {authorities: [a, b]}\n      provenance: {minLevel: 1}\n"
	for name, tt := range map[string]struct {
		rule  string
		facts Facts
		want  int
	}{
		"one":                    {rule, s.facts(s.by("b", builderB)), 2},
		"the best counts":        {rule, s.facts(s.by("b", builderB), s.by("a", builderA)), 3},
		"not asked":              {strings.Replace(rule, "minLevel: 1", "", 1), s.facts(s.by("a", builderA)), 0},
		"not satisfied":          {rule, s.facts(s.by("a", builderB)), 0},
		"the platform least off": {rule + "      scope: each\n", s.index([]Platform{amd64, arm64}, on(s.by("a", builderA), amd64.Digest), on(s.by("b", builderB), arm64.Digest)), 2},
		"whichever comes first":  {rule + "      scope: each\n", s.index([]Platform{arm64, amd64}, on(s.by("a", builderA), amd64.Digest), on(s.by("b", builderB), arm64.Digest)), 2},
	} {
		if got := load(t, keys, builds(tt.rule)).Evaluate(tt.facts).Rules[0].BuildLevel; got != tt.want {
			t.Errorf("%s: level %d, want %d", name, got, tt.want)
		}
	}
	// What an exception let pass has no level, whatever evidence there is besides.
	excepted := load(t, keys, builds(strings.Replace(rule, "b]", "b], threshold: 2", 1)+"  exceptions: {from: {authorities: [f]}, rules: [built]}\n"))
	if r := excepted.Evaluate(s.facts(s.by("a", builderA), s.exceptionBy("f", nil))).Rules[0]; !r.Allowed || r.BuildLevel != 0 {
		t.Errorf("allowed %v with level %d: %s", r.Allowed, r.BuildLevel, r.Message)
	}
}

func TestLevel(t *testing.T) {
	expression := func(text string, n int) builder {
		pattern, err := compileBuilder(text)
		if err != nil {
			t.Fatal(err)
		}
		return builder{text, pattern, n}
	}
	builders := []builder{expression("^x.*$", 3), expression("^xy.*$", 1), expression("^.y.*$", 2), {id: "xyz", level: 2}}
	for id, want := range map[string]int{"xa": 3, "xya": 1, "xyz": 2, "ay": 2, "a": 0, "ax": 0} {
		if got := level(builders, id); got != want {
			t.Errorf("%s: %d, want %d", id, got, want)
		}
	}
	for text, ids := range map[string]map[string]bool{
		"^a|b$":    {"a": true, "b": true, "ax": false, "xb": false},
		"^(?m)a$":  {"a": true, "a\nb": false, "b\na": false},
		"^(?i)ab$": {"AB": true, "ABC": false},
		"^a.c$":    {"abc": true, "a\nc": false},
	} {
		for id, want := range ids {
			if got := level([]builder{expression(text, 1)}, id) == 1; got != want {
				t.Errorf("%s matches %q: %v", text, id, got)
			}
		}
	}
}

func TestLoadRefusesBuilders(t *testing.T) {
	keys := buildKeys(t)
	good := builds("      from: {authorities: [a, b]}\n      provenance: {minLevel: 2}\n")
	from := func(builder string) string {
		return strings.Replace(good, `{id: "https://a.example/A", maxBuildLevel: 3}`, builder, 1)
	}
	rule := func(text string) string {
		return strings.Replace(good, "provenance: {minLevel: 2}", text, 1)
	}
	many := strings.TrimSuffix(strings.Repeat("{id: x, maxBuildLevel: 1},", maxBuilders+1), ",")
	for name, tt := range map[string]struct{ text, want string }{
		"no builders":          {from(""), "builders: is empty"},
		"too many":             {from(many), "at most 100 are allowed"},
		"no id":                {from("{maxBuildLevel: 1}"), "builders[0]: has no id"},
		"two ids":              {from(`{id: x, idRegExp: "^x$", maxBuildLevel: 1}`), "want one of them"},
		"no level":             {from("{id: x}"), "maxBuildLevel: is missing"},
		"level zero":           {from("{id: x, maxBuildLevel: 0}"), "is 0, want a SLSA build level of 1 to 3"},
		"level four":           {from("{id: x, maxBuildLevel: 4}"), "is 4, want"},
		"unanchored":           {from(`{idRegExp: "https://x", maxBuildLevel: 1}`), "is not anchored"},
		"anchored on the left": {from(`{idRegExp: "^https://x", maxBuildLevel: 1}`), "is not anchored"},
		"an escaped anchor":    {from(`{idRegExp: '^x\$', maxBuildLevel: 1}`), "is no regular expression"},
		"out of the anchors":   {from(`{idRegExp: "^a)|(?:b$", maxBuildLevel: 1}`), "is no regular expression"},
		"lone anchor":          {from(`{idRegExp: "^", maxBuildLevel: 1}`), "is not anchored"},
		"unknown key":          {from("{id: x, level: 1, maxBuildLevel: 1}"), `unknown key "level"`},

		"minLevel zero":        {rule("provenance: {minLevel: 0}"), "minLevel: is 0"},
		"minLevel four":        {rule("provenance: {minLevel: 4}"), "minLevel: is 4"},
		"no builder":           {rule("provenance: {builders: []}"), "provenance.builders: is empty"},
		"builder twice":        {rule("provenance: {builders: [x, x]}"), "stands there twice"},
		"unknown check":        {rule("provenance: {level: 2}"), `unknown key "level"`},
		"check without value":  {rule("provenance:"), "is empty"},
		"source of nothing":    {rule("provenance: {source: {}}"), "asks for nothing"},
		"repository: no URL":   {rule("provenance: {source: {repositories: [acme/app]}}"), "is no URL of a git repository"},
		"repository: git+":     {rule(`provenance: {source: {repositories: ["git+https://h/a"]}}`), "without git+"},
		"repository: any host": {rule(`provenance: {source: {repositories: ["https://*/acme/app"]}}`), "host that cannot be compared"},
		"repository: no path":  {rule(`provenance: {source: {repositories: ["https://github.com"]}}`), "has no path"},
		"repository: .git":     {rule(`provenance: {source: {repositories: ["https://github.com/a/b.git"]}}`), "no user, ref, query, escape, .git or slash"},
		"repository: user":     {rule(`provenance: {source: {repositories: ["https://x@github.com/a/b"]}}`), "no user"},
		"repository: **":       {rule(`provenance: {source: {repositories: ["https://github.com/acme**"]}}`), "has ** beside other characters"},
		"repository: braces":   {rule(`provenance: {source: {repositories: ["https://github.com/{acme,**}"]}}`), "has ** beside other characters"},
		"repository: choice":   {rule(`provenance: {source: {repositories: ["https://github.com/{acme,evil}"]}}`), "has braces"},
		"repository: glob":     {rule(`provenance: {source: {repositories: ["https://github.com/[acme"]}}`), "is no valid glob"},
		"ref: short":           {rule("provenance: {source: {refs: [main]}}"), "begin it with refs/heads/ or refs/tags/"},
		"ref: any kind":        {rule(`provenance: {source: {refs: ["refs/**"]}}`), "begin it with refs/heads/"},
		"ref: **":              {rule(`provenance: {source: {refs: ["refs/tags/v**"]}}`), "has ** beside"},
		"types of another":     {rule("provenance: {minLevel: 2}\n      predicateTypes: [\"https://spdx.dev/Document\"]"), "cannot be read by provenance, which reads " + provenanceV1},
		"distinct: exceptions": {strings.Replace(good, "  require:", "  exceptions: {rules: [built], from: {authorities: [a], distinct: [principal]}}\n  require:", 1), "is for requirements about builds"},
		"distinct: unknown":    {strings.Replace(good, "[a, b]", "[a, b], distinct: [principal, machine]", 1), `is "machine", want principal or builder`},
		"distinct: no signer":  {strings.Replace(good, "[a, b]", "[a, b], distinct: [builder]", 1), "lacks principal"},
		"distinct: empty":      {strings.Replace(good, "[a, b]", "[a, b], distinct: []", 1), "is empty"},
		"distinct: of an SBOM": {strings.Replace(rule("predicateTypes: [\"https://spdx.dev/Document\"]"), "[a, b]", "[a, b], distinct: [principal, builder]", 1), "cannot be read by provenance"},
		"of nobody":            {strings.Replace(rule("provenance: {}\n      whereAll: [\"size(attestations) > 0\"]"), "from: {authorities: [a, b]}", "scope: index", 1), "from.authorities: is missing"},
		"one build":            {rule("reproducible: {builds: 1}"), "one build alone shows nothing"},
		"more than signers":    {rule("reproducible: {builds: 3}"), "only a and b may sign"},
	} {
		_, err := Load([]byte(tt.text), keys.read)
		if problem := wants(err, oci.ErrPolicyInvalid, tt.want); problem != nil {
			t.Errorf("%s: %v", name, problem)
		}
	}
}

// TestCanonicalBuilders: what checks imply is in the canonical form, which is the policy.
func TestCanonicalBuilders(t *testing.T) {
	keys := buildKeys(t)
	p := load(t, keys, builds(`      from: {authorities: [a, b], threshold: 2, distinct: [principal, builder]}
      provenance:
        minLevel: 2
        source: {repositories: ["https://github.com/acme/*"], refs: [refs/heads/main]}
        dependencies: {tier: stable, hosts: ["registry.internal:5000"]}
      reproducible: {}
    - name: below
      from: {authorities: [e]}
      summary: {verifier: "https://registry.example.com/tiers/dev"}
`))
	again, err := Load(p.Canonical(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Canonical())
	}
	if again.Digest() != p.Digest() {
		t.Errorf("canonical form moved:\n%s\n%s", p.Canonical(), again.Canonical())
	}
	for _, want := range []string{`"builds": 2`, provenanceV1, provenanceV02, `"tier": "dev"`, summaryV1} {
		if !strings.Contains(string(p.Canonical()), want) {
			t.Errorf("canonical form lacks %s:\n%s", want, p.Canonical())
		}
	}
	before, err := Load([]byte(strings.Replace(string(p.Canonical()), `"maxBuildLevel": 3`, `"maxBuildLevel": 2`, 1)), nil)
	if err != nil || before.Digest() == p.Digest() {
		t.Errorf("the digest does not cover what builders are worth: %v", err)
	}
}

func TestSourceRule(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	rule := "      from: {authorities: [a]}\n      provenance: {source: {repositories: [\"https://github.com/acme/*\", \"https://gitlab.example.com/mirror/**\"], refs: [refs/heads/main, refs/tags/v*]}}\n"
	p := load(t, keys, builds(rule))
	from := func(repository, ref string) map[string]any { return built(builderA, repository, ref, slsa) }
	for name, tt := range map[string]struct {
		predicate map[string]any
		allowed   bool
		message   string
	}{
		"main":               {from(app, mainRef), true, "by a"},
		"a tag":              {from(app, "refs/tags/v1.2"), true, "by a"},
		"with .git":          {from(app+".git", mainRef), true, "by a"},
		"host in upper case": {from("https://GitHub.COM/acme/app", mainRef), true, "by a"},
		"deep":               {from("https://gitlab.example.com/mirror/x/y/z", mainRef), true, "by a"},
		"another branch":     {from(app, "refs/heads/evil"), false, "it was built from refs/heads/evil of " + app + ", want refs/heads/main or refs/tags/v*"},
		"a branch below":     {from(app, "refs/heads/main/evil"), false, "want refs/heads/main"},
		"a tag below":        {from(app, "refs/tags/v1/evil"), false, "want refs/heads/main"},
		"a pull request":     {from(app, "refs/pull/7/merge"), false, "refs/pull/7/merge"},
		"a short ref":        {from(app, "main"), false, `"main" of ` + app + `, which is no full ref`},
		"an escaped ref":     {from(app, "refs/tags/v%2Fevil"), false, "which is no full ref"},
		"another owner":      {from("https://github.com/evil/app", mainRef), false, "it was built from https://github.com/evil/app, want https://github.com/acme/* or"},
		"a deeper one":       {from("https://github.com/acme/app/evil", mainRef), false, "it was built from https://github.com/acme/app/evil"},
		"owner in case":      {from("https://github.com/Acme/app", mainRef), false, "it was built from https://github.com/Acme/app"},
		"another host":       {from("https://github.com.evil.example/acme/app", mainRef), false, "it was built from https://github.com.evil.example"},
		"host as user":       {from("https://github.com@evil.example/acme/app", mainRef), false, "it was built from https://evil.example/acme/app"},
		"climbing":           {from("https://github.com/acme/../evil/app", mainRef), false, "its source cannot be told"},
		"over http":          {from("http://github.com/acme/app", mainRef), false, "it was built from http://github.com/acme/app"},
	} {
		t.Run(name, func(t *testing.T) {
			decided(t, p.Evaluate(s.facts(s.signed(name, provenanceV1, tt.predicate, "a"))), tt.allowed, tt.message)
		})
	}
	for name, want := range map[string]string{
		"github-workflow-v1": "", "slsa-generator-container-v0.2": "", "slsa-generator-docker-v1": "", "slsa-generator-delegator-v1": "",
		"buildkit-v0.2": "", "buildkit-v1": "", "cloud-build-v1": "",
		"buildkit-local-v0.2": "names no source repository",
		"tekton-v0.2":         "it does not say from which ref of " + app,
		"tekton-v1":           "it does not say from which ref of https://github.com/acme/pipelines",
		"gitlab-v1":           "it was built from https://gitlab.example.com/acme/app, want",
	} {
		t.Run(name, func(t *testing.T) {
			predicateType, predicate := sample(t, name)
			tied := builds(strings.ReplaceAll(rule, "[a]", "[e]"))
			decided(t, load(t, keys, tied).Evaluate(s.facts(s.signed(name, predicateType, maps.Clone(predicate), "e"))), want == "", want)
		})
	}
	if n := fmt.Sprint(plainRef("refs/heads/a..b"), plainRef("refs/heads/a b"), plainRef("refs/heads/"), plainRef("refs//x"), plainRef(`refs/heads/a\b`)); n != "false false false false false" {
		t.Errorf("refs that can be read in two ways pass: %s", n)
	}
}

package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// TestDistinctBuilders holds the part of CASES 6 that is about builders.
func TestDistinctBuilders(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	two := "from: {authorities: [a, b, c, d, e, f], threshold: 2, distinct: [principal, builder]}"
	three := "from: {authorities: [a, b, c, d, e, f], threshold: 3, distinct: [principal, builder]}"
	all := func(evidence ...attest.Evidence) []attest.Evidence { return evidence }
	for _, tt := range []struct {
		name, rule string
		evidence   []attest.Evidence
		allowed    bool
		message    string
	}{
		{"two builders", two, all(s.by("a", builderA), s.by("b", builderB)), true, "by b"},
		{"two of one builder", two, all(s.by("b", builderShared), s.by("f", builderShared)), false,
			`want 2 distinct signers with distinct builders: ` + shortOf("b"+builderShared) + ` by b is of builder "` + builderShared + `"`},
		{"one bundle, two signers", two, all(s.signed("x", provenanceV1, built(builderShared, app, mainRef, slsa), "b", "f")), false, "want 2 distinct signers with distinct builders"},
		{"the same bundle twice", two, all(s.by("a", builderA), s.by("a", builderA)), false, "want 2 distinct signers"},
		{"one principal, two builders", two, all(s.by("b", builderB), s.by("c", builderC)), false, "want 2 distinct signers"},
		{"one signer, two builders", two, all(s.by("b", builderB), s.by("b", builderShared)), false, "want 2 distinct signers"},
		{"one key, two builders", two, all(s.by("a", builderA), s.by("d", builderD)), false, "want 2 distinct signers"},
		{"another's builder", two, all(s.by("a", builderA), s.by("b", builderA)), false, "authority b may not sign for builder"},
		{"no builders of its own", two, all(s.by("a", builderA), s.by("e", "https://e.example/E")), false, "authority e is tied to no builder"},
		{"v0.2 beside v1", two, all(s.by("a", builderA), s.signed("x", provenanceV02, builtV02(builderB, app, mainRef, slsa), "b")), true, "by b"},
		{"v0.2 and v1 of one build", two, all(s.by("b", builderShared), s.signed("x", provenanceV02, builtV02(builderShared, app, mainRef, slsa), "f")), false, "distinct builders"},
		{"shared beside another of the same signer", two, all(s.by("b", builderShared), s.by("b", builderB), s.by("f", builderShared)), true, "by f"},
		{"three", three, all(s.by("a", builderA), s.by("b", builderB), s.by("f", builderF)), true, "by f"},
		{"three, two of one builder", three, all(s.by("a", builderA), s.by("b", builderShared), s.by("f", builderShared)), false, "want 3 distinct signers"},
		{"distinct principals alone", strings.Replace(two, ", builder]", "]", 1) + "\n      predicateTypes: [\"" + provenanceV1 + "\"]", all(s.by("b", builderShared), s.by("f", builderShared)), true, "by f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, builds("      "+tt.rule+"\n"))
			decided(t, p.Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
}

func shortOf(name string) string { return short(digest.FromString(name)) }

// TestIndependent compares the search with trying every subset.
func TestIndependent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var builds []madeBy
		for range random.IntN(9) {
			pick := func() string { return fmt.Sprint(random.IntN(4)) }
			builds = append(builds, madeBy{pick(), pick(), pick()})
		}
		most := 0
		for set := range 1 << len(builds) {
			seen, size, clash := map[string]bool{}, 0, false
			for i, b := range builds {
				if set&(1<<i) == 0 {
					continue
				}
				size++
				for _, part := range b.parts() {
					clash = clash || seen[part]
					seen[part] = true
				}
			}
			if !clash {
				most = max(most, size)
			}
		}
		for k := range len(builds) + 2 {
			if got, err := independent(builds, k); err != nil || got != (k <= most) {
				t.Fatalf("%d of %v: %v, %v; at most %d are", k, builds, got, err, most)
			}
		}
	}
}

// TestIndependentBounds: what takes too long is a no that says so.
func TestIndependentBounds(t *testing.T) {
	var many, hard []madeBy
	for i := range maxBuilds + 1 {
		many = append(many, madeBy{fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i)})
	}
	if ok, err := independent(many, 2); ok || err == nil || !strings.Contains(err.Error(), "more than 64 different builds") {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := independent(append(many[:2:2], many[0], many[1]), 2); !ok || err != nil {
		t.Errorf("repetitions count: %v, %v", ok, err)
	}
	for i := range maxBuilds {
		hard = append(hard, madeBy{fmt.Sprint(i % 10), fmt.Sprint(i), fmt.Sprint(i)})
	}
	if ok, err := independent(hard, 11); ok || err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestReproducible(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	two := "from: {authorities: [a, b, c, d, e, f]}\n      reproducible: {}"
	all := func(evidence ...attest.Evidence) []attest.Evidence { return evidence }
	from := func(authority, builder, repository, commit string) attest.Evidence {
		return s.signed(authority+builder+repository+commit, provenanceV1, built(builder, repository, mainRef, commit), authority)
	}
	tektonBuild := func(authority, builder string) attest.Evidence {
		predicateType, predicate := sample(t, "tekton-v1")
		predicate["runDetails"].(map[string]any)["builder"].(map[string]any)["id"] = builder
		return s.signed(authority+builder, predicateType, predicate, authority)
	}
	for _, tt := range []struct {
		name, rule string
		evidence   []attest.Evidence
		allowed    bool
		message    string
	}{
		{"two", two, all(s.by("a", builderA), s.by("b", builderB)), true, "by b"},
		{"two versions of the format", two, all(s.by("a", builderA), s.signed("x", provenanceV02, builtV02(builderB, app+".git", mainRef, slsa), "b")), true, "by b"},
		{"another ref of the same commit", two, all(s.by("a", builderA), s.signed("x", provenanceV1, built(builderB, app, "refs/tags/v1", slsa), "b")), true, "by b"},
		{"all of several sources", two, all(tektonBuild("a", builderA), tektonBuild("b", builderB)), true, "by b"},
		{"two beside a third that differs", two, all(s.by("a", builderA), s.by("b", builderB), from("f", builderF, app, tekton)), true, "by f"},
		{"one", two, all(s.by("a", builderA)), false, "want 2 builds by distinct builders and principals"},
		{"one of several sources missing", two, all(tektonBuild("a", builderA), from("b", builderB, app, tekton)), false, "they differ in it"},
		{"one builder", two, all(s.by("b", builderShared), s.by("f", builderShared)), false, "want 2 builds by distinct builders and principals"},
		{"one principal", two, all(s.by("b", builderB), s.by("c", builderC)), false, "want 2 builds by distinct builders and principals"},
		{"one key", two, all(s.by("a", builderA), s.by("d", builderD)), false, "want 2 builds by distinct builders and principals"},
		{"another commit", two, all(s.by("a", builderA), from("b", builderB, app, tekton)), false,
			"want 2 builds by distinct builders and principals from one source, but they differ in it: from " + app + "@" + slsa + ": "},
		{"another commit, named", two, all(s.by("a", builderA), from("b", builderB, app, tekton)), false, "from " + app + "@" + tekton + ": "},
		{"another repository", two, all(s.by("a", builderA), from("b", builderB, "https://github.com/evil/app", slsa)), false, "from https://github.com/evil/app@" + slsa},
		{"no commit", two, all(s.by("a", builderA), s.signed("x", provenanceV1, built(builderB, app, mainRef, ""), "b")), false, "it does not say from which commit of " + app},
		{"no source", two, all(s.by("a", builderA), s.signed("x", provenanceV1, built(builderB, "", mainRef, slsa), "b")), false, "its source cannot be told"},
		{"about another digest", two, all(s.by("a", builderA), on(s.by("b", builderB), amd64.Digest)), false, "is about"},
		{"no builders of its own", two, all(s.by("a", builderA), s.by("e", builderB)), false, "authority e is tied to no builder"},
		{"three", strings.Replace(two, "{}", "{builds: 3}", 1), all(s.by("a", builderA), s.by("b", builderB), s.by("f", builderF)), true, "by f"},
		{"two of three", strings.Replace(two, "{}", "{builds: 3}", 1), all(s.by("a", builderA), s.by("b", builderB)), false, "want 3 builds"},
		{"with provenance of one kind", two + "\n      provenance: {minLevel: 3}", all(s.by("a", builderA), s.by("b", builderB)), false, "minLevel is 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, builds("      "+tt.rule+"\n"))
			decided(t, p.Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
	p := load(t, keys, builds("      "+two+"\n      scope: each\n"))
	half := s.index([]Platform{amd64, arm64}, on(s.by("a", builderA), amd64.Digest), on(s.by("b", builderB), amd64.Digest), on(s.by("a", builderA), arm64.Digest))
	decided(t, p.Evaluate(half), false, "linux/arm64")
}

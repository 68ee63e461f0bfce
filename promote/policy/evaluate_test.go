package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// builtBy is a document whose one requirement has other words after its predicate types.
func builtBy(extra string) string {
	return document(strings.Replace(plainRule, "from: {authorities: [a]}", extra, 1))
}

func testedBy(extra string) string {
	return strings.Replace(builtBy(extra+", where: [\"predicate.result == 'PASSED'\"]"), typeProvenance, typeTest, 1)
}

func TestEvaluateSignersAndSubjects(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	good := s.signed("good", typeProvenance, nil, "a")
	tests := []struct {
		name, rule string
		facts      Facts
		allowed    bool
		message    string
	}{
		{"no evidence", "from: {authorities: [a]}", s.facts(), false, "no attestation https://slsa.dev/provenance/v1 by a"},
		{"good", "from: {authorities: [a]}", s.facts(good), true, "by a"},
		{"either authority", "from: {authorities: [b, a]}", s.facts(good), true, "by a"},
		{"another authority", "from: {authorities: [b]}", s.facts(good), false, "signed by a, who is not asked here"},
		{"nobody known", "from: {authorities: [a]}", s.facts(s.signed("x", typeProvenance, nil)), false, "signed by nobody whom the policy knows"},
		{"problem", "from: {authorities: [a]}", s.facts(broken(good, "signed by an expired key")), false, "does not count: signed by an expired key"},
		{"problem beside good", "from: {authorities: [a]}", s.facts(broken(s.signed("x", typeProvenance, nil, "a"), "malformed"), good), true, "by a"},
		{"empty malformed beside good", "from: {authorities: [a]}", s.facts(attest.Evidence{Problem: "no JSON"}, good), true, "by a"},
		{"another type", "from: {authorities: [a]}", s.facts(s.signed("x", "https://slsa.dev/provenance/v0.2", nil, "a")), false, "no attestation"},
		{"type in upper case", "from: {authorities: [a]}", s.facts(s.signed("x", "https://slsa.dev/Provenance/v1", nil, "a")), false, "no attestation"},
		{"another subject", "from: {authorities: [a]}", s.facts(on(good, digest.FromString("other"))), false, "is about sha256:"},
		{"upper-case subject", "from: {authorities: [a]}", s.facts(on(good, digest.Digest("sha256:"+strings.ToUpper(root.Encoded())))), false, "is about"},
		{"child where the index is asked", "from: {authorities: [a]}", s.index([]Platform{amd64}, on(good, amd64.Digest)), false, "about its platform linux/amd64"},

		{"each: index where children are asked", "from: {authorities: [a]}, scope: each", s.index([]Platform{amd64, arm64}, good), false, "about the artifact itself"},
		{"each: one of two", "from: {authorities: [a]}, scope: each", s.index([]Platform{amd64, arm64}, on(good, amd64.Digest)), false, "linux/arm64"},
		{"each: the other of two", "from: {authorities: [a]}, scope: each", s.index([]Platform{amd64, arm64}, on(good, arm64.Digest)), false, "linux/amd64"},
		{"each: both", "from: {authorities: [a]}, scope: each", s.index([]Platform{amd64, arm64}, on(good, amd64.Digest), on(s.signed("2", typeProvenance, nil, "a"), arm64.Digest)), true, "linux/amd64"},
		{"each: no index", "from: {authorities: [a]}, scope: each", s.facts(good), true, "by a"},
		{"each: index without platforms", "from: {authorities: [a]}, scope: each", s.index(nil, good), false, "has no platform"},

		{"threshold", "from: {authorities: [a, b], threshold: 2}", s.facts(good, s.signed("2", typeProvenance, nil, "b")), true, "by b"},
		{"threshold: one bundle by two", "from: {authorities: [a, b], threshold: 2}", s.facts(s.signed("2", typeProvenance, nil, "a", "b")), true, "by b"},
		{"threshold: one of two", "from: {authorities: [a, b], threshold: 2}", s.facts(good), false, "1 of 2 distinct signers"},
		{"threshold: one bundle twice", "from: {authorities: [a, b], threshold: 2}", s.facts(good, good), false, "1 of 2"},
		{"threshold: two bundles of one", "from: {authorities: [a, b], threshold: 2}", s.facts(good, s.signed("2", typeProvenance, nil, "a")), false, "counts once"},
		{"threshold: one key, two names", "from: {authorities: [a, d], threshold: 2}", s.facts(s.signed("1", typeProvenance, nil, "a", "d")), false, "one key, counts once"},
		{"threshold: one key, two names, two bundles", "from: {authorities: [a, d, b], threshold: 2}", s.facts(good, s.signed("2", typeProvenance, nil, "d")), false, "1 of 2"},
		{"threshold: two keys of one principal", "from: {authorities: [b, c], threshold: 2}", s.facts(s.signed("1", typeProvenance, nil, "b"), s.signed("2", typeProvenance, nil, "c")), false, "1 of 2"},
		{"threshold: shared key beside another", "from: {authorities: [a, d, b], threshold: 2}", s.facts(s.signed("1", typeProvenance, nil, "a", "d"), s.signed("2", typeProvenance, nil, "b")), true, "by b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, builtBy(tt.rule))
			decided(t, p.Evaluate(tt.facts), tt.allowed, tt.message)
		})
	}
}

func TestEvaluateAge(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, builtBy("from: {authorities: [a]}, maxAge: 168h"))
	stated := func(when time.Time) attest.Evidence { return s.signed("x", typeProvenance, finished(when), "a") }
	hour := time.Hour
	tests := []struct {
		name     string
		evidence attest.Evidence
		allowed  bool
		message  string
	}{
		{"stated", stated(noon.Add(-167 * hour)), true, ""},
		{"at the limit", stated(noon.Add(-168 * hour)), true, ""},
		{"too old", stated(noon.Add(-169 * hour)), false, "it is 169h0m0s old, maxAge is 168h0m0s"},
		{"proven beats stated", at(stated(noon), noon.Add(-169*hour)), false, "169h0m0s old"},
		{"stamped anew", at(stated(noon.Add(-169*hour)), noon), false, "169h0m0s old"},
		{"proven suffices", at(s.signed("x", typeProvenance, nil, "a"), noon.Add(-hour)), true, ""},
		{"no time", s.signed("x", typeProvenance, map[string]any{}, "a"), false, "carries no time, neither proven nor as predicate.runDetails.metadata.finishedOn"},
		{"no predicate", s.signed("x", typeProvenance, nil, "a"), false, "carries no time"},
		{"malformed", s.signed("x", typeProvenance, map[string]any{"runDetails": map[string]any{"metadata": map[string]any{"finishedOn": "now", "startedOn": noon.Format(time.RFC3339)}}}, "a"), false, "finishedOn is no time"},
		{"no string", s.signed("x", typeProvenance, map[string]any{"runDetails": map[string]any{"metadata": map[string]any{"finishedOn": int64(5)}}}, "a"), false, "finishedOn is no time"},
		{"started", s.signed("x", typeProvenance, map[string]any{"runDetails": map[string]any{"metadata": map[string]any{"startedOn": noon.Format(time.RFC3339)}}}, "a"), true, ""},
		{"a little ahead", stated(noon.Add(4 * time.Minute)), true, ""},
		{"future", stated(noon.Add(6 * time.Minute)), false, "in the future"},
		{"proven future", at(stated(noon), noon.Add(hour)), false, "in the future"},
		{"far future", stated(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), false, "in the future"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decided(t, p.Evaluate(s.facts(tt.evidence)), tt.allowed, tt.message)
		})
	}
}

func TestStatedTimes(t *testing.T) {
	text := `"2026-11-22T12:00:00Z"`
	for predicateType, predicate := range map[string]string{
		"https://slsa.dev/provenance/v0.2":                 `{"metadata":{"buildFinishedOn":` + text + `}}`,
		"https://in-toto.io/attestation/vulns/v0.1":        `{"metadata":{"scanFinishedOn":` + text + `}}`,
		"https://cosign.sigstore.dev/attestation/vuln/v1":  `{"metadata":{"scanFinishedOn":` + text + `}}`,
		"https://openvex.dev/ns/v0.2.0":                    `{"timestamp":"2020-01-01T00:00:00Z","last_updated":` + text + `}`,
		"https://openvex.dev/ns":                           `{"timestamp":` + text + `}`,
		"https://spdx.dev/Document":                        `{"creationInfo":{"created":` + text + `}}`,
		"https://spdx.dev/Document/v2.3":                   `{"creationInfo":{"created":` + text + `}}`,
		"https://cyclonedx.org/bom":                        `{"metadata":{"timestamp":` + text + `}}`,
		"https://slsa.dev/verification_summary/v1":         `{"timeVerified":` + text + `}`,
		"https://in-toto.io/attestation/human-review/v0.1": `{"timestamp":` + text + `}`,
		"https://in-toto.io/attestation/test-result/v0.1":  `{"finishedOn":` + text + `}`,
		"https://example.com/anything":                     `{"timestamp":` + text + `}`,
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(predicate), &object); err != nil {
			t.Fatal(err)
		}
		if got, err := statedTime(kindOf(predicateType), object); err != nil || !got.Equal(noon) {
			t.Errorf("%s: %s, %v", predicateType, got, err)
		}
	}
	if kindOf("https://in-toto.io/attestation/test-results").family != familyNone {
		t.Error("a type that only begins like another is taken for it")
	}
}

func TestEvaluateNewest(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	run := func(name, verdict string, ago time.Duration, authority string) attest.Evidence {
		return s.signed(name, typeTest, result(verdict, noon.Add(-ago)), authority)
	}
	undated := func(name, verdict string) attest.Evidence {
		return s.signed(name, typeTest, result(verdict, time.Time{}), "a")
	}
	pass, fail, hour := "PASSED", "FAILED", time.Hour
	tests := []struct {
		name, rule string
		evidence   []attest.Evidence
		allowed    bool
		message    string
	}{
		{"one", "from: {authorities: [a]}", []attest.Evidence{run("1", pass, hour, "a")}, true, ""},
		{"undated one", "from: {authorities: [a]}", []attest.Evidence{undated("1", pass)}, true, ""},
		{"fail then pass", "from: {authorities: [a]}", []attest.Evidence{run("1", fail, 2*hour, "a"), run("2", pass, hour, "a")}, true, ""},
		{"pass then fail", "from: {authorities: [a]}", []attest.Evidence{run("1", pass, 2*hour, "a"), run("2", fail, hour, "a")}, false, "`predicate.result == 'PASSED'` is false"},
		{"pass then fail, listed the other way", "from: {authorities: [a]}", []attest.Evidence{run("2", fail, hour, "a"), run("1", pass, 2*hour, "a")}, false, "is false"},
		{"at the same time", "from: {authorities: [a]}", []attest.Evidence{run("1", pass, hour, "a"), run("2", fail, hour, "a")}, false, "is false"},
		{"undated fail beside pass", "from: {authorities: [a]}", []attest.Evidence{undated("1", fail), run("2", pass, hour, "a")}, false, "a newer one does not replace it"},
		{"undated pass beside a fail", "from: {authorities: [a]}", []attest.Evidence{undated("1", pass), run("2", fail, hour, "a")}, false, "is false"},
		{"pass from the future", "from: {authorities: [a]}", []attest.Evidence{run("1", fail, hour, "a"), run("2", pass, -hour, "a")}, false, "in the future"},
		{"proven order beats stated", "from: {authorities: [a]}", []attest.Evidence{
			at(run("1", pass, hour, "a"), noon.Add(-3*hour)), at(run("2", fail, 2*hour, "a"), noon.Add(-2*hour))}, false, "is false"},
		{"an old pass, stamped anew", "from: {authorities: [a]}", []attest.Evidence{at(run("1", pass, 3*hour, "a"), noon), run("2", fail, hour, "a")}, false, "is false"},
		{"fail of somebody else", "from: {authorities: [a]}", []attest.Evidence{run("1", pass, 2*hour, "a"), run("2", fail, hour, "b")}, true, ""},
		{"fail of another authority of the rule", "from: {authorities: [a, b]}", []attest.Evidence{run("1", pass, 2*hour, "a"), run("2", fail, hour, "b")}, true, ""},
		{"each newest of two", "from: {authorities: [a, b], threshold: 2}", []attest.Evidence{
			run("1", pass, 2*hour, "a"), run("2", fail, 3*hour, "b"), run("3", pass, hour, "b")}, true, ""},
		{"unverified fail", "from: {authorities: [a]}", []attest.Evidence{run("1", pass, 2*hour, "a"), broken(run("2", fail, hour, "a"), "bad signature")}, true, ""},
		{"newest too old", "from: {authorities: [a]}, maxAge: 1h", []attest.Evidence{run("1", pass, 2*hour, "a")}, false, "2h0m0s old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, testedBy(tt.rule))
			decided(t, p.Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
}

// A provenance does not replace another one: one that holds is enough.
func TestEvaluateAnyProvenance(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, builtBy("from: {authorities: [a]}, where: [\"predicate.ref == 'main'\"]"))
	bad := s.signed("1", typeProvenance, map[string]any{"ref": "fork"}, "a")
	worse := s.signed("2", typeProvenance, map[string]any{}, "a")
	good := s.signed("3", typeProvenance, map[string]any{"ref": "main"}, "a")
	decided(t, p.Evaluate(s.facts(bad, worse, good)), true, short(good.Manifest))
	v := p.Evaluate(s.facts(bad, worse))
	decided(t, v, false, short(bad.Manifest)+" by a: condition `predicate.ref == 'main'` is false")
	decided(t, v, false, short(worse.Manifest)+" by a: condition `predicate.ref == 'main'` failed: no such key: ref")
}

func TestEvaluateModes(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, document(plainRule+strings.NewReplacer("name: built", "name: warned, mode: warn", "[a]", "[b]").Replace(plainRule)+
		strings.Replace(plainRule, "name: built", "name: silent, mode: off", 1)))
	v := p.Evaluate(s.facts(s.signed("x", typeProvenance, nil, "a")))
	if !v.Allowed || len(v.Rules) != 3 || !v.Rules[0].Allowed || v.Rules[1].Allowed || v.Rules[1].Remedy == "" {
		t.Errorf("warn: %+v", v)
	}
	if off := v.Rules[2]; off.Mode != Off || !strings.Contains(off.Message, "not evaluated") || len(off.Evidence) != 0 {
		t.Errorf("off: %+v", off)
	}
	if v.Policy != (Identity{p.Name(), p.Digest()}) || !v.EvaluatedAt.Equal(noon) {
		t.Errorf("identity: %+v", v)
	}
	if used := v.Rules[0].Evidence; len(used) != 1 || used[0].Signer != keys.id(t, "a") || used[0].Subject != root || used[0].PredicateType != typeProvenance {
		t.Errorf("used: %+v", used)
	}
	if v := p.Evaluate(s.facts()); v.Allowed {
		t.Error("an enforced no did not count")
	}
	if v := (&Policy{}).Evaluate(s.facts()); v.Allowed {
		t.Error("the zero policy allows")
	}
	body, err := json.Marshal(p.Evaluate(Facts{}))
	if err != nil || strings.Contains(string(body), "null") {
		t.Errorf("verdict %s, %v", body, err)
	}
}

func TestRemedies(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	one := s.signed("1", typeTest, result("PASSED", noon), "a")
	ref := "sluice attest localhost:5000/dev/acme/app"
	tests := []struct {
		name, text string
		facts      Facts
		want       string
	}{
		{"artifact", testedBy("from: {authorities: [a]}"), s.facts(), ref + ":1.0@" + root.String() + " --type " + typeTest + " --predicate test-result.json --key a.key"},
		{"who is missing", testedBy("from: {authorities: [a, b], threshold: 2}"), s.facts(one), " --key b.key"},
		{"each", testedBy("from: {authorities: [a]}, scope: each"), s.index([]Platform{amd64, arm64}, on(one, amd64.Digest)), ref + "@" + arm64.Digest.String() + " --type"},
		{"no reference", testedBy("from: {authorities: [a]}"), Facts{Repository: "acme/app", Digest: root, Now: noon}, "sluice attest acme/app@" + root.String()},
		{"shell", strings.Replace(builtBy("from: {authorities: [a]}"), typeProvenance, "https://x.example/$(id)'", 1), s.facts(), `--type 'https://x.example/$(id)'\''' --predicate predicate.json`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := load(t, keys, tt.text).Evaluate(tt.facts).Rules[0]
			if !strings.Contains(r.Remedy, tt.want) || strings.Contains(r.Remedy, "\n") {
				t.Errorf("remedy %q lacks %q", r.Remedy, tt.want)
			}
		})
	}
}

func TestMessagesStayShort(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	var evidence []attest.Evidence
	for range 1000 {
		evidence = append(evidence, s.signed("x"+strings.Repeat("y", len(evidence)), typeProvenance, nil))
	}
	v := load(t, keys, document(plainRule)).Evaluate(s.facts(evidence...))
	decided(t, v, false, "and 995 more")
	if n := len(v.Rules[0].Message); n > 1000 {
		t.Errorf("message of %d bytes", n)
	}
}

// Ten thousand unrelated attestations beside a good one do not matter, and junk of the
// right type by strangers does neither (Evidence 16).
func TestEvaluateManyUnrelated(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	evidence := make([]attest.Evidence, 10_000, 10_001)
	for i := range evidence {
		evidence[i] = attest.Evidence{Manifest: root, Subject: root, PredicateType: typeProvenance, Problem: "junk"}
	}
	f := s.facts(append(evidence, s.signed("good", typeProvenance, nil, "a"))...)
	decided(t, load(t, keys, document(plainRule)).Evaluate(f), true, "by a")
}

func TestEvaluateSurvivesPanics(t *testing.T) {
	p := load(t, newKeyring(t, "a", "b", "c"), document(plainRule))
	p.rules[0].conditions = []*condition{nil}
	s := scene{t, newKeyring(t, "a")}
	v := p.Evaluate(s.facts(s.signed("x", typeProvenance, nil, "a")))
	if v.Allowed || !strings.Contains(v.Rules[0].Message, "could not be evaluated") {
		t.Errorf("%+v", v.Rules[0])
	}
}

func TestDistinct(t *testing.T) {
	pairs := func(text string) []attest.Signer {
		var signers []attest.Signer
		for _, pair := range strings.Fields(text) {
			principal, key, _ := strings.Cut(pair, ":")
			signers = append(signers, attest.Signer{Principal: principal, KeyID: key})
		}
		return signers
	}
	for text, want := range map[string]int{
		"": 0, "p:1": 1, "p:1 p:1": 1, "p:1 q:1": 1, "p:1 p:2": 1, "p:1 q:2": 2,
		"p:1 p:2 q:1":         2, // p has to move to its other key
		"p:1 q:1 q:2 r:2 r:3": 3,
		"p:1 q:1 r:2 s:2":     2,
	} {
		for range 5 { // the order in which principals are taken does not matter
			if got := distinct(pairs(text)); got != want {
				t.Errorf("distinct(%s) = %d, want %d", text, got, want)
			}
		}
	}
}

// A multi-platform index of Docker's is an index too.
func TestEachKnowsDockerLists(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	f := s.facts(s.signed("x", typeProvenance, nil, "a"))
	for mediaType, want := range map[string]bool{
		ocispec.MediaTypeImageManifest:                              true,
		ocispec.MediaTypeImageIndex:                                 false,
		"application/vnd.docker.distribution.manifest.list.v2+json": false,
	} {
		f.MediaType = mediaType
		if got := load(t, keys, builtBy("from: {authorities: [a]}, scope: each")).Evaluate(f).Allowed; got != want {
			t.Errorf("%s: allowed %v", mediaType, got)
		}
	}
}

package policy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// approvedBy is a document whose one requirement is an approval.
func approvedBy(extra string) string {
	return document("    - {name: approved, approval: {}, " + extra + "}\n")
}

// approving makes approvals under one policy.
type approving struct {
	scene
	policy *Policy
}

// says is what an authority says about the decision of the policy, after edit.
func (a approving) says(name, decision string, ago time.Duration, authority string, edit ...func(map[string]any)) attest.Evidence {
	predicate := map[string]any{
		"repository": "acme/app", "from": "dev", "to": "stable", "decision": decision,
		"policy":    map[string]any{"digest": map[string]any{"sha256": a.policy.Digest().Encoded()}},
		"timestamp": noon.Add(-ago).Format(time.RFC3339Nano),
	}
	for _, f := range edit {
		f(predicate)
	}
	return a.signed(name, ApprovalType, predicate, authority)
}

func member(name string, value any) func(map[string]any) {
	return func(predicate map[string]any) {
		if value == nil {
			delete(predicate, name)
			return
		}
		predicate[name] = value
	}
}

func TestEvaluateApproval(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	built := s.signed("built", typeProvenance, nil, "a")
	other := map[string]any{"digest": map[string]any{"sha256": strings.Repeat("0", 64)}}
	const yes, no, hour = Approved, Rejected, time.Hour
	tests := []struct {
		name, rule string
		evidence   func(a approving) []attest.Evidence
		allowed    bool
		message    string
		awaits     bool
	}{
		{"none", "from: {authorities: [b]}", func(a approving) []attest.Evidence { return nil }, false, "no attestation https://sluice.dev/approval/v1 by b", true},
		{"approved", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{built, a.says("1", yes, hour, "b")}
		}, true, "by b", false},
		{"with what is not known", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("expires", "tomorrow"))}
		}, false, "predicate.expires is not known", false},
		{"with more about the policy", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("policy", map[string]any{
				"uri": "https://example.com/policy", "digest": map[string]any{"sha256": a.policy.Digest().Encoded(), "sha512": "0"}}))}
		}, true, "by b", false},
		{"by nobody who is asked", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "a")}
		}, false, "signed by a, who is not asked here", true},
		{"another repository", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("repository", "acme/web"))}
		}, false, `it is about the repository "acme/web", not acme/app`, true},
		{"another tier", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("to", "release"))}
		}, false, `it is for the tier "release", not stable`, true},
		{"from another tier", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("from", "qa"))}
		}, false, `it is for what comes from "qa", not from dev`, true},
		{"another policy", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("policy", other))}
		}, false, "it was given under the policy sha256:0000", true},
		{"no policy", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("policy", nil))}
		}, false, "predicate.policy.digest.sha256 is missing", false},
		{"a policy in upper case", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("policy", map[string]any{"digest": map[string]any{"sha256": strings.ToUpper(a.policy.Digest().Encoded())}}))}
		}, false, "it was given under the policy", true},
		{"another word", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", "maybe", hour, "b")}
		}, false, `predicate.decision is "maybe"`, false},
		{"a decision that is no text", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("decision", true))}
		}, false, "predicate.decision is missing", false},
		{"no time", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("timestamp", nil))}
		}, false, "predicate.timestamp is no time", false},
		{"from the future", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, -hour, "b")}
		}, false, "in the future", true},
		{"a long reason", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b", member("reason", strings.Repeat("x", 1025)))}
		}, false, "predicate.reason is no text of at most 1024 bytes", false},
		{"no predicate", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{s.signed("1", ApprovalType, nil, "b")}
		}, false, "predicate.repository is missing", false},
		{"about another artifact", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{on(a.says("1", yes, hour, "b"), digest.FromString("other"))}
		}, false, "is about sha256:", true},

		{"rejected", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", no, hour, "b", member("reason", "not on a Friday"))}
		}, false, `rejected: "not on a Friday"`, false},
		{"approved, then rejected", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, 2*hour, "b"), a.says("2", no, hour, "b")}
		}, false, "rejected", false},
		{"rejected, then approved", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", no, 2*hour, "b"), a.says("2", yes, hour, "b")}
		}, true, "by b", false},
		{"approved and rejected at once", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b"), a.says("2", no, hour, "b")}
		}, false, "rejected", false},
		{"approved, then rejected under a former policy", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, 2*hour, "b"), a.says("2", no, hour, "b", member("policy", other))}
		}, false, "under the policy", false},
		{"approved, then rejected for another tier", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, 2*hour, "b"), a.says("2", no, hour, "b", member("to", "release"))}
		}, true, "by b", false},
		{"rejected, then approved for another repository", "from: {authorities: [b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", no, 2*hour, "b"), a.says("2", yes, hour, "b", member("repository", "acme/web"))}
		}, false, "rejected", false},

		{"by the builder", "from: {authorities: [a]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{built, a.says("1", yes, hour, "a")}
		}, false, "a built the artifact", false},
		{"by the builder beside another", "from: {authorities: [a, b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{built, a.says("1", yes, hour, "a")}
		}, false, "a built the artifact", true},
		{"by another key of the builder", "from: {authorities: [c, a]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{s.signed("built", typeProvenance, nil, "b"), a.says("1", yes, hour, "c")}
		}, false, "b built the artifact", true},
		{"by the builder's key under another name", "from: {authorities: [d, b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{built, a.says("1", yes, hour, "d")}
		}, false, "the key signed provenance", true},
		{"by the builder of an older format", "from: {authorities: [a, b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{s.signed("built", "https://slsa.dev/provenance/v0.2", nil, "a"), a.says("1", yes, hour, "a")}
		}, false, "a built the artifact", true},
		{"by the builder of a platform", "from: {authorities: [a, b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{on(built, amd64.Digest), a.says("1", yes, hour, "a")}
		}, false, "a built the artifact", true},
		{"by who signed a provenance that does not count", "from: {authorities: [a, b]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{broken(built, "bad signature"), a.says("1", yes, hour, "a")}
		}, true, "by a", false},
		{"by who tested it", "from: {authorities: [a]}", func(a approving) []attest.Evidence {
			return []attest.Evidence{s.signed("tested", typeTest, nil, "a"), a.says("1", yes, hour, "a")}
		}, true, "by a", false},

		{"one of two", "from: {authorities: [a, b], threshold: 2}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "a")}
		}, false, "1 of 2 distinct signers", true},
		{"two of two", "from: {authorities: [a, b], threshold: 2}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "a"), a.says("2", yes, hour, "b")}
		}, true, "by b", false},
		{"two of one principal", "from: {authorities: [b, c, a], threshold: 2}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "b"), a.says("2", yes, hour, "c")}
		}, false, "1 of 2", true},
		{"two of two, one of whom built it", "from: {authorities: [a, b], threshold: 2}", func(a approving) []attest.Evidence {
			return []attest.Evidence{built, a.says("1", yes, hour, "a"), a.says("2", yes, hour, "b")}
		}, false, "a built the artifact", false},
		{"one of two, and the other rejects", "from: {authorities: [a, b], threshold: 2}", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, hour, "a"), a.says("2", no, hour, "b")}
		}, false, "rejected", false},
		{"too old", "from: {authorities: [b]}, maxAge: 1h", func(a approving) []attest.Evidence {
			return []attest.Evidence{a.says("1", yes, 2*hour, "b")}
		}, false, "2h0m0s old", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := approving{s, load(t, keys, approvedBy(tt.rule))}
			v := a.policy.Evaluate(s.facts(tt.evidence(a)...))
			decided(t, v, tt.allowed, tt.message)
			if got := v.Rules[0].Awaits == AwaitsApproval; got != tt.awaits || v.Awaits() != tt.awaits {
				t.Errorf("awaits approvals: rule %v, verdict %v; want %v", got, v.Awaits(), tt.awaits)
			}
			if !tt.allowed && !strings.Contains(v.Rules[0].Remedy, "sluice approve localhost:5000/dev/acme/app:1.0@"+root.String()+" --to stable --key ") {
				t.Errorf("remedy %q", v.Rules[0].Remedy)
			}
		})
	}
}

// Where anything else says no as well, approvals alone are of no use.
func TestVerdictAwaits(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	approved := "    - {name: approved, approval: {}, from: {authorities: [b]}}\n"
	built := s.signed("built", typeProvenance, nil, "a")
	warned := strings.NewReplacer("name: built", "name: warned, mode: warn", "[a]", "[b]").Replace(plainRule)
	for name, c := range map[string]struct {
		rules    string
		evidence []attest.Evidence
		want     bool
	}{
		"nothing is there":         {plainRule + approved, nil, false},
		"the approval is missing":  {plainRule + approved, []attest.Evidence{built}, true},
		"a warning beside it":      {plainRule + approved + warned, []attest.Evidence{built}, true},
		"the approval is a wish":   {plainRule + strings.Replace(approved, "approval:", "mode: warn, approval:", 1), nil, false},
		"all is there but a wish":  {plainRule + strings.Replace(approved, "approval:", "mode: warn, approval:", 1), []attest.Evidence{built}, false},
		"a review by another rule": {plainRule + strings.Replace(plainRule, "name: built", "name: again, where: ['false']", 1) + approved, []attest.Evidence{built}, false},
	} {
		if got := load(t, keys, document(c.rules)).Evaluate(s.facts(c.evidence...)).Awaits(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestLoadApproval(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	p := load(t, keys, approvedBy("from: {authorities: [b]}"))
	if again := load(t, keys, string(p.Canonical())); again.Digest() != p.Digest() || again.rules[0].checks == nil {
		t.Errorf("the canonical form is another policy:\n%s", p.Canonical())
	}
	if types := p.Document().Spec.Require[0].PredicateTypes; len(types) != 1 || types[0] != ApprovalType {
		t.Errorf("predicate types %v", types)
	}
	for text, want := range map[string]string{
		approvedBy("from: {authorities: [b]}, predicateTypes: [\"https://slsa.dev/provenance/v1\"]"):   "with approval it can only be https://sluice.dev/approval/v1",
		strings.Replace(approvedBy("from: {authorities: [b]}"), "approval: {}", "approval: {x: 1}", 1): `unknown key "x"`,
		strings.Replace(approvedBy("from: {authorities: [b]}"), "approval: {}", "approval:", 1):        "is empty",
	} {
		_, err := Load([]byte(text), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Error(err)
		}
	}
}

// The schema and the parser are of one mind.
func TestApprovalSchema(t *testing.T) {
	raw, err := os.ReadFile("schemas/approval.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema openapi3.Schema
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	var sample struct {
		Examples []map[string]any `json:"examples"`
	}
	if err := json.Unmarshal(raw, &sample); err != nil || len(sample.Examples) != 1 {
		t.Fatalf("%v, %v", sample, err)
	}
	made, err := json.Marshal(Approval{Repository: "acme/app", From: "dev", To: "stable", Policy: PolicyDigest(root), Decision: Rejected, Timestamp: noon})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit []func(map[string]any)
		ok   bool
	}{
		"as it is":             {nil, true},
		"more":                 {[]func(map[string]any){member("ticket", "4711")}, false},
		"no repository":        {[]func(map[string]any){member("repository", nil)}, false},
		"an empty tier":        {[]func(map[string]any){member("to", "")}, false},
		"no decision":          {[]func(map[string]any){member("decision", nil)}, false},
		"another decision":     {[]func(map[string]any){member("decision", "Approved")}, false},
		"a number for a time":  {[]func(map[string]any){member("timestamp", 5.0)}, false},
		"no policy":            {[]func(map[string]any){member("policy", nil)}, false},
		"a policy by its name": {[]func(map[string]any){member("policy", "release")}, false},
		"reason is a list":     {[]func(map[string]any){member("reason", []any{})}, false},
	} {
		for _, document := range []string{string(made), string(encoded(t, sample.Examples[0]))} {
			var predicate map[string]any
			if err := json.Unmarshal([]byte(document), &predicate); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.edit {
				f(predicate)
			}
			_, err := ParseApproval(predicate)
			valid := schema.VisitJSON(predicate, openapi3.EnableJSONSchema2020())
			if (err == nil) != c.ok || (valid == nil) != c.ok {
				t.Errorf("%s: parser %v, schema %v; want ok %v", name, err, valid, c.ok)
			}
		}
	}
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

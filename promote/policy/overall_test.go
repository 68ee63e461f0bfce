package policy

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const overAllRule = "    - {name: all, whereAll: [\"CONDITION\"]}\n"

func TestWhereAll(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	built := s.signed("built", typeProvenance, map[string]any{"n": int64(1)}, "a")
	tested := s.signed("tested", typeTest, map[string]any{"n": int64(2)}, "b")
	twice := s.signed("twice", typeTest, map[string]any{"n": int64(3)}, "a", "b")
	stranger := s.signed("stranger", typeTest, nil)
	stranger.Signers = []attest.Signer{{Authority: "https://registry/tiers/stable", Principal: "registry", KeyID: "k"}}
	second := tested
	second.Layer = digest.FromString("another layer of one manifest")
	tests := []struct {
		name, condition string
		evidence        []attest.Evidence
		message         string // empty: holds
	}{
		{"types", "attestations.exists(x, x.predicateType == '" + typeTest + "')", []attest.Evidence{built, tested}, ""},
		{"absent type", "attestations.exists(x, x.predicateType == '" + typeTest + "')", []attest.Evidence{built}, "is false"},
		{"count", "size(attestations) == 2", []attest.Evidence{built, tested}, ""},
		{"one manifest, two layers", "size(attestations) == 3", []attest.Evidence{built, tested, second}, ""},
		{"signers", "attestations.exists(x, size(x.signers) == 2 && x.signers.exists(y, y.principal == 'b'))", []attest.Evidence{built, twice}, ""},
		{"a stranger does not count", "size(attestations) == 1", []attest.Evidence{built, stranger}, ""},
		{"unverified does not count", "size(attestations) == 1", []attest.Evidence{built, broken(tested, "no")}, ""},
		{"another subject does not count", "size(attestations) == 1", []attest.Evidence{built, on(tested, digest.FromString("x"))}, ""},
		{"two predicates", "attestations.all(x, x.predicate.n < 3) && image.repository == 'acme/app' && now > timestamp('2026-01-01T00:00:00Z')", []attest.Evidence{built, tested}, ""},
		{"missing field", "attestations.exists(x, x.signedAt < now)", []attest.Evidence{built, tested}, "no such key: signedAt"},
		{"error beside true", "attestations.exists(x, x.predicate.n == 1 || x.predicate.missing == 1)", []attest.Evidence{built, tested}, "no such key: missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, document(plainRule+strings.Replace(overAllRule, "CONDITION", tt.condition, 1)))
			v := p.Evaluate(s.facts(tt.evidence...))
			r := v.Rules[1]
			if r.Allowed != (tt.message == "") || v.Allowed != r.Allowed || !strings.Contains(r.Message, tt.message) {
				t.Errorf("allowed %v: %s", r.Allowed, r.Message)
			}
			if r.Allowed != (r.Remedy == "") {
				t.Errorf("remedy %q", r.Remedy)
			}
		})
	}
	p := load(t, keys, document(plainRule+strings.Replace(overAllRule, "CONDITION", "size(attestations) == 0 || true", 1)))
	if r := p.Evaluate(s.facts()).Rules[1]; r.Allowed || !strings.Contains(r.Message, "nothing that an authority") {
		t.Errorf("nothing attached: %+v", r)
	}
}

// With predicate types and authorities the conditions look at what satisfies the rest.
func TestWhereAllOfAccepted(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, builtBy("from: {authorities: [a, b]}, whereAll: [\"attestations.all(x, x.predicate.commit == attestations[0].predicate.commit)\"]"))
	at := func(name, commit string, authority string) attest.Evidence {
		return s.signed(name, typeProvenance, map[string]any{"commit": commit}, authority)
	}
	decided(t, p.Evaluate(s.facts(at("1", "x", "a"), at("2", "x", "b"))), true, "")
	decided(t, p.Evaluate(s.facts(at("1", "x", "a"), at("2", "y", "b"))), false, "is false")
	decided(t, p.Evaluate(s.facts(at("1", "x", "a"), at("2", "y", "c"))), true, "") // c is not asked
	decided(t, p.Evaluate(s.facts()), false, "no attestation")
}

func TestLoadWhereAll(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for text, want := range map[string]string{
		// Conditions over everything ask for nobody's signature.
		document(strings.Replace(overAllRule, "CONDITION", "size(attestations) >= 0", 1)):                         "no enforced requirement",
		document(plainRule + strings.Replace(overAllRule, "CONDITION", "predicate.x == 1", 1)):                    "undeclared reference",
		document(plainRule + strings.Replace(overAllRule, "CONDITION", "size(attestations)", 1)):                  "has to give bool",
		document(plainRule + "    - {name: all, whereAll: [\"true\"], where: [\"true\"]}\n"):                      "is about one attestation",
		document(plainRule + "    - {name: all, whereAll: []}\n"):                                                 "is empty",
		builtBy("from: {authorities: [a]}, where: [\"size(attestations) == 1\"]"):                                 "undeclared reference",
		document(plainRule + "    - {name: all, whereAll: [\"true\"], predicateTypes: [\"" + typeTest + "\"]}\n"): "ask for somebody's signature",
		document(plainRule + "    - {name: all, whereAll: [\"true\"], from: {authorities: [a]}}\n"):               "name the predicate types",
	} {
		_, err := Load([]byte(text), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

package policy

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// One attestation that is attached twice, in two manifests, is one: anybody can copy it.
func TestWhereAllCountsCopiesOnce(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, document(plainRule+strings.Replace(overAllRule, "CONDITION", "size(attestations) >= 2", 1)))
	one := s.signed("one", typeProvenance, map[string]any{}, "a")
	one.Layer = digest.FromString("the bundle")
	copied := one
	copied.Manifest = digest.FromString("another manifest around the same bundle")
	if p.Evaluate(s.facts(one)).Rules[1].Allowed {
		t.Fatal("one is two")
	}
	if r := p.Evaluate(s.facts(one, copied)).Rules[1]; r.Allowed {
		t.Errorf("one, attached twice, is two: %s", r.Message)
	}
}

package promote_test

import (
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// A verdict that is too long for the catalog is kept in part, and the promotion ends all the
// same; the summary names all that it rests on.
func TestLongVerdict(t *testing.T) {
	g := newGate(t, nil)
	const platforms, rules = 150, 30
	var more strings.Builder
	for i := range rules {
		fmt.Fprintf(&more, "    - name: rule%d\n      predicateTypes: [%q]\n      from: {authorities: [ci]}\n      scope: each\n", i, provenanceType)
	}
	document := string(g.policyDocument("dev-to-stable", "dev", "stable", "")) + more.String()
	_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", []byte(document), "")
	g.must(err)
	var children []ocispec.Descriptor
	for i := range platforms {
		child := g.image("", fmt.Sprint("platform ", i), nil)
		child.Platform = &ocispec.Platform{OS: "linux", Architecture: fmt.Sprint("a", i)}
		children = append(children, child)
	}
	index := g.index("1.0", nil, children...)

	refused, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || refused.State != promote.Failed || len(refused.Verdict.Rules) != rules+1 {
		t.Fatalf("got %s, %v", refused.State, err)
	}
	for _, r := range refused.Verdict.Rules {
		if r.Allowed || r.Message == "" || r.Remedy == "" {
			t.Errorf("%s: allowed %v, message %.100q, remedy %.100q", r.Name, r.Allowed, r.Message, r.Remedy)
		}
	}
	g.small(refused)

	for _, subject := range append(children, index) {
		g.provenance(subject)
	}
	p := g.promoteOK(request("1.0", "stable"))
	g.small(p)
	r := p.Verdict.Rules[1]
	if r.Unlisted == 0 || len(r.Evidence)+r.Unlisted != platforms || len(r.Evidence) == 0 {
		t.Errorf("%d attestations are listed and %d not, of %d", len(r.Evidence), r.Unlisted, platforms)
	}
	if n := len(g.inputs()); n != platforms+1 {
		t.Errorf("the summary names %d attestations, want %d", n, platforms+1)
	}
	g.noTraces()
}

// small checks that what is kept of a promotion leaves room in a transaction, which holds it
// twice.
func (g *gate) small(p promote.Promotion) {
	g.Helper()
	if n := len(tiers.Encode(p)); n > tiers.MaxChange/3 {
		g.Errorf("%d bytes are kept", n)
	}
}

// inputs are the attestations that the summary of 1.0 in stable names.
func (g *gate) inputs() []any {
	g.Helper()
	desc, err := g.repo("stable").Resolve(g.Context(), "1.0")
	g.must(err)
	found, err := attest.Find(g.Context(), g.repo("stable"), desc.Digest, attest.Limits{})
	g.must(err)
	for _, attachment := range found {
		ev := attest.Verify(attachment, desc.Digest, nil, g.registry.Now())
		if inputs, ok := ev.Predicate()["inputAttestations"].([]any); ok {
			return inputs
		}
	}
	g.Fatal("there is no summary")
	return nil
}

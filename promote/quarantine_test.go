package promote_test

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

func (g *gate) quarantine(d digest.Digest) {
	g.Helper()
	_, _, err := g.registry.Quarantine(g.Context(), "security", d, "it is bad", time.Time{})
	g.must(err)
}

func (g *gate) lift(d digest.Digest) {
	g.Helper()
	_, err := g.registry.LiftQuarantine(g.Context(), "security", d, "")
	g.must(err)
}

// inQuarantine says whether a verdict says no because of a quarantine.
func inQuarantine(v *policy.Verdict) bool {
	return v != nil && !v.Allowed && v.Rules[0].Name == "quarantine" && strings.Contains(v.Rules[0].Message, "it is bad") &&
		strings.HasPrefix(v.Rules[0].Remedy, "sluice quarantine lift sha256:")
}

func (g *gate) layerOf(image ocispec.Descriptor) digest.Digest {
	g.Helper()
	_, body, err := g.repo("dev").Manifest(g.Context(), image.Digest.String())
	g.must(err)
	m, err := oci.ParseManifest(image.MediaType, body)
	g.must(err)
	return m.Layers[0].Digest
}

// What is in quarantine or holds what is does not rise, whatever the policy says and whatever
// rose before; evaluations say the same, and lifted it rises.
func TestQuarantined(t *testing.T) {
	g := newGate(t, nil)
	image := g.platforms("1.0")
	g.provenance(image)
	children := g.childrenOf(image)
	refused := func(name string, d digest.Digest) {
		t.Helper()
		g.quarantine(d)
		defer g.lift(d)
		p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
		if err != nil || p.State != promote.Failed || !inQuarantine(p.Verdict) {
			t.Fatalf("%s: got %s, %v, %+v", name, p.State, err, p.Verdict)
		}
		v, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable"))
		if err != nil || !inQuarantine(&v) {
			t.Errorf("%s: evaluated %+v, %v", name, v, err)
		}
		g.ended(p)
		g.noTraces()
	}
	refused("the index", image.Digest)
	refused("a platform", children[0].Digest)
	refused("a layer", g.layerOf(children[1]))
	g.absent("stable", image.Digest, "1.0")
	first := g.promoteOK(request("1.0", "stable"))
	refused("what rose before", image.Digest)
	if again := g.promoteOK(request("1.0", "stable")); again.ID != first.ID {
		t.Errorf("lifted, it is another promotion: %s, %s", again.ID, first.ID)
	}
}

func (g *gate) childrenOf(index ocispec.Descriptor) []ocispec.Descriptor {
	g.Helper()
	_, body, err := g.repo("dev").Manifest(g.Context(), index.Digest.String())
	g.must(err)
	m, err := oci.ParseManifest(index.MediaType, body)
	g.must(err)
	return m.Children
}

// Evidence that is in quarantine does not count, and stays behind.
func TestQuarantinedEvidence(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	bad := g.provenance(image)
	sbom := g.artifact("", sbomType, "bill", &image)
	g.quarantine(bad.Digest)
	p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || p.State != promote.Failed || inQuarantine(p.Verdict) || !strings.Contains(p.Verdict.Rules[0].Message, "it is bad") {
		t.Fatalf("got %s, %v, %+v", p.State, err, p.Verdict)
	}
	found, err := g.engine.Evidence(t.Context(), "dev", repository, image.Digest)
	if err != nil || len(found) != 1 || found[0].Verified() || !strings.Contains(found[0].Problem, "it is bad") {
		t.Errorf("listed %+v, %v", found, err)
	}
	good := g.attest(image, provenanceType, `{"second":true}`, g.ci)
	g.quarantine(g.layerOf(sbom)) // by what it holds
	p = g.promoteOK(request("1.0", "stable"))
	if len(p.Left) != 2 || !strings.Contains(p.Left[0].Reason, "it is bad") {
		t.Errorf("left %+v", p.Left)
	}
	g.rose(false, bad, sbom)
	g.rose(true, good)
	artifacts, _, err := g.engine.Artifacts(t.Context(), "dev", repository, "", 100)
	g.must(err)
	held := 0
	for _, a := range artifacts {
		if a.Quarantine != nil {
			held++
		}
	}
	if held != 2 {
		t.Errorf("%d of two are listed as in quarantine", held)
	}
}

// What is put in quarantine between the decision and its commit, the artifact or the evidence,
// does not rise; something else does not matter, and neither does what is only attached.
func TestQuarantineInterleaved(t *testing.T) {
	for name, c := range map[string]struct {
		of    func(g *gate, image, provenance ocispec.Descriptor) digest.Digest
		state promote.State
	}{
		"the artifact":   {func(_ *gate, image, _ ocispec.Descriptor) digest.Digest { return image.Digest }, promote.Failed},
		"its layer":      {func(g *gate, image, _ ocispec.Descriptor) digest.Digest { return g.layerOf(image) }, promote.Failed},
		"its evidence":   {func(_ *gate, _, provenance ocispec.Descriptor) digest.Digest { return provenance.Digest }, promote.Failed},
		"something else": {func(*gate, ocispec.Descriptor, ocispec.Descriptor) digest.Digest { return digest.FromString("x") }, promote.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			hooked, h := g.process(true)
			image := g.image("1.0", "one", nil)
			provenance := g.provenance(image)
			h.before("committed/", func() { g.quarantine(c.of(g, image, provenance)) })
			p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			if err != nil || p.State != c.state {
				t.Fatalf("got %s, %v: %+v", p.State, err, p.Verdict)
			}
			if c.state == promote.Failed {
				g.absent("stable", image.Digest, "1.0")
			}
			g.ended(p)
			g.noTraces()
			var wrong []string
			audit := promote.Auditor{}
			for _, e := range g.happened() {
				wrong = append(wrong, audit.Event(e)...)
			}
			if len(wrong) != 0 {
				t.Errorf("the auditor says %q", wrong)
			}
		})
	}
}

// One that waits for approvals and whose artifact is put in quarantine is refused when they
// come, and one that is in quarantine does not begin to wait.
func TestQuarantineWaits(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.quarantine(image.Digest)
	r := request("1.0", "stable")
	r.Wait = true
	p, _, err := g.engine.Promote(t.Context(), "manager", r)
	if err != nil || p.State != promote.Failed || !inQuarantine(p.Verdict) {
		t.Errorf("got %s, %v, %+v", p.State, err, p.Verdict)
	}
	var told tiers.EventType
	for _, e := range g.events("promotion.") {
		told = e.Type
	}
	if told != tiers.EventRefused {
		t.Errorf("told %s", told)
	}
}

package policy

import (
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// Who performed a step of the layout made the artifact: his approval is of his own work.
func TestApprovalByFunctionary(t *testing.T) {
	y := newYard(t)
	files := keyring{"root.layout": y.signed(*y.chain(), true, "root")}
	for name, content := range y.pub {
		files[name] = content
	}
	p, err := Load([]byte(y.document("")+"    - {name: approved, approval: {}, from: {authorities: [carol]}}\n"), files.read)
	if err != nil {
		t.Fatal(err)
	}
	approval := attest.Evidence{Manifest: digest.FromString("approval"), Subject: root, PredicateType: ApprovalType,
		Signers: []attest.Signer{{Authority: "carol", Principal: "bob and carol", KeyID: p.authorities[2].Keys[0].ID}},
		Statement: map[string]any{"predicateType": ApprovalType, "predicate": map[string]any{"repository": "acme/app", "from": "dev", "to": "stable",
			"policy": map[string]any{"digest": map[string]any{"sha256": p.Digest().Encoded()}}, "decision": Approved, "timestamp": noon.Format(time.RFC3339)}}}
	f := scene{t: t}.facts(y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), false, "carol"), approval)
	approval.Statement["predicate"].(map[string]any)["repository"] = f.Repository
	v := p.Evaluate(f)
	if want := "bob and carol performed step package for the artifact, link sha256:"; v.Allowed || !strings.Contains(v.Rules[1].Message, want) {
		t.Errorf("carol packaged the artifact and approved it: %s", v.Rules[1].Message)
	}
	f.Evidence = append(f.Evidence[:1:1], y.performed(p, packaged(), false, "bob"), approval)
	if v := p.Evaluate(f); !v.Rules[1].Allowed {
		t.Errorf("sanity: %s", v.Rules[1].Message)
	}
	// What she packaged elsewhere, which anybody may attach here, is none of her work on this.
	other := with(packaged(), func(l *intoto.Link) { l.Products = oneFile("manifest.json", "another") })
	f.Evidence = append(f.Evidence, y.performed(p, other, false, "carol"), y.performed(p, buildLink(), true, "carol"))
	if v := p.Evaluate(f); !v.Rules[1].Allowed {
		t.Errorf("links of other artifacts, or of steps that are not hers: %s", v.Rules[1].Message)
	}
}

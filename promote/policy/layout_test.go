package policy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// yard is a supply chain: who owns its layout, and who performs the steps.
type yard struct {
	t    testing.TB
	keys map[string]intoto.Key
	pub  keyring
}

// newYard makes keys: root signs the layout, alice (Ed25519) builds, bob (RSA) and carol
// (ECDSA) package, and mallory is nobody.
func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{t: t, keys: map[string]intoto.Key{}, pub: keyring{}}
	for _, name := range []string{"root", "second", "carol", "mallory"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		y.add(name, key, err)
	}
	_, alice, err := ed25519.GenerateKey(rand.Reader)
	y.add("alice", alice, err)
	bob, err := rsa.GenerateKey(rand.Reader, 2048)
	y.add("bob", bob, err)
	return y
}

func (y *yard) add(name string, key crypto.Signer, err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		y.t.Fatal(err)
	}
	var loaded intoto.Key
	if err := loaded.LoadKeyReaderDefaults(bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
		y.t.Fatal(err)
	}
	y.keys[name] = loaded
	if y.pub[name+".pub"], err = attest.MarshalPublicKey(key.Public()); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) public(name string) intoto.Key {
	key := y.keys[name]
	key.KeyVal.Private = ""
	return key
}

// chain is the layout that tests start from: app is built from src, and packaged.
func (y *yard) chain() *intoto.Layout {
	layout := &intoto.Layout{Type: "layout", Expires: noon.AddDate(0, 1, 0).Format(intoto.ISO8601DateSchema), Readme: "ünïcode \u200b😀 \"quoted\"", Keys: map[string]intoto.Key{}}
	for _, name := range []string{"alice", "bob", "carol"} {
		layout.Keys[y.keys[name].KeyID] = y.public(name)
	}
	layout.Steps = []intoto.Step{
		{
			Type: "step", Threshold: 1, PubKeys: []string{y.keys["alice"].KeyID}, ExpectedCommand: []string{"make"},
			SupplyChainItem: intoto.SupplyChainItem{
				Name:              "build",
				ExpectedMaterials: [][]string{{"ALLOW", "src/*"}, {"DISALLOW", "*"}},
				ExpectedProducts:  [][]string{{"CREATE", "app"}, {"ALLOW", "src/*"}, {"DISALLOW", "*"}},
			},
		},
		{
			Type: "step", Threshold: 1, PubKeys: []string{y.keys["bob"].KeyID, y.keys["carol"].KeyID},
			SupplyChainItem: intoto.SupplyChainItem{
				Name:              "package",
				ExpectedMaterials: [][]string{{"MATCH", "app", "WITH", "PRODUCTS", "FROM", "build"}, {"DISALLOW", "*"}},
				ExpectedProducts:  [][]string{{"CREATE", "manifest.json"}, {"ALLOW", "app"}, {"DISALLOW", "*"}},
			},
		},
	}
	return layout
}

// signed wraps a link or layout as in-toto's command writes it, and has its library sign.
func (y *yard) signed(document any, dsse bool, signers ...string) []byte {
	y.t.Helper()
	wrapped := map[string]any{"signed": document, "signatures": []any{}}
	if dsse {
		payload, err := json.Marshal(document)
		if err != nil {
			y.t.Fatal(err)
		}
		wrapped = map[string]any{"payloadType": intoto.PayloadType, "payload": payload, "signatures": []any{}}
	}
	content, err := json.Marshal(wrapped)
	if err != nil {
		y.t.Fatal(err)
	}
	file := filepath.Join(y.t.TempDir(), "metadata")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		y.t.Fatal(err)
	}
	var signatures []any
	for _, name := range signers {
		metadata, err := intoto.LoadMetadata(file)
		if err != nil {
			y.t.Fatal(err)
		}
		if err := metadata.Sign(y.keys[name]); err != nil {
			y.t.Fatal(err)
		}
		for _, s := range metadata.Sigs() {
			signatures = append(signatures, s)
		}
	}
	if wrapped["signatures"] = signatures; signatures == nil {
		wrapped["signatures"] = []any{}
	}
	if content, err = json.MarshalIndent(wrapped, "", "  "); err != nil {
		y.t.Fatal(err)
	}
	return content
}

// policy loads a document with the layout, root.layout, and more of its layout section.
func (y *yard) policy(layout []byte, more string) (*Policy, error) {
	files := keyring{"root.layout": layout}
	for name, content := range y.pub {
		files[name] = content
	}
	return Load([]byte(y.document(more)), files.read)
}

func (y *yard) document(more string) string {
	return `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: root, key: {file: root.pub}}
    - {name: second, key: {file: second.pub}}
    - {name: carol, principal: bob and carol, notAfter: "2026-12-01T00:00:00Z", key: {file: carol.pub}}
  require:
    - {name: chain, layout: {file: root.layout, authorities: [root]` + more + `}}
`
}

func (y *yard) load(layout *intoto.Layout) *Policy {
	y.t.Helper()
	p, err := y.policy(y.signed(*layout, false, "root"), "")
	if err != nil {
		y.t.Fatal(err)
	}
	return p
}

type files map[string]intoto.HashObj

func file(content string) intoto.HashObj {
	return intoto.HashObj{"sha256": digest.FromString(content).Encoded()}
}

// performed is a link, attached to the root and verified for a policy.
func (y *yard) performed(p *Policy, link intoto.Link, dsse bool, signers ...string) attest.Evidence {
	y.t.Helper()
	link.Type = "link"
	att := attest.Attachment{Format: attest.FormatLink, Content: y.signed(link, dsse, signers...)}
	att.Manifest = ocispec.Descriptor{Digest: digest.FromBytes(att.Content)}
	return attest.Verify(att, root, p.Authorities(), noon)
}

func build() intoto.Link {
	return intoto.Link{Name: "build", Command: []string{"make"}, Materials: files{"src/main.go": file("source")}, Products: files{"app": file("app"), "src/main.go": file("source")}}
}

func packaged() intoto.Link {
	return intoto.Link{Name: "package", Materials: files{"app": file("app")}, Products: files{"app": file("app"), "manifest.json": {"sha256": root.Encoded()}}}
}

// with changes a link.
func with(link intoto.Link, change func(*intoto.Link)) intoto.Link {
	change(&link)
	return link
}

func TestLayoutHolds(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	for _, dsse := range []bool{false, true} {
		p, err := y.policy(y.signed(*y.chain(), dsse, "root"), "")
		if err != nil {
			t.Fatal(err)
		}
		v := p.Evaluate(s.facts(y.performed(p, build(), !dsse, "alice"), y.performed(p, packaged(), dsse, "bob")))
		decided(t, v, true, "by functionary "+y.keys["alice"].KeyID[:8])
		if n := len(v.Rules[0].Evidence); n != 2 || strings.Contains(v.Rules[0].Message, "warning") {
			t.Errorf("%d links, message %s", n, v.Rules[0].Message)
		}
		again, err := Load(p.Canonical(), nil)
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("canonical: %v\n%s", err, p.Canonical())
		}
		decided(t, again.Evaluate(s.facts(y.performed(again, build(), dsse, "alice"), y.performed(again, packaged(), dsse, "carol"))), true, "by carol")
	}
}

func TestLayoutRefuses(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	tests := []struct {
		name    string
		layout  func(*intoto.Layout)
		links   func(p *Policy) []attest.Evidence
		now     time.Time
		allowed bool
		message string
	}{
		{"no links", nil, func(*Policy) []attest.Evidence { return nil }, noon, false,
			"step build of the layout: 0 of 1 functionaries attached a link"},
		{"a missing step", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "alice")}
		}, noon, false, "step package of the layout: 0 of 1 functionaries attached a link"},
		{"a foreign key", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "mallory"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "(step build) is signed by no functionary of the layout: no authority signed it"},
		{"a functionary of another step", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), false, "carol"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "(step build) is signed by carol, who may not perform it"},
		{"the owner of the layout", nil, func(p *Policy) []attest.Evidence {
			link := with(build(), func(l *intoto.Link) { l.Products["manifest"] = intoto.HashObj{"sha256": root.Encoded()} })
			return []attest.Evidence{y.performed(p, link, false, "root")}
		}, noon, false, "(step build) is signed by root, who is no functionary of the layout"},
		{"a changed product", nil, func(p *Policy) []attest.Evidence {
			changed := with(packaged(), func(l *intoto.Link) { l.Materials = files{"app": file("another app")} })
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, changed, true, "bob")}
		}, noon, false, "step 'package', materials [app] disallowed by rule [DISALLOW *]"},
		{"a product too many", nil, func(p *Policy) []attest.Evidence {
			more := with(build(), func(l *intoto.Link) { l.Products = files{"app": file("app"), "b": file("x"), "a": file("x")} })
			return []attest.Evidence{y.performed(p, more, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step 'build', products [a b] disallowed by rule [DISALLOW *]"},
		{"CREATE of what was there", nil, func(p *Policy) []attest.Evidence {
			there := with(build(), func(l *intoto.Link) { l.Materials = files{"app": file("app")} })
			return []attest.Evidence{y.performed(p, there, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step 'build', materials [app] disallowed"},
		{"a required file", func(l *intoto.Layout) {
			l.Steps[0].ExpectedProducts = append([][]string{{"REQUIRE", "LICENSE"}}, l.Steps[0].ExpectedProducts...)
		}, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "'LICENSE', because LICENSE is not in [app src/main.go]"},
		{"not this artifact", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = files{"manifest.json": file("other")} })
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "no product of it is " + root.String() + ": the layout says nothing about this artifact"},
		{"this artifact as a material only", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) {
				l.Materials, l.Products = files{"app": {"sha256": root.Encoded()}}, files{"app": file("app")}
			})
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"this artifact by an earlier step only", nil, func(p *Policy) []attest.Evidence {
			early := with(build(), func(l *intoto.Link) { l.Products = files{"app": {"sha256": root.Encoded()}} })
			late := with(packaged(), func(l *intoto.Link) { l.Materials, l.Products = early.Products, files{"manifest.json": file("x")} })
			return []attest.Evidence{y.performed(p, early, true, "alice"), y.performed(p, late, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"the digest under another algorithm", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = files{"manifest.json": {"sha512": root.Encoded()}} })
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"an expired layout", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon.AddDate(0, 1, 0), false, "the layout expired at 2026-12-22T12:00:00Z"},
		{"a threshold of two by one key", two, func(p *Policy) []attest.Evidence {
			again := with(packaged(), func(l *intoto.Link) { l.Command = []string{"again"} })
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, again, false, "bob")}
		}, noon, false, "step package of the layout: 1 of 2 functionaries attached a link (one principal, or one key, counts once)"},
		{"a threshold of two", two, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, packaged(), false, "carol")}
		}, noon, true, "by carol"},
		{"a threshold of two in one envelope", two, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), false, "bob", "carol")}
		}, noon, true, "by carol"},
		{"functionaries who disagree", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = files{"manifest.json": file("other")} })
			return []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, other, true, "carol")}
		}, noon, false, "step package of the layout: its functionaries recorded different materials or products"},
		{"one functionary who repeated a step", nil, func(p *Policy) []attest.Evidence {
			other := with(build(), func(l *intoto.Link) { l.Products = files{"app": file("stale app")} })
			return []attest.Evidence{y.performed(p, other, true, "alice"), y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "by functionary"},
		{"a malformed link beside good ones", nil, func(p *Policy) []attest.Evidence {
			bad := with(build(), func(l *intoto.Link) { l.Products = files{"a/../app": file("x"), "app": file("y")} })
			empty := with(build(), func(l *intoto.Link) { l.Products = files{"app": {}} })
			return []attest.Evidence{y.performed(p, bad, true, "alice"), y.performed(p, empty, true, "alice"), y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "by functionary"},
		{"artifacts without a digest", nil, func(p *Policy) []attest.Evidence {
			empty := with(build(), func(l *intoto.Link) { l.Products = files{"app": {}} })
			pack := with(packaged(), func(l *intoto.Link) { l.Materials = files{"app": {}} })
			return []attest.Evidence{y.performed(p, empty, true, "alice"), y.performed(p, pack, true, "bob")}
		}, noon, false, `is malformed: "app" among the link's products has no digest`},
		{"another command", nil, func(p *Policy) []attest.Evidence {
			other := with(build(), func(l *intoto.Link) { l.Command = []string{"curl", "evil"} })
			return []attest.Evidence{y.performed(p, other, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "warning: step build ran `curl evil`, the layout expects `make`"},
		{"a sublayout", nil, func(p *Policy) []attest.Evidence {
			att := attest.Attachment{Format: attest.FormatLink, Content: y.signed(*y.chain(), true, "alice")}
			return []attest.Evidence{attest.Verify(att, root, p.Authorities(), noon), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step build of the layout: 0 of 1"},
		{"attached to another manifest", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{on(y.performed(p, build(), true, "alice"), amd64.Digest), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step build of the layout: 0 of 1"},
		{"a step that the layout lacks", nil, func(p *Policy) []attest.Evidence {
			other := with(build(), func(l *intoto.Link) { l.Name = "test" })
			return []attest.Evidence{y.performed(p, other, true, "alice")}
		}, noon, false, `is of the step "test", which the layout does not have`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			layout := y.chain()
			if tt.layout != nil {
				tt.layout(layout)
			}
			p := y.load(layout)
			f := s.facts(tt.links(p)...)
			f.Now = tt.now
			decided(t, p.Evaluate(f), tt.allowed, tt.message)
		})
	}
}

func two(layout *intoto.Layout) { layout.Steps[1].Threshold = 2 }

// A key under two ids, and two keys of one principal, are one functionary.
func TestLayoutCountsPrincipals(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	layout := y.chain()
	two(layout)
	alias := y.public("carol")
	alias.KeyID = strings.Repeat("ab", 32)
	layout.Keys[alias.KeyID] = alias
	layout.Steps[1].PubKeys = []string{y.keys["carol"].KeyID, alias.KeyID, y.keys["bob"].KeyID}
	files := keyring{"root.layout": y.signed(*layout, true, "root")}
	for name, content := range y.pub {
		files[name] = content
	}
	text := strings.Replace(y.document(""), "  require:", "    - {name: bob, principal: bob and carol, key: {file: bob.pub}}\n  require:", 1)
	p, err := Load([]byte(text), files.read)
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(p.Warnings(), "\n"); !strings.Contains(w, "step package has the threshold 2, which can never be met") {
		t.Errorf("warnings: %s", w)
	}
	links := []attest.Evidence{y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "carol"), y.performed(p, packaged(), true, "bob")}
	decided(t, p.Evaluate(s.facts(links...)), false, "1 of 2 functionaries attached a link (one principal, or one key, counts once)")
}

// The window that the policy gives a key counts for its links and for the layout.
func TestLayoutKeyWindows(t *testing.T) {
	y := newYard(t)
	p := y.load(y.chain())
	late := time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)
	att := attest.Attachment{Format: attest.FormatLink, Content: y.signed(with(packaged(), func(l *intoto.Link) { l.Type = "link" }), true, "carol")}
	if e := attest.Verify(att, root, p.Authorities(), noon); len(e.Functionaries) != 1 {
		t.Errorf("in time: %+v", e)
	}
	if e := attest.Verify(att, root, p.Authorities(), late); len(e.Functionaries) != 0 {
		t.Errorf("late: %+v", e)
	}
	text := strings.Replace(y.document(""), "{name: root, key", `{name: root, notAfter: "2026-11-22T00:00:00Z", key`, 1)
	files := keyring{"root.layout": y.signed(*y.chain(), true, "root")}
	for name, content := range y.pub {
		files[name] = content
	}
	p, err := Load([]byte(text), files.read)
	if err != nil {
		t.Fatal(err)
	}
	decided(t, p.Evaluate(scene{t: t}.facts(y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"))), false,
		"the key that root signed the layout with is not valid now")
}

// A functionary signs steps of the layout and nothing else.
func TestFunctionariesSignNothingElse(t *testing.T) {
	y := newYard(t)
	text := strings.Replace(y.document(""), "  require:\n", "  require:\n    - {name: linked, predicateTypes: [\"https://in-toto.io/Link/v1\"], from: {authorities: [root, second, carol]}}\n", 1)
	files := keyring{"root.layout": y.signed(*y.chain(), true, "root")}
	for name, content := range y.pub {
		files[name] = content
	}
	p, err := Load([]byte(text), files.read)
	if err != nil {
		t.Fatal(err)
	}
	bob := y.performed(p, packaged(), true, "bob")
	if bob.Verified() || len(bob.Signers) > 0 || len(bob.Functionaries) != 1 || !strings.Contains(bob.Problem, "for which it counts") {
		t.Errorf("bob: %+v", bob)
	}
	v := p.Evaluate(scene{t: t}.facts(y.performed(p, build(), true, "alice"), bob))
	if v.Rules[0].Allowed || !v.Rules[1].Allowed {
		t.Errorf("verdict: %+v", v)
	}
	// Carol is an authority too: her link about the artifact counts as evidence, one about
	// something else does not.
	v = p.Evaluate(scene{t: t}.facts(y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "carol")))
	if !v.Rules[0].Allowed || !v.Rules[1].Allowed {
		t.Errorf("verdict: %+v", v)
	}
	elsewhere := with(packaged(), func(l *intoto.Link) { l.Products = oneFile("manifest.json", "other") })
	v = p.Evaluate(scene{t: t}.facts(y.performed(p, elsewhere, false, "carol")))
	if v.Rules[0].Allowed || !strings.Contains(v.Rules[0].Message, "the statement is about") {
		t.Errorf("verdict: %+v", v)
	}
}

func oneFile(name, content string) map[string]intoto.HashObj { return files{name: file(content)} }

func TestLayoutParameters(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	layout := y.chain()
	layout.Steps[0].ExpectedMaterials[0][1] = "{DIR}/*"
	layout.Steps[0].ExpectedProducts[1][1] = "{DIR}/*"
	content := y.signed(*layout, false, "root")
	p, err := y.policy(content, ", parameters: {DIR: src}")
	if err != nil {
		t.Fatal(err)
	}
	decided(t, p.Evaluate(s.facts(y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"))), true, "by functionary")
	if p, err = y.policy(content, ""); err != nil || !strings.Contains(strings.Join(p.Warnings(), "\n"), "step build mentions {DIR}") {
		t.Fatalf("%v, warnings %v", err, p.Warnings())
	}
	decided(t, p.Evaluate(s.facts(y.performed(p, build(), true, "alice"), y.performed(p, packaged(), true, "bob"))), false, "materials [src/main.go] disallowed")
}

func TestLayoutBounds(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	p := y.load(y.chain())
	var many []attest.Evidence
	for i := range 70 {
		many = append(many, y.performed(p, with(build(), func(l *intoto.Link) { l.Products = oneFile("app", strings.Repeat("x", i)) }), true, "alice"))
	}
	decided(t, p.Evaluate(s.facts(append(many, y.performed(p, packaged(), true, "bob"))...)), false, "more than 64 ways")

	same := y.performed(p, build(), true, "alice")
	flood := make([]attest.Evidence, maxLinks+1)
	for i := range flood {
		flood[i] = same
	}
	decided(t, p.Evaluate(s.facts(flood...)), false, "more than 1000 links are attached")

	layout := y.chain()
	for range 90 {
		layout.Steps[0].ExpectedProducts = append([][]string{{"ALLOW", "*" + strings.Repeat("a", 900) + "b*"}}, layout.Steps[0].ExpectedProducts...)
	}
	p = y.load(layout)
	slow := with(build(), func(l *intoto.Link) {
		l.Products = files{}
		for i := range 100 {
			l.Products[strings.Repeat("a", 4000-i)] = file("x")
		}
	})
	start := time.Now()
	decided(t, p.Evaluate(s.facts(y.performed(p, slow, true, "alice"), y.performed(p, packaged(), true, "bob"))), false, "takes too long")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// Load refuses what in-toto's library would pass over, and what cannot be verified here.
func TestLoadRefusesLayouts(t *testing.T) {
	y := newYard(t)
	rule := func(words ...string) func(*intoto.Layout) {
		return func(l *intoto.Layout) { l.Steps[0].ExpectedProducts = [][]string{words} }
	}
	step := func(change func(*intoto.Step)) func(*intoto.Layout) {
		return func(l *intoto.Layout) { change(&l.Steps[0]) }
	}
	for name, tt := range map[string]struct {
		change func(*intoto.Layout)
		want   string
	}{
		"inspections":       {func(l *intoto.Layout) { l.Inspect = []intoto.Inspection{{Type: "inspection", Run: []string{"rm"}}} }, "the registry runs none"},
		"certificates":      {func(l *intoto.Layout) { l.RootCas = map[string]intoto.Key{"ab": y.public("bob")} }, "trusts certificates"},
		"constraints":       {step(func(s *intoto.Step) { s.CertificateConstraints = []intoto.CertificateConstraint{{}} }), "cert_constraints"},
		"no steps":          {func(l *intoto.Layout) { l.Steps = nil }, "has 0 steps"},
		"two of a name":     {step(func(s *intoto.Step) { s.Name = "package" }), `two steps "package"`},
		"a step's name":     {step(func(s *intoto.Step) { s.Name = "a;rm" }), "its name must be"},
		"threshold 0":       {step(func(s *intoto.Step) { s.Threshold = 0 }), "threshold is 0"},
		"nobody":            {step(func(s *intoto.Step) { s.PubKeys = nil }), "nobody may perform it"},
		"an unknown key":    {step(func(s *intoto.Step) { s.PubKeys = []string{"abcdef0123"} }), "not among the layout's keys"},
		"type":              {step(func(s *intoto.Step) { s.Type = "stepp" }), `_type is "stepp"`},
		"expires":           {func(l *intoto.Layout) { l.Expires = "tomorrow" }, `expires "tomorrow"`},
		"an empty rule":     {rule(), "too few words"},
		"an unknown rule":   {rule("PERMIT", "*"), "it is none of MATCH"},
		"a bad pattern":     {rule("DISALLOW", "[a"), "pattern does not parse"},
		"a bad class":       {rule("DISALLOW", "[!]"), "pattern does not parse"},
		"an unknown step":   {rule("MATCH", "*", "WITH", "PRODUCTS", "FROM", "tset"), `the step "tset"`},
		"neither":           {rule("MATCH", "*", "WITH", "PRODUCT", "FROM", "build"), "want MATERIALS or PRODUCTS"},
		"an empty pattern":  {rule("ALLOW", ""), "0 bytes"},
		"a long pattern":    {rule("ALLOW", strings.Repeat("a", 1025)), "1025 bytes"},
		"many rules":        {step(func(s *intoto.Step) { s.ExpectedProducts = make([][]string, 101) }), "101 rules"},
		"a private key":     {func(l *intoto.Layout) { l.Keys[y.keys["bob"].KeyID] = y.keys["bob"] }, "private key"},
		"a key's scheme":    {rekey(y, func(k *intoto.Key) { k.Scheme = "ecdsa-sha2-nistp384" }), "keytype and scheme"},
		"a key that is not": {rekey(y, func(k *intoto.Key) { k.KeyVal.Public = "no" }), "parse public key"},
		"a certificate":     {rekey(y, func(k *intoto.Key) { k.KeyVal.Certificate = "c" }), "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			layout := y.chain()
			tt.change(layout)
			p, err := y.policy(y.signed(*layout, true, "root"), "")
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "layout.file") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func rekey(y *yard, change func(*intoto.Key)) func(*intoto.Layout) {
	return func(l *intoto.Layout) {
		key := y.public("carol")
		change(&key)
		l.Keys[key.KeyID] = key
	}
}

func TestLoadRefusesLayoutSections(t *testing.T) {
	y := newYard(t)
	good := y.signed(*y.chain(), false, "root")
	tampered := bytes.Replace(good, []byte(`"threshold": 1`), []byte(`"threshold": 2`), 1)
	for name, tt := range map[string]struct {
		layout []byte
		more   string
		edit   [2]string
		want   string
	}{
		"another's signature":  {y.signed(*y.chain(), false, "mallory"), "", [2]string{}, `"root" did not sign the layout`},
		"one of two":           {good, "", [2]string{"authorities: [root]", "authorities: [root, second]"}, `"second" did not sign the layout`},
		"no signature":         {y.signed(*y.chain(), false), "", [2]string{}, "has no signature"},
		"changed":              {tampered, "", [2]string{}, `"root" did not sign the layout`},
		"a link":               {y.signed(with(build(), func(l *intoto.Link) { l.Type = "link" }), false, "root"), "", [2]string{}, `its _type is "link", want "layout"`},
		"no JSON":              {[]byte("x"), "", [2]string{}, "is no layout signed with in-toto"},
		"an unknown field":     {bytes.Replace(good, []byte(`"readme"`), []byte(`"Readme"`), 1), "", [2]string{}, "is no layout as in-toto 1.0 writes it"},
		"case variants":        {bytes.Replace(good, []byte(`"readme"`), []byte(`"STEPS": [], "readme"`), 1), "", [2]string{}, "differ only in case"},
		"nobody":               {good, "", [2]string{", authorities: [root]", ""}, "name the authorities that signed the layout"},
		"an unknown authority": {good, "", [2]string{"authorities: [root]", "authorities: [rood]"}, `"rood" is no authority`},
		"one twice":            {good, "", [2]string{"authorities: [root]", "authorities: [root, root]"}, "stands there twice"},
		"a missing file":       {good, "", [2]string{"file: root.layout", "file: none.layout"}, `read "none.layout"`},
		"no file":              {good, "", [2]string{"file: root.layout, ", ""}, "is missing its file"},
		"both":                 {good, ", document: x", [2]string{}, "want one of them"},
		"predicate types":      {good, "", [2]string{"{name: chain,", "{name: chain, predicateTypes: [\"https://a.b/c\"],"}, "does not go with layout"},
		"from":                 {good, "", [2]string{"{name: chain,", "{name: chain, from: {authorities: [root]},"}, "does not go with layout"},
		"whereAll":             {good, "", [2]string{"{name: chain,", "{name: chain, whereAll: [\"true\"],"}, "does not go with layout"},
		"an unknown key":       {good, ", keys: 1", [2]string{}, `unknown key "keys"`},
		"a wild parameter":     {good, `, parameters: {A: "*"}`, [2]string{}, "must not hold wildcards"},
		"a parameter's name":   {good, `, parameters: {"a b": c}`, [2]string{}, "invalid format for parameter"},
		"too large":            {bytes.Repeat([]byte(" "), maxLayoutSize+1), "", [2]string{}, "for a layout"},
	} {
		t.Run(name, func(t *testing.T) {
			files := keyring{"root.layout": tt.layout}
			for name, content := range y.pub {
				files[name] = content
			}
			text := y.document(tt.more)
			if tt.edit[0] != "" {
				text = strings.Replace(text, tt.edit[0], tt.edit[1], 1)
			}
			p, err := Load([]byte(text), files.read)
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzLayout: whatever is signed as a layout either does not load, or loads and decides
// without a panic, and never lets an artifact pass without links.
func FuzzLayout(f *testing.F) {
	y := newYard(f)
	seed, err := json.Marshal(y.chain())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"_type":"layout","steps":[{"_type":"step","name":"a","threshold":1,"pubkeys":["ab"],"expected_products":[[]]}],"keys":{},"expires":"2030-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		content, err := json.Marshal(map[string]any{"payloadType": attest.PayloadType, "payload": document, "signatures": []any{map[string]string{"sig": "AA=="}}})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := attest.ParseLayout(content)
		if err != nil {
			return
		}
		l := &loader{problems: &problems{lines: map[string]int{}}, doc: &Document{}}
		check := &layoutCheck{}
		if !check.parse(l, "layout", signed.Tree) || !check.substitute(l, "layout", nil) || !check.verifyShape(l, "layout") || !check.functionaries(l, "layout", nil) {
			if len(l.errs) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		facts := Facts{Digest: root, Now: noon}
		found := check.examine(&trial{evaluation: &evaluation{Facts: facts}}, Platform{Digest: root})
		if found.together == "" || check.owners == nil && check.expires.Before(noon) && !strings.Contains(found.together, "expired") {
			t.Fatalf("passes without links: %+v", found)
		}
	})
}

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

func TestLayoutHolds(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	for _, dsse := range []bool{false, true} {
		p, err := y.policy(y.signed(*y.chain(), dsse, "root"), "")
		if err != nil {
			t.Fatal(err)
		}
		v := p.Evaluate(s.facts(y.performed(p, buildLink(), !dsse, "alice"), y.performed(p, packaged(), dsse, "bob")))
		decided(t, v, true, "by functionary "+y.keys["alice"].KeyID[:8])
		if n := len(v.Rules[0].Evidence); n != 2 || strings.Contains(v.Rules[0].Message, "warning") {
			t.Errorf("%d links, message %s", n, v.Rules[0].Message)
		}
		again, err := Load(p.Canonical(), nil)
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("canonical: %v\n%s", err, p.Canonical())
		}
		decided(t, again.Evaluate(s.facts(y.performed(again, buildLink(), dsse, "alice"), y.performed(again, packaged(), dsse, "carol"))), true, "by carol")
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
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice")}
		}, noon, false, "step package of the layout: 0 of 1 functionaries attached a link"},
		{"a foreign key", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), true, "mallory"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "(step build) is signed by no functionary of the layout: no authority signed it"},
		{"a functionary of another step", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), false, "carol"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "(step build) is signed by carol, who may not perform it"},
		{"the owner of the layout", nil, func(p *Policy) []attest.Evidence {
			link := with(buildLink(), func(l *intoto.Link) { l.Products["manifest"] = intoto.HashObj{"sha256": root.Encoded()} })
			return []attest.Evidence{y.performed(p, link, false, "root")}
		}, noon, false, "(step build) is signed by root, who is no functionary of the layout"},
		{"a changed product", nil, func(p *Policy) []attest.Evidence {
			changed := with(packaged(), func(l *intoto.Link) { l.Materials = files{"app": file("another app")} })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, changed, true, "bob")}
		}, noon, false, "step 'package', materials [app] disallowed by rule [DISALLOW *]"},
		{"a product too many", nil, func(p *Policy) []attest.Evidence {
			more := with(buildLink(), func(l *intoto.Link) { l.Products = files{"app": file("app"), "b": file("x"), "a": file("x")} })
			return []attest.Evidence{y.performed(p, more, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step 'build', products [a b] disallowed by rule [DISALLOW *]"},
		{"CREATE of what was there", nil, func(p *Policy) []attest.Evidence {
			there := with(buildLink(), func(l *intoto.Link) { l.Materials = files{"app": file("app")} })
			return []attest.Evidence{y.performed(p, there, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step 'build', materials [app] disallowed"},
		{"a required file", func(l *intoto.Layout) {
			l.Steps[0].ExpectedProducts = append([][]string{{"REQUIRE", "LICENSE"}}, l.Steps[0].ExpectedProducts...)
		}, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "'LICENSE', because LICENSE is not in [app src/main.go]"},
		{"not this artifact", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = files{"manifest.json": file("other")} })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "no product of it is " + root.String() + ": the layout says nothing about this artifact"},
		{"this artifact as a material only", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) {
				l.Materials, l.Products = files{"app": {"sha256": root.Encoded()}}, files{"app": file("app")}
			})
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"this artifact by an earlier step only", nil, func(p *Policy) []attest.Evidence {
			early := with(buildLink(), func(l *intoto.Link) { l.Products = files{"app": {"sha256": root.Encoded()}} })
			late := with(packaged(), func(l *intoto.Link) { l.Materials, l.Products = early.Products, files{"manifest.json": file("x")} })
			return []attest.Evidence{y.performed(p, early, true, "alice"), y.performed(p, late, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"the digest under another algorithm", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = files{"manifest.json": {"sha512": root.Encoded()}} })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, other, true, "bob")}
		}, noon, false, "the layout says nothing about this artifact"},
		{"an expired layout", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon.AddDate(0, 1, 0), false, "the layout expired at 2026-12-22T12:00:00Z"},
		{"a threshold of two by one key", two, func(p *Policy) []attest.Evidence {
			again := with(packaged(), func(l *intoto.Link) { l.Command = []string{"again"} })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, again, false, "bob")}
		}, noon, false, "step package of the layout: 1 of 2 functionaries attached a link (one principal, or one key, counts once)"},
		{"a threshold of two", two, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, packaged(), false, "carol")}
		}, noon, true, "by carol"},
		{"a threshold of two in one envelope", two, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), false, "bob", "carol")}
		}, noon, true, "by carol"},
		{"functionaries who disagree", two, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products["app"] = file("other") })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, other, true, "carol")}
		}, noon, false, "step package of the layout: its functionaries recorded different materials or products"},
		{"two who agree and one who does not", func(l *intoto.Layout) {
			two(l)
			l.Keys[y.keys["mallory"].KeyID] = y.public("mallory")
			l.Steps[1].PubKeys = append(l.Steps[1].PubKeys, y.keys["mallory"].KeyID)
		}, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products["app"] = file("other") })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob", "carol"), y.performed(p, other, true, "mallory")}
		}, noon, false, "step package of the layout: its functionaries recorded different materials or products"},
		{"functionaries of whom one suffices", nil, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products["evil"] = file("other") })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, other, true, "carol"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "by functionary " + y.keys["bob"].KeyID[:8]},
		{"a threshold of two beside a link of another artifact", two, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = oneFile("manifest.json", "other") })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, other, true, "carol"), y.performed(p, packaged(), true, "carol")}
		}, noon, true, "by carol"},
		{"a threshold of two by one and another artifact", two, func(p *Policy) []attest.Evidence {
			other := with(packaged(), func(l *intoto.Link) { l.Products = oneFile("manifest.json", "other") })
			return []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"), y.performed(p, other, true, "carol")}
		}, noon, false, "1 of 2 functionaries"},
		{"one functionary who repeated a step", nil, func(p *Policy) []attest.Evidence {
			other := with(buildLink(), func(l *intoto.Link) { l.Products = files{"app": file("stale app")} })
			return []attest.Evidence{y.performed(p, other, true, "alice"), y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "by functionary"},
		{"a malformed link beside good ones", nil, func(p *Policy) []attest.Evidence {
			bad := with(buildLink(), func(l *intoto.Link) { l.Products = files{"a/../app": file("x"), "app": file("y")} })
			empty := with(buildLink(), func(l *intoto.Link) { l.Products = files{"app": {}} })
			return []attest.Evidence{y.performed(p, bad, true, "alice"), y.performed(p, empty, true, "alice"), y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "by functionary"},
		{"artifacts without a digest", nil, func(p *Policy) []attest.Evidence {
			empty := with(buildLink(), func(l *intoto.Link) { l.Products = files{"app": {}} })
			pack := with(packaged(), func(l *intoto.Link) { l.Materials = files{"app": {}} })
			return []attest.Evidence{y.performed(p, empty, true, "alice"), y.performed(p, pack, true, "bob")}
		}, noon, false, `is malformed: "app" among the link's products has no digest`},
		{"another command", nil, func(p *Policy) []attest.Evidence {
			other := with(buildLink(), func(l *intoto.Link) { l.Command = []string{"curl", "evil"} })
			return []attest.Evidence{y.performed(p, other, true, "alice"), y.performed(p, packaged(), true, "bob")}
		}, noon, true, "warning: step build ran `curl evil`, the layout expects `make`"},
		{"a sublayout", nil, func(p *Policy) []attest.Evidence {
			att := attest.Attachment{Format: attest.FormatLink, Content: y.signed(*y.chain(), true, "alice")}
			return []attest.Evidence{attest.Verify(att, root, p.Authorities(), noon), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step build of the layout: 0 of 1"},
		{"attached to another manifest", nil, func(p *Policy) []attest.Evidence {
			return []attest.Evidence{on(y.performed(p, buildLink(), true, "alice"), amd64.Digest), y.performed(p, packaged(), true, "bob")}
		}, noon, false, "step build of the layout: 0 of 1"},
		{"a step that the layout lacks", nil, func(p *Policy) []attest.Evidence {
			other := with(buildLink(), func(l *intoto.Link) { l.Name = "test" })
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
	links := []attest.Evidence{y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "carol"), y.performed(p, packaged(), true, "bob")}
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
	decided(t, p.Evaluate(scene{t: t}.facts(y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"))), false,
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
	v := p.Evaluate(scene{t: t}.facts(y.performed(p, buildLink(), true, "alice"), bob))
	if v.Rules[0].Allowed || !v.Rules[1].Allowed {
		t.Errorf("verdict: %+v", v)
	}
	// Carol is an authority too: her link about the artifact counts as evidence, one about
	// something else does not.
	v = p.Evaluate(scene{t: t}.facts(y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "carol")))
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
	decided(t, p.Evaluate(s.facts(y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"))), true, "by functionary")
	if p, err = y.policy(content, ""); err != nil || !strings.Contains(strings.Join(p.Warnings(), "\n"), "step build mentions {DIR}") {
		t.Fatalf("%v, warnings %v", err, p.Warnings())
	}
	decided(t, p.Evaluate(s.facts(y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"))), false, "materials [src/main.go] disallowed")
}

func TestLayoutBounds(t *testing.T) {
	y := newYard(t)
	s := scene{t: t}
	p := y.load(y.chain())
	// Links of other builds, which anybody may attach, keep nothing from passing.
	var many []attest.Evidence
	for i := range 110 {
		many = append(many, y.performed(p, with(buildLink(), func(l *intoto.Link) { l.Products = oneFile("app", strings.Repeat("x", i)) }), true, "alice"))
	}
	decided(t, p.Evaluate(s.facts(append(many, y.performed(p, packaged(), true, "bob"))...)), false, "materials [app] disallowed")
	decided(t, p.Evaluate(s.facts(append(many, y.performed(p, buildLink(), true, "alice"), y.performed(p, packaged(), true, "bob"))...)), true, "by functionary")
	for i := range 110 {
		many = append(many, y.performed(p, with(packaged(), func(l *intoto.Link) { l.Products["app"] = file(strings.Repeat("x", i)) }), true, "bob"))
	}
	decided(t, p.Evaluate(s.facts(many...)), false, "not found to hold in 10000 tries")

	same := y.performed(p, buildLink(), true, "alice")
	flood := make([]attest.Evidence, maxLinks+1)
	for i := range flood {
		flood[i] = same
		flood[i].Signed = digest.FromString(fmt.Sprint(i)) // not the same: those count once
	}
	decided(t, p.Evaluate(s.facts(flood...)), false, "more than 5000 links are attached")

	layout := y.chain()
	for range 90 {
		layout.Steps[0].ExpectedProducts = append([][]string{{"ALLOW", "*" + strings.Repeat("a", 900) + "b*"}}, layout.Steps[0].ExpectedProducts...)
	}
	p = y.load(layout)
	slow := with(buildLink(), func(l *intoto.Link) {
		l.Products = files{}
		for i := range 100 {
			l.Products[strings.Repeat("a", 4000-i)] = file("x")
		}
	})
	start := time.Now()
	decided(t, p.Evaluate(s.facts(y.performed(p, slow, true, "alice"), y.performed(p, packaged(), true, "bob"))), false, "takes too long")
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s", took)
	}
}

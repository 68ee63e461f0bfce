package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

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
		"a link":               {y.signed(with(buildLink(), func(l *intoto.Link) { l.Type = "link" }), false, "root"), "", [2]string{}, `its _type is "link", want "layout"`},
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
		"another check":        {good, "", [2]string{"{name: chain,", "{name: chain, sbom: {},"}, "spec.require[0].sbom: does not go with layout"},
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
		found := check.examine(&trial{evaluation: &evaluation{Facts: facts, ctx: t.Context()}}, Platform{Digest: root})
		if found.together == "" || check.owners == nil && check.expires.Before(noon) && !strings.Contains(found.together, "expired") {
			t.Fatalf("passes without links: %+v", found)
		}
	})
}

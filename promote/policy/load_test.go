package policy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
)

func TestLoadFillsInDefaults(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	p := load(t, keys, document(plainRule))
	doc := p.Document()
	r := doc.Spec.Require[0]
	if r.Mode != Enforce || r.Scope != ScopeIndex || r.From.Threshold != 1 || doc.Spec.Repositories[0] != "**" {
		t.Errorf("defaults: %+v", doc.Spec)
	}
	if p.Name() != "dev-to-stable" || p.From() != "dev" || p.To() != "stable" || !p.Matches("acme/team/app") {
		t.Errorf("accessors: %s %s %s", p.Name(), p.From(), p.To())
	}
	authorities := p.Authorities()
	if len(authorities) != 4 || authorities[0].Principal != "a" || authorities[2].Principal != "b" || authorities[0].Keys[0].ID != keys.id(t, "a") {
		t.Errorf("authorities: %+v", authorities)
	}
}

func TestCanonicalLoadsWithoutFiles(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	p := load(t, keys, `# a comment
apiVersion: "sluice.dev/v1alpha1"
kind: TierPolicy
metadata: {name: p}
spec:
  to: stable
  from: dev
  repositories: ["acme/**", "tools/*"]
  carry: [application/spdx+json]
  authorities:
    - {name: a, notBefore: 2026-01-01T00:00:00+01:00, notAfter: "2027-01-01T00:00:00Z", key: {file: a.pub}}
  require:
    - name: built
      maxAge: 168h
      predicateTypes: [https://slsa.dev/provenance/v1]
      from: {authorities: [a]}
      where:
        - |
          predicate.name == '<&> "ü\t😀"' &&
            predicate.n > 1
        - predicate.name != '`+strings.Repeat("long ", 700)+`'
`)
	again, err := Load(p.Canonical(), nil)
	if err != nil {
		t.Fatalf("load canonical: %v\n%s", err, p.Canonical())
	}
	if again.Digest() != p.Digest() || !bytes.Equal(again.Canonical(), p.Canonical()) {
		t.Errorf("canonical form moved:\n%s\n%s", p.Canonical(), again.Canonical())
	}
	if got := again.rules[0].conditions[0].text; got != p.rules[0].conditions[0].text {
		t.Errorf("condition became %q", got)
	}
	for repository, want := range map[string]bool{"acme/x/y": true, "tools/a": true, "tools/a/b": false, "other": false} {
		if p.Matches(repository) != want {
			t.Errorf("Matches(%s) = %v", repository, !want)
		}
	}
}

func TestDigestCoversTrust(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	before := load(t, keys, document(plainRule))
	spaced := keyring{"a.pub": append([]byte("\n"), keys["a.pub"]...), "b.pub": keys["b.pub"], "c.pub": keys["c.pub"]}
	if got := load(t, spaced, document(plainRule)); got.Digest() != before.Digest() {
		t.Error("white space in a key file changed the digest")
	}
	if got := load(t, keys, "# c\n"+document(plainRule)); got.Digest() != before.Digest() {
		t.Error("a comment changed the digest")
	}
	keys["a.pub"] = newKeyring(t, "a")["a.pub"]
	if got := load(t, keys, document(plainRule)); got.Digest() == before.Digest() {
		t.Error("another key in the same file has the same digest")
	}
}

func TestCarry(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for carry, want := range map[string][3]bool{ // verified, unverified, unverified of the listed type
		"":                       {true, true, true},
		"carry: all":             {true, true, true},
		"carry: verified":        {true, false, false},
		"carry: [application/x]": {false, false, true},
	} {
		p := load(t, keys, strings.Replace(document(plainRule), "to: stable\n", "to: stable\n  "+carry+"\n", 1))
		c := p.Carry()
		if got := [3]bool{c.Admits("t", true), c.Admits("t", false), c.Admits("application/x", false)}; got != want {
			t.Errorf("%q admits %v, want %v", carry, got, want)
		}
	}
}

// Evidence 22: what does not load, and that the message says where and why.
func TestLoadRefuses(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	keys["bad.pub"] = []byte("not a key")
	good := document(plainRule)
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the document lacks %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	rule := func(extra string) string {
		return swap("from: {authorities: [a]}", "from: {authorities: [a]}, "+extra)
	}
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"is empty"}},
		{"no mapping", "- a", []string{"want a mapping"}},
		{"not yaml", "a: [", []string{"document"}},
		{"two documents", good + "---\nkind: X\n", []string{"want one document"}},
		{"too large", good + "#" + strings.Repeat("x", MaxSize), []string{"at most 1048576"}},
		{"alias", swap("metadata: {name: dev-to-stable}", "metadata: &m {name: dev-to-stable}\nx: *m"), []string{"line 3", "anchors and aliases"}},
		{"alias bomb", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", []string{"anchors and aliases"}},
		{"merge key", swap("metadata: {name: dev-to-stable}", "metadata: {<<: {name: dev-to-stable}}"), []string{"plain word"}},
		{"tag", swap("from: dev", "from: !!binary ZGV2"), []string{"line 5", "tags like"}},
		{"unknown key", swap("  from: dev", "  from: dev\n  form: dev"), []string{`line 6: unknown key "form"`}},
		{"unknown key deep", rule("treshold: 2"), []string{`line 13: unknown key "treshold"`}},
		{"duplicate key", swap("  from: dev", "  from: dev\n  from: dev"), []string{`line 6: mapping key "from" already defined at line 5`}},
		{"empty value", rule("where: ~"), []string{"line 13: spec.require[0].where: is empty"}},
		{"empty where", rule("where: []"), []string{"where: is empty"}},
		{"control character", swap("name: built", `name: "built\x7f"`), []string{"does not print"}},
		{"wrong kind of value", rule("where: yes"), []string{"line 13", "wants another kind of value"}},
		{"api version", swap("v1alpha1", "v2"), []string{"line 1: apiVersion", "want sluice.dev/v1alpha1"}},
		{"kind", swap("TierPolicy", "Policy"), []string{"line 2: kind"}},
		{"name", swap("dev-to-stable", "dev/stable"), []string{"line 3: metadata.name"}},
		{"tier", swap("from: dev", "from: Dev/x"), []string{"line 5: spec.from"}},
		{"no from", swap("  from: dev\n", ""), []string{"line 4: spec.from"}},
		{"from is to", swap("to: stable", "to: dev"), []string{"line 6: spec.to"}},
		{"glob", swap("to: stable", "to: stable\n  repositories: ['acme/[a']"), []string{"line 7: spec.repositories[0]"}},
		{"no repositories", swap("to: stable", "to: stable\n  repositories: []"), []string{"spec.repositories: is empty"}},
		{"carry", swap("to: stable", "to: stable\n  carry: some"), []string{"line 7: carry"}},
		{"on revoked", swap("to: stable", "to: stable\n  onRevoked: delete"), []string{"line 7: spec.onRevoked", "want report or quarantine"}},
		{"two authorities of one name", swap("name: b,", "name: a,"), []string{"line 9: spec.authorities[1].name", "names two authorities"}},
		{"missing key file", swap("b.pub", "x.pub"), []string{`line 9: spec.authorities[1].key.file: read "x.pub"`}},
		{"no key", swap("file: b.pub", "file: bad.pub"), []string{"no public key"}},
		{"key without anything", swap("key: {file: b.pub}", "key: {}"), []string{"spec.authorities[1].key", "is missing"}},
		{"builders", swap("key: {file: b.pub}", "key: {file: b.pub}, builders: [x]"), []string{"wants another kind of value"}},
		{"window", swap("key: {file: b.pub}", "key: {file: b.pub}, notBefore: 2026-01-02T00:00:00Z, notAfter: 2026-01-01T00:00:00Z"), []string{"notAfter: is not after"}},
		{"time", swap("key: {file: b.pub}", "key: {file: b.pub}, notAfter: 2026-01-01"), []string{"want a time"}},
		{"no requirement", document("    []\n"), []string{"no enforced requirement asks for a signature"}},
		{"nothing enforced", rule("mode: warn"), []string{"no enforced requirement asks for a signature"}},
		{"no signature asked", swap("from: {authorities: [a]}", "from: {authorities: []}"), []string{"has to ask for somebody's signature"}},
		{"from left out", swap(", from: {authorities: [a]}", ""), []string{"has to ask for somebody's signature"}},
		{"two requirements of one name", good + plainRule, []string{"line 14: spec.require[1].name", "names two requirements"}},
		{"unknown authority", swap("[a]", "[a, ghost]"), []string{`authorities[1]: "ghost" is no authority`}},
		{"authority twice", swap("[a]", "[a, a]"), []string{"stands there twice"}},
		{"threshold zero", swap("[a]", "[a], threshold: 0"), []string{"threshold: is 0"}},
		{"threshold negative", swap("[a]", "[a], threshold: -1"), []string{"threshold: is -1"}},
		{"threshold over the authorities", swap("[a]", "[a, b], threshold: 3"), []string{"at most 2 times"}},
		{"mode", rule("mode: maybe"), []string{"want enforce, warn or off"}},
		{"scope", rule("scope: all"), []string{"want index or each"}},
		{"maxAge zero", rule("maxAge: 0s"), []string{"above zero"}},
		{"maxAge negative", rule("maxAge: -1h"), []string{"above zero"}},
		{"maxAge days", rule("maxAge: 7d"), []string{"want a duration"}},
		{"no types", swap(`"https://slsa.dev/provenance/v1"`, ""), []string{"predicateTypes: is missing"}},
		{"relative type", swap("https://slsa.dev", "slsa.dev"), []string{"no absolute URI"}},
		{"slash-ended type", swap("provenance/v1", "provenance/"), []string{"ends with a slash"}},
		{"empty type", swap(`"https://slsa.dev/provenance/v1"`, "''"), []string{"is empty"}},
		{"condition", rule(`where: ["predicate.x ==", "predicate.y"]`), []string{"where[0]: does not parse", "where[1]", "predicate.y == true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Load([]byte(tt.text), keys.read)
			if p != nil {
				t.Error("a policy beside the error")
			}
			if err := wants(err, oci.ErrPolicyInvalid, tt.want...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoadReportsEverythingAtOnce(t *testing.T) {
	text := strings.NewReplacer("kind: TierPolicy", "kind: X\nextra: 1", "to: stable", "to: dev", "[a]", "[z]").Replace(document(plainRule))
	_, err := Load([]byte(text), nil)
	if err := wants(err, oci.ErrPolicyInvalid, "kind", `"extra"`, "spec.to", "files cannot be read here", `"z"`); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 8 { // four key files
		t.Errorf("%d problems:\n%v", lines, err)
	}
}

// Such a threshold loads, since counting is what refuses (Evidence 6), but lint says so.
func TestWarnings(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for quorum, want := range map[string]int{
		"[a, b], threshold: 2":    1, // only that a and d share a key
		"[b, c], threshold: 2":    2,
		"[a, d], threshold: 2":    2,
		"[a, c, d], threshold: 2": 1,
	} {
		p := load(t, keys, strings.Replace(document(plainRule), "[a]", quorum, 1))
		if got := p.Warnings(); len(got) != want {
			t.Errorf("%s: warnings %q, want %d", quorum, got, want)
		}
	}
}

func TestSamplesLoad(t *testing.T) {
	key := newKeyring(t, "ci")["ci.pub"]
	files, err := filepath.Glob("../../deploy/policies/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("samples: %v %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Load(raw, func(name string) ([]byte, error) {
			if name != "../keys/ci.pub" {
				return nil, fmt.Errorf("unexpected file %s", name)
			}
			return key, nil
		})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if want := strings.TrimSuffix(filepath.Base(file), ".yaml"); p.Name() != want || len(p.Warnings()) > 0 {
			t.Errorf("%s: name %s, warnings %v", file, p.Name(), p.Warnings())
		}
	}
}

func FuzzLoad(f *testing.F) {
	keys := newKeyring(f, "a", "b", "c")
	f.Add(document(plainRule))
	f.Add(document(strings.Replace(plainRule, "[a]}", "[a, b], threshold: 2}, maxAge: 1h30m, scope: each, where: ['predicate.x == 1']", 1)))
	f.Add(document("    []\n") + "  carry: [x]\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Load([]byte(text), keys.read)
		if err != nil {
			if err := wants(err, oci.ErrPolicyInvalid); err != nil {
				t.Fatal(err)
			}
			return
		}
		again, err := Load(p.Canonical(), nil)
		if err != nil {
			t.Fatalf("canonical does not load: %v\n%s", err, p.Canonical())
		}
		if again.Digest() != p.Digest() {
			t.Fatalf("canonical has another digest:\n%s\n%s", p.Canonical(), again.Canonical())
		}
	})
}

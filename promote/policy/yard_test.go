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
	"testing"

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

func buildLink() intoto.Link {
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

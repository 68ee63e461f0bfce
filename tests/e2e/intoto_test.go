package e2e_test

import (
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

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/clients"
)

// chain is a supply chain of two steps: alice copies a source to a program, bob or carol
// push it as an artifact. All of it is done with in-toto's own command and oras.
type chain struct {
	*testing.T
	home *clients.Home
	keys map[string]any // as layouts hold them
	ids  map[string]string
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{T: t, home: clients.New(t), keys: map[string]any{}, ids: map[string]string{}}
	for _, name := range []string{"root", "carol", "mallory"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		c.key(name, key, err)
	}
	_, alice, err := ed25519.GenerateKey(rand.Reader)
	c.key("alice", alice, err)
	bob, err := rsa.GenerateKey(rand.Reader, 2048)
	c.key("bob", bob, err)
	return c
}

// key writes a key pair, and has in-toto say how a layout names it.
func (c *chain) key(name string, key crypto.Signer, err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.Fatal(err)
	}
	public, err := attest.MarshalPublicKey(key.Public())
	if err != nil {
		c.Fatal(err)
	}
	c.home.File(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	c.home.File(name+".pub", public)
	var entry map[string]any
	if err := json.Unmarshal([]byte("{"+c.home.InToto("key", "layout", name+".pub")+"}"), &entry); err != nil {
		c.Fatal(err)
	}
	for id, value := range entry {
		c.ids[name], c.keys[id] = id, value
	}
}

// layout writes a layout and has in-toto sign it, in a metablock or in an envelope.
func (c *chain) layout(name string, expires time.Time, threshold int, dsse bool) {
	c.Helper()
	type list = []any
	step := func(name string, threshold int, signers, materials, products list) map[string]any {
		return map[string]any{
			"_type": "step", "name": name, "threshold": threshold, "pubkeys": signers,
			"expected_command": list{}, "expected_materials": materials, "expected_products": products,
		}
	}
	document := map[string]any{
		"_type": "layout", "expires": expires.UTC().Format("2006-01-02T15:04:05Z"), "readme": "two steps\n", "keys": c.keys, "inspect": list{},
		"steps": list{
			step("build", 1, list{c.ids["alice"]}, list{list{"ALLOW", "hello.txt"}, list{"DISALLOW", "*"}}, list{list{"CREATE", "program"}, list{"ALLOW", "hello.txt"}, list{"DISALLOW", "*"}}),
			step("push", threshold, list{c.ids["bob"], c.ids["carol"]}, list{list{"MATCH", "program", "WITH", "PRODUCTS", "FROM", "build"}, list{"DISALLOW", "*"}}, list{list{"CREATE", "manifest.json"}, list{"ALLOW", "program"}, list{"DISALLOW", "*"}}),
		},
	}
	wrapped := map[string]any{"signed": document, "signatures": list{}}
	if dsse {
		payload, err := json.Marshal(document)
		if err != nil {
			c.Fatal(err)
		}
		wrapped = map[string]any{"payloadType": attest.PayloadType, "payload": payload, "signatures": list{}}
	}
	content, err := json.Marshal(wrapped)
	if err != nil {
		c.Fatal(err)
	}
	c.home.File(name, content)
	c.home.InToto("sign", "--file", name, "--key", "root.key")
}

// policy writes a policy that asks for a layout, and returns its path.
func (c *chain) policy(layout string) string {
	c.Helper()
	return c.home.File(layout+".yaml", []byte(`apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: root, key: {file: root.pub}}
    - {name: carol, key: {file: carol.pub}}
  require:
    - {name: chain, layout: {file: `+layout+`, authorities: [root]}}
`))
}

// build performs the first step and returns its link.
func (c *chain) build(signer string, more ...string) string {
	c.Helper()
	c.clean("program")
	args := append([]string{"run", "--name", "build", "--key", signer + ".key", "-m", "hello.txt", "-p", "hello.txt", "-p", "program"}, more...)
	c.home.InToto(append(args, "--", "cp", "hello.txt", "program")...)
	return "build." + c.ids[signer][:8] + ".link"
}

// push performs the second step: it pushes the program, and records the manifest.
func (c *chain) push(signer, ref string) string {
	c.Helper()
	c.clean("manifest.json")
	c.home.InToto("run", "--name", "push", "--key", signer+".key", "-m", "program", "-p", "program", "-p", "manifest.json", "--",
		clients.Path(c.T, "oras"), "push", "--plain-http", "--disable-path-validation", "--export-manifest", "manifest.json",
		"--annotation", "org.opencontainers.image.created=2026-01-01T00:00:00Z", ref, "program:text/plain", "--artifact-type", "application/vnd.example.app")
	return "push." + c.ids[signer][:8] + ".link"
}

func (c *chain) clean(name string) {
	c.Helper()
	if err := os.RemoveAll(filepath.Join(c.home.Dir(), name)); err != nil {
		c.Fatal(err)
	}
}

func (c *chain) attach(ref, link, mediaType string) {
	c.Helper()
	c.home.Run("oras", "attach", "--plain-http", ref, link+":"+mediaType, "--artifact-type", mediaType)
}

// TestInToto has in-toto's own command make a layout and links, and the links decide.
func TestInToto(t *testing.T) {
	c := newChain(t)
	soon := time.Now().Add(time.Hour)
	c.layout("root.layout", soon, 1, false)
	c.layout("two.layout", soon, 2, true)
	c.layout("expired.layout", time.Now().Add(-time.Hour), 1, true)
	policy := c.policy("root.layout")
	config := c.home.File("sluice.yaml", []byte("data: data\ntiers:\n  - {name: dev, push: true}\n  - {name: stable, from: dev, policy: root.layout.yaml}\n"))
	s := serve(t, c.home.Dir(), "--config", config)
	s.run(0, "policy", "lint", policy)
	c.home.File("hello.txt", []byte("hello"))
	dev := func(repository string) string { return s.host + "/dev/" + repository + ":1.0" }
	refused := func(repository string, words ...string) {
		t.Helper()
		// The table is wrapped.
		has(t, strings.Join(strings.Fields(s.run(3, "promote", dev(repository), "--to", "stable")), " "), words...)
	}

	test := func(code int, policy string) string {
		t.Helper()
		return strings.Join(strings.Fields(s.run(code, "policy", "test", policy, "--ref", dev("chain/app"))), " ")
	}

	// The steps one by one, in each of the ways that a link is wrapped and labelled.
	build := c.build("alice", "--use-dsse")
	push := c.push("bob", dev("chain/app"))
	refused("chain/app", "step build of the layout: 0 of 1 functionaries attached a link", "in-toto run --name build")
	c.attach(dev("chain/app"), build, attest.MediaTypeDSSE)
	refused("chain/app", "step push of the layout: 0 of 1 functionaries attached a link")
	c.attach(dev("chain/app"), c.pushAgain("mallory", dev("chain/app")), attest.MediaTypeLink)
	refused("chain/app", "step push of the layout: 0 of 1", "(step push) is signed by no functionary of the layout")
	c.attach(dev("chain/app"), push, attest.MediaTypeLink)
	has(t, s.run(0, "evidence", dev("chain/app")), "in-toto.io/Link/v1")
	s.run(0, "promote", dev("chain/app"), "--to", "stable")
	above := c.home.Run("oras", "discover", "--plain-http", "--format", "json", s.host+"/stable/chain/app:1.0")
	has(t, above, attest.MediaTypeDSSE, attest.MediaTypeLink)

	// One key does not make two, a second functionary does; an expired layout lets nothing.
	has(t, test(3, c.policy("two.layout")), "step push of the layout: 1 of 2 functionaries attached a link")
	c.attach(dev("chain/app"), c.pushAgain("bob", dev("chain/app")), attest.MediaTypeLink)
	has(t, test(3, c.policy("two.layout")), "1 of 2 functionaries")
	c.attach(dev("chain/app"), c.pushAgain("carol", dev("chain/app")), attest.MediaTypeLink)
	has(t, test(0, c.policy("two.layout")), "by carol")
	has(t, test(3, c.policy("expired.layout")), "the layout expired at")

	// The same envelope under the label of its payload; a metablock of the build.
	c.home.File("hello.txt", []byte("hello again"))
	build = c.build("alice")
	c.attachAll(dev("chain/again"), c.push("carol", dev("chain/again")), build)
	s.run(0, "promote", dev("chain/again"), "--to", "stable")

	// Links of another artifact say nothing about this one.
	links := []string{build, c.push("carol", dev("chain/other"))}
	c.home.File("program", []byte("something else"))
	c.home.Run("oras", "push", "--plain-http", dev("chain/swapped"), "program:text/plain", "--artifact-type", "application/vnd.example.app")
	c.attachAll(dev("chain/swapped"), links...)
	swapped := strings.TrimSpace(c.home.Run("oras", "resolve", "--plain-http", dev("chain/swapped")))
	refused("chain/swapped", "no product of it is "+swapped+": the layout says nothing about this artifact")

	// What was built is changed before it is pushed.
	build = c.build("alice")
	c.home.File("program", []byte("tampered with"))
	c.attachAll(dev("chain/changed"), c.push("bob", dev("chain/changed")), build)
	refused("chain/changed", "the layout does not hold: step 'push', materials [program] disallowed by rule [DISALLOW *]")

	// A layout by another does not load.
	c.home.InToto("sign", "--file", "two.layout", "--key", "mallory.key")
	has(t, s.run(1, "policy", "lint", c.policy("two.layout")), `"root" did not sign the layout`)
}

// pushAgain records the step without its command: the same program, the same manifest.
func (c *chain) pushAgain(signer, ref string) string {
	c.Helper()
	c.clean("manifest.json")
	manifest := c.home.Run("oras", "manifest", "fetch", "--plain-http", ref)
	if digest.FromString(manifest).String() != strings.TrimSpace(c.home.Run("oras", "resolve", "--plain-http", ref)) {
		c.Fatalf("oras changed the manifest: %s", manifest)
	}
	c.home.File("original.json", []byte(manifest))
	c.home.InToto("run", "--name", "push", "--key", signer+".key", "-m", "program", "-p", "program", "-p", "manifest.json", "--", "cp", "original.json", "manifest.json")
	return "push." + c.ids[signer][:8] + ".link"
}

// attachAll attaches the links of a chain.
func (c *chain) attachAll(ref string, links ...string) {
	c.Helper()
	for _, link := range links {
		c.attach(ref, link, attest.MediaTypeLink)
	}
}

package policy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

const (
	typeSPDX      = "https://spdx.dev/Document"
	typeCycloneDX = "https://cyclonedx.org/bom"
)

// studio makes evidence with real keys and real signatures.
type studio struct {
	t       testing.TB
	keys    keyring
	private map[string]crypto.Signer
}

func newStudio(t testing.TB) studio {
	t.Helper()
	s := studio{t, keyring{}, map[string]crypto.Signer{}}
	for _, name := range []string{"a", "b", "c"} {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if s.keys[name+".pub"], err = attest.MarshalPublicKey(private.Public()); err != nil {
			t.Fatal(err)
		}
		s.private[name] = private
	}
	return s
}

// made is an attestation about subject before it is verified.
type made struct {
	subject digest.Digest
	bundle  []byte
}

// attest signs a predicate about the root.
func (s studio) attest(by, predicateType, predicate string) made {
	return s.attestOn(root, by, predicateType, predicate)
}

func (s studio) attestOn(subject digest.Digest, by, predicateType, predicate string) made {
	s.t.Helper()
	statement, err := attest.NewStatement(predicateType, []byte(predicate), "", subject)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, predicate)
	}
	bundle, err := attest.Sign(context.Background(), statement, s.private[by])
	if err != nil {
		s.t.Fatal(err)
	}
	return made{subject, bundle}
}

// facts verifies what was made, as the policy's authorities sign.
func (s studio) facts(p *Policy, all ...made) Facts {
	f := scene{s.t, s.keys}.facts()
	for _, m := range all {
		desc := ocispec.Descriptor{Digest: digest.FromBytes(m.bundle)}
		f.Evidence = append(f.Evidence, attest.Verify(attest.Attachment{Manifest: desc, Layer: desc, Format: attest.FormatBundle, Content: m.bundle}, m.subject, p.Authorities(), noon))
	}
	return f
}

// spdxDoc is an SPDX 2.3 document about an image with packages, which are JSON objects
// without their SPDXID.
func spdxDoc(packages ...string) string {
	list := []string{`{"SPDXID": "SPDXRef-root", "name": "acme/app", "primaryPackagePurpose": "CONTAINER", "licenseDeclared": "MIT"}`}
	for i, p := range packages {
		list = append(list, fmt.Sprintf(`{"SPDXID": "SPDXRef-%d", `, i)+strings.TrimPrefix(strings.TrimSpace(p), "{"))
	}
	return `{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "app", "dataLicense": "CC0-1.0",
		"creationInfo": {"created": "2026-11-20T00:00:00Z", "creators": ["Tool: syft-1.0"]},
		"packages": [` + strings.Join(list, ",") + `],
		"relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-root"}]}`
}

// cycloneDoc is a CycloneDX 1.6 BOM about an image with components, which are JSON objects
// without their type.
func cycloneDoc(components ...string) string {
	var list []string
	for _, c := range components {
		list = append(list, `{"type": "library", `+strings.TrimPrefix(strings.TrimSpace(c), "{"))
	}
	return `{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata": {"timestamp": "2026-11-20T00:00:00Z", "tools": [], "component": {"type": "container", "name": "acme/app", "licenses": [{"license": {"id": "MIT"}}]}},
		"components": [` + strings.Join(list, ",") + `]}`
}

func tree(t testing.TB, text string) map[string]any {
	t.Helper()
	tree, err := attest.DecodeStrict([]byte(text), attest.MaxDepth)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return tree
}

const strongSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestReadBill(t *testing.T) {
	spdx := spdxDoc(`{"name": "left-pad", "versionInfo": "1.3.0", "licenseConcluded": "NOASSERTION", "licenseDeclared": "MIT OR WTFPL", "supplier": "Person: azer ()",
			"checksums": [{"algorithm": "SHA1", "checksumValue": "00"}, {"algorithm": "SHA256", "checksumValue": "`+strongSum+`"}],
			"externalRefs": [{"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:x"},
				{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:npm/left-pad@1.3.0"}]}`,
		`{"name": "base", "versionInfo": "NOASSERTION", "supplier": "NOASSERTION", "licenseConcluded": "NONE", "licenseDeclared": "MIT", "primaryPackagePurpose": "OPERATING-SYSTEM"}`,
		`{"name": "other", "primaryPackagePurpose": "OPERATING_SYSTEM"}`)
	spdx = strings.Replace(spdx, `"relationships": [`, `"relationships": [{"spdxElementId": "SPDXRef-0", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": "SPDXRef-root"},`, 1)
	cyclone := cycloneDoc(`{"bom-ref": "1", "group": "@acme", "name": "left-pad", "version": "1.3.0", "purl": "pkg:npm/%40acme/left-pad@1.3.0", "publisher": "azer",
			"licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "Apache License"}}], "hashes": [{"alg": "SHA-256", "content": "`+strongSum+`"}],
			"components": [{"type": "library", "name": "part", "licenses": [{"expression": "MIT AND ISC"}]}, {"type": "file", "name": "/etc/passwd"}]}`,
		`{"bom-ref": "2", "name": "lone", "supplier": {"name": "Org"}, "hashes": [{"alg": "SHA-1", "content": "00"}]}`)
	tests := []struct{ name, text, want string }{
		{"spdx", spdx, `spdx 2.3 root=acme/app[MIT] related authored
left-pad 1.3.0 (pkg:npm/left-pad@1.3.0)[MIT OR WTFPL] supplied hashed related
base[NONE] system
other[] system`},
		{"cyclonedx", cyclone, `cyclonedx 1.6 root=acme/app[MIT free] authored
@acme/left-pad 1.3.0 (pkg:npm/%40acme/left-pad@1.3.0)[MIT free][Apache License free] supplied hashed related
part[MIT AND ISC] related
lone[] supplied`},
		{"spdx of one package", `{"spdxVersion": "SPDX-2.2", "SPDXID": "SPDXRef-DOCUMENT", "packages": [{"SPDXID": "SPDXRef-1", "name": "x"}]}`, "spdx 2.2 root=x[]"},
		{"spdx that describes several", strings.NewReplacer("SPDX-2.3", "SPDX-2.2", `"packages"`, `"documentDescribes": ["SPDXRef-0"], "packages"`).Replace(spdxDoc(`{"name": "x"}`)),
			"spdx 2.2 authored\nacme/app[MIT]\nx[]"},
		{"spdx described by", strings.NewReplacer("DESCRIBES", "DESCRIBED_BY", "SPDXRef-DOCUMENT\", \"rel", "SPDXRef-0\", \"rel", `relatedSpdxElement": "SPDXRef-root`, `relatedSpdxElement": "SPDXRef-DOCUMENT`).Replace(spdxDoc(`{"name": "x"}`)),
			"spdx 2.3 root=x[] authored\nacme/app[MIT]"},
		{"cyclonedx without root", `{"bomFormat": "CycloneDX", "specVersion": "1.2", "components": [{"type": "library", "name": "x", "version": "1"}, {"type": "cryptographic-asset", "name": "key"}]}`, "cyclonedx 1.2\nx 1[]"},
		{"cyclonedx dependencies", `{"bomFormat": "CycloneDX", "specVersion": "1.4", "components": [{"type": "library", "name": "x", "bom-ref": "x"}, {"type": "library", "name": "y", "bom-ref": "y"}, {"type": "library", "name": "z", "bom-ref": "z"}],
			"dependencies": [{"ref": "x", "dependsOn": ["y"]}, {"ref": "z"}]}`, "cyclonedx 1.4\nx[] related\ny[] related\nz[]"},
		{"cyclonedx file with a purl", `{"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"type": "file", "name": "x.jar", "purl": "pkg:maven/a/x@1"}]}`, "cyclonedx 1.5\nx.jar (pkg:maven/a/x@1)[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := readBill("https://example.com/sbom", tree(t, tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := render(b); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// render writes down all that was read.
func render(b *bill) string {
	word := func(is bool, word string) string {
		if is {
			return " " + word
		}
		return ""
	}
	one := func(c *component) string {
		text := c.String()
		for _, l := range c.licences {
			text += "[" + l.text + word(l.free, "free") + "]"
		}
		if c.licences == nil {
			text += "[]"
		}
		return text + word(c.supplied, "supplied") + word(c.hashed, "hashed") + word(c.related, "related") + word(c.system, "system")
	}
	text := fmt.Sprintf("%s %s", b.format, b.version)
	if b.root != nil {
		text += " root=" + one(b.root)
	}
	text += word(b.authored, "authored")
	for i := range b.packages {
		text += "\n" + one(&b.packages[i])
	}
	return text
}

func TestReadBillRefuses(t *testing.T) {
	swap := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("no %s in %s", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	spdx := spdxDoc(`{"name": "x", "versionInfo": "1", "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:npm/x"}]}`)
	cyclone := cycloneDoc(`{"name": "x", "bom-ref": "x", "licenses": [{"license": {"id": "MIT"}}]}`, `{"name": "y", "bom-ref": "y"}`)
	tests := []struct{ name, predicateType, text, want string }{
		{"nothing", typeSPDX, `{}`, "neither spdxVersion nor bomFormat"},
		{"something else", typeSPDX, `{"runDetails": {}}`, "neither spdxVersion nor bomFormat"},
		{"wrapped text", typeSPDX, `{"Data": "SPDXVersion: SPDX-2.2", "Timestamp": "2026-01-01T00:00:00Z"}`, "--type spdxjson takes the JSON"},
		{"both", typeSPDX, `{"spdxVersion": "SPDX-2.3", "bomFormat": "CycloneDX"}`, "claims to be SPDX and CycloneDX"},
		{"SPDX 3", typeSPDX, `{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}`, "no SBOM in SPDX 2 or CycloneDX JSON"},
		{"unknown SPDX", typeSPDX, swap(spdx, "SPDX-2.3", "SPDX-2.4"), "has the spdxVersion SPDX-2.4, SPDX-2.2 and SPDX-2.3 are read"},
		{"SPDX 2.1", typeSPDX, swap(spdx, "SPDX-2.3", "SPDX-2.1"), "has the spdxVersion SPDX-2.1"},
		{"version of another kind", typeSPDX, swap(spdx, `"SPDX-2.3"`, "2.3"), "has the spdxVersion 2.3"},
		{"version as text alone", typeSPDX, swap(spdx, `"SPDX-2.3"`, `"2.3"`), "has the spdxVersion 2.3"},
		{"unknown CycloneDX", typeCycloneDX, swap(cyclone, "1.6", "2.0"), "has the specVersion 2.0, CycloneDX 1.2 to 1.6"},
		{"CycloneDX 1.1", typeCycloneDX, swap(cyclone, "1.6", "1.1"), "has the specVersion 1.1"},
		{"no specVersion", typeCycloneDX, swap(cyclone, `"specVersion": "1.6",`, ""), "has the specVersion <nil>"},
		{"another bomFormat", typeCycloneDX, swap(cyclone, "CycloneDX", "cyclonedx"), "has the bomFormat cyclonedx, want CycloneDX"},
		{"SPDX as CycloneDX", typeCycloneDX, spdx, "holds spdx 2.3 under the type https://cyclonedx.org/bom"},
		{"CycloneDX as SPDX", typeSPDX, cyclone, "holds cyclonedx 1.6 under the type https://spdx.dev/Document"},
		{"2.3 as 2.2", typeSPDX + "/v2.2", spdx, "holds spdx 2.3 under the type https://spdx.dev/Document/v2.2"},
		{"1.6 as 1.5", typeCycloneDX + "/v1.5", cyclone, "holds cyclonedx 1.6 under the type"},
		{"packages of another kind", typeSPDX, swap(spdx, `"packages": [`, `"packages": {}, "files": [`), "the document has a packages that is no list"},
		{"package of another kind", typeSPDX, swap(spdx, `"packages": [`, `"packages": ["left-pad", `), "the document has in packages what is no object"},
		{"package without name", typeSPDX, swap(spdx, `"name": "x"`, `"name": ""`), "package 1 has no name"},
		{"package with a name of another kind", typeSPDX, swap(spdx, `"name": "x"`, `"name": ["x"]`), "package 1 has a name that is no text"},
		{"version of a package", typeSPDX, swap(spdx, `"versionInfo": "1"`, `"versionInfo": 1`), "package 1 has a versionInfo that is no text"},
		{"two of one id", typeSPDX, swap(spdx, `SPDXRef-0`, `SPDXRef-root`), "package 1 has the SPDXID"},
		{"no id", typeSPDX, swap(spdx, `"SPDXID": "SPDXRef-0"`, `"x": 1`), "package 1 has the SPDXID"},
		{"the document as a package", typeSPDX, swap(spdx, `SPDXRef-0`, `SPDXRef-DOCUMENT`), "package 1 has the SPDXID"},
		{"another document", typeSPDX, swap(spdx, `"SPDXRef-DOCUMENT"`, `"SPDXRef-other"`), "the document has an SPDXID other than SPDXRef-DOCUMENT"},
		{"purl of another kind", typeSPDX, swap(spdx, `"pkg:npm/x"`, `7`), "package 1 has a referenceLocator that is no text"},
		{"relationships", typeSPDX, swap(spdx, `"relationshipType": "DESCRIBES"`, `"relationshipType": {}`), "relationship 0 has a relationshipType"},
		{"licence of another kind", typeSPDX, swap(spdx, `"name": "x"`, `"name": "x", "licenseConcluded": ["MIT"]`), "package 1 has a licenseConcluded that is no text"},
		{"components", typeCycloneDX, swap(cyclone, `"components": [`, `"components": [null, `), "the document has in components what is no object"},
		{"component without name", typeCycloneDX, swap(cyclone, `"name": "y"`, `"version": "1"`), "component 1 has no name"},
		{"component without type", typeCycloneDX, swap(cyclone, `"type": "library", "name": "y"`, `"name": "y"`), "component 1 has no type"},
		{"two of one ref", typeCycloneDX, swap(cyclone, `"bom-ref": "y"`, `"bom-ref": "x"`), "component 1 has the bom-ref"},
		{"licence without a name", typeCycloneDX, swap(cyclone, `{"id": "MIT"}}]},{"type"`, `{"text": {}}}]},{"type"`), "component 0 has a license that has not one of id and name"},
		{"licence with two names", typeCycloneDX, swap(cyclone, `{"id": "MIT"}}]},{"type"`, `{"id": "MIT", "name": "GPL"}}]},{"type"`), "component 0 has a license that has not one"},
		{"licence and expression", typeCycloneDX, swap(cyclone, `{"license": {"id": "MIT"}}]},{"type"`, `{"license": {"id": "MIT"}, "expression": "GPL-3.0-only"}]},{"type"`), "neither a license nor an expression"},
		{"empty licence", typeCycloneDX, swap(cyclone, `{"license": {"id": "MIT"}}]},{"type"`, `{}]},{"type"`), "component 0 has in licenses what is neither"},
		{"no list of licences", typeCycloneDX, swap(cyclone, `"licenses": [{"license": {"id": "MIT"}}]},{"type"`, `"licenses": {"id": "MIT"}}, {"type"`), "has a licenses that is no list"},
		{"root", typeCycloneDX, swap(cyclone, `"name": "acme/app"`, `"name": 1`), "metadata.component has a name that is no text"},
		{"dependencies", typeCycloneDX, swap(cyclone, `"version": 1`, `"dependencies": [{"ref": "x", "dependsOn": [1]}]`), "dependency 0 has in dependsOn what is no text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := readBill(tt.predicateType, tree(t, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("read %v, %v, want %q", b, err, tt.want)
			}
		})
	}
	if _, err := readBill(typeSPDX, nil); err == nil || !strings.Contains(err.Error(), "no JSON object") {
		t.Error(err)
	}
}

func TestStrongHash(t *testing.T) {
	for algorithm, want := range map[string]bool{"SHA256": true, "SHA-256": true, "sha3-256": true, "BLAKE2b-256": true, "BLAKE3": true, "SHA-512": false, "SHA1": false, "MD5": false, "": false} {
		if strongHash(algorithm, strongSum) != want {
			t.Errorf("%q: %v", algorithm, !want)
		}
	}
	if strongHash("SHA256", strings.Repeat("x", 64)) || strongHash("SHA256", "") {
		t.Error("what is no hash counts")
	}
}

// FuzzBill: no document breaks the reading, and what is read has names that can be shown.
func FuzzBill(f *testing.F) {
	f.Add(spdxDoc(`{"name": "x", "versionInfo": "1", "licenseConcluded": "MIT", "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:npm/x"}]}`))
	f.Add(cycloneDoc(`{"name": "x", "licenses": [{"license": {"id": "MIT"}}], "components": [{"type": "file", "name": "y"}]}`))
	f.Add(`{"spdxVersion": "SPDX-2.2", "SPDXID": "SPDXRef-DOCUMENT", "packages": [{"SPDXID": "SPDXRef-1", "name": "x"}], "documentDescribes": ["SPDXRef-1", "SPDXRef-1"]}`)
	f.Add(`{"bomFormat": "CycloneDX", "specVersion": "1.2", "metadata": {"component": {}}, "components": [{}], "dependencies": [{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := attest.DecodeStrict([]byte(text), attest.MaxDepth)
		if err != nil {
			return
		}
		b, err := readBill("https://example.com/sbom", doc)
		if (b == nil) == (err == nil) && err == nil {
			t.Fatal("neither a bill nor an error")
		}
		if err != nil {
			return
		}
		for i := range b.packages {
			if c := &b.packages[i]; c.name == "" || strings.ContainsAny(c.String(), "\n\x00") {
				t.Fatalf("package %q", c.String())
			}
		}
		// Another reader, lenient as the libraries are, has to find the packages that the
		// document has at its top.
		var loose struct {
			Packages, Components []json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &loose); err != nil {
			t.Fatal(err)
		}
		if have := len(b.packages); b.format == FormatSPDX && have != len(loose.Packages) && have != len(loose.Packages)-1 {
			t.Fatalf("%d of %d packages", have, len(loose.Packages))
		}
	})
}

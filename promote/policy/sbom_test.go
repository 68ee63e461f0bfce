package policy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// asking is a document whose one requirement, of authority a unless extra says otherwise,
// has a check.
func asking(check string) string {
	from := "from: {authorities: [a]}, "
	if strings.Contains(check, "from:") {
		from = ""
	}
	return document("    - {name: checked, " + from + check + "}\n")
}

// fullSPDX and fullCycloneDX list one package that lacks nothing.
func fullSPDX() string {
	return strings.Replace(spdxDoc(`{"name": "x", "versionInfo": "1", "supplier": "Organization: X", "licenseDeclared": "MIT", "checksums": [{"algorithm": "SHA256", "checksumValue": "`+strongSum+`"}],
		"externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:npm/x@1"}]}`), `"relationships": [`,
		`"relationships": [{"spdxElementId": "SPDXRef-root", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-0"},`, 1)
}

func fullCycloneDX() string {
	return strings.Replace(cycloneDoc(`{"name": "x", "bom-ref": "x", "version": "1", "supplier": {"name": "X"}, "licenses": [{"expression": "MIT"}], "purl": "pkg:npm/x@1",
		"hashes": [{"alg": "SHA-256", "content": "`+strongSum+`"}]}`), `"version": 1`, `"version": 1, "dependencies": [{"ref": "app", "dependsOn": ["x"]}]`, 1)
}

func TestSBOM(t *testing.T) {
	s := newStudio(t)
	const all = "sbom: {requireSuppliers: true, requirePurls: true, requireHashes: true, requireRelationships: true, requireAuthor: true}"
	bare := spdxDoc(`{"name": "bare", "licenseDeclared": "MIT"}`, `{"name": "dated", "versionInfo": "1"}`)
	described := func(purl string) string {
		return strings.Replace(fullSPDX(), `"name": "acme/app"`, `"name": "acme/app", "externalRefs": [{"referenceType": "purl", "referenceLocator": "`+purl+`"}]`, 1)
	}
	tests := []struct {
		name, check, predicateType, predicate string
		allowed                               bool
		message                               string
	}{
		{"SPDX", "sbom: {}", typeSPDX, fullSPDX(), true, "by a"},
		{"SPDX, all that can be asked", all, typeSPDX, fullSPDX(), true, "by a"},
		{"SPDX under its version", all, typeSPDX + "/v2.3", fullSPDX(), true, "by a"},
		{"CycloneDX", "sbom: {}", typeCycloneDX, fullCycloneDX(), true, "by a"},
		{"CycloneDX, all that can be asked", all, typeCycloneDX, fullCycloneDX(), true, "by a"},
		{"CycloneDX under its version", all, typeCycloneDX + "/v1.6", fullCycloneDX(), true, "by a"},
		{"type that is not known", "sbom: {}", typeSPDX + "/v2.9", fullSPDX(), false, "no attestation https://spdx.dev/Document or https://cyclonedx.org/bom by a"},
		{"type of another", "sbom: {}", "https://spdx.dev/Documents", fullSPDX(), false, "no attestation https://spdx.dev/Document"},
		{"a type of one's own", `sbom: {}, predicateTypes: ["https://example.com/sbom"]`, "https://example.com/sbom", fullSPDX(), true, "by a"},

		{"empty SPDX", "sbom: {}", typeSPDX, spdxDoc(), false, "lists no package besides what it describes"},
		{"SPDX without packages", "sbom: {}", typeSPDX, `{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": []}`, false, "lists no package"},
		{"SPDX of files alone", "sbom: {}", typeSPDX, `{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "files": [{"SPDXID": "SPDXRef-1", "fileName": "a"}]}`, false, "lists no package"},
		{"empty CycloneDX", "sbom: {}", typeCycloneDX, cycloneDoc(), false, "lists no package besides what it describes"},
		{"CycloneDX of files alone", "sbom: {}", typeCycloneDX, strings.Replace(cycloneDoc(`{"name": "/etc/passwd"}`), "library", "file", 1), false, "lists no package"},
		{"unknown version", "sbom: {}", typeCycloneDX, strings.Replace(fullCycloneDX(), "1.6", "1.9", 1), false, "has the specVersion 1.9"},
		{"malformed", "sbom: {}", typeSPDX, strings.Replace(fullSPDX(), `"name": "x"`, `"name": 7`, 1), false, "package 1 has a name that is no text"},
		{"no JSON of its own", "sbom: {}", typeSPDX, `{"Data": "SPDXVersion: SPDX-2.3", "Timestamp": ""}`, false, "--type spdxjson takes the JSON"},

		{"another format", "sbom: {formats: [spdx]}", typeCycloneDX, fullCycloneDX(), false, "no attestation https://spdx.dev/Document"},
		{"another format under a type of one's own", `sbom: {formats: [cyclonedx]}, predicateTypes: ["https://example.com/sbom"]`, "https://example.com/sbom", fullSPDX(), false, "it is spdx, want cyclonedx"},
		{"too few", "sbom: {minPackages: 3}", typeSPDX, bare, false, "lists 2 packages, minPackages is 3"},
		{"just enough", "sbom: {minPackages: 2, requireVersions: false}", typeSPDX, bare, true, "by a"},
		{"version", "sbom: {}", typeSPDX, bare, false, "1 of 2 packages have no version: bare"},
		{"version not asked", "sbom: {requireVersions: false}", typeSPDX, bare, true, "by a"},
		{"supplier", "sbom: {requireSuppliers: true}", typeSPDX, strings.Replace(fullSPDX(), "Organization: X", "NOASSERTION", 1), false, "1 of 1 packages have no supplier: x 1 (pkg:npm/x@1)"},
		{"supplier without a name", "sbom: {requireSuppliers: true}", typeSPDX, strings.Replace(fullSPDX(), "Organization: X", "Organization: ", 1), false, "no supplier"},
		{"purl", "sbom: {requirePurls: true}", typeCycloneDX, strings.Replace(fullCycloneDX(), `"pkg:npm/x@1"`, `""`, 1), false, "1 of 1 packages have no package URL that can be read: x 1"},
		{"purl that cannot be read", "sbom: {requirePurls: true}", typeCycloneDX, strings.Replace(fullCycloneDX(), "pkg:npm/x@1", "npm:x", 1), false, "no package URL that can be read"},
		{"hash", "sbom: {requireHashes: true}", typeSPDX, strings.Replace(fullSPDX(), "SHA256", "SHA1", 1), false, "no hash of SHA-256 or better"},
		{"hash too short", "sbom: {requireHashes: true}", typeCycloneDX, strings.Replace(fullCycloneDX(), strongSum, strongSum[2:], 1), false, "no hash of SHA-256 or better"},
		{"relationship", "sbom: {requireRelationships: true}", typeSPDX, strings.NewReplacer(`"spdxElementId": "SPDXRef-root"`, `"spdxElementId": "SPDXRef-0"`, `"relatedSpdxElement": "SPDXRef-0"`, `"relatedSpdxElement": "NOASSERTION"`).Replace(fullSPDX()), false, "no relationship"},
		{"relationship of others", "sbom: {requireRelationships: true}", typeSPDX, strings.Replace(fullSPDX(), `"relatedSpdxElement": "SPDXRef-0"`, `"relatedSpdxElement": "SPDXRef-root"`, 1), false, "no relationship"},
		{"dependency", "sbom: {requireRelationships: true}", typeCycloneDX, strings.Replace(fullCycloneDX(), `"dependsOn": ["x"]`, `"dependsOn": []`, 1), false, "no relationship"},
		{"author", "sbom: {requireAuthor: true}", typeSPDX, strings.Replace(fullSPDX(), `["Tool: syft-1.0"]`, `[]`, 1), false, "does not say who or what made it, and when"},
		{"time", "sbom: {requireAuthor: true}", typeCycloneDX, strings.Replace(fullCycloneDX(), `"timestamp"`, `"x"`, 1), false, "does not say who or what made it"},
		{"two at once", "sbom: {requireHashes: true}", typeSPDX, bare, false, "have no version: bare; 2 of 2 packages have no hash"},

		{"describes the artifact", "sbom: {}", typeSPDX, described("pkg:oci/app@" + strings.Replace(root.String(), ":", "%3A", 1) + "?tag=1.0"), true, "by a"},
		{"describes another image", "sbom: {}", typeSPDX, described("pkg:oci/other@" + arm64.Digest.String()), false, "it describes pkg:oci/other@" + arm64.Digest.String() + ", not " + short(root)},
		{"describes a tag", "sbom: {}", typeSPDX, described("pkg:oci/app"), true, "by a"},
		{"describes by a purl of another type", "sbom: {}", typeSPDX, described("pkg:docker/app@sha256:00"), true, "by a"},
		{"describes the digest in upper case", "sbom: {}", typeSPDX, described("pkg:oci/app@sha256:" + strings.ToUpper(root.Encoded())), false, "it describes pkg:oci/app"},
		{"describes another image, CycloneDX", "sbom: {}", typeCycloneDX, strings.Replace(fullCycloneDX(), `"name": "acme/app"`, `"name": "acme/app", "purl": "pkg:oci/other@`+arm64.Digest.String()+`"`, 1), false, "it describes pkg:oci/other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, s.keys, asking(tt.check))
			decided(t, p.Evaluate(s.facts(p, s.attest("a", tt.predicateType, tt.predicate))), tt.allowed, tt.message)
		})
	}
}

// What cosign writes under --type spdx, tag-value text in place of an object, is refused
// before it gets here, and blocks nothing.
func TestSBOMAsText(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, asking("sbom: {}"))
	good := s.attest("a", typeSPDX, fullSPDX())
	text := s.facts(p, good).Evidence[0]
	text.Signed = "" // something else is signed
	text.Layer = ""
	text.Statement = map[string]any{"predicateType": typeSPDX, "predicate": "SPDXVersion: SPDX-2.3"}
	f := s.facts(p)
	f.Evidence = append(f.Evidence, text)
	decided(t, p.Evaluate(f), false, "--type spdxjson takes the JSON")
	f.Evidence = append(f.Evidence, s.facts(p, good).Evidence...)
	decided(t, p.Evaluate(f), true, "by a")
}

// One that holds is enough, whatever else is attached.
func TestSBOMAmongSeveral(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, asking("sbom: {}"))
	empty, good := s.attest("a", typeSPDX, spdxDoc()), s.attest("a", typeCycloneDX, fullCycloneDX())
	decided(t, p.Evaluate(s.facts(p, empty, good)), true, short(digest.FromBytes(good.bundle)))
	decided(t, p.Evaluate(s.facts(p, empty, s.attest("b", typeSPDX, fullSPDX()))), false, "signed by b, who is not asked here")
	two := load(t, s.keys, asking("from: {authorities: [a, b], threshold: 2}, sbom: {}"))
	decided(t, two.Evaluate(s.facts(two, good)), false, "1 of 2 distinct signers")
	decided(t, two.Evaluate(s.facts(two, good, s.attest("b", typeSPDX, fullSPDX()))), true, "by b")
}

func TestSBOMOfPlatforms(t *testing.T) {
	s := newStudio(t)
	each, index := load(t, s.keys, asking("scope: each, sbom: {}")), load(t, s.keys, asking("sbom: {}"))
	about := func(p *Policy, all ...made) Facts {
		f := s.facts(p, all...)
		f.MediaType, f.Platforms = "application/vnd.oci.image.index.v1+json", []Platform{amd64, arm64}
		return f
	}
	first, second := s.attestOn(amd64.Digest, "a", typeSPDX, fullSPDX()), s.attestOn(arm64.Digest, "a", typeCycloneDX, fullCycloneDX())
	emptyOne, whole := s.attestOn(arm64.Digest, "a", typeSPDX, spdxDoc()), s.attest("a", typeSPDX, fullSPDX())
	decided(t, each.Evaluate(about(each, first, second)), true, "linux/arm64")
	decided(t, each.Evaluate(about(each, first)), false, "linux/arm64")
	decided(t, each.Evaluate(about(each, second)), false, "linux/amd64")
	decided(t, each.Evaluate(about(each, first, emptyOne)), false, "lists no package besides")
	decided(t, each.Evaluate(about(each, whole)), false, "is about the artifact itself")
	decided(t, index.Evaluate(about(index, whole)), true, "by a")
	decided(t, index.Evaluate(about(index, first, second)), false, "is about its platform")
	// Scanners of an index name the platform that they looked at, or the index.
	named := func(d digest.Digest) string {
		return strings.Replace(fullSPDX(), `"name": "acme/app"`, `"name": "acme/app", "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:oci/app@`+d.String()+`"}]`, 1)
	}
	decided(t, index.Evaluate(about(index, s.attest("a", typeSPDX, named(amd64.Digest)))), true, "by a")
	decided(t, each.Evaluate(about(each, first, s.attestOn(arm64.Digest, "a", typeSPDX, named(root)))), true, "linux/arm64")
	decided(t, each.Evaluate(about(each, first, s.attestOn(arm64.Digest, "a", typeSPDX, named(amd64.Digest)))), false, "it describes pkg:oci/app@"+amd64.Digest.String())
}

// The messages about thousands of packages, with names that are no fun, stay short.
func TestSBOMMessagesStayShort(t *testing.T) {
	s := newStudio(t)
	p := load(t, s.keys, asking("sbom: {}"))
	packages := make([]string, 17)
	for i := range packages {
		packages[i] = `{"name": "` + strings.Repeat("x", 10_000) + `\u001b[31m\n"}`
	}
	v := p.Evaluate(s.facts(p, s.attest("a", typeSPDX, spdxDoc(packages...))))
	decided(t, v, false, "17 of 17 packages have no version: ")
	if m := v.Rules[0].Message; !strings.Contains(m, "; and 12 more") || len(m) > 2000 || strings.ContainsAny(m, "\x1b\n") {
		t.Errorf("message of %d bytes: %.300q", len(m), m)
	}
}

func TestLoadSBOM(t *testing.T) {
	s := newStudio(t)
	for check, want := range map[string]string{
		"sbom: {formats: []}":                      "sbom.formats: is empty",
		"sbom: {formats: [spdx, spdx]}":            `formats[1]: "spdx" stands there twice`,
		"sbom: {formats: [swid]}":                  `formats[0]: is "swid", want spdx or cyclonedx`,
		"sbom: {minPackages: 0}":                   "minPackages: is 0, want 1 to 1000000",
		"sbom: {minPackages: -1}":                  "minPackages: is -1",
		"sbom: {packages: 1}":                      `unknown key "packages"`,
		"sbom: {requirePurls: maybe}":              "into bool",
		"sbom: ":                                   "sbom: is empty",
		"predicateTypes: [], sbom: {}":             "predicateTypes: is missing",
		`sbom: {}, predicateTypes: ["spdx"]`:       "is no absolute URI",
		"sbom: [spdx]":                             "wants another kind of value",
		"sbom: {requireVersions: [true, \"yes\"]}": "into bool",
	} {
		_, err := Load([]byte(asking(check)), s.keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
	for _, check := range []string{"sbom: {}", "sbom: {formats: [cyclonedx], requireVersions: false}", "sbom: {}, licences: {allow: [mit]}"} {
		p := load(t, s.keys, asking(check))
		again, err := Load(p.Canonical(), nil)
		if err != nil || again.Digest() != p.Digest() || !bytes.Equal(again.Canonical(), p.Canonical()) {
			t.Errorf("%s: the canonical form is another policy: %v\n%s", check, err, p.Canonical())
		}
	}
	types := load(t, s.keys, asking("sbom: {formats: [cyclonedx]}")).Document().Spec.Require[0].PredicateTypes
	if len(types) != 6 || types[0] != typeCycloneDX || types[5] != typeCycloneDX+"/v1.6" {
		t.Errorf("implied types %v", types)
	}
}

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// The words of SPDX for what is not known, and for what is known not to be there.
const (
	spdxNoAssertion = "NOASSERTION"
	spdxNone        = "NONE"
	spdxDocument    = "SPDXRef-DOCUMENT"
)

// readSPDX reads an SPDX 2.2 or 2.3 document in JSON.
func readSPDX(doc map[string]any) (*bill, error) {
	r := &billReader{}
	r.at("the document", -1)
	version, ok := strings.CutPrefix(r.text(doc, "spdxVersion"), "SPDX-")
	if !ok || !slices.Contains(billVersions(FormatSPDX), version) {
		return nil, fmt.Errorf("it has the spdxVersion %s, SPDX-2.2 and SPDX-2.3 are read", plain(fmt.Sprint(doc["spdxVersion"])))
	}
	if r.text(doc, "SPDXID") != spdxDocument {
		r.fail("has an SPDXID other than %s", spdxDocument)
	}
	b := &bill{format: FormatSPDX, version: version}
	creation := r.object(doc, "creationInfo")
	b.authored = len(r.texts(creation, "creators")) > 0 && r.text(creation, "created") != ""

	described := r.texts(doc, "documentDescribes")
	related := map[string]bool{}
	for i, relationship := range r.objects(doc, "relationships") {
		r.at("relationship", i)
		from, to := r.text(relationship, "spdxElementId"), r.text(relationship, "relatedSpdxElement")
		kind := r.text(relationship, "relationshipType")
		switch {
		case kind == "DESCRIBES" && from == spdxDocument:
			described = append(described, to)
		case kind == "DESCRIBED_BY" && to == spdxDocument:
			described = append(described, from)
		case from != spdxDocument && to != spdxDocument && to != spdxNone && to != spdxNoAssertion:
			related[from], related[to] = true, true
		}
	}
	r.at("the document", -1)
	packages := r.objects(doc, "packages")
	position := make(map[string]int, len(packages))
	all := make([]component, 0, len(packages))
	for i, p := range packages {
		r.at("package", i)
		id := r.text(p, "SPDXID")
		if _, twice := position[id]; twice || id == "" || id == spdxDocument {
			r.fail("has the SPDXID %q, want one of its own", plain(id))
		}
		position[id] = i
		c := r.spdxPackage(p)
		c.related = related[id]
		all = append(all, c)
	}
	b.take(all, spdxRoot(described, position))
	return b, r.err
}

// spdxRoot is the place of the one package that the document describes; -1 where it
// describes several, which are then all packages like others, or none. A document of one
// package describes it (SPDX 2.3, 11.1, "DESCRIBES").
func spdxRoot(described []string, position map[string]int) int {
	slices.Sort(described)
	described = slices.Compact(described)
	root := -1
	for _, id := range described {
		i, ok := position[id]
		switch {
		case !ok: // a file or a snippet
		case root >= 0:
			return -1
		default:
			root = i
		}
	}
	if root < 0 && len(described) == 0 && len(position) == 1 {
		return 0
	}
	return root
}

// take parts what the SBOM describes from the packages; root is -1 where there is none.
func (b *bill) take(all []component, root int) {
	if root < 0 {
		b.packages = all
		return
	}
	c := all[root]
	b.root, b.packages = &c, slices.Delete(all, root, root+1)
}

func (r *billReader) spdxPackage(p map[string]any) component {
	c := component{
		name:    r.text(p, "name"),
		version: r.text(p, "versionInfo"),
		// The specification writes a dash, its JSON schema an underscore.
		system: strings.ReplaceAll(r.text(p, "primaryPackagePurpose"), "_", "-") == "OPERATING-SYSTEM",
	}
	if c.name == "" {
		r.fail("has no name")
	}
	if c.version == spdxNoAssertion {
		c.version = ""
	}
	supplier := r.text(p, "supplier")
	for _, kind := range []string{"Organization:", "Person:"} {
		who, ok := strings.CutPrefix(supplier, kind)
		c.supplied = c.supplied || ok && strings.TrimSpace(who) != ""
	}
	for _, sum := range r.objects(p, "checksums") {
		c.hashed = strongHash(r.text(sum, "algorithm"), r.text(sum, "checksumValue")) || c.hashed
	}
	for _, ref := range r.objects(p, "externalRefs") {
		if r.text(ref, "referenceType") == "purl" {
			c.purls = append(c.purls, r.text(ref, "referenceLocator"))
		}
	}
	// What the author of the SBOM concluded stands above what the package declares. NONE
	// is a conclusion; NOASSERTION is none (SPDX 2.3, 7.13 and 7.15).
	for _, key := range []string{"licenseConcluded", "licenseDeclared"} {
		text := r.text(p, key)
		if text != "" && text != spdxNoAssertion && c.licences == nil {
			c.licences = []statedLicence{{text: text}}
		}
	}
	return c
}

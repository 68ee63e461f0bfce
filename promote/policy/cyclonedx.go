package policy

import (
	"fmt"
	"slices"
)

// readCycloneDX reads a CycloneDX BOM in JSON, version 1.2 to 1.6.
func readCycloneDX(doc map[string]any) (*bill, error) {
	r := &cycloneReader{seen: map[string]bool{}, related: map[string]bool{}}
	r.at("the document", -1)
	if doc["bomFormat"] != "CycloneDX" {
		return nil, fmt.Errorf("it has the bomFormat %s, want CycloneDX", plain(fmt.Sprint(doc["bomFormat"])))
	}
	version := r.text(doc, "specVersion")
	if !slices.Contains(billVersions(FormatCycloneDX), version) {
		return nil, fmt.Errorf("it has the specVersion %s, CycloneDX 1.2 to 1.6 are read", plain(fmt.Sprint(doc["specVersion"])))
	}
	b := &bill{format: FormatCycloneDX, version: version}
	metadata := r.object(doc, "metadata")
	b.authored = r.text(metadata, "timestamp") != "" && (metadata["tools"] != nil || metadata["authors"] != nil ||
		metadata["supplier"] != nil || metadata["manufacture"] != nil || metadata["manufacturer"] != nil)

	for i, d := range r.objects(doc, "dependencies") {
		r.at("dependency", i)
		on := r.texts(d, "dependsOn")
		for _, ref := range on {
			r.related[ref] = true
		}
		if len(on) > 0 {
			r.related[r.text(d, "ref")] = true
		}
	}
	root := -1
	r.at("the document", -1)
	if described := r.object(metadata, "component"); described != nil {
		root = 0
		r.at("metadata.component", -1)
		r.component(described, true, false)
	}
	r.at("the document", -1)
	for _, o := range r.objects(doc, "components") {
		r.next()
		r.component(o, false, false)
	}
	b.take(r.all, root)
	return b, r.err
}

// cycloneReader gathers the components of a BOM, which nest.
type cycloneReader struct {
	billReader
	all     []component
	count   int
	seen    map[string]bool // by bom-ref
	related map[string]bool
}

// next counts components, in the order in which they are read, for messages.
func (r *cycloneReader) next() {
	r.at("component", r.count)
	r.count++
}

// component reads a component and what it is made of.
func (r *cycloneReader) component(o map[string]any, root, nested bool) {
	kind, ref := r.text(o, "type"), r.text(o, "bom-ref")
	if ref != "" && r.seen[ref] {
		r.fail("has the bom-ref %q, which another has as well", plain(ref))
	}
	r.seen[ref] = true
	parts := r.objects(o, "components")
	if c := r.read(o, kind); root || !notPackage(kind, c) {
		c.related = nested || len(parts) > 0 || ref != "" && r.related[ref]
		r.all = append(r.all, c)
	}
	for _, part := range parts {
		r.next()
		r.component(part, false, true)
	}
}

// notPackage says whether a component is below packages: a file that no package manager
// knows, or a key or algorithm.
func notPackage(kind string, c component) bool {
	return kind == "file" && len(c.purls) == 0 || kind == "cryptographic-asset"
}

func (r *cycloneReader) read(o map[string]any, kind string) component {
	c := component{name: r.text(o, "name"), version: r.text(o, "version"), system: kind == "operating-system"}
	switch {
	case c.name == "":
		r.fail("has no name")
	case kind == "":
		r.fail("has no type")
	}
	if group := r.text(o, "group"); group != "" {
		c.name = group + "/" + c.name
	}
	if purl := r.text(o, "purl"); purl != "" {
		c.purls = []string{purl}
	}
	c.supplied = r.text(r.object(o, "supplier"), "name") != "" || r.text(o, "publisher") != ""
	for _, hash := range r.objects(o, "hashes") {
		c.hashed = strongHash(r.text(hash, "alg"), r.text(hash, "content")) || c.hashed
	}
	for _, choice := range r.objects(o, "licenses") {
		c.licences = append(c.licences, r.licence(choice))
	}
	return c
}

// licence reads one choice of a list, all of which apply: the specification does not say
// how they relate, and it is the stricter reading.
func (r *cycloneReader) licence(choice map[string]any) statedLicence {
	expression, licence := r.text(choice, "expression"), r.object(choice, "license")
	if (expression == "") == (licence == nil) {
		r.fail("has in licenses what is neither a license nor an expression")
		return statedLicence{}
	}
	if expression != "" {
		return statedLicence{text: expression}
	}
	id, name := r.text(licence, "id"), r.text(licence, "name")
	if (id == "") == (name == "") {
		r.fail("has a license that has not one of id and name")
	}
	// Tools write identifiers under name, and names under id.
	return statedLicence{text: id + name, free: true}
}

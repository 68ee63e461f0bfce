package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// SBOMSpec says what a software bill of materials has to hold, after NTIA's minimum
// elements. Of several that the requirement's authorities signed about a target one that
// satisfies it is enough. An SBOM is about the artifact that its statement names: one about
// an index says nothing of its platforms, which scope each asks for. What the SBOM
// describes, which the statement names by digest, is not counted among the packages, nor
// are files and cryptographic assets.
type SBOMSpec struct {
	// Formats are those that are taken: spdx (2.2 and 2.3) and cyclonedx (1.2 to 1.6), both
	// in JSON. Both by default.
	Formats []SBOMFormat `json:"formats" yaml:"formats"`
	// MinPackages is how many packages there have to be. 1 by default, and the least.
	MinPackages int `json:"minPackages" yaml:"minPackages"`
	// RequireVersions asks for a version of every package. True by default.
	RequireVersions bool `json:"requireVersions" yaml:"requireVersions"`
	// RequireSuppliers asks who supplies every package: supplier, or publisher in
	// CycloneDX.
	RequireSuppliers bool `json:"requireSuppliers" yaml:"requireSuppliers"`
	// RequirePURLs asks for a package URL of every package.
	RequirePURLs bool `json:"requirePurls" yaml:"requirePurls"`
	// RequireHashes asks for a hash of every package, of SHA-256 or better.
	RequireHashes bool `json:"requireHashes" yaml:"requireHashes"`
	// RequireRelationships asks that every package stand in a relationship with another,
	// or be part of it.
	RequireRelationships bool `json:"requireRelationships" yaml:"requireRelationships"`
	// RequireAuthor asks who or what made the SBOM, and when.
	RequireAuthor bool `json:"requireAuthor" yaml:"requireAuthor"`
}

// maxMinPackages bounds minPackages: an SBOM with more is not read.
const maxMinPackages = 1_000_000

// sbomCheck is the check, compiled.
type sbomCheck struct {
	SBOMSpec
	elements []sbomElement
}

// sbomElement is something that every package has to have.
type sbomElement struct {
	name string
	has  func(c *component) bool
}

// sbom checks and compiles the SBOM that a requirement asks for.
func (l *loader) sbom(path string, r *Requirement) check {
	at, spec := path+".sbom", r.SBOM
	if !l.has(at + ".formats") {
		spec.Formats = []SBOMFormat{FormatSPDX, FormatCycloneDX}
	}
	if !l.has(at + ".minPackages") {
		spec.MinPackages = 1
	}
	if !l.has(at + ".requireVersions") {
		spec.RequireVersions = true
	}
	if spec.MinPackages < 1 || spec.MinPackages > maxMinPackages {
		l.add(at+".minPackages", "is %d, want 1 to %d", spec.MinPackages, maxMinPackages)
	}
	if len(spec.Formats) == 0 {
		l.add(at+".formats", "is empty: leave it out for all formats")
	}
	for i, format := range spec.Formats {
		switch at := fmt.Sprintf("%s.formats[%d]", at, i); {
		case format != FormatSPDX && format != FormatCycloneDX:
			l.add(at, "is %q, want spdx or cyclonedx", format)
		case slices.Contains(spec.Formats[:i], format):
			l.add(at, "%q stands there twice", format)
		}
	}
	l.implied(path, r, billTypes(spec.Formats...)...)
	c := &sbomCheck{SBOMSpec: *spec}
	for _, element := range []struct {
		asked bool
		sbomElement
	}{
		{spec.RequireVersions, sbomElement{"version", func(c *component) bool { return c.version != "" }}},
		{spec.RequireSuppliers, sbomElement{"supplier", func(c *component) bool { return c.supplied }}},
		{spec.RequirePURLs, sbomElement{"package URL that can be read", (*component).identified}},
		{spec.RequireHashes, sbomElement{"hash of SHA-256 or better", func(c *component) bool { return c.hashed }}},
		{spec.RequireRelationships, sbomElement{"relationship", func(c *component) bool { return c.related }}},
	} {
		if element.asked {
			c.elements = append(c.elements, element.sbomElement)
		}
	}
	return c
}

// identified says whether the package has package URLs, all of which can be read.
func (c *component) identified() bool {
	return len(c.purls) > 0 && !slices.ContainsFunc(c.purls, func(text string) bool {
		_, err := packageurl.FromString(text)
		return err != nil
	})
}

// holds says what an SBOM lacks.
func (s *sbomCheck) holds(t *trial, claim claim) string {
	b, err := t.bill(claim)
	switch {
	case err != nil:
		return err.Error()
	case !slices.Contains(s.Formats, b.format):
		return fmt.Sprintf("it is %s, want %s", b.format, s.Formats[0])
	case b.empty():
		return "it lists no package besides what it describes"
	case len(b.packages) < s.MinPackages:
		return fmt.Sprintf("it lists %d packages, minPackages is %d", len(b.packages), s.MinPackages)
	case s.RequireAuthor && !b.authored:
		return "it does not say who or what made it, and when"
	}
	var reasons []string
	for _, element := range s.elements {
		var found offenders
		for i := range b.packages {
			if c := &b.packages[i]; !element.has(c) {
				found.add(c.String())
			}
		}
		if len(found.first) > 0 {
			reasons = append(reasons, fmt.Sprintf("%d of %d packages have no %s: %s", len(found.first)+found.more, len(b.packages), element.name, &found))
		}
	}
	return strings.Join(reasons, "; ")
}

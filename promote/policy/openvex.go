package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"sluice.dev/sluice/promote/attest"
)

// maxVEX bounds what is read of the VEX about one artifact: statements, products and
// subcomponents together.
const maxVEX = 100_000

// The statuses of OpenVEX.
const (
	vexNotAffected        = "not_affected"
	vexAffected           = "affected"
	vexFixed              = "fixed"
	vexUnderInvestigation = "under_investigation"
)

// vexJustifications lists OpenVEX's reasons for not_affected.
func vexJustifications() []string {
	return []string{
		"component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
		"vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist",
	}
}

// isVEX says whether a predicate is an OpenVEX document of a version that can be read. The
// type is OpenVEX's context, with its version or without.
func isVEX(context string) bool {
	return slices.Contains([]string{"https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0", "https://openvex.dev/ns/v0.0.1"}, context)
}

// claimsVEX says whether a predicate type is OpenVEX's, of whatever version.
func claimsVEX(predicateType string) bool {
	return strings.HasPrefix(predicateType, "https://openvex.dev/ns")
}

// vexStatement is one statement of a document, as one of the document's signers makes it.
type vexStatement struct {
	evidence        attest.Evidence
	signer          attest.Signer
	vulnerabilities []string // all its names
	status          string
	justification   string
	when            time.Time
	undone          error // why there is no time, or why it is none that counts
	stated          bool  // when is the statement's own, not its document's
	unreadable      error // the document's: it may say anything about everything

	// What of the artifact it is about. Fields that are not set narrow nothing down.
	whole   bool                               // the artifact as such
	parts   map[string][]packageurl.PackageURL // packages of it, by partKey
	opaque  bool                               // a component that is named by no package URL
	unnamed bool                               // a product that is named by no digest
	others  []string                           // other products
}

// vexReader reads documents that are attached to one artifact.
type vexReader struct {
	artifact digest.Digest
	read     int // statements, products and subcomponents
}

// errManyVEX stops reading. It is told from what is wrong with one document.
var errManyVEX = fmt.Errorf("the VEX about it has more than %d statements, products and subcomponents, which is the limit", maxVEX)

func (r *vexReader) count() error {
	if r.read++; r.read > maxVEX {
		return errManyVEX
	}
	return nil
}

// of reads the OpenVEX document that evidence is. One of a version that is not known may say
// anything, whatever version its predicate names.
func (r *vexReader) of(e attest.Evidence) ([]vexStatement, error) {
	if !isVEX(e.PredicateType) {
		return nil, fmt.Errorf("its predicate type is %q, which is no version of OpenVEX that can be read", printable(e.PredicateType))
	}
	return r.document(e.Predicate())
}

// document reads an OpenVEX document. One statement that cannot be read spoils all of it:
// what it says could be what opens a finding again.
func (r *vexReader) document(predicate map[string]any) ([]vexStatement, error) {
	if context := textIn(predicate, "@context"); !isVEX(context) {
		return nil, fmt.Errorf("its @context is %q, which is no version of OpenVEX that can be read", printable(context))
	}
	list, ok := predicate["statements"].([]any)
	if !ok {
		return nil, errors.New("it has no list of statements")
	}
	statements := make([]vexStatement, 0, min(len(list), maxVEX))
	for i, item := range list {
		if err := r.count(); err != nil {
			return nil, err
		}
		object, _ := item.(map[string]any)
		statement, err := r.statement(object)
		if err != nil {
			return nil, fmt.Errorf("its statement %d %w", i, err)
		}
		statements = append(statements, statement)
	}
	return statements, nil
}

func (r *vexReader) statement(object map[string]any) (vexStatement, error) {
	s := vexStatement{status: textIn(object, "status"), justification: textIn(object, "justification"), parts: map[string][]packageurl.PackageURL{}}
	if !slices.Contains([]string{vexNotAffected, vexAffected, vexFixed, vexUnderInvestigation}, s.status) {
		return s, fmt.Errorf("has the status %q, which OpenVEX does not have", printable(s.status))
	}
	var err error
	if s.vulnerabilities, err = vexNames(object["vulnerability"]); err != nil {
		return s, err
	}
	if s.stated = object["last_updated"] != nil || object["timestamp"] != nil; s.stated {
		s.when, s.undone = statedTime(kindOf("https://openvex.dev/ns"), object)
	}
	if object["products"] == nil {
		// The product is then the subject of the attestation (OpenVEX, ATTESTING.md).
		return s, r.product(&s, map[string]any{"hashes": map[string]any{r.artifact.Algorithm().String(): r.artifact.Encoded()}}, object["subcomponents"])
	}
	products, ok := object["products"].([]any)
	if !ok {
		return s, errors.New("has products that are no list")
	}
	for _, item := range products {
		product, err := vexComponent(item)
		if err != nil {
			return s, err
		}
		// Version 0.0.1 has the subcomponents beside the products.
		inner, outer := product["subcomponents"], object["subcomponents"]
		if inner != nil && outer != nil {
			return s, errors.New("has subcomponents at two places")
		}
		if inner == nil {
			inner = outer
		}
		if err := r.product(&s, product, inner); err != nil {
			return s, err
		}
	}
	return s, nil
}

// vexNames lists the names of a vulnerability: a string in version 0.0.1, later an object.
func vexNames(value any) ([]string, error) {
	if name, ok := value.(string); ok && name != "" {
		return []string{name}, nil
	}
	name := textIn(value, "name")
	if name == "" {
		return nil, errors.New("has no vulnerability.name")
	}
	names := []string{name}
	if id := textIn(value, "@id"); id != "" {
		names = append(names, id)
	}
	vulnerability, _ := value.(map[string]any)
	aliases, ok := listIn(vulnerability, "aliases")
	if !ok {
		return nil, errors.New("has vulnerability.aliases that are no list")
	}
	for _, alias := range aliases {
		text, ok := alias.(string)
		if !ok || text == "" {
			return nil, errors.New("has one of vulnerability.aliases that is no name")
		}
		names = append(names, text)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// vexComponent is a product or subcomponent; version 0.0.1 writes only its @id.
func vexComponent(item any) (map[string]any, error) {
	switch component := item.(type) {
	case string:
		return map[string]any{"@id": component}, nil
	case map[string]any:
		return component, nil
	}
	return nil, errors.New("has a product or subcomponent that is no object")
}

// product notes what a product of a statement says about the artifact.
func (r *vexReader) product(s *vexStatement, product map[string]any, subcomponents any) error {
	if err := r.count(); err != nil {
		return err
	}
	switch same, other := r.compare(product); {
	case other:
		s.others = append(s.others, printable(textIn(product, "@id")))
		return nil
	case !same:
		s.unnamed = true
		return nil
	case subcomponents == nil:
		s.whole = true
		return nil
	}
	list, ok := subcomponents.([]any)
	if !ok || len(list) == 0 {
		return errors.New("has subcomponents that are no list, or an empty one")
	}
	for _, item := range list {
		if err := r.count(); err != nil {
			return err
		}
		component, err := vexComponent(item)
		if err != nil {
			return err
		}
		purl, err := componentURL(component)
		if err != nil {
			s.opaque = true
			continue
		}
		key := partKey(purl)
		s.parts[key] = append(s.parts[key], purl)
	}
	return nil
}

// compare says whether a product is the artifact, or another one. What names it by no
// digest is neither; what names it by two different ones is another.
func (r *vexReader) compare(product map[string]any) (same, other bool) {
	compared := func(algorithm, value string) {
		if algorithm == r.artifact.Algorithm().String() {
			same = same || value == r.artifact.Encoded()
			other = other || value != r.artifact.Encoded()
		}
	}
	for _, name := range []string{textIn(product, "@id"), textIn(product, "identifiers", "purl")} {
		if purl, err := packageurl.FromString(name); err == nil {
			name = purl.Version // of pkg:oci and pkg:docker it is a digest
		}
		name = name[strings.LastIndex(name, "@")+1:] // registry/repository@sha256:…
		algorithm, value, _ := strings.Cut(name, ":")
		compared(algorithm, value)
	}
	hashes, _ := product["hashes"].(map[string]any)
	for algorithm, value := range hashes {
		text, _ := value.(string)
		// OpenVEX has IANA's names, sha-256 say, where OCI has sha256.
		compared(strings.ReplaceAll(algorithm, "-", ""), text)
	}
	return same && !other, other
}

// componentURL is the package URL of a component. Where it has two they have to agree.
func componentURL(component map[string]any) (packageurl.PackageURL, error) {
	id, purl := textIn(component, "@id"), textIn(component, "identifiers", "purl")
	if !strings.HasPrefix(id, "pkg:") {
		id = ""
	}
	if id != "" && purl != "" && id != purl {
		return packageurl.PackageURL{}, errors.New("two package URLs")
	}
	if purl == "" {
		purl = id
	}
	return packageurl.FromString(purl)
}

// partKey is what a package URL must agree in to name a package of some version.
func partKey(purl packageurl.PackageURL) string {
	return purl.Type + "\x00" + purl.Namespace + "\x00" + purl.Name
}

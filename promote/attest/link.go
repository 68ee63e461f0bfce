package attest

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Predicate types of in-toto links. A link says what one step of a supply chain was given
// and what it made of it.
const (
	// LinkV03 and LinkV02 are the link predicates of the in-toto attestation framework:
	// the products are the subjects of the statement.
	LinkV03 = "https://in-toto.io/attestation/link/v0.3"
	LinkV02 = "https://in-toto.io/Link/v0.2"
	// LinkClassic is what ITE-6 calls a statement whose predicate is a link of in-toto
	// itself (spec 1.0, section 4.4). A link that is signed as such, without a statement
	// around it, is shown as one.
	LinkClassic = "https://in-toto.io/Link/v1"
)

// Bounds of a link.
const (
	// MaxLinkArtifacts is how many materials, and how many products, a link may have.
	MaxLinkArtifacts = 10_000
	// MaxLinkName is how long, in bytes, the name of an artifact may be.
	MaxLinkName = 4096
	maxCommand  = 1000
)

// Artifacts are what a step was given or made: a digest set by the cleaned path or name.
type Artifacts map[string]map[string]string

// Link is one performance of one step.
type Link struct {
	Name      string
	Command   []string
	Materials Artifacts
	Products  Artifacts
}

// isLinkType says whether a predicate type is one that ParseLink reads.
func isLinkType(predicateType string) bool {
	switch predicateType {
	case LinkV03, LinkV02, LinkClassic:
		return true
	}
	return false
}

// IsLink says whether the evidence is an in-toto link, of whatever form.
func (e Evidence) IsLink() bool { return isLinkType(e.PredicateType) }

// Link reads the link that the statement makes, of whatever form. A link is refused where
// two of its names would be one path, or where an artifact has no digest: such an artifact
// equals anything.
func (e Evidence) Link() (Link, error) {
	predicate := e.Predicate()
	if predicate == nil {
		return Link{}, errors.New("the link has no predicate")
	}
	link, products, err := Link{}, any(nil), error(nil)
	switch e.PredicateType {
	case LinkClassic:
		if t := predicate["_type"]; t != typeLink {
			return Link{}, fmt.Errorf("the predicate's _type is not %q", typeLink)
		}
		if link.Materials, err = artifactMap("materials", predicate["materials"]); err != nil {
			return Link{}, err
		}
		link.Products, err = artifactMap("products", predicate["products"])
	case LinkV02:
		if link.Materials, err = artifactMap("materials", predicate["materials"]); err != nil {
			return Link{}, err
		}
		products = e.Statement["subject"]
	case LinkV03:
		if link.Materials, err = artifactList("materials", predicate["materials"]); err != nil {
			return Link{}, err
		}
		products = e.Statement["subject"]
	default:
		return Link{}, fmt.Errorf("%q is no type of a link", shorten(e.PredicateType))
	}
	if e.PredicateType != LinkClassic {
		link.Products, err = artifactList("products", products)
	}
	if err != nil {
		return Link{}, err
	}
	if link.Name, _ = predicate["name"].(string); link.Name == "" {
		return Link{}, errors.New("the link does not name its step")
	}
	link.Command, err = command(predicate["command"])
	return link, err
}

func command(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	words, ok := v.([]any)
	if !ok || len(words) > maxCommand {
		return nil, fmt.Errorf("the link's command is no list of at most %d words", maxCommand)
	}
	command := make([]string, len(words))
	for i, word := range words {
		if command[i], ok = word.(string); !ok {
			return nil, fmt.Errorf("word %d of the link's command is not a string", i)
		}
	}
	return command, nil
}

// artifactMap reads artifacts as in-toto's own links have them, by their path.
func artifactMap(field string, v any) (Artifacts, error) {
	if v == nil {
		return Artifacts{}, nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the link's %s are not an object", field)
	}
	if len(object) > MaxLinkArtifacts {
		return nil, fmt.Errorf("the link has %d %s, the limit is %d (MaxLinkArtifacts)", len(object), field, MaxLinkArtifacts)
	}
	artifacts := Artifacts{}
	for name, digests := range object {
		if err := artifacts.add(field, name, digests); err != nil {
			return nil, err
		}
	}
	return artifacts, nil
}

// artifactList reads artifacts as the attestation framework has them, resource descriptors.
func artifactList(field string, v any) (Artifacts, error) {
	if v == nil {
		return Artifacts{}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("the link's %s are not a list", field)
	}
	if len(list) > MaxLinkArtifacts {
		return nil, fmt.Errorf("the link has %d %s, the limit is %d (MaxLinkArtifacts)", len(list), field, MaxLinkArtifacts)
	}
	artifacts := Artifacts{}
	for i, item := range list {
		object, _ := item.(map[string]any)
		name, ok := object["name"].(string)
		if !ok {
			return nil, fmt.Errorf("number %d of the link's %s has no name", i, field)
		}
		if err := artifacts.add(field, name, object["digest"]); err != nil {
			return nil, err
		}
	}
	return artifacts, nil
}

// add takes an artifact under its cleaned path, which is what rules are matched with.
func (a Artifacts) add(field, name string, v any) error {
	if name == "" || len(name) > MaxLinkName {
		return fmt.Errorf("one of the link's %s has a name of %d bytes, want 1 to %d", field, len(name), MaxLinkName)
	}
	clean := path.Clean(name)
	if _, ok := a[clean]; ok {
		return fmt.Errorf("two of the link's %s have the path %q", field, shorten(clean))
	}
	set, ok := v.(map[string]any)
	if !ok || len(set) == 0 {
		return fmt.Errorf("%q among the link's %s has no digest", shorten(name), field)
	}
	digests := make(map[string]string, len(set))
	for algorithm, value := range set {
		text, ok := value.(string)
		if !ok || text == "" || strings.ContainsFunc(text, notHex) {
			return fmt.Errorf("the %s digest of %q among the link's %s is not hex in lower case", shorten(algorithm), shorten(name), field)
		}
		digests[algorithm] = text
	}
	a[clean] = digests
	return nil
}

func notHex(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }

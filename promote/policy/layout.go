package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

// Bounds of a layout.
const (
	maxLayoutSize  = 128 << 10 // bytes
	maxSteps       = 50
	maxLayoutKeys  = 100
	maxStepRules   = 100 // of the materials, and of the products, of a step
	maxRuleWord    = 1024
	maxParameters  = 50
	expiresPattern = intoto.ISO8601DateSchema
)

// LayoutSpec asks for links by which an in-toto layout holds. The layout says which steps
// there are, who performs them, and what may go in and come out; the artifact has to be
// among the products of the last step. Inspections are commands that a verifier would run,
// so a layout that has any does not load, and neither does one that trusts certificates.
type LayoutSpec struct {
	// File is a layout as in-toto's command signs it, in a DSSE envelope or a metablock.
	// Load replaces it by Document, its content.
	File     string `json:"file,omitempty" yaml:"file"`
	Document string `json:"document,omitempty" yaml:"document"`
	// Authorities have all signed the layout.
	Authorities []string `json:"authorities" yaml:"authorities"`
	// Parameters are put in for {NAME} in rules and commands of the layout.
	Parameters map[string]string `json:"parameters,omitempty" yaml:"parameters"`
}

// layoutCheck is a layout that was found right.
type layoutCheck struct {
	layout  intoto.Layout // parameters are filled in
	expires time.Time
	owners  []layoutOwner
	steps   []layoutStep
}

// layoutOwner is an authority that signed the layout, and the keys that it did so with.
type layoutOwner struct {
	name string
	keys []attest.Key
}

// layoutStep is a step with the fingerprints of the keys that may perform it, and the
// positions of the steps that its rules refer to.
type layoutStep struct {
	intoto.Step
	keys   map[string]bool
	refers map[int]bool
}

// layout checks and inlines the layout of a requirement.
func (l *loader) layout(path string, r *Requirement, authorities []attest.Authority) *layoutCheck {
	l.nothingBeside(strings.TrimSuffix(path, ".layout"))
	spec := r.Layout
	content, at := l.layoutContent(path, spec)
	if content == nil {
		return nil
	}
	signed, err := attest.ParseLayout(content)
	if err != nil {
		l.add(at, "is no layout signed with in-toto: %v", err)
		return nil
	}
	check := &layoutCheck{owners: l.layoutOwners(path+".authorities", spec, signed, authorities)}
	if !check.parse(l, at, signed.Tree) || !check.substitute(l, path+".parameters", spec.Parameters) || !check.verifyShape(l, at) {
		return nil
	}
	if !check.functionaries(l, at, authorities) {
		return nil
	}
	if spec.Document, err = inlined(content); err != nil {
		l.add(at, "cannot be inlined: %v", err)
	}
	spec.File = ""
	return check
}

// nothingBeside refuses what would have to be told from what the layout says.
func (l *loader) nothingBeside(path string) {
	may := []string{"name", "mode", "scope", "effectiveOn", "effectiveUntil", "layout"}
	for _, at := range slices.Sorted(maps.Keys(l.lines)) {
		field, ok := strings.CutPrefix(at, path+".")
		if ok && !strings.ContainsAny(field, ".[") && !slices.Contains(may, field) {
			l.add(at, "does not go with layout: the layout says which links there have to be, and by whom; make it a requirement of its own")
		}
	}
}

func (l *loader) layoutContent(path string, spec *LayoutSpec) (content []byte, at string) {
	switch {
	case spec.File != "" && spec.Document != "":
		l.add(path, "names a file and a document: want one of them")
		return nil, path
	case spec.Document != "":
		content, at = []byte(spec.Document), path+".document"
	case spec.File == "":
		l.add(path, "is missing its file: name a layout signed with in-toto")
		return nil, path
	case l.read == nil:
		l.add(path+".file", "%q: files cannot be read here, give the layout's document", spec.File)
		return nil, path
	default:
		var err error
		at = path + ".file"
		if content, err = l.read(spec.File); err != nil {
			l.add(at, "read %q: %v", spec.File, err)
			return nil, at
		}
	}
	if len(content) == 0 || len(content) > maxLayoutSize {
		l.add(at, "has %d bytes, want 1 to %d for a layout", len(content), maxLayoutSize)
		return nil, at
	}
	return content, at
}

// layoutOwners verifies the signatures of the layout. When the keys are valid is judged
// when the layout is used.
func (l *loader) layoutOwners(path string, spec *LayoutSpec, signed *attest.SignedDocument, authorities []attest.Authority) []layoutOwner {
	if len(spec.Authorities) == 0 {
		l.add(path, "is missing: name the authorities that signed the layout")
	}
	var owners []layoutOwner
	for i, name := range spec.Authorities {
		at := fmt.Sprintf("%s[%d]", path, i)
		k := slices.IndexFunc(authorities, func(a attest.Authority) bool { return a.Name == name })
		switch {
		case k < 0:
			l.add(at, "%q is no authority of this policy", name)
			continue
		case slices.Contains(spec.Authorities[:i], name):
			l.add(at, "%q stands there twice", name)
			continue
		}
		owner := layoutOwner{name: name}
		for _, key := range authorities[k].Keys {
			if key.Public == nil { // it did not parse, and was reported
				return nil
			}
			if ok, err := signed.SignedBy(key); err == nil && ok {
				owner.keys = append(owner.keys, key)
			}
		}
		if len(owner.keys) == 0 {
			l.add(at, "%q did not sign the layout: no key of it verifies a signature; sign it with: in-toto sign --file LAYOUT --key %s.key", name, name)
			continue
		}
		owners = append(owners, owner)
	}
	return owners
}

// inlined writes a document in one form, and in characters that a policy may have.
func inlined(content []byte) (string, error) {
	tree, err := attest.DecodeStrict(content, attest.MaxDepth)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, r := range string(text) {
		switch {
		case r > 0xFFFF: // as JSON writes it, in two halves
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		case r > '~':
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String(), nil
}

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"sluice.dev/sluice/oci"
)

// MaxSize bounds a policy document, in bytes.
const MaxSize = 1 << 20

// problems collects everything that is wrong with a document, so that whoever wrote it
// sees all of it at once.
type problems struct {
	lines map[string]int // of each path, spec.require[0].name say, that stands in the document
	errs  []error
}

// add notes what is wrong at a path. A path that is not in the document gets the line of
// the nearest thing around it.
func (p *problems) add(path, format string, args ...any) {
	where := path
	for around := path; ; {
		if line := p.lines[around]; line > 0 {
			where = fmt.Sprintf("line %d: %s", line, path)
			break
		}
		cut := strings.LastIndexAny(around, ".[")
		if cut < 0 {
			break
		}
		around = around[:cut]
	}
	p.errs = append(p.errs, fmt.Errorf("%w: %s: %s", oci.ErrPolicyInvalid, where, fmt.Sprintf(format, args...)))
}

func (p *problems) has(path string) bool { return p.lines[path] > 0 }

func (p *problems) err() error { return errors.Join(p.errs...) }

// parse reads a document strictly: one document, no anchor, no tag, no key that is
// unknown, repeated or empty. What could be read is returned beside the problems, so that
// the rest can be checked too; nil where reading on makes no sense.
func parse(raw []byte) (*Document, *problems) {
	p := &problems{lines: map[string]int{}}
	if len(raw) > MaxSize {
		p.add("document", "has %d bytes, at most %d are allowed", len(raw), MaxSize)
		return nil, p
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var root, next yaml.Node
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("is empty")
		}
		p.add("document", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil, p
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		p.add("document", "line %d: want one document, something follows it", max(next.Line, 1))
		return nil, p
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		p.add("document", "want a mapping that begins with apiVersion: %s", APIVersion)
		return nil, p
	}
	p.walk("", root.Content[0])
	if len(p.errs) > 0 { // an alias, say: what it would decode to is not worth a look
		return nil, p
	}
	doc := &Document{}
	known := yaml.NewDecoder(bytes.NewReader(raw))
	known.KnownFields(true)
	if err := known.Decode(doc); err != nil {
		p.addDecode(err)
	}
	return doc, p
}

// walk notes the line of every value and refuses what YAML can do beyond plain data.
func (p *problems) walk(path string, node *yaml.Node) {
	name := path
	if name == "" {
		name = "document"
	}
	if !p.has(name) { // a mapping under a key is where the key is
		p.lines[name] = node.Line
	}
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		p.add(name, "anchors and aliases are not allowed: write the value out")
		return
	case node.Style&yaml.TaggedStyle != 0:
		p.add(name, "tags like %s are not allowed", node.Tag)
		return
	}
	switch node.Kind {
	case yaml.MappingNode:
		p.walkMapping(path, node)
	case yaml.SequenceNode:
		for i, item := range node.Content {
			p.walk(fmt.Sprintf("%s[%d]", path, i), item)
		}
	case yaml.ScalarNode:
		if node.Tag == "!!null" || node.Value == "" {
			// A key whose value somebody commented out must not mean the default.
			p.add(name, "is empty: leave the key out or give it a value")
		}
		if i := strings.IndexFunc(node.Value, isControl); i >= 0 {
			p.add(name, "has a character that does not print at byte %d", i)
		}
	}
}

func (p *problems) walkMapping(path string, node *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		child := strings.TrimPrefix(path+"."+key.Value, ".")
		p.lines[child] = key.Line
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Anchor != "":
			p.add(child, "a key has to be a plain word")
		default:
			p.walk(child, value)
		}
	}
}

// isControl says what may not stand in a value. All that YAML would fold, and all that
// JSON writes in a way that YAML does not read back, is among it.
func isControl(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }

// addDecode takes the decoder's error apart and words unknown keys without Go's types.
func (p *problems) addDecode(err error) {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		p.add("document", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	unknown := regexp.MustCompile(`field (\S+) not found in type \S+`)
	into := regexp.MustCompile("cannot unmarshal (\\S+)( `.*`)? into policy\\.\\S+|into \\[\\](policy\\.)?\\S+")
	for _, text := range wrong.Errors {
		text = unknown.ReplaceAllString(text, `unknown key "$1"`)
		if into.MatchString(text) {
			text = into.ReplaceAllString(text, "wants another kind of value than $1$2")
		}
		p.errs = append(p.errs, fmt.Errorf("%w: %s", oci.ErrPolicyInvalid, text))
	}
}

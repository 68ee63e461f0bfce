package attest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// statementOf does the one parse of what was signed. A link of in-toto's own is shown as
// the statement that it stands for; what else may be in a payload is a statement already.
func statementOf(env *envelope) (map[string]any, error) {
	tree, err := env.tree()
	if err != nil {
		return nil, fmt.Errorf("the payload is not strict JSON: %w%s", err, lineEndHint(env.payload))
	}
	switch t := tree["_type"]; {
	case t == typeLink:
		env.classic = true
		statement, err := linkStatement(tree)
		if err != nil {
			return statement, fmt.Errorf("the in-toto link is malformed: %w", err)
		}
		return statement, nil
	case t == typeLayout:
		return nil, errors.New("it is an in-toto layout, not a link: layouts stand in the policy, and layouts in place of a link (sublayouts) are not supported")
	case env.document != nil:
		return nil, fmt.Errorf("the metablock's _type is not %q: a statement is signed in a DSSE envelope", typeLink)
	}
	return tree, nil
}

// lineEndHint explains what in-toto's command does with --use-dsse where the command that
// it ran printed something: it writes canonical JSON, in which line ends are not escaped,
// for JSON, and cannot read that itself either.
func lineEndHint(payload []byte) string {
	if !bytes.HasPrefix(payload, []byte(`{"_type":"li`)) || !bytes.ContainsRune(payload, '\n') {
		return ""
	}
	return "; in-toto wrote line ends of its command's output into the envelope as they are, which is no JSON: run it without --use-dsse"
}

// labelled looks whether what is labelled as a bare statement is an envelope: the label is
// that of an envelope's payload, and both kinds of files are pushed under it.
func labelled(att Attachment) Attachment {
	if att.Problem != "" || att.Format != FormatUnsigned || att.Layer.MediaType != PayloadType {
		return att
	}
	tree, err := DecodeStrict(att.Content, MaxDepth)
	if err == nil && tree["payloadType"] != nil && tree["payload"] != nil && tree["_type"] == nil {
		att.Format = FormatDSSE
	}
	return att
}

// forLayouts adds to why a link does not count where it does.
func (e *Evidence) forLayouts(err error) error {
	if len(e.Functionaries) == 0 {
		return err
	}
	var names []string
	for _, f := range e.Functionaries {
		names = append(names, f.Authority)
	}
	return fmt.Errorf("%w; %s signed it as functionary of an in-toto layout, for which it counts", err, list(names))
}

// sortedByName gives what comes out of a map an order.
func sortedByName(items []any) []any {
	slices.SortFunc(items, func(a, b any) int { return strings.Compare(nameOf(a), nameOf(b)) })
	return items
}

func nameOf(v any) string {
	object, _ := v.(map[string]any)
	name, _ := object["name"].(string)
	return name
}

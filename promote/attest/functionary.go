package attest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// setSigned does the one parse of what was signed. A link of in-toto's own is shown as the
// statement that it stands for; what else may be in a payload is a statement already.
func (e *Evidence) setSigned(env *envelope) error {
	tree, err := env.tree()
	if err != nil {
		return fmt.Errorf("the payload is not strict JSON: %w%s", err, lineEndHint(env.payload))
	}
	switch t := tree["_type"]; {
	case t == typeLink:
		env.classic = true
		e.PredicateType = LinkClassic
		if e.Statement, err = linkStatement(tree); err != nil {
			return fmt.Errorf("the in-toto link is malformed: %w", err)
		}
		return nil
	case t == typeLayout:
		return errors.New("it is an in-toto layout, not a link: layouts stand in the policy, and layouts in place of a link (sublayouts) are not supported")
	case env.document != nil:
		return fmt.Errorf("the metablock's _type is not %q: a statement is signed in a DSSE envelope", typeLink)
	}
	e.Statement = tree
	e.PredicateType, _ = tree["predicateType"].(string)
	return nil
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

// signedAfterAll looks whether what is labelled as a bare statement is an envelope: the
// label is that of an envelope's payload, and both kinds of files are pushed under it.
func signedAfterAll(ev *Evidence, att *Attachment) bool {
	if att.Layer.MediaType != PayloadType {
		return false
	}
	tree, err := DecodeStrict(att.Content, MaxDepth)
	if err != nil || tree["payloadType"] == nil || tree["payload"] == nil || tree["_type"] != nil {
		return false
	}
	att.Format, ev.Format = FormatDSSE, FormatDSSE
	return true
}

// splitFunctionaries tells who may sign evidence from who may perform a step of a layout.
func splitFunctionaries(authorities []Authority) (ordinary, functionaries []Authority) {
	for _, a := range authorities {
		if a.Functionary {
			functionaries = append(functionaries, a)
		} else {
			ordinary = append(ordinary, a)
		}
	}
	return ordinary, functionaries
}

// functionariesOf are those who signed a link; none of anything else.
func functionariesOf(ev *Evidence, env *envelope, functionaries []Authority, now time.Time) []Signer {
	if len(functionaries) == 0 || !ev.IsLink() || checkTypes(ev.Statement) != nil {
		return nil
	}
	signers, err := signersOf(env, functionaries, now)
	if err != nil {
		return nil
	}
	return signers
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

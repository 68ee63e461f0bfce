package runs

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Bounds of what one record holds, in bytes of JSON. A change of the catalog has at most
// tiers.MaxChange, and progress is written again and again.
const (
	maxOptions  = 64 << 10
	maxProgress = 16 << 10
	maxResult   = 5 << 18 // 1.25 MiB
	maxError    = 4 << 10
)

// bounded renders v within limit bytes. Where it is larger its lists are cut, all to the same
// length, and omitted counts the items that went; if that does not help nothing is left.
func bounded(v any, limit int) (data json.RawMessage, omitted int, err error) {
	if v == nil {
		return nil, 0, nil
	}
	if data, err = json.Marshal(v); err != nil {
		return nil, 0, fmt.Errorf("render: %w", err)
	}
	for keep := 1 << 12; len(data) > limit; keep /= 2 {
		var tree any
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber() // as it is written
		if err := dec.Decode(&tree); err != nil {
			return nil, 0, fmt.Errorf("cut: %w", err)
		}
		tree = cut(tree, keep, &omitted)
		if data, err = json.Marshal(tree); err != nil {
			return nil, 0, fmt.Errorf("cut: %w", err)
		}
		if keep == 0 && len(data) > limit {
			return nil, omitted, nil
		}
	}
	return data, omitted, nil
}

// cut leaves keep items in every list of a tree.
func cut(tree any, keep int, omitted *int) any {
	switch node := tree.(type) {
	case []any:
		if len(node) > keep {
			*omitted += len(node) - keep
			node = node[:keep]
		}
		for i := range node {
			node[i] = cut(node[i], keep, omitted)
		}
		return node
	case map[string]any:
		for name := range node {
			node[name] = cut(node[name], keep, omitted)
		}
	}
	return tree
}

// boundedText cuts a text between two characters.
func boundedText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && text[limit]&0xc0 == 0x80 {
		limit--
	}
	return text[:limit] + " …"
}

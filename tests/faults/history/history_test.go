package history

import (
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	op := func(call, end int64, kind Kind, value string, outcome Outcome) Op {
		return Op{Kind: kind, Value: value, Outcome: outcome, Call: call, Return: end}
	}
	for _, tt := range []struct {
		name    string
		initial string
		ops     []Op
		want    Verdict
	}{
		{"nothing", "", nil, Explained},
		{"read what was there", "a", []Op{op(1, 2, Read, "a", Done)}, Explained},
		{"read what never was", "a", []Op{op(1, 2, Read, "b", Done)}, Unexplained},
		{"a stale read", "a", []Op{op(1, 2, Write, "b", Done), op(3, 4, Read, "a", Done)}, Unexplained},
		{"a read beside a write", "a", []Op{op(1, 4, Write, "b", Done), op(2, 3, Read, "a", Done), op(5, 6, Read, "b", Done)}, Explained},
		{"back and forth", "a", []Op{op(1, 6, Write, "b", Done), op(2, 3, Read, "b", Done), op(4, 5, Read, "a", Done)}, Unexplained},
		{"a lost write that happened", "a", []Op{op(1, 2, Write, "b", Unknown), op(9, 10, Read, "b", Done)}, Explained},
		{"a lost write that did not", "a", []Op{op(1, 2, Write, "b", Unknown), op(9, 10, Read, "a", Done)}, Explained},
		{"a lost write that comes and goes", "a", []Op{op(1, 2, Write, "b", Unknown), op(3, 4, Read, "b", Done), op(5, 6, Read, "a", Done)}, Unexplained},
		{"an acknowledged write that was lost", "", []Op{op(1, 2, Write, "b", Done), op(3, 4, Read, "", Done)}, Unexplained},
		{"a refused write", "", []Op{op(1, 2, Write, "b", Refused), op(3, 4, Read, "b", Done)}, Unexplained},
		{"deleted", "a", []Op{op(1, 2, Delete, "", Done), op(3, 4, Read, "", Done)}, Explained},
		{"deleted twice", "a", []Op{op(1, 2, Delete, "", Done), op(3, 4, Delete, "", Done)}, Unexplained},
		{"deleted twice, once missing", "a", []Op{op(1, 2, Delete, "", Done), op(3, 4, Delete, "", Missing)}, Explained},
		{"missing though there", "a", []Op{op(1, 2, Delete, "", Missing)}, Unexplained},
		{"a manifest went with its tag", "a", []Op{op(1, 2, DeleteOf, "a", Done), op(3, 4, Read, "", Done)}, Explained},
		{"a manifest went and left its tag", "a", []Op{op(1, 2, DeleteOf, "a", Done), op(3, 4, Read, "a", Done)}, Unexplained},
		{"a manifest took another's tag", "a", []Op{op(1, 2, DeleteOf, "b", Done), op(3, 4, Read, "", Done)}, Unexplained},
		{"a lost delete", "a", []Op{op(1, 2, Delete, "", Unknown), op(3, 4, Read, "", Done)}, Explained},
		{"listed", "a", []Op{op(1, 2, Listed, "x", Done)}, Explained},
		{"not listed", "a", []Op{op(1, 2, Listed, "", Done)}, Unexplained},
		{"a lost write that was listed", "", []Op{op(1, 2, Write, "a", Unknown), op(3, 4, Listed, "x", Done)}, Explained},
		{"a lost write that was deleted", "", []Op{op(1, 2, Write, "a", Unknown), op(3, 4, Delete, "", Done)}, Explained},
		{"a lost write over what is missing", "a", []Op{op(1, 2, Write, "b", Unknown), op(3, 4, DeleteOf, "a", Missing)}, Explained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Check(tt.initial, tt.ops, time.Minute); got != tt.want {
				t.Errorf("%s, want %s\n%s", got, tt.want, Describe(tt.initial, tt.ops))
			}
		})
	}
}

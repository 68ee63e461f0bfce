// Package history judges whether what clients saw of a register, a tag say, can be explained
// by operations that took effect one after the other, each between its call and its return
// (linearizability, by porcupine).
package history

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what an operation does to a register.
type Kind string

// The operations. A register holds a value; the empty one is that of a register without any.
const (
	Write    Kind = "write"     // Value is there from now on
	Delete   Kind = "delete"    // nothing is there from now on
	DeleteOf Kind = "delete-of" // nothing is there from now on, if Value was
	Read     Kind = "read"      // Value is there
	Listed   Kind = "listed"    // something is there, or nothing where Value is empty
)

// Outcome is what the client was told.
type Outcome string

// The outcomes. An operation that was refused changes nothing, and says nothing either.
const (
	Done    Outcome = "done"
	Missing Outcome = "missing" // of Delete: nothing was there; of DeleteOf: not Value
	Unknown Outcome = "unknown" // it may have happened, or may yet
	Refused Outcome = "refused"
)

// Op is one operation. Call and Return are times of one clock; of an unknown outcome the
// return is never.
type Op struct {
	Kind    Kind    `json:"kind"`
	Value   string  `json:"value,omitempty"`
	Outcome Outcome `json:"outcome"`
	Client  int     `json:"client"`
	Call    int64   `json:"call"`
	Return  int64   `json:"return"`
}

// Verdict is what Check finds.
type Verdict string

// The verdicts.
const (
	Explained   Verdict = "explained"
	Unexplained Verdict = "unexplained" // a violation
	Undecided   Verdict = "undecided"   // it would take too long to know
)

// Check judges the operations on a register that held initial before. It takes patience at
// the most, about.
func Check(initial string, ops []Op, patience time.Duration) Verdict {
	var all []porcupine.Operation
	for _, op := range ops {
		if op.Outcome == Refused || op.Outcome == Unknown && (op.Kind == Read || op.Kind == Listed || op.Kind == Write && unseen(op.Value, ops)) {
			continue
		}
		end := op.Return
		if op.Outcome == Unknown {
			end = math.MaxInt64
		}
		all = append(all, porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Output: op, Return: end})
	}
	switch porcupine.CheckOperationsTimeout(model(initial), all, patience) {
	case porcupine.Ok:
		return Explained
	case porcupine.Illegal:
		return Unexplained
	}
	return Undecided
}

// unseen says that a write of value, of which nobody knows whether it happened, cannot
// help to explain anything: nobody has read the value, and nobody depends on whether
// another is there. Each such write that is left out halves the search.
func unseen(value string, ops []Op) bool {
	return !slices.ContainsFunc(ops, func(op Op) bool {
		return op.Kind == Read && op.Value == value || op.Kind == Listed ||
			op.Kind == Delete && op.Outcome == Done || op.Kind == DeleteOf && op.Outcome == Missing
	})
}

func model(initial string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, _ any) (bool, any) {
			held, op := state.(string), input.(Op)
			return step(held, op)
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// step says whether op can happen to a register that holds held, and what it holds then.
func step(held string, op Op) (bool, string) {
	switch op.Kind {
	case Write:
		return true, op.Value
	case Read:
		return held == op.Value, held
	case Listed:
		return (held == "") == (op.Value == ""), held
	}
	there := held != ""
	if op.Kind == DeleteOf {
		there = held == op.Value
	}
	switch {
	case op.Outcome == Missing:
		return !there, held
	case op.Outcome == Done && op.Kind == Delete && !there:
		return false, held
	case there:
		return true, ""
	}
	return true, held
}

// Describe tells a history as a person reads it, in the order of the calls.
func Describe(initial string, ops []Op) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b Op) int { return int(a.Call - b.Call) })
	var b strings.Builder
	fmt.Fprintf(&b, "first %q\n", initial)
	for _, op := range ops {
		end := "never"
		if op.Outcome != Unknown {
			end = time.Duration(op.Return).Round(time.Microsecond).String()
		}
		fmt.Fprintf(&b, "%v to %s: client %d: %s %q: %s\n", time.Duration(op.Call).Round(time.Microsecond), end, op.Client, op.Kind, op.Value, op.Outcome)
	}
	return b.String()
}

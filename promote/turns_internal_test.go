package promote

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"sluice.dev/sluice/oci"
)

// served gives all places back, the longest had first, until nobody waits, and lists who got
// one, in order.
func served(t *turns, asked map[string]*turn) []string {
	var order, having []string
	note := func() {
		var fresh []string
		for name, one := range asked {
			if one.has() && !slices.Contains(order, name) {
				fresh = append(fresh, name)
			}
		}
		slices.Sort(fresh)
		order, having = append(order, fresh...), append(having, fresh...)
	}
	for note(); len(having) > 0; note() {
		gone := having[0]
		having = having[1:]
		t.leave(asked[gone])
	}
	return order
}

func TestTurns(t *testing.T) {
	type request struct {
		who   string
		large bool
	}
	small, large := func(who string) request { return request{who, false} }, func(who string) request { return request{who, true} }
	for name, c := range map[string]struct {
		places int
		asked  []request
		want   string // who, and which of his, in the order of their places
	}{
		"as they came":              {2, []request{small("a"), small("a"), small("a")}, "[a1 a2 a3]"},
		"one after the other":       {2, []request{small("a"), small("a"), small("a"), small("a"), small("a"), small("b"), small("c")}, "[a1 a2 a3 b1 c1 a4 a5]"},
		"large ones leave half":     {4, []request{large("a"), large("a"), large("a"), small("b"), small("b"), small("b")}, "[a1 a2 b1 b2 a3 b3]"},
		"one's own small ones pass": {2, []request{large("a"), large("a"), small("a"), small("a")}, "[a1 a3 a2 a4]"},
		"one place is kept":         {1, []request{large("a"), large("b"), small("c")}, "[a1 c1 b1]"},
		"large ones in turn":        {2, []request{large("a"), large("a"), large("a"), large("b")}, "[a1 a2 b1 a3]"},
	} {
		t.Run(name, func(t *testing.T) {
			turns, asked, count := newTurns(c.places), map[string]*turn{}, map[string]int{}
			for _, r := range c.asked {
				count[r.who]++
				asked[fmt.Sprint(r.who, count[r.who])] = turns.ask(r.who, r.large)
			}
			if got := fmt.Sprint(served(turns, asked)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if n, _ := turns.waiting(""); n != 0 || turns.free != max(c.places, 2) || turns.large != max(c.places, 2)/2 {
				t.Errorf("%d wait, %d places of which %d large ones may take", n, turns.free, turns.large)
			}
		})
	}
}

// Whoever gives up while he waits is passed over.
func TestTurnsGivenUp(t *testing.T) {
	turns := newTurns(2)
	first, second := turns.ask("a", false), turns.ask("a", false)
	third, fourth, fifth := turns.ask("a", false), turns.ask("b", false), turns.ask("b", false)
	if all, own := turns.waiting("b"); all != 3 || own != 2 {
		t.Errorf("%d wait, %d of them b's, want 3 and 2", all, own)
	}
	turns.leave(third)
	turns.leave(fourth)
	turns.leave(first)
	if all, _ := turns.waiting(""); !second.has() || third.has() || fourth.has() || !fifth.has() || all != 0 {
		t.Errorf("places: %v %v %v %v, %d wait", second.has(), third.has(), fourth.has(), fifth.has(), all)
	}
}

// There is an end to what may wait, of one requester and of all.
func TestTurnsRoom(t *testing.T) {
	turns := newTurns(2)
	ask := func(requester string, n int) {
		for range n {
			turns.ask(requester, false)
		}
	}
	ask("a", 2+maxQueuedRequester-1)
	for _, requester := range []string{"a", "b"} {
		if err := turns.room(requester); err != nil {
			t.Errorf("%s: %v", requester, err)
		}
	}
	ask("a", 1)
	if err := turns.room("a"); !errors.Is(err, oci.ErrTooManyRequests) {
		t.Errorf("%v, want %v", err, oci.ErrTooManyRequests)
	}
	if err := turns.room("b"); err != nil {
		t.Error(err)
	}
	for i := range maxQueued/maxQueuedRequester - 1 {
		ask(fmt.Sprint("c", i), maxQueuedRequester)
	}
	if err := turns.room("b"); !errors.Is(err, oci.ErrTooManyRequests) {
		t.Errorf("%v, want %v", err, oci.ErrTooManyRequests)
	}
}

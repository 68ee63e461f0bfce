package promote

import (
	"fmt"
	"slices"
	"sync"

	"sluice.dev/sluice/oci"
)

// How many promotions may wait for their turn at one replica.
const (
	maxQueued          = 10_000
	maxQueuedRequester = 2_000 // that one requester asked for
)

// turns says whose promotion a replica carries out next.
//
// It carries out a few at once. Of these places large promotions get at most half, so that
// small ones never wait for large ones to end: whatever is large may take minutes. A place
// that becomes free goes to whoever asked for promotions longest without getting one, and
// his next: who asks for a thousand lets others in after each.
type turns struct {
	mu    sync.Mutex
	free  int     // places
	large int     // places that large promotions may take still
	lines []*line // of requesters who wait; the first is the next to get a place
}

// line are the promotions of one requester that wait, in the order asked.
type line struct {
	requester string
	turns     []*turn
}

// turn is one promotion's.
type turn struct {
	large bool
	ready chan struct{} // closed when it has a place
}

// newTurns makes turns for so many places; there are two at least.
func newTurns(places int) *turns {
	places = max(places, 2)
	return &turns{free: places, large: places / 2}
}

// ask takes a place, or the last one in the requester's line.
func (t *turns) ask(requester string, large bool) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := &turn{large: large, ready: make(chan struct{})}
	for _, l := range t.lines {
		if l.requester == requester {
			l.turns = append(l.turns, asked)
			t.next()
			return asked
		}
	}
	t.lines = append(t.lines, &line{requester: requester, turns: []*turn{asked}})
	t.next()
	return asked
}

// has says whether it has a place.
func (t *turn) has() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// leave gives a place back, or ends the wait for one.
func (t *turns) leave(gone *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone.has() {
		t.free++
		if gone.large {
			t.large++
		}
		t.next()
		return
	}
	for i, l := range t.lines {
		for j, waits := range l.turns {
			if waits == gone {
				t.remove(i, j, false)
				return
			}
		}
	}
}

// next gives away the places that are free. t.mu is held.
func (t *turns) next() {
	for t.free > 0 {
		i, j := t.first()
		if i < 0 {
			return
		}
		given := t.remove(i, j, true)
		t.free--
		if given.large {
			t.large--
		}
		close(given.ready)
	}
}

// first finds the turn that is next; -1 where none may have a place.
func (t *turns) first() (i, j int) {
	for i, l := range t.lines {
		for j, waits := range l.turns {
			if !waits.large || t.large > 0 {
				return i, j
			}
		}
	}
	return -1, -1
}

// remove takes a turn out of its line. A line from which one got its place is the last from
// then on.
func (t *turns) remove(i, j int, served bool) *turn {
	l := t.lines[i]
	gone := l.turns[j]
	l.turns = slices.Delete(l.turns, j, j+1)
	if served || len(l.turns) == 0 {
		t.lines = slices.Delete(t.lines, i, i+1)
	}
	if served && len(l.turns) > 0 {
		t.lines = append(t.lines, l)
	}
	return gone
}

// waiting counts those that have no place, and those of one requester among them.
func (t *turns) waiting(requester string) (all, own int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lines {
		if all += len(l.turns); l.requester == requester {
			own = len(l.turns)
		}
	}
	return all, own
}

// room refuses a request where too many wait for their turn already.
func (t *turns) room(requester string) error {
	all, own := t.waiting(requester)
	if all >= maxQueued || own >= maxQueuedRequester {
		return fmt.Errorf("%w: %d promotions wait for their turn here, %d of them %s's; at most %d and %d may: ask again when some have ended",
			oci.ErrTooManyRequests, all, own, requester, maxQueued, maxQueuedRequester)
	}
	return nil
}

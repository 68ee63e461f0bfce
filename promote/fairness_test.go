package promote_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
)

// largeIndex pushes an index that counts as large and is made of few manifests, each named
// very often.
func (g *gate) largeIndex(tag string) ocispec.Descriptor {
	g.Helper()
	leaf := g.image("", "leaf of "+tag, nil)
	children := make([]ocispec.Descriptor, 1000)
	for i := range children {
		children[i] = leaf
	}
	var inner []ocispec.Descriptor
	for i := range 6 {
		children[i] = g.image("", fmt.Sprint("leaf ", i, " of ", tag), nil)
		inner = append(inner, g.index("", nil, children...))
	}
	root := g.index(tag, nil, inner...)
	g.provenance(root)
	return root
}

// ask asks for a promotion and does not wait for it.
func (g *gate) ask(actor, tag string) promote.Promotion {
	g.Helper()
	p, created, err := g.engine.Start(g.Context(), actor, request(tag, "stable"))
	if err != nil || !created {
		g.Fatalf("%s: %v, created %v", tag, err, created)
	}
	return p
}

// holder holds promotions when they begin to bring something, and notes in what order.
type holder struct {
	mu     sync.Mutex
	begun  []string // by promotion
	holds  func(digests string) bool
	opened chan struct{}
}

// pinned is the id of the promotion of which a write pins something, and what; empty for
// others.
func pinned(w write) (id, digests string) {
	for _, p := range w.change.Put {
		if rest, ok := strings.CutPrefix(p.Key, "pinned/"); ok {
			id, _, _ = strings.Cut(rest, ".")
			return id, string(p.Value)
		}
	}
	return "", ""
}

func (h *holder) write(ctx context.Context, w write) error {
	id, digests := pinned(w)
	h.mu.Lock()
	known := id == ""
	for _, other := range h.begun {
		known = known || other == id
	}
	if !known {
		h.begun = append(h.begun, id)
	}
	h.mu.Unlock()
	if id != "" && h.holds(digests) {
		select {
		case <-h.opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.apply()
}

func (h *holder) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.begun...)
}

// Large promotions that do not come to an end keep no small one waiting, and small ones in
// a row no other's.
func TestLargeLeaveRoom(t *testing.T) {
	g := newGate(t, nil)
	var large []string
	for i := range 4 {
		large = append(large, g.largeIndex(fmt.Sprint("large", i)).Digest.String())
	}
	for i := range 8 {
		g.provenance(g.image(fmt.Sprint("small", i), fmt.Sprint("small ", i), nil))
	}
	own, h := g.process(true)
	isLarge := func(digests string) bool {
		return slices.ContainsFunc(large, func(d string) bool { return strings.Contains(digests, d) })
	}
	hold := &holder{holds: isLarge, opened: make(chan struct{})}
	h.set(hold.write)
	ids := map[string]bool{}
	for i := range large {
		ids[own.ask("builder", fmt.Sprint("large", i)).ID] = true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 8 {
		if p, _, err := own.engine.Promote(ctx, "builder", request(fmt.Sprint("small", i), "stable")); err != nil || p.State != promote.Succeeded {
			t.Fatalf("small %d: %s, %v", i, p.State, err)
		}
	}
	n := 0
	for _, id := range hold.list() {
		if ids[id] {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d of 4 places are taken by large ones, want 2", n)
	}
	close(hold.opened)
	for i := range large {
		own.promoteOK(request(fmt.Sprint("large", i), "stable"))
	}
	g.noTraces()
}

// Who asks for one gets his turn after one of those who ask for many.
func TestTurnsOfRequesters(t *testing.T) {
	g := newGate(t, nil)
	for i := range 10 {
		g.provenance(g.image(fmt.Sprint("v", i), fmt.Sprint("v ", i), nil))
	}
	own, h := g.process(true)
	hold := &holder{holds: func(string) bool { return true }, opened: make(chan struct{})}
	h.set(hold.write)
	names := map[string]string{}
	for i := range 9 {
		names[own.ask("many", fmt.Sprint("v", i)).ID] = fmt.Sprint("v", i)
	}
	names[own.ask("one", "v9").ID] = "v9"
	close(hold.opened)
	for i := range 10 {
		own.promoteOK(request(fmt.Sprint("v", i), "stable"))
	}
	var order []string
	for _, id := range hold.list() {
		order = append(order, names[id])
	}
	// Four have places, v4 comes next and then the one; two that begin at once may be seen in
	// either order.
	if len(order) != 10 || !slices.Contains(order[:7], "v9") {
		t.Errorf("begun in the order %v, want v9 after one of those that waited", order)
	}
	g.noTraces()
}

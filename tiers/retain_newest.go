package tiers

import (
	"container/heap"
	"time"
)

// mark is when a tag was set.
type mark struct {
	at  time.Time
	tag string
}

// before orders tags by when they were set. Of those set at once the later name is the
// newer.
func (m mark) before(other mark) bool {
	if m.at.Equal(other.at) {
		return m.tag < other.tag
	}
	return m.at.Before(other.at)
}

// newest are so many marks at the most, the newest that were added.
type newest struct {
	most  int
	marks marks
}

func (n *newest) add(m mark) {
	switch {
	case len(n.marks) < n.most:
		heap.Push(&n.marks, m)
	case n.marks[0].before(m):
		n.marks[0] = m
		heap.Fix(&n.marks, 0)
	}
}

// has says whether m is one of them, or newer than one that is.
func (n *newest) has(m mark) bool { return len(n.marks) < n.most || !m.before(n.marks[0]) }

// marks is a heap with the oldest on top.
type marks []mark

// Len, Less, Swap, Push and Pop make it a heap.
func (m marks) Len() int           { return len(m) }
func (m marks) Less(i, j int) bool { return m[i].before(m[j]) }
func (m marks) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }

// Push adds a mark at the end.
func (m *marks) Push(v any) {
	if added, ok := v.(mark); ok {
		*m = append(*m, added)
	}
}

// Pop takes the last one.
func (m *marks) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

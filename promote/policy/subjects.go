package policy

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// sorted is evidence, and the same by what it is about.
type sorted struct {
	all []attest.Evidence
	by  map[digest.Digest][]attest.Evidence
}

// strays are attestations that are about something else than the target: the first few, and
// how many there are.
type strays struct {
	first []attest.Evidence
	count int
}

// about lists the attestations of the rule's types that are attached to a subject. They are
// sorted by subject once: a rule may ask about each of ten thousand platforms.
func (t *trial) about(subject digest.Digest) []attest.Evidence {
	if t.sorted == nil {
		t.sorted = &sorted{by: map[digest.Digest][]attest.Evidence{}}
		for _, e := range t.Evidence {
			if slices.Contains(t.PredicateTypes, e.PredicateType) {
				t.sorted.all = append(t.sorted.all, e)
				t.sorted.by[e.Subject] = append(t.sorted.by[e.Subject], e)
			}
		}
	}
	return t.sorted.by[subject]
}

// aboutOthers are the first attestations of the rule's types that are about something else,
// and how many there are.
func (t *trial) aboutOthers(subject digest.Digest) (others strays) {
	others.count = len(t.sorted.all) - len(t.sorted.by[subject])
	for _, e := range t.sorted.all {
		if len(others.first) == min(others.count, maxReasons) {
			break
		}
		if e.Subject != subject {
			others.first = append(others.first, e)
		}
	}
	return others
}

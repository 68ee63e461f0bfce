package policy

import (
	"fmt"
	"slices"
)

// Bounds of the search for independent builds. Three-dimensional matching is hard in
// general; what honest policies ask for is far below these.
const (
	maxBuilds     = 64      // that differ in principal, key or builder
	maxBuildSteps = 100_000 // of the search
)

// madeBy is who says that an artifact was built by whom.
type madeBy struct{ principal, key, builder string }

// independent says whether k of the builds are such that no two share a principal, a key or
// a builder. The search is exact; where it would take too long the error says so.
func independent(builds []madeBy, k int) (bool, error) {
	var distinct []madeBy
	for _, b := range builds {
		if !slices.Contains(distinct, b) {
			distinct = append(distinct, b)
		}
		if len(distinct) > maxBuilds {
			return false, fmt.Errorf("more than %d different builds cannot be compared", maxBuilds)
		}
	}
	s := matching{builds: distinct, taken: map[string]int{}}
	found := s.find(0, k)
	if s.steps > maxBuildSteps {
		return false, fmt.Errorf("whether %d of %d builds are independent takes too long to find out", k, len(distinct))
	}
	return found, nil
}

// matching tries every choice of builds, in their order.
type matching struct {
	builds []madeBy
	taken  map[string]int // principals, keys and builders of what was chosen
	steps  int
}

func (s *matching) find(from, k int) bool {
	if k == 0 {
		return true
	}
	for i := from; i <= len(s.builds)-k; i++ {
		if s.steps++; s.steps > maxBuildSteps {
			return false
		}
		parts := s.builds[i].parts()
		if slices.ContainsFunc(parts, func(part string) bool { return s.taken[part] > 0 }) {
			continue
		}
		s.take(parts, 1)
		found := s.find(i+1, k-1)
		s.take(parts, -1)
		if found {
			return true
		}
	}
	return false
}

func (s *matching) take(parts []string, n int) {
	for _, part := range parts {
		s.taken[part] += n
	}
}

// parts are what no other chosen build may have.
func (b madeBy) parts() []string {
	return []string{"principal " + b.principal, "key " + b.key, "builder " + b.builder}
}

// buildsOf reads who built what the claims are about. All of them have passed vouched, so
// their provenance can be read.
func buildsOf(claims []claim) []madeBy {
	var builds []madeBy
	for _, c := range claims {
		if p, reason := provenanceOf(c); reason == "" {
			builds = append(builds, madeBy{c.signer.Principal, c.signer.KeyID, p.builder})
		}
	}
	return builds
}

// describeBuilds lists who built and who says so, for a message.
func describeBuilds(claims []claim) string {
	var texts []string
	for _, c := range claims {
		if p, reason := provenanceOf(c); reason == "" {
			texts = append(texts, fmt.Sprintf("%s by %s is of builder %q", short(c.Manifest), c.signer.Authority, brief(p.builder)))
		}
	}
	return limited(texts, ", ")
}

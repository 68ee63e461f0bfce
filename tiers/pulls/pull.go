package pulls

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Pull is that a principal pulled a manifest, once or more often.
type Pull struct {
	Principal  string        `json:"principal"`
	Tier       string        `json:"tier"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	// Tag and Client are of the last pull: the tag that it asked by, and the product that its
	// User-Agent names. Empty where it named none.
	Tag    string    `json:"tag,omitempty"`
	Client string    `json:"client,omitempty"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Count  int64     `json:"count"`
}

// place is the key of a pull, and what pulls are ordered by. No two read alike: a digest and
// a tier hold no '/', a repository no '@'.
func (p *Pull) place() string {
	return p.Digest.String() + "/" + p.Tier + "/" + p.Repository + "@" + p.Principal
}

// add counts other pulls of the same.
func (p *Pull) add(other *Pull) {
	p.Count += other.Count
	if other.First.Before(p.First) {
		p.First = other.First
	}
	if !other.Last.Before(p.Last) {
		p.Last, p.Tag, p.Client = other.Last, other.Tag, other.Client
	}
}

// who is what pulls are counted by.
type who struct {
	digest                      digest.Digest
	tier, repository, principal string
}

func (p *Pull) who() who { return who{p.Digest, p.Tier, p.Repository, p.Principal} }

// rows are pulls, each of whom once.
type rows map[who]*Pull

// add counts a pull in, which then belongs to the rows.
func (r rows) add(p *Pull) {
	if known := r[p.who()]; known != nil {
		known.add(p)
	} else {
		r[p.who()] = p
	}
}

// sorted is all of it in order.
func (r rows) sorted() []*Pull {
	all := make([]*Pull, 0, len(r))
	for _, p := range r {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Pull) int {
		return cmp.Or(strings.Compare(string(a.Digest), string(b.Digest)), strings.Compare(a.Tier, b.Tier),
			strings.Compare(a.Repository, b.Repository), strings.Compare(a.Principal, b.Principal))
	})
	return all
}

// count is how many pulls there are.
func (r rows) count() (n int64) {
	for _, p := range r {
		n += p.Count
	}
	return n
}

package pulls

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tiers"
)

// Limits of a look.
const (
	MaxPage   = 10_000 // pulls that Find returns at the most
	readsMost = 4      // segments in memory at once
	findTries = 4      // of a look that merges get in the way of
	// clockMost is how far the clocks of replicas may be apart: a segment of the day before
	// may hold a pull of today.
	clockMost = time.Hour
)

// Query asks for pulls. What is empty does not matter.
type Query struct {
	Digests    []digest.Digest // any of them
	Tier       string
	Repository string
	Principal  string
	// Since leaves out what was last pulled before. First and Count are of the days that
	// this leaves, and may reach back as far as these do.
	Since time.Time
	Last  string // the next of the page before
	N     int    // 1 to MaxPage
}

// Find says who pulled what is asked for: a page of it, by digest, tier, repository and
// principal, each of which together stands once. next is what to ask for as Last to go on;
// empty at the end. What replicas have counted and not written yet, for an interval, is not
// in it.
//
// Memory is bounded by N and the largest segments, reads by the days that are kept: one for
// each FullRows rows of a day on which, as its filters say, one of the digests was pulled.
// What cannot be read is an error: an answer names all. A count may be too high while
// segments are being merged.
func (l *Log) Find(ctx context.Context, q Query) (page []Pull, next string, err error) {
	for range findTries {
		if page, next, err = l.find(ctx, q); !errors.Is(err, errMerged) {
			break
		}
	}
	return page, next, err
}

func (l *Log) find(ctx context.Context, q Query) (page []Pull, next string, err error) {
	f := &finding{query: q, n: min(max(q.N, 1), MaxPage), digests: map[digest.Digest]bool{}, found: map[string]*Pull{}}
	for _, d := range q.Digests {
		f.digests[d] = true
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readsMost)
	list := tiers.Query{Prefix: prefixSegment, Limit: pageMost}
	if !q.Since.IsZero() {
		list.After = prefixSegment + dayOf(q.Since.Add(-clockMost))
	}
	for {
		records, err := l.catalog.List(groupCtx, list)
		if err != nil {
			return nil, "", errors.Join(group.Wait(), fmt.Errorf("pulls: %w", err))
		}
		for _, r := range records {
			s, err := openSegment(r)
			if err != nil {
				return nil, "", errors.Join(err, group.Wait())
			}
			if f.mayHold(s) {
				group.Go(func() error { return l.read(groupCtx, s, f.look) })
			}
		}
		if len(records) < list.Limit {
			break
		}
		list.After = records[len(records)-1].Key
	}
	if err := group.Wait(); err != nil {
		return nil, "", err
	}
	page, next = f.page()
	return page, next, nil
}

// finding is a look under way.
type finding struct {
	query   Query
	n       int
	digests map[digest.Digest]bool

	mu    sync.Mutex
	found map[string]*Pull // by place: the first of them behind query.Last, a few more than n
	bound string           // what lies behind is not on the page; empty: nobody knows yet
}

// mayHold says whether a segment may hold any of what is asked for.
func (f *finding) mayHold(s *segment) bool {
	if s.Last.Before(f.query.Since) {
		return false
	}
	return len(f.query.Digests) == 0 || slices.ContainsFunc(f.query.Digests, s.Filter.has)
}

// look takes a row that is asked for.
func (f *finding) look(p *Pull) {
	q := f.query
	if len(f.digests) > 0 && !f.digests[p.Digest] || q.Tier != "" && p.Tier != q.Tier || q.Repository != "" && p.Repository != q.Repository ||
		q.Principal != "" && p.Principal != q.Principal || p.Last.Before(q.Since) {
		return
	}
	place := p.place()
	if place <= q.Last {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.found[place]; known != nil {
		known.add(p)
		return
	}
	if f.bound != "" && place > f.bound {
		return
	}
	f.found[place] = p
	if len(f.found) >= 2*(f.n+1) {
		f.prune()
	}
}

// prune leaves the first n, and one to know that there are more. What goes would never come
// back: the first n can only become others that are before it.
func (f *finding) prune() []string {
	places := slices.Sorted(maps.Keys(f.found))
	if len(places) > f.n+1 {
		for _, place := range places[f.n+1:] {
			delete(f.found, place)
		}
		places = places[:f.n+1]
		f.bound = places[f.n]
	}
	return places
}

func (f *finding) page() (page []Pull, next string) {
	places := f.prune()
	if len(places) > f.n {
		places = places[:f.n]
		next = strings.Clone(places[f.n-1])
	}
	for _, place := range places {
		page = append(page, *f.found[place])
	}
	return page, next
}

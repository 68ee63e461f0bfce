package tiers

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of the listings that are kept in memory, in bytes, roughly.
const (
	pagesMost   = 16 << 20 // all of them
	pageLargest = 1 << 20  // one of them
	pageCosts   = 300      // what any page takes
)

// pages keeps listings of repositories that were read lately, with the generation of the
// repository that they show. The generation grows in every transaction that changes a tag
// or manifest of the repository, and is asked of the catalog each time: a page is never
// shown once it is out of date.
type pages struct {
	mu      sync.Mutex
	entries *simplelru.LRU[pageKey, keptPage]
	bytes   int
}

type pageKey struct {
	repository string // key of its record
	list       string // prefix of what is listed, and any filter
	last       string
	n          int
}

type keptPage struct {
	generation int64
	page       any
	size       int
}

func newPages() (*pages, error) {
	p := &pages{}
	var err error
	p.entries, err = simplelru.NewLRU(pagesMost/pageCosts, func(_ pageKey, old keptPage) { p.bytes -= old.size })
	return p, err
}

func (p *pages) get(key pageKey) (keptPage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries.Get(key)
}

func (p *pages) put(key pageKey, kept keptPage) {
	kept.size += pageCosts + len(key.repository) + len(key.list) + len(key.last)
	if kept.size > pageLargest {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries.Remove(key) // and what it took with it
	p.entries.Add(key, kept)
	for p.bytes += kept.size; p.bytes > pagesMost; {
		p.entries.RemoveOldest()
	}
}

func (p *pages) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries.Purge()
}

// listed answers a listing of r from memory where the repository has not changed since it
// was read, and otherwise by load, which says about how many bytes the page takes. The
// generation is returned as it was before the page was read; Revision 0: there is no such
// repository, and nothing is loaded.
func listed[T any](ctx context.Context, r *Repository, key pageKey, load func() (page T, size int, err error)) (page T, generation Record, err error) {
	key.repository = repoKey(r.Tier.Name, r.Name)
	generation, err = r.get(ctx, key.repository)
	if err != nil || generation.Revision == 0 {
		return page, generation, err
	}
	if kept, ok := r.registry.pages.get(key); ok && kept.generation == generation.Revision {
		if page, ok := kept.page.(T); ok {
			return page, generation, nil
		}
	}
	page, size, err := load()
	if err == nil {
		// A change meanwhile is in the page, perhaps, and has raised the generation, for
		// certain: the page is never shown then.
		r.registry.pages.put(key, keptPage{generation: generation.Revision, page: page, size: size})
	}
	return page, generation, err
}

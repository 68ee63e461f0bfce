package tiers

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of the listings that are kept in memory: together at most 16 MiB.
const (
	pagesMost   = 512
	pageLargest = 32 << 10 // bytes, roughly
)

// pages keeps listings of repositories that were read lately, with the generation of the
// repository that they show. The generation grows in every transaction that changes a tag
// or manifest of the repository, and is asked of the catalog each time: a page is never
// shown once it is out of date.
type pages struct {
	entries *lru.Cache[pageKey, keptPage]
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
}

func newPages() (pages, error) {
	entries, err := lru.New[pageKey, keptPage](pagesMost)
	return pages{entries}, err
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
	entries := r.registry.pages.entries
	if kept, ok := entries.Get(key); ok && kept.generation == generation.Revision {
		if page, ok := kept.page.(T); ok {
			return page, generation, nil
		}
	}
	page, size, err := load()
	if err == nil && size+len(key.list)+len(key.last) <= pageLargest {
		// A change meanwhile is in the page, perhaps, and has raised the generation, for
		// certain: the page is never shown then.
		entries.Add(key, keptPage{generation.Revision, page})
	}
	return page, generation, err
}

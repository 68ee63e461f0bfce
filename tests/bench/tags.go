package main

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
)

const (
	tagPage  = 100
	fewTags  = 1000 // of the repository that the large one is compared with
	fewRepo  = "bench/few-tags"
	manyRepo = "bench/many-tags"
	loaders  = 16 // transactions at once
)

// tagsPrefix is what the keys of a repository's tags in dev begin with; see tiers/keys.go.
func tagsPrefix(repo string) string { return "tier/dev/tag/" + repo + ":" }

// tagPages lists tags, in a repository that has few and in one that has very many.
type tagPages struct {
	*bench
	few, many         registry
	bareKey, barePage server
}

func (t *tagPages) setup(ctx context.Context) error {
	t.few, t.many = t.sluice.at("dev/"+fewRepo), t.sluice.at("dev/"+manyRepo)
	if err := t.fill(ctx, t.few, fewRepo, fewTags); err != nil {
		return err
	}
	if err := t.fill(ctx, t.many, manyRepo, t.tags); err != nil {
		return err
	}
	body, err := t.few.body(ctx, fmt.Sprintf("/tags/list?n=%d", tagPage))
	if err != nil {
		return err
	}
	a := answer{key: tagsPrefix(fewRepo) + manyName(0), body: body, mediaType: "application/json"}
	if t.bareKey, err = t.startBare(a); err != nil {
		return err
	}
	a.key, a.limit = tagsPrefix(fewRepo), tagPage+1 // one more tells whether there is a next page
	t.barePage, err = t.startBare(a)
	return err
}

func manyName(i int) string { return fmt.Sprintf("v%07d", i) }

// fill pushes one image and tells the catalog of n tags of it: the record of the first,
// which the push wrote, under the keys of the others.
func (b *bench) fill(ctx context.Context, r registry, repo string, n int) error {
	if _, err := r.pushImage(ctx, manyName(0), newBlobs(1, smallBlob)); err != nil {
		return err
	}
	return b.multiply(ctx, tagsPrefix(repo), n, manyName)
}

// multiply writes the one record that stands under prefix n-1 times more, under the names
// 1 to n-1. What is listed is only these records: nothing else needs to know of them.
func (b *bench) multiply(ctx context.Context, prefix string, n int, name func(int) string) error {
	catalog, err := etcd.New(etcd.Config{Endpoints: b.etcd})
	if err != nil {
		return err
	}
	defer catalog.Close()
	found, err := catalog.List(ctx, tiers.Query{Prefix: prefix, Limit: 2})
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%d records under %s, want one to copy", len(found), prefix)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for first := 1; first < n && ctx.Err() == nil; first += tiers.MaxOps {
		group.Go(func() error {
			var change tiers.Change
			for i := first; i < min(n, first+tiers.MaxOps); i++ {
				change.Put = append(change.Put, tiers.Put{Key: prefix + name(i), Value: found[0].Value})
			}
			_, err := catalog.Commit(ctx, change)
			return err
		})
	}
	return group.Wait()
}

func (t *tagPages) round(ctx context.Context) error {
	// Pages begin anywhere, but for the last of all.
	page := func(r registry, n int) func(context.Context, int) error {
		return func(ctx context.Context, _ int) error {
			return r.get(ctx, http.MethodGet, fmt.Sprintf("/tags/list?n=%d&last=%s", tagPage, manyName(pick(max(1, n-tagPage)))))
		}
	}
	bare := func(s server) func(context.Context, int) error {
		return func(ctx context.Context, _ int) error {
			return s.get(ctx, http.MethodGet, "/tags/list") // which it does not look at
		}
	}
	return t.compare(ctx, load{name: "tags", clients: clients, seconds: t.seconds},
		contender{theBare, t.bareKey.usage, bare(t.bareKey)},
		contender{theRange, t.barePage.usage, bare(t.barePage)},
		contender{t.name(fewTags), t.sluice.usage, page(t.few, fewTags)},
		contender{t.name(t.tags), t.sluice.usage, page(t.many, t.tags)})
}

func (t *tagPages) name(n int) string { return fmt.Sprintf("Sluice, %d tags", n) }

func (t *tagPages) rows() {
	few, many := t.name(fewTags), t.name(t.tags)
	work := func(n int) string { return fmt.Sprintf("page of %d tags of %d", tagPage, n) }
	for _, c := range []struct {
		n   int
		who string
	}{{fewTags, few}, {t.tags, many}} {
		t.ratioRow(work(c.n), "ratio to a bare handler with one linearizable read", "tags", c.who, theBare, rate, "/s", atLeast(0.8))
		t.ratioRow(work(c.n), "ratio to one that reads such a page", "tags", c.who, theRange, rate, "/s", owed{})
		t.medianRow(work(c.n), "p99", "tags", c.who, p99, "ms", owed{})
	}
	t.ratioRow(work(t.tags), fmt.Sprintf("ratio to the repository of %d", fewTags), "tags", many, few, rate, "/s", atLeast(0.8))
	t.medianRow(work(t.tags), "peak resident", "tags", many, peak, "MiB", owed{})
}

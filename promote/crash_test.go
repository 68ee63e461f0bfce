package promote_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// fault is what happens at one write of a promotion.
type fault struct {
	applied bool // the write is done although it is reported as failed
	fatal   bool // the process does nothing more from then on
}

// inject makes the n-th write fail, from 0, and says whether there was one. Then it calls
// then.
func (h *hooks) inject(n int, f fault, then func()) (hit *atomic.Bool) {
	hit = &atomic.Bool{}
	gone := fmt.Errorf("%w: injected", oci.ErrUnavailable)
	var count atomic.Int64
	var dead atomic.Bool
	h.set(func(_ context.Context, w write) error {
		if dead.Load() {
			return gone
		}
		if count.Add(1) != int64(n)+1 {
			return w.apply()
		}
		hit.Store(true)
		defer then()
		dead.Store(f.fatal)
		if f.applied {
			if err := w.apply(); err != nil {
				return err
			}
		}
		return gone
	})
	return hit
}

// Whatever write of a promotion fails, in whatever way, it ends in one state, nobody ever
// sees a part of it, nothing is left, and asked again it succeeds.
func TestFaultAtEachWrite(t *testing.T) {
	for name, c := range map[string]struct {
		fault
		from, step int // promotions take a while; between them the four meet every write
	}{
		"lost, and killed":    {fault{fatal: true}, 0, 2},
		"applied, and killed": {fault{applied: true, fatal: true}, 1, 2},
		"lost":                {fault{}, 0, 3},
		"applied":             {fault{applied: true}, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			n := c.from
			for g.faultAt(n, c.fault) {
				n += c.step
			}
			if n < 20 || t.Failed() {
				t.Errorf("%d writes were tried", n)
			}
		})
	}
}

// faultAt promotes an image of its own with a fault at the n-th write, and says whether
// there was such a write.
func (g *gate) faultAt(n int, f fault) bool {
	g.Helper()
	tag := fmt.Sprint("n", n)
	image := g.image(tag, tag, nil)
	g.provenance(image)
	first, h := g.process(true)
	ctx, cancel := context.WithTimeout(g.Context(), 20*time.Second)
	defer cancel()
	hit := h.inject(n, f, func() {
		if f.fatal {
			cancel()
		} else { // where the process lives it ends most promotions by itself
			time.AfterFunc(500*time.Millisecond, cancel)
		}
	})
	stop := g.watch(image, tag)
	_, _, err := first.engine.Promote(ctx, "manager", request(tag, "stable"))
	first.engine.Close()
	if !hit.Load() {
		g.must(err)
	}

	// The next start finds what is open.
	second, clean := g.process(true)
	second.settle()
	p, found := second.only(tag)
	switch {
	case !found && n == 0 && !f.applied:
	case !found:
		g.Fatalf("write %d: the promotion is gone", n)
	case p.State == promote.Succeeded:
		g.complete("stable", tag, image.Digest)
	case p.State == promote.Errored && !f.fatal:
		g.absent("stable", image.Digest, tag)
	default:
		g.Fatalf("write %d: %s: %s", n, p.State, p.Error)
	}
	if found {
		g.ended(p)
	}
	g.nothingOpen()
	second.promoteOK(request(tag, "stable"))
	stop()
	g.complete("stable", tag, image.Digest)
	if n := g.summaries("stable", image); n != 1 {
		g.Errorf("write %d: %d summaries", n, n)
	}
	g.nothingOpen()
	if len(h.twice)+len(clean.twice) != 0 {
		g.Errorf("write %d: written twice: %v %v", n, h.twice, clean.twice)
	}
	return hit.Load() && !g.Failed()
}

// settle runs the engine until nothing is open.
func (g *gate) settle() {
	g.Helper()
	ctx, cancel := context.WithCancel(g.Context())
	done := make(chan error, 1)
	go func() { done <- g.engine.Run(ctx) }()
	for range 500 {
		records, err := g.registry.Catalog().List(ctx, tiers.Query{Prefix: "promotion-open/", Limit: 1})
		g.must(err)
		if len(records) == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	g.must(<-done)
}

// only finds the promotion of a tag; there is one at the most.
func (g *gate) only(tag string) (p promote.Promotion, found bool) {
	g.Helper()
	all, _, err := g.engine.Promotions(g.Context(), promote.Filter{}, "", 1000)
	g.must(err)
	for _, candidate := range all {
		if candidate.Reference != tag {
			continue
		}
		if found {
			g.Errorf("%s was promoted twice: %s and %s", tag, p.ID, candidate.ID)
		}
		p, found = candidate, true
	}
	return p, found
}

// summaries counts the summaries of an artifact.
func (g *gate) summaries(tier string, desc ocispec.Descriptor) (n int) {
	g.Helper()
	referrers, err := g.repo(tier).Predecessors(g.Context(), desc)
	g.must(err)
	for _, r := range referrers {
		if r.Annotations["dev.sigstore.bundle.predicateType"] == promote.SummaryType {
			n++
		}
	}
	return n
}

// watch reads the tag above again and again until the returned function is called: who
// sees it sees all of it.
func (g *gate) watch(image ocispec.Descriptor, tag string) (stop func()) {
	ctx, cancel := context.WithCancel(g.Context())
	done := make(chan error, 1)
	repo := g.repo("stable")
	go func() {
		seen := false
		for ctx.Err() == nil {
			err := see(ctx, repo, image, tag, &seen)
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		done <- nil
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			g.Errorf("a reader saw a part of %s: %v", tag, err)
		}
	}
}

func see(ctx context.Context, repo *tiers.Repository, image ocispec.Descriptor, tag string, seen *bool) error {
	desc, err := repo.Resolve(ctx, tag)
	if errors.Is(err, oci.ErrManifestUnknown) && !*seen {
		return nil
	}
	if err != nil || desc.Digest != image.Digest {
		return fmt.Errorf("tag: %s, %w", desc.Digest, err)
	}
	*seen = true
	desc, body, err := repo.Manifest(ctx, desc.Digest.String())
	if err != nil {
		return err
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		return err
	}
	for _, b := range m.Blobs() {
		if _, err := repo.Blob(ctx, b.Digest); err != nil {
			return err
		}
	}
	referrers, err := repo.Predecessors(ctx, desc)
	if err == nil && len(referrers) != 2 {
		err = fmt.Errorf("%d referrers", len(referrers))
	}
	return err
}

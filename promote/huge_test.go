package promote_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// hugeManifests is how many manifests the closures have; SLUICE_TEST_MANIFESTS changes it,
// to 10000 say.
const hugeManifests = 1010 // more than an index holds

func huge(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SLUICE_TEST_MANIFESTS")
	if text == "" {
		return hugeManifests
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// push pushes manifests, some at once, and returns them in order.
func (g *gate) push(n int, document func(i int) any) []ocispec.Descriptor {
	g.Helper()
	descs := make([]ocispec.Descriptor, n)
	var group errgroup.Group
	group.SetLimit(16)
	repo := g.repo("dev")
	for i := range n {
		group.Go(func() error {
			body, err := json.Marshal(document(i))
			if err != nil {
				return err
			}
			pushed, err := repo.PutManifest(g.Context(), digest.FromBytes(body).String(), "", "", body)
			descs[i] = ocispec.Descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}
			return err
		})
	}
	g.must(group.Wait())
	return descs
}

// closure is a large artifact in dev.
type closure struct {
	root ocispec.Descriptor
	all  []ocispec.Descriptor // what comes with it
}

// tree pushes an index of indexes of images.
func (g *gate) tree(tag string, n int) closure {
	g.Helper()
	layer := g.blob([]byte("layer"), ocispec.MediaTypeImageLayer)
	configs := make([]ocispec.Descriptor, n)
	for i := range configs {
		configs[i] = g.blob(fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","n":"%s %d"}`, tag, i), ocispec.MediaTypeImageConfig)
	}
	all := g.push(n, func(i int) any {
		return ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: configs[i], Layers: []ocispec.Descriptor{layer}}
	})
	var indexes []ocispec.Descriptor
	for first := 0; first < n; first += oci.MaxIndexWidth {
		indexes = append(indexes, g.index("", nil, all[first:min(n, first+oci.MaxIndexWidth)]...))
	}
	root := g.index(tag, nil, indexes...)
	g.provenance(root)
	return closure{root, append(all, indexes...)}
}

// dressed pushes an image to which very much is attached.
func (g *gate) dressed(tag string, n int) closure {
	g.Helper()
	image := g.image(tag, tag, nil)
	layer, config := g.blob([]byte("sbom"), sbomType), g.blob([]byte("{}"), ocispec.MediaTypeEmptyJSON)
	all := g.push(n, func(i int) any {
		return ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: sbomType,
			Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &image, Annotations: map[string]string{"n": fmt.Sprint(tag, i)}}
	})
	g.provenance(image)
	return closure{image, all}
}

// sight looks at parts of a closure in the tier above until stopped: whoever sees one of
// them sees them all from then on.
func (g *gate) sight(c closure, tag string) (stop func()) {
	ctx, cancel := context.WithCancel(g.Context())
	done := make(chan error, 1)
	repo := g.repo("stable")
	go func() {
		seen := false
		for ctx.Err() == nil {
			if err := c.look(ctx, repo, tag, &seen); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			g.Errorf("a reader saw a part: %v", err)
		}
	}
}

// look asks for one part after the other, in any order. What was once seen is there.
func (c closure) look(ctx context.Context, repo *tiers.Repository, tag string, seen *bool) error {
	references := []string{tag, c.root.Digest.String()}
	for range 20 {
		references = append(references, c.all[rand.IntN(len(c.all))].Digest.String())
	}
	rand.Shuffle(len(references), func(i, j int) { references[i], references[j] = references[j], references[i] })
	for _, reference := range references {
		_, err := repo.Resolve(ctx, reference)
		switch {
		case err == nil:
			*seen = true
		case !errors.Is(err, oci.ErrManifestUnknown) || *seen:
			return fmt.Errorf("%s, seen %v: %w", reference, *seen, err)
		}
	}
	return nil
}

// noMarks checks that nothing in the tier above is hidden.
func (g *gate) noMarks() {
	g.Helper()
	for after := ""; ; {
		records, err := g.registry.Catalog().List(context.Background(), tiers.Query{Prefix: "tier/stable/", After: after, Limit: 5000})
		g.must(err)
		for _, r := range records {
			if after = r.Key; strings.Contains(string(r.Value), `"pending"`) {
				g.Fatalf("%s is hidden: %s", r.Key, r.Value)
			}
		}
		if len(records) < 5000 {
			return
		}
	}
}

// A closure of any size becomes visible in one step.
func TestHugeClosure(t *testing.T) {
	for name, push := range map[string]func(g *gate, tag string, n int) closure{"an index tree": (*gate).tree, "referrers": (*gate).dressed} {
		t.Run(name, func(t *testing.T) {
			n := huge(t)
			g := newGate(t, nil)
			started := time.Now()
			c := push(g, "1.0", n)
			pushed := time.Since(started)
			own, h := g.process(true)
			var changes atomic.Int64
			h.set(func(_ context.Context, w write) error {
				if w.object == "" {
					changes.Add(1)
				}
				return w.apply()
			})
			stop, peak := g.sight(c, "1.0"), peakHeap(t.Context())
			started = time.Now()
			p, created, err := own.engine.Start(t.Context(), "manager", request("1.0", "stable"))
			asked := time.Since(started)
			if err != nil || !created {
				t.Fatal(err)
			}
			p = own.terminal(p.ID)
			ended := time.Since(started)
			if p.State != promote.Succeeded || p.Moved.Manifests != len(c.all)+3 { // the root, provenance and summary
				t.Fatalf("%s, moved %+v: %s", p.State, p.Moved, p.Error)
			}
			g.noTraces()
			t.Logf("%d manifests: pushed in %s; asked for in %s, visible in %s, tidied in %s, %d changes of the catalog, peak heap %d MiB with the stores", n,
				pushed.Round(time.Millisecond), asked.Round(time.Millisecond), ended.Round(time.Millisecond), time.Since(started).Round(time.Millisecond), changes.Load(), peak()>>20)
			stop()
			g.noMarks()
			for _, d := range c.all {
				if _, err := g.repo("stable").Resolve(t.Context(), d.Digest.String()); err != nil {
					t.Fatal(err)
				}
			}
			if changes.Load() > int64(n/2+500) { // each brings its manifest and perhaps a blob of its own
				t.Errorf("%d changes for %d manifests: batches do not work", changes.Load(), n)
			}
		})
	}
}

// terminal waits until a promotion has ended.
func (g *gate) terminal(id string) promote.Promotion {
	g.Helper()
	for {
		p, err := g.engine.Promotion(g.Context(), id)
		g.must(err)
		if p.State.Terminal() {
			return p
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// peakHeap watches the heap until the returned function is called, which says how large it
// was at most.
func peakHeap(ctx context.Context) func() uint64 {
	ctx, cancel := context.WithCancel(ctx)
	most := make(chan uint64, 1)
	go func() {
		var peak uint64
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			time.Sleep(50 * time.Millisecond)
		}
		most <- peak
	}()
	return func() uint64 { cancel(); return <-most }
}

// A promotion of very many manifests that is killed anywhere is taken over: all of it can be
// seen then, and of what was cut off nothing is left.
func TestHugeKilled(t *testing.T) {
	n := max(huge(t)/10, 300)
	g := newGate(t, nil)
	for i := range 4 {
		tag := fmt.Sprint("v", i)
		c := g.tree(tag, n)
		stop := g.sight(c, tag)
		first, h := g.process(true)
		ctx, cancel := context.WithCancel(t.Context())
		at := rand.IntN(2 * n / 3)
		hit := h.inject(at, fault{fatal: true, applied: i%2 == 0}, cancel)
		_, _, err := first.engine.Promote(ctx, "manager", request(tag, "stable"))
		first.engine.Close()
		if !hit.Load() {
			g.must(err)
		}
		second, _ := g.process(true)
		second.settle()
		if p, found := second.only(tag); found {
			if p = second.terminal(p.ID); p.State != promote.Succeeded {
				t.Errorf("killed at write %d it is %s: %s", at, p.State, p.Error)
			}
		}
		second.promoteOK(request(tag, "stable"))
		stop()
		g.nothingOpen()
		g.noMarks()
		if t.Failed() {
			t.Fatalf("killed at write %d", at)
		}
	}
}

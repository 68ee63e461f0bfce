package promote_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// An owner that stands still for longer than its sign of life lasts, before or behind any of
// its writes, and then goes on, changes nothing: another has taken over and come to the end.
func TestPausedAtEachWrite(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprintf("behind %v", behind), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			n := 0
			for g.pausedAt(n, behind, "") {
				n++
			}
			if n < 20 || t.Failed() {
				t.Errorf("%d writes were tried", n)
			}
		})
	}
}

// An owner that goes on while the one that has taken over is in the middle of it takes
// nothing away from that one, whose attempt may have the number that its own would have had.
func TestPausedUntilTakenOver(t *testing.T) {
	for _, during := range []string{"staged/", "committed/"} {
		t.Run(strings.TrimSuffix(during, "/"), func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			n := 0
			for g.pausedAt(n, false, during) {
				n++
			}
			if n < 20 || t.Failed() {
				t.Errorf("%d writes were tried", n)
			}
		})
	}
}

// pausedAt promotes an image of its own with a pause at the n-th write, and says whether
// there was such a write. The pause ends when another is done with the promotion, or, if
// during is not empty, is about to write a record under it.
func (g *gate) pausedAt(n int, behind bool, during string) bool {
	g.Helper()
	tag := fmt.Sprint("n", n)
	image := g.image(tag, tag, nil)
	g.provenance(image)
	owner, h := g.process(false)
	paused, wake := make(chan write, 1), make(chan struct{})
	var count atomic.Int64
	h.set(func(_ context.Context, w write) error {
		if count.Add(1) != int64(n)+1 {
			return w.apply()
		}
		if !behind {
			paused <- w
			<-wake
			return w.apply()
		}
		err := w.apply()
		paused <- w
		<-wake
		return err
	})
	quiet := func() { quietens(&count) }
	asked := make(chan error, 1)
	go func() {
		p, _, err := owner.engine.Promote(g.Context(), "manager", request(tag, "stable"))
		if err == nil && p.State != promote.Succeeded {
			err = fmt.Errorf("it is %s: %s", p.State, p.Error)
		}
		owner.tidied()
		quiet()
		owner.engine.Close()
		asked <- err
	}()
	select {
	case err := <-asked:
		g.must(err)
		return false
	case w := <-paused:
		if during == "" {
			g.takeOverFrom(w, tag, func() error { close(wake); return <-asked })
		} else {
			g.takeOverBeside(tag, during, func() { close(wake); time.Sleep(100 * time.Millisecond); quiet() })
			<-asked // whatever it was told: it may be that somebody else is at it
		}
	}
	g.roseOnce(tag, image)
	if len(h.twice) > 0 {
		g.Errorf("written twice: %v", h.twice)
	}
	if g.Failed() {
		g.Logf("paused at write %d, behind %v", n, behind)
	}
	return !g.Failed()
}

// quietens waits until what is counted no longer happens.
func quietens(count *atomic.Int64) {
	for before := int64(-1); before != count.Load(); time.Sleep(50 * time.Millisecond) { // it may be at it still
		before = count.Load()
	}
}

// takeOverFrom brings what an owner began to its end while it stands still, and then lets
// it go on.
func (g *gate) takeOverFrom(w write, tag string, goOn func() error) {
	g.Helper()
	g.silence()
	other, _ := g.process(false)
	other.settle()
	p, found := other.only(tag)
	if found && p.State != promote.Succeeded {
		g.Errorf("taken over it is %s: %s", p.State, p.Error)
	}
	before := g.facts()
	if err := goOn(); err != nil {
		g.Errorf("the former owner: %v", err)
	}
	if !found { // it stood still before anything was recorded: it is nobody's but its own
		return
	}
	after := g.facts()
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if before[key] != after[key] {
			g.Errorf("the former owner, which was at %q %+v, has written %s", w.object, w.change, key)
		}
		delete(before, key)
	}
	for key := range before {
		g.Errorf("the former owner, which was at %q %+v, has deleted %s", w.object, w.change, key)
	}
}

// takeOverBeside brings what an owner began to its end while it stands still, and lets it go
// on in the middle of that.
func (g *gate) takeOverBeside(tag, during string, goOn func()) {
	g.Helper()
	g.silence()
	other, h := g.process(false)
	goOn = sync.OnceFunc(goOn)
	h.before(during, goOn)
	other.settle()
	goOn() // where nothing was left to do
	other.settle()
	if p, found := other.only(tag); found && p.State != promote.Succeeded {
		g.Errorf("taken over it is %s: %s", p.State, p.Error)
	}
}

// facts are all records with their revisions, but for announced objects: whoever announced
// one takes it back. What a replica says of itself and the keys that it announces ahead say
// nothing.
func (g *gate) facts() map[string]int64 {
	g.Helper()
	facts := map[string]int64{}
	for after := ""; ; {
		records, err := g.registry.Catalog().List(g.Context(), tiers.Query{After: after, Limit: 5000})
		g.must(err)
		for _, r := range records {
			if after = r.Key; !strings.HasPrefix(r.Key, "replica/") && !strings.Contains(r.Key, "/intent/") {
				facts[r.Key] = r.Revision
			}
		}
		if len(records) < 5000 {
			return facts
		}
	}
}

// noStrays checks that the catalog names each object of each bucket.
func (g *gate) noStrays() {
	g.Helper()
	for _, tier := range g.registry.Tiers() {
		named := map[string]bool{}
		records, err := g.registry.Catalog().List(g.Context(), tiers.Query{Prefix: "store/" + tier.Store() + "/", Limit: tiers.MaxPage})
		g.must(err)
		for _, r := range records {
			if strings.Contains(r.Key, "/blob/") {
				blob, err := tiers.Decode[map[string]any](r)
				g.must(err)
				named[fmt.Sprint(blob["key"])] = true
			}
		}
		objects, err := tier.Bucket.List(g.Context(), "blobs/", "", tiers.MaxObjects)
		g.must(err)
		for _, o := range objects {
			if !named[o.Key] {
				g.Errorf("in the bucket of %s nothing names %s", tier.Name, o.Key)
			}
		}
	}
}

// pausedWhere promotes an image with a pause before the first write that where picks. It goes
// on when it is woken, as far as it gets.
func (g *gate) pausedWhere(tag string, where func(w write) bool) (image ocispec.Descriptor, wake func()) {
	g.Helper()
	image = g.image(tag, tag, nil)
	g.provenance(image)
	owner, h := g.process(false)
	paused, awake, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	var count atomic.Int64
	h.set(func(_ context.Context, w write) error {
		count.Add(1)
		if where(w) {
			once.Do(func() {
				close(paused)
				<-awake
			})
		}
		return w.apply()
	})
	go func() {
		defer close(ended)
		_, _, _ = owner.engine.Promote(g.Context(), "manager", request(tag, "stable")) // whatever it is told
		owner.engine.Close()
	}()
	g.Cleanup(func() { <-ended })
	<-paused
	return image, func() {
		close(awake)
		time.Sleep(100 * time.Millisecond)
		quietens(&count)
	}
}

// An owner that is about to commit when another takes over either does, whole, or does not:
// nothing of what it has staged is taken away before it is fenced off.
func TestTakenOverAtCommit(t *testing.T) {
	g := newGate(t, nil)
	image, wake := g.pausedWhere("1.0", func(w write) bool { return w.puts("committed/") })
	g.takeOverBeside("1.0", "promotion/", wake)
	g.roseOnce("1.0", image)
}

// An owner that is taking away what its last attempt has staged, when another takes over,
// takes nothing of what that one stages.
func TestTakenOverWhileTakingAway(t *testing.T) {
	g := newGate(t, nil)
	var changed atomic.Bool
	image, wake := g.pausedWhere("1.0", func(w write) bool {
		if w.puts("committed/") && changed.CompareAndSwap(false, true) { // so that it is decided again
			g.setPolicy("dev-to-stable", "dev", "stable", `  repositories: ["**", "more"]`)
		}
		return changed.Load() && slices.ContainsFunc(w.change.Delete, func(key string) bool { return strings.HasPrefix(key, "staged/") })
	})
	g.takeOverBeside("1.0", "committed/", wake)
	g.roseOnce("1.0", image)
}

// roseOnce checks that an image stands in stable, and that nothing else is left of what was
// done for it.
func (g *gate) roseOnce(tag string, image ocispec.Descriptor) {
	g.Helper()
	g.complete("stable", tag, image.Digest)
	if n := g.summaries("stable", image); n != 1 {
		g.Errorf("%d summaries", n)
	}
	p, _ := g.only(tag)
	g.ended(p)
	g.noTraces()
	g.noStrays()
}

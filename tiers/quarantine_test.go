package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// quarantine puts a digest in quarantine for ever.
func (w *world) quarantine(d digest.Digest) tiers.Quarantine {
	w.t.Helper()
	q, _, err := w.Quarantine(w.t.Context(), "bob", d, "it is bad", time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

func (w *world) lift(d digest.Digest) {
	w.t.Helper()
	if _, err := w.LiftQuarantine(w.t.Context(), "bob", d, "it is good"); err != nil {
		w.t.Fatal(err)
	}
}

// pulled says which of some manifests and blobs a client gets from a repository. Whatever else
// is wrong than a quarantine fails the test.
func (w *world) pulled(r *tiers.Repository, descs ...ocispec.Descriptor) (got []bool) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, desc := range descs {
		var errs []error
		if oci.IsManifest(desc.MediaType) {
			_, err := r.ForPull().Resolve(ctx, desc.Digest.String())
			errs = append(errs, err)
			_, _, err = r.ForPull().Manifest(ctx, desc.Digest.String())
			errs = append(errs, err)
		} else {
			_, err := r.ForPull().Blob(ctx, desc.Digest)
			errs = append(errs, err)
			_, err = r.ForPull().Promise(ctx, desc.Digest)
			errs = append(errs, err)
		}
		var q *tiers.QuarantinedError
		for _, err := range errs {
			if err != nil && (!errors.As(err, &q) || !errors.Is(err, oci.ErrDenied) || q.Digest != desc.Digest) {
				w.t.Errorf("%s: %v", desc.Digest, err)
			}
		}
		if (errs[0] == nil) != (errs[1] == nil) {
			w.t.Errorf("%s: %v, and %v", desc.Digest, errs[0], errs[1])
		}
		got = append(got, errs[0] == nil)
	}
	return got
}

// What is in quarantine is pulled from no repository of any tier, nor is what holds it; what
// it holds, what is attached to it and what is beside it can be.
func TestQuarantine(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	a := w.artifact(1, "a") // an index of an image, and evidence about the index
	if err := errors.Join(w.stage("p1", a), w.commit("p1", a, "v1"), w.stable.Arrival("p1").Finish(ctx)); err != nil {
		t.Fatal(err)
	}
	child, evidence := a.nodes[0].Descriptor, a.nodes[2].Descriptor
	config, layer := *a.nodes[0].Manifest.Config, a.nodes[0].Manifest.Layers[0]
	outer := w.manifest(w.dev, "outer", index(a.root))
	beside := w.image(w.dev, "beside", 7)
	all := []ocispec.Descriptor{outer, a.root, child, evidence, beside, config, layer}
	for _, c := range []struct {
		name string
		of   digest.Digest
		want []bool // outer, root, child, evidence, beside, config, layer
	}{
		{"nothing", digest.FromString("nobody has it"), []bool{true, true, true, true, true, true, true}},
		{"an index of an index", outer.Digest, []bool{false, true, true, true, true, true, true}},
		{"an index", a.root.Digest, []bool{false, false, true, true, true, true, true}},
		{"an image", child.Digest, []bool{false, false, false, true, true, true, true}},
		{"evidence", evidence.Digest, []bool{true, true, true, false, true, true, true}},
		{"a layer", layer.Digest, []bool{false, false, false, false, true, true, false}},
		{"a config", config.Digest, []bool{false, false, false, false, true, false, true}},
	} {
		w.quarantine(c.of)
		if got := w.pulled(w.dev, all...); !slices.Equal(got, c.want) {
			t.Errorf("%s: pulled %v, want %v", c.name, got, c.want)
		}
		above := []ocispec.Descriptor{a.root, child, evidence, config, layer}
		if got, want := w.pulled(w.stable, above...), append(slices.Clone(c.want[1:4]), c.want[5:]...); !slices.Equal(got, want) {
			t.Errorf("%s: pulled from stable %v, want %v", c.name, got, want)
		}
		if _, err := w.stable.ForPull().Resolve(ctx, "v1"); (err == nil) != c.want[1] {
			t.Errorf("%s: by tag: %v", c.name, err)
		}
		if _, _, err := w.stable.Manifest(ctx, "v1"); err != nil {
			t.Errorf("%s: the registry itself does not read it: %v", c.name, err)
		}
		held, err := w.dev.Quarantines(ctx, all[:5]...)
		for i, q := range held {
			if err != nil || (q == nil) != c.want[i] || q != nil && (q.Digest != c.of || q.Reason != "it is bad" || q.Owner != "bob") {
				t.Errorf("%s: of %s it is told %+v, %v", c.name, all[i].Digest, q, err)
			}
		}
		w.lift(c.of)
		if got := w.pulled(w.dev, all...); slices.Contains(got, false) {
			t.Errorf("%s, lifted: pulled %v", c.name, got)
		}
	}
	w.audit(true)
}

// Of a digest there is one quarantine, whose changes are told.
func TestQuarantineRecords(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	d, other := digest.FromString("a"), digest.SHA512.FromString("a")
	until := w.Now().Add(time.Hour)
	first, created, err := w.Quarantine(ctx, "bob", d, "it is bad", until)
	if err != nil || !created || first.Digest != d || first.ID == "" {
		t.Fatalf("%+v, %v, %v", first, created, err)
	}
	if again, created, err := w.Quarantine(ctx, "bob", d, "it is bad", until); err != nil || created || again.ID != first.ID {
		t.Errorf("the same again: %+v, %v, %v", again, created, err)
	}
	for name, do := range map[string]func() (tiers.Quarantine, bool, error){
		"another reason": func() (tiers.Quarantine, bool, error) { return w.Quarantine(ctx, "bob", d, "other", until) },
		"another time":   func() (tiers.Quarantine, bool, error) { return w.Quarantine(ctx, "bob", d, "it is bad", time.Time{}) },
		"another owner":  func() (tiers.Quarantine, bool, error) { return w.Quarantine(ctx, "eve", d, "it is bad", until) },
	} {
		if q, created, err := do(); !errors.Is(err, oci.ErrConflict) || created || q.ID != first.ID || !strings.Contains(err.Error(), "it is bad") {
			t.Errorf("%s: %+v, %v, %v", name, q, created, err)
		}
	}
	for name, err := range map[string]error{
		"no digest":       second(w.Quarantine(ctx, "bob", "sha256:1", "x", time.Time{})),
		"no reason":       second(w.Quarantine(ctx, "bob", d, "", time.Time{})),
		"a long reason":   second(w.Quarantine(ctx, "bob", other, strings.Repeat("é", 1001), time.Time{})),
		"two lines":       second(w.Quarantine(ctx, "bob", other, "a\nb", time.Time{})),
		"a time gone by":  second(w.Quarantine(ctx, "bob", other, "x", w.Now().Add(-time.Second))),
		"nothing to lift": func() error { _, err := w.LiftQuarantine(ctx, "bob", other, ""); return err }(),
	} {
		if !errors.Is(err, oci.ErrRequestInvalid) && !errors.Is(err, oci.ErrDigestInvalid) && !errors.Is(err, oci.ErrQuarantineUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := w.Quarantine(ctx, "bob", other, strings.Repeat("é", 1000), time.Time{}); err != nil {
		t.Error(err)
	}
	page, next, err := w.Quarantines(ctx, "", 1)
	if err != nil || len(page) != 1 || page[0].Digest != d || next == "" {
		t.Fatalf("%+v, %q, %v", page, next, err)
	}
	if page, next, err = w.Quarantines(ctx, next, 1); err != nil || len(page) != 1 || page[0].Digest != other || next != "" {
		t.Errorf("%+v, %q, %v", page, next, err)
	}
	if n, err := w.counted(); n != 2 || err != nil {
		t.Errorf("%d are counted, %v", n, err)
	}
	w.lift(d)
	if n, err := w.counted(); n != 1 || err != nil {
		t.Errorf("%d are counted, %v", n, err)
	}
	var told []string
	for _, e := range w.events() {
		told = append(told, fmt.Sprintf("%s %s %s", e.Type, e.Actor, e.Cause))
		if q, err := tiers.Decode[tiers.Quarantine](tiers.Record{Value: e.Body}); err != nil || q.Digest != e.Digest || q.ID == "" {
			t.Errorf("event %+v: %+v, %v", e, q, err)
		}
	}
	if want := []string{"quarantine.added bob it is bad", "quarantine.added bob " + strings.Repeat("é", 1000), "quarantine.lifted bob it is good"}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}

// counted is how many quarantines the generation counts, which is how many this replica sees.
func (w *world) counted() (int, error) {
	if _, err := w.Quarantined(context.Background()); err != nil {
		return 0, err
	}
	n, _ := fields(w.t, w.catalog.all(w.t, "quarantined")[0])["count"].(float64)
	if own := w.QuarantineCount(); own != int(n) {
		return int(n), fmt.Errorf("this replica counts %d", own)
	}
	return int(n), nil
}

func second(_ tiers.Quarantine, _ bool, err error) error { return err }

// clockedReplica is another registry over the stores of w, with a clock of its own.
func (w *world) clockedReplica(ahead time.Duration) *tiers.Registry {
	w.t.Helper()
	config := tiers.Config{Catalog: w.catalog, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return time.Now().Add(ahead) }}
	for _, t := range w.Tiers() {
		config.Tiers = append(config.Tiers, tiers.Tier{Name: t.Name, From: t.From, Push: t.Push, Bucket: w.buckets[t.Name]})
	}
	r, err := tiers.New(w.t.Context(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// gets counts the reads of the catalog that do makes.
func (w *world) gets(do func()) (n int) {
	w.catalog.onGet(func([]string) { n++ })
	defer w.catalog.onGet(nil)
	do()
	return n
}

// No replica answers a pull that began after a quarantine was acknowledged, and none reads
// more for it than for the pull itself while nothing changes.
func TestQuarantineReplicas(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	image := w.image(w.dev, "v1", 1)
	there, err := w.clockedReplica(0).Repository("dev", "acme/app", "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := w.pulled(there, image); !got[0] {
			t.Fatalf("%d: refused before", i)
		}
		w.quarantine(image.Digest)
		if got := w.pulled(there, image); got[0] {
			t.Fatalf("%d: pulled behind the quarantine", i)
		}
		w.lift(image.Digest)
	}
	w.quarantine(digest.FromString("something else"))
	blob := w.blob(w.dev, bytesOf(1, 40))
	w.pulled(there, image)
	if n := w.gets(func() { w.pulled(w.dev, image) }); n != 2 { // a Resolve and a Manifest
		t.Errorf("%d reads where it was put there", n)
	}
	for name, do := range map[string]func() error{
		"by tag":    func() error { _, err := there.ForPull().Resolve(ctx, "v1"); return err },
		"by digest": func() error { _, err := there.ForPull().Resolve(ctx, image.Digest.String()); return err },
		"a blob":    func() error { _, err := there.ForPull().Blob(ctx, blob.Digest); return err },
	} {
		if n := w.gets(func() {
			if err := do(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}); n != 1 {
			t.Errorf("%s: %d reads", name, n)
		}
	}
}

// What is in quarantine is listed in steps: what changes between them is not missed.
func TestQuarantineWhileLoading(t *testing.T) {
	w := newWorld(t, nil)
	image := w.image(w.dev, "v1", 1)
	there, err := w.clockedReplica(0).Repository("dev", "acme/app", "")
	if err != nil {
		t.Fatal(err)
	}
	w.quarantine(digest.FromString("something else"))
	added := false
	w.catalog.onList(func(q tiers.Query) {
		if q.Prefix == "quarantine/" && !added {
			added = true
			w.quarantine(image.Digest)
		}
	})
	w.pulled(there, image) // it began before: either answer is right
	w.catalog.onList(nil)
	if got := w.pulled(there, image); got[0] || !added {
		t.Errorf("pulled %v, added %v", got, added)
	}
}

// A quarantine ends when some replica finds that its time is over, and then for all of them,
// whatever their clocks say.
func TestQuarantineExpires(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	image := w.image(w.dev, "v1", 1)
	behind, err := w.clockedReplica(-time.Hour).Repository("dev", "acme/app", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{image.Digest, digest.FromString("listed"), digest.FromString("asked for"), digest.FromString("put there again")} {
		if _, _, err := w.Quarantine(ctx, "bob", d, "it is bad", w.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if got := append(w.pulled(w.dev, image), w.pulled(behind, image)...); slices.Contains(got, true) {
		t.Errorf("pulled in time: %v", got)
	}
	w.pass(time.Minute)
	if got := w.pulled(behind, image); got[0] {
		t.Error("pulled where it is in force still")
	}
	if got := append(w.pulled(w.dev, image), w.pulled(behind, image)...); slices.Contains(got, false) {
		t.Errorf("refused when it was over: %v", got)
	}
	if _, err := w.QuarantineOf(ctx, digest.FromString("asked for")); !errors.Is(err, oci.ErrQuarantineUnknown) {
		t.Errorf("asked for: %v", err)
	}
	if _, created, err := w.Quarantine(ctx, "bob", digest.FromString("put there again"), "again", time.Time{}); !created || err != nil {
		t.Errorf("put there again: %v, %v", created, err)
	}
	if page, _, err := w.Quarantines(ctx, "", 10); err != nil || len(page) != 1 || page[0].Reason != "again" {
		t.Errorf("listed: %+v, %v", page, err)
	}
	if n, err := w.counted(); n != 1 || err != nil {
		t.Errorf("%d are counted, %v", n, err)
	}
	over := 0
	for _, e := range w.events() {
		if e.Type == tiers.EventQuarantineLifted && e.Actor == tiers.Expired {
			over++
		}
	}
	if over != 4 {
		t.Errorf("%d events tell of four that were over", over)
	}
}

// Nothing that holds what is in quarantine is pushed or mounted, not even where it was put
// there meanwhile; what is about it is.
func TestQuarantinePush(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	layer, config := w.blob(w.dev, bytesOf(1, 40)), w.blob(w.dev, bytesOf(2, 40))
	bad := w.manifest(w.dev, "bad", image(config, nil, "", layer))
	good := w.image(w.dev, "good", 3)
	push := func(body []byte) error { _, err := w.dev.PutManifest(ctx, "v1", "", "", body); return err }
	denied := func(name string, err error) {
		t.Helper()
		var q *tiers.QuarantinedError
		if !errors.As(err, &q) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.quarantine(layer.Digest)
	denied("a manifest of it", push(image(config, nil, "application/x", layer)))
	denied("the same again", push(image(config, nil, "", layer)))
	denied("an index of what holds it", push(index(good, bad)))
	if err := push(image(config, &bad, evidenceType)); err != nil {
		t.Errorf("evidence about it: %v", err)
	}
	web := w.repo("dev", "acme/web")
	_, err := web.Mount(ctx, w.dev, layer.Digest)
	denied("a mount", err)
	_, err = web.MountAny(ctx, layer.Digest, func(string, string) bool { return true })
	denied("a mount from anywhere", err)
	w.lift(layer.Digest)

	w.catalog.onCommit(func(c tiers.Change) {
		if slices.ContainsFunc(c.Put, func(p tiers.Put) bool { return strings.HasPrefix(p.Key, "tier/dev/manifest/") }) {
			w.catalog.onCommit(nil)
			w.quarantine(layer.Digest)
		}
	})
	denied("what was put there meanwhile", push(image(config, nil, "application/y", layer)))
	if _, err := w.dev.Resolve(ctx, digest.FromBytes(image(config, nil, "application/y", layer)).String()); !errors.Is(err, oci.ErrManifestUnknown) {
		t.Errorf("it was pushed all the same: %v", err)
	}
	w.audit(false)
}

// What a manifest holds is not known for ever where a part of it was not there.
func TestQuarantineOfLostBytes(t *testing.T) {
	w := newWorld(t, nil)
	layer := w.blob(w.dev, bytesOf(1, 40))
	child := w.manifest(w.dev, "", image(layer, nil, ""))
	root := w.manifest(w.dev, "v1", index(child))
	w.quarantine(layer.Digest)
	w.Forget()
	lost := w.catalog.all(t, blobKey(w.dev.Tier, child.Digest))[0]
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Delete: []string{lost.Key}}); err != nil {
		t.Fatal(err)
	}
	if got := w.pulled(w.dev, root); !got[0] {
		t.Error("what nobody can pull keeps an index from being pulled")
	}
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: lost.Key, Value: lost.Value}}}); err != nil {
		t.Fatal(err)
	}
	if got := w.pulled(w.dev, root); got[0] {
		t.Error("pulled once its child is there again")
	}
}

// Whatever write fails, either way: asked again it is as if it had been asked once.
func TestQuarantineFaults(t *testing.T) {
	d := digest.FromString("a")
	eachFault(t, nil, func(w *world) {
		ctx := context.Background()
		w.again("add", func() error { _, _, err := w.Quarantine(ctx, "bob", d, "it is bad", time.Time{}); return err })
		if q, err := w.QuarantineOf(ctx, d); err != nil || q.Reason != "it is bad" {
			w.t.Errorf("%+v, %v", q, err)
		}
		w.again("lift", func() error {
			if _, err := w.LiftQuarantine(ctx, "bob", d, ""); !errors.Is(err, oci.ErrQuarantineUnknown) {
				return err
			}
			return nil
		})
		if n, err := w.counted(); n != 0 || err != nil {
			w.t.Errorf("%d are counted, %v", n, err)
		}
		if events := w.events(); len(events) != 2 {
			w.t.Errorf("told %+v", events)
		}
	})
}

// Several at once: none is lost or counted twice, and of one digest there is one.
func TestQuarantineAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	d := digest.FromString("a")
	w.catalog.onCommit(func(tiers.Change) {
		w.catalog.onCommit(nil)
		w.quarantine(digest.FromString("b"))
		if _, _, err := w.Quarantine(ctx, "eve", d, "other", time.Time{}); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := w.Quarantine(ctx, "bob", d, "it is bad", time.Time{}); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("got %v", err)
	}
	w.catalog.onCommit(func(tiers.Change) {
		w.catalog.onCommit(nil)
		w.lift(d)
		w.quarantine(d)
	})
	w.lift(d) // that which was put there meanwhile
	w.catalog.onCommit(func(tiers.Change) {
		w.catalog.onCommit(nil)
		w.quarantine(digest.FromString("c"))
	})
	w.quarantine(d)
	if n, err := w.counted(); n != 3 || err != nil {
		t.Errorf("%d are counted, %v", n, err)
	}
	if page, _, err := w.Quarantines(ctx, "", 10); err != nil || len(page) != 3 {
		t.Errorf("listed %+v, %v", page, err)
	}
}

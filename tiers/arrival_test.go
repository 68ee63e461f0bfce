package tiers_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// artifact is an index with an image and evidence attached, as a promotion moves it.
type artifact struct {
	root  ocispec.Descriptor
	nodes []tiers.Arriving // children first
	all   []digest.Digest  // with blobs
}

// artifact pushes one to dev. Artifacts of one seed share their blobs.
func (w *world) artifact(seed uint64, name string) artifact {
	w.t.Helper()
	var a artifact
	add := func(body []byte, depth int) ocispec.Descriptor {
		m, err := oci.ParseManifest("", body)
		if err != nil {
			w.t.Fatal(err)
		}
		d := w.manifest(w.dev, "", body)
		a.nodes = append(a.nodes, tiers.Arriving{Descriptor: d, Manifest: m, Depth: depth})
		a.all = append(a.all, d.Digest)
		for _, b := range m.Blobs() {
			a.all = append(a.all, b.Digest)
		}
		return d
	}
	config, layer := w.blob(w.dev, nil), w.blob(w.dev, bytesOf(seed, 40))
	a.root = add(index(add(image(config, nil, "application/x."+name, layer), 0)), 1)
	add(image(config, &a.root, evidenceType, layer), 0)
	return a
}

// stage copies the bytes of an artifact and stages it under id in stable.
func (w *world) stage(id string, a artifact) error {
	for _, d := range a.all {
		if _, err := w.Bring(w.t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); err != nil {
			return err
		}
	}
	return w.stable.Arrival(id).Stage(w.t.Context(), a.nodes...)
}

// commit makes visible what is staged under id, and tags its root.
func (w *world) commit(id string, a artifact, tag string) error {
	return tiers.Retry(w.t.Context(), func() error {
		arrival := w.stable.Arrival(id)
		var change tiers.Change
		arrival.Change(&change)
		if _, err := arrival.SetTag(w.t.Context(), &change, tag, a.root, w.Now()); err != nil {
			return err
		}
		_, err := w.catalog.Commit(w.t.Context(), change)
		return err
	})
}

// shows says how much of an artifact readers of stable see: 0 for nothing, 1 for all.
func (w *world) shows(a artifact) float64 {
	w.t.Helper()
	asked, seen := 0, 0
	count := func(ok bool, err error) {
		if asked++; ok {
			seen++
		}
		if err != nil && !errors.Is(err, oci.ErrManifestUnknown) && !errors.Is(err, oci.ErrBlobUnknown) && !errors.Is(err, oci.ErrNameUnknown) {
			w.t.Error(err)
		}
	}
	for _, n := range a.nodes {
		d := n.Descriptor.Digest
		_, err := w.stable.Resolve(w.t.Context(), d.String())
		count(err == nil, err)
		_, _, err = w.stable.Manifest(w.t.Context(), d.String())
		count(err == nil, err)
		exists, err := w.stable.Exists(w.t.Context(), n.Descriptor)
		count(exists, err)
		page, _, err := w.stable.Manifests(w.t.Context(), "", 100)
		count(strings.Contains(fmt.Sprint(page), d.String()), err)
		for _, b := range n.Manifest.Blobs() {
			_, err := w.stable.Blob(w.t.Context(), b.Digest)
			count(err == nil, err)
		}
		if s := n.Manifest.Subject; s != nil {
			page, _, err := w.stable.Referrers(w.t.Context(), s.Digest, "", "", 100)
			count(strings.Contains(fmt.Sprint(page), d.String()), err)
		}
	}
	return float64(seen) / float64(asked)
}

func (w *world) wantShown(a artifact, want float64, when string) {
	w.t.Helper()
	if got := w.shows(a); got != want {
		w.t.Errorf("%s: readers see %.2f of it, want %v", when, got, want)
	}
}

// What is staged is hidden; one record shows all of it; finishing changes nothing more.
func TestArrival(t *testing.T) {
	w := newWorld(t, nil)
	a := w.artifact(1, "a")
	if err := w.stage("p", a); err != nil {
		t.Fatal(err)
	}
	w.wantShown(a, 0, "staged")
	if names, _, err := w.Repositories(t.Context(), "stable", "", 10); err != nil || len(names) != 0 {
		t.Errorf("repositories %v, %v", names, err)
	}
	if err := w.stable.Arrival("p").Finish(t.Context()); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("finish before the commit: %v, want %v", err, oci.ErrConflict)
	}
	w.wantShown(a, 0, "finished without a commit")
	if err := w.commit("p", a, "v1"); err != nil {
		t.Fatal(err)
	}
	w.wantShown(a, 1, "committed")
	if err := w.stable.Arrival("p").Rollback(t.Context()); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("rollback after the commit: %v, want %v", err, oci.ErrConflict)
	}
	w.wantShown(a, 1, "rolled back after the commit")
	for range 2 {
		if err := w.stable.Arrival("p").Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantShown(a, 1, "finished")
		w.audit(true)
	}
	if err := w.stable.Arrival("p").Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantShown(a, 1, "rolled back after the end")
	if left := append(w.catalog.all(t, "staged/"), w.catalog.all(t, "committed/")...); len(left) != 0 {
		t.Errorf("records are left: %v", left)
	}
	for _, r := range w.catalog.all(t, "tier/stable/") {
		if strings.Contains(string(r.Value), "pending") {
			t.Errorf("%s bears a mark: %s", r.Key, r.Value)
		}
	}
	if desc, err := w.stable.Resolve(t.Context(), "v1"); err != nil || desc.Digest != a.root.Digest {
		t.Errorf("the tag: %v, %v", desc, err)
	}
}

// A rollback takes everything away, and a second changes nothing.
func TestArrivalRollback(t *testing.T) {
	w := newWorld(t, nil)
	a := w.artifact(1, "a")
	if err := w.stage("p", a); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.stable.Arrival("p").Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantShown(a, 0, "rolled back")
		w.audit(true)
	}
	if left := w.catalog.all(t, "tier/stable/"); len(left) != 0 {
		t.Errorf("records are left: %v", left)
	}
}

// Two arrivals that share manifests and blobs: whatever becomes of one, in whatever order,
// the other has what it staged.
func TestArrivalsShare(t *testing.T) {
	orders := map[string]func(w *world, do func(id string, what string)){}
	ends := []string{"finish", "rollback"}
	for _, p := range ends {
		for _, q := range ends {
			orders[p+", then "+q] = func(_ *world, do func(string, string)) { do("p", p); do("q", q) }
			orders["staged after the first: "+p+", "+q] = func(_ *world, do func(string, string)) { do("p", p+" first"); do("q", q) }
		}
	}
	for name, run := range orders {
		for _, same := range []bool{true, false} { // the same manifests, or only the same blobs
			t.Run(fmt.Sprintf("%s, same %v", name, same), func(t *testing.T) {
				w := newWorld(t, nil)
				a := map[string]artifact{"p": w.artifact(1, "a")}
				if a["q"] = a["p"]; !same {
					a["q"] = w.artifact(1, "b")
				}
				late := strings.HasPrefix(name, "staged")
				for _, id := range []string{"p", "q"} {
					if id == "q" && late {
						break
					}
					if err := w.stage(id, a[id]); err != nil {
						t.Fatal(err)
					}
				}
				shown := map[string]bool{}
				run(w, func(id, what string) {
					if strings.HasPrefix(what, "finish") {
						if err := w.commit(id, a[id], "tag-"+id); err != nil {
							t.Fatal(err)
						}
						shown[id] = true
						if late && id == "p" { // staged between the commit and its end
							if err := w.stage("q", a["q"]); err != nil {
								t.Fatal(err)
							}
						}
						if err := w.stable.Arrival(id).Finish(t.Context()); err != nil {
							t.Fatal(err)
						}
					} else {
						if late && id == "p" {
							if err := w.stage("q", a["q"]); err != nil {
								t.Fatal(err)
							}
						}
						if err := w.stable.Arrival(id).Rollback(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					for id := range a {
						switch {
						case shown[id] || same && len(shown) > 0:
							w.wantShown(a[id], 1, what+" of "+id)
						case len(shown) == 0:
							w.wantShown(a[id], 0, what+" of "+id)
						}
					}
					w.audit(false)
				})
				w.audit(true)
			})
		}
	}
}

// Who reads while a committed arrival is finished sees it all the same.
func TestArrivalReadWhileFinishing(t *testing.T) {
	for name, read := range map[string]func(w *world, a artifact) (int, error){
		"resolve": func(w *world, a artifact) (int, error) {
			_, err := w.stable.Resolve(t.Context(), a.root.Digest.String())
			return 1, err
		},
		"blob": func(w *world, a artifact) (int, error) {
			_, err := w.stable.Blob(t.Context(), digest.FromBytes(bytesOf(1, 40)))
			return 1, err
		},
		"manifests": func(w *world, a artifact) (int, error) {
			page, _, err := w.stable.Manifests(t.Context(), "", 10)
			return len(page) - len(a.nodes) + 1, err
		},
		"referrers": func(w *world, a artifact) (int, error) {
			page, _, err := w.stable.Referrers(t.Context(), a.root.Digest, "", "", 10)
			return len(page), err
		},
	} {
		w := newWorld(t, nil)
		a := w.artifact(1, "a")
		if err := w.stage("p", a); err != nil {
			t.Fatal(err)
		}
		if err := w.commit("p", a, "v1"); err != nil {
			t.Fatal(err)
		}
		finished := false
		w.catalog.onGet(func(keys []string) {
			if !finished && len(keys) > 0 && strings.HasPrefix(keys[0], "committed/") {
				finished = true
				if err := w.stable.Arrival("p").Finish(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		if n, err := read(w, a); err != nil || n != 1 || !finished {
			t.Errorf("%s while it is finished (%v): %d, %v", name, finished, n, err)
		}
	}
}

// Manifests of more blobs and children than fit one transaction arrive whole, and go whole.
func TestArrivalWide(t *testing.T) {
	w := newWorld(t, nil)
	layers := w.pushLayers(90)
	var children []ocispec.Descriptor
	var a artifact
	add := func(body []byte, depth int) ocispec.Descriptor {
		m, err := oci.ParseManifest("", body)
		if err != nil {
			t.Fatal(err)
		}
		d := w.manifest(w.dev, "", body)
		a.nodes, a.all = append(a.nodes, tiers.Arriving{Descriptor: d, Manifest: m, Depth: depth}), append(a.all, d.Digest)
		return d
	}
	for _, l := range layers {
		a.all = append(a.all, l.Digest)
	}
	for i := range 55 {
		children = append(children, add(image(layers[i], nil, ""), 0))
	}
	add(image(layers[0], nil, "", layers...), 0)
	a.root = add(index(children...), 1)
	for _, id := range []string{"p", "q"} {
		if err := w.stage(id, a); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.stable.Arrival("p").Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.commit("q", a, "v1"); err != nil {
		t.Fatal(err)
	}
	w.audit(false)
	if err := w.stable.Arrival("q").Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
	if err := w.stage("r", w.artifact(7, "r")); err != nil {
		t.Fatal(err)
	}
	if err := w.stable.Arrival("r").Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
}

// However many blobs a manifest needs, it arrives and goes. The registry looks at their records
// alone, and no other part of this is of interest here: no bytes stand behind them.
func TestArrivalVeryWide(t *testing.T) {
	w := newWorld(t, nil)
	const n = 2200
	layers := layersOf(n)
	for chunk := range slices.Chunk(layers, 100) {
		var change tiers.Change
		for _, l := range chunk {
			change.Put = append(change.Put, tiers.Put{Key: blobKey(w.stable.Tier, l.Digest), Value: fmt.Appendf(nil, `{"key":"blobs/x","size":%d}`, l.Size)})
		}
		if _, err := w.catalog.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	body := image(layers[0], nil, "", layers...)
	root := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if _, err := w.Store(t.Context(), w.stable.Tier, root.Digest, body); err != nil {
		t.Fatal(err)
	}
	a := artifact{root: root, nodes: []tiers.Arriving{{Descriptor: root, Manifest: w.parse(body)}}, all: []digest.Digest{root.Digest}}
	references := func() (found int) {
		for _, record := range w.catalog.all(t, "store/") {
			if strings.HasSuffix(record.Key, "@"+root.Digest.String()) {
				found++
			}
		}
		return found
	}
	for _, end := range []string{"rollback", "finish"} {
		if err := w.stage(end, a); err != nil {
			t.Fatal(err)
		}
		w.wantShown(a, 0, "staged")
		if got := references(); got != n {
			t.Errorf("%d blobs are kept, want %d", got, n)
		}
		if end == "rollback" {
			if err := w.stable.Arrival(end).Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := w.catalog.all(t, "tier/stable/"); len(left) != 0 || references() != 0 {
				t.Errorf("%d records are left", len(left)+references())
			}
			continue
		}
		if err := w.commit(end, a, "v1"); err != nil {
			t.Fatal(err)
		}
		if err := w.stable.Arrival(end).Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantShown(a, 1, "finished")
	}
}

// Manifests of one arrival that share a blob are staged side by side, whatever their number:
// the first marks the blob, and the others leave the mark alone.
func TestArrivalSharedBlob(t *testing.T) {
	w := newWorld(t, nil)
	shared := w.blob(w.dev, []byte("{}"))
	const n = 40
	var nodes []tiers.Arriving
	for i := range uint64(n) {
		layer := w.blob(w.dev, bytesOf(i, 30))
		body := image(shared, nil, "", layer)
		d := w.manifest(w.dev, "", body)
		m, err := oci.ParseManifest("", body)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, tiers.Arriving{Descriptor: d, Manifest: m})
		for _, need := range []digest.Digest{shared.Digest, layer.Digest, d.Digest} {
			if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, need, "test", "alice"); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.catalog.onCommit(func(tiers.Change) { time.Sleep(2 * time.Millisecond) }) // a slow store: more meet
	arrival := w.stable.Arrival("shared")
	errs := make(chan error, n)
	turns := make(chan struct{}, 8)
	for _, node := range nodes {
		turns <- struct{}{}
		go func() {
			errs <- arrival.Stage(t.Context(), node)
			<-turns
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	w.catalog.onCommit(nil)
	if err := arrival.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.audit(false)
}

// So many manifests as fit go into one transaction, whatever they hold, and all of them
// are found again by whoever ends the arrival.
func TestArrivalBatches(t *testing.T) {
	for _, end := range []string{"finish", "rollback"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t, nil)
			layers := w.pushLayers(60)
			var a artifact
			for i := range 90 {
				subject := missing(ocispec.MediaTypeImageManifest)
				body := image(layers[0], &subject, fmt.Sprint("application/x.n", i), layers[:i%20]...)
				switch i {
				case 30:
					body = image(layers[0], nil, "", layers...) // wide
				case 40:
					body = image(layers[0], &subject, "application/"+strings.Repeat("x", 300<<10))
				case 50:
					body = index()
				}
				d := w.manifest(w.dev, "", body)
				m := w.parse(body)
				a.nodes = append(a.nodes, tiers.Arriving{Descriptor: d, Manifest: m, Depth: len(m.Children)})
				a.all = append(a.all, d.Digest)
			}
			for _, l := range layers {
				a.all = append(a.all, l.Digest)
			}
			a.root = a.nodes[0].Descriptor
			if err := w.stage("p", a); err != nil {
				t.Fatal(err)
			}
			if n := len(w.catalog.all(t, "staged/")); n < 10 || n > 40 {
				t.Errorf("%d transactions for %d manifests", n, len(a.nodes))
			}
			w.wantShown(a, 0, "staged")
			if end == "rollback" {
				if err := w.stable.Arrival("p").Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
				if left := w.catalog.all(t, "tier/stable/"); len(left) != 0 {
					t.Errorf("records are left: %v", left)
				}
			} else {
				if err := w.commit("p", a, "v1"); err != nil {
					t.Fatal(err)
				}
				w.wantShown(a, 1, "committed")
				if err := w.stable.Arrival("p").Finish(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.wantShown(a, 1, "finished")
			}
			w.audit(true)
		})
	}
}

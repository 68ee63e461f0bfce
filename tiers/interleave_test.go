package tiers_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// eachInterleaving is eachInterleavingOf with the configuration as it is.
func eachInterleaving(t *testing.T, prepare func(w *world), work, meanwhile func(w *world) error, check func(w *world)) {
	t.Helper()
	eachInterleavingOf(t, nil, prepare, work, meanwhile, check)
}

// eachInterleavingOf runs work once for every change that it commits, with meanwhile done
// whole just before that change, and once alone; edit, where not nil, changes the
// configuration. check, where not nil, sees the world in which both were done.
func eachInterleavingOf(t *testing.T, edit func(*tiers.Config), prepare func(w *world), work, meanwhile func(w *world) error, check func(w *world)) {
	t.Helper()
	buckets := map[string]tiers.Bucket{"dev": stores.Bucket(t), "stable": stores.Bucket(t)}
	for n, more := 1, true; more; n++ {
		if n > 100 {
			t.Fatal("the work never ends")
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorldOn(t, buckets, edit)
			prepare(w)
			i := 0
			w.catalog.onCommit(func(tiers.Change) {
				if i++; i == n {
					w.catalog.onCommit(nil)
					if err := meanwhile(w); expected(err) != nil {
						t.Errorf("meanwhile: %v", err)
					}
				}
			})
			if err := work(w); expected(err) != nil {
				t.Errorf("work: %v", err)
			}
			w.catalog.onCommit(nil)
			w.audit(false)
			if more = i >= n; more && check != nil {
				check(w)
			}
		})
	}
}

// expected lets pass what one of two requests that contradict each other may be told.
func expected(err error) error {
	for _, e := range []error{oci.ErrManifestUnknown, oci.ErrBlobUnknown, oci.ErrUnsupported, oci.ErrManifestReference} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// Requests that contradict each other, at every point of one of them: the audit finds the
// catalog whole whoever wins.
func TestPushAndDeleteInterleaved(t *testing.T) {
	all := layersOf(55)
	small, wide := image(all[0], nil, "", all[1]), image(all[0], nil, "", all...)
	child := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(small), Size: int64(len(small))}
	evidence := image(all[0], &child, evidenceType)
	push := func(tag string, body []byte) func(w *world) error {
		return func(w *world) error { _, err := w.dev.PutManifest(w.t.Context(), tag, "", "", body); return err }
	}
	remove := func(body []byte) func(w *world) error {
		return func(w *world) error { return w.dev.DeleteManifest(w.t.Context(), digest.FromBytes(body)) }
	}
	removeBlob := func(i int) func(w *world) error {
		return func(w *world) error { return w.dev.DeleteBlob(w.t.Context(), all[i].Digest) }
	}
	tag := func(w *world) error { return w.dev.Tag(w.t.Context(), child, "v2") }
	untag := func(w *world) error { return w.dev.DeleteTag(w.t.Context(), "v1") }
	for name, c := range map[string]struct {
		before          [][]byte // manifests that are there
		work, meanwhile func(w *world) error
	}{
		"push, a blob goes":                  {nil, push("v1", small), removeBlob(1)},
		"wide push, a blob goes":             {nil, push("v1", wide), removeBlob(54)},
		"wide push, the same":                {nil, push("v1", wide), push("v2", wide)},
		"wide push, the same goes":           {[][]byte{wide}, push("v2", wide), remove(wide)},
		"a blob goes, push":                  {nil, removeBlob(1), push("v1", small)},
		"a blob goes, wide push":             {nil, removeBlob(54), push("v1", wide)},
		"push of an index, its child goes":   {[][]byte{small}, push("multi", index(child)), remove(small)},
		"a child goes, push of its index":    {[][]byte{small}, remove(small), push("multi", index(child))},
		"delete, tag":                        {[][]byte{small}, remove(small), tag},
		"delete, push under another tag":     {[][]byte{small}, remove(small), push("v2", small)},
		"delete, untag":                      {[][]byte{small}, remove(small), untag},
		"delete, delete":                     {[][]byte{small}, remove(small), remove(small)},
		"delete, the tag moves on":           {[][]byte{small}, remove(small), push("v1", wide)},
		"tag, delete":                        {[][]byte{small}, tag, remove(small)},
		"push under another tag, delete":     {[][]byte{small}, push("v2", small), remove(small)},
		"untag, the tag moves on":            {[][]byte{small}, untag, push("v1", wide)},
		"push over a tag, the old one goes":  {[][]byte{small}, push("v1", wide), remove(small)},
		"delete wide, push it":               {[][]byte{wide}, remove(wide), push("v2", wide)},
		"push, another under its tag":        {nil, push("v1", small), push("v1", image(all[1], nil, ""))},
		"tag, another under it":              {[][]byte{small}, tag, push("v2", image(all[1], nil, ""))},
		"evidence goes, its subject comes":   {[][]byte{evidence}, remove(evidence), push("v2", small)},
		"a subject goes, its evidence comes": {[][]byte{small}, remove(small), push("v2", evidence)},
	} {
		t.Run(name, func(t *testing.T) {
			eachInterleaving(t, func(w *world) {
				blobs := 2
				if strings.Contains(name, "wide") || strings.Contains(name, "moves on") || strings.Contains(name, "over a tag") {
					blobs = len(all)
				}
				w.pushLayers(blobs)
				for _, body := range c.before {
					w.manifest(w.dev, "v1", body)
				}
			}, c.work, c.meanwhile, func(w *world) {
				_, evidenceGone := w.dev.Resolve(w.t.Context(), digest.FromBytes(evidence).String())
				_, subjectGone := w.dev.Resolve(w.t.Context(), child.Digest.String())
				if name == "evidence goes, its subject comes" && evidenceGone != nil && subjectGone == nil {
					for _, e := range w.events() { // it may only have gone first
						if e.Type == tiers.EventManifestDeleted {
							return
						}
						if e.Digest == child.Digest {
							w.t.Error("evidence went although its subject was there")
						}
					}
				}
			})
		})
	}
}

// An arrival that stages what another one takes away, or finishes, at every point of it.
func TestArrivalsInterleaved(t *testing.T) {
	layers := layersOf(55) // two batches
	var a artifact
	prepare := func(w *world) {
		store := func(d digest.Digest, body []byte) {
			if _, err := w.Store(w.t.Context(), w.stable.Tier, d, body); err != nil {
				w.t.Fatal(err)
			}
		}
		for i, l := range layers {
			store(l.Digest, layerOf(i))
		}
		subject := missing(ocispec.MediaTypeImageManifest)
		body := image(layers[0], &subject, evidenceType, layers...)
		m, err := oci.ParseManifest("", body)
		if err != nil {
			w.t.Fatal(err)
		}
		root := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		store(root.Digest, body)
		a = artifact{root: root, nodes: []tiers.Arriving{{Descriptor: root, Manifest: m}}}
	}
	staged := func(w *world, id string) error { return w.stable.Arrival(id).Stage(w.t.Context(), a.nodes[0]) }
	then := func(w *world, id, end string) error {
		if end == "rollback" {
			return w.stable.Arrival(id).Rollback(w.t.Context())
		}
		if err := w.commit(id, a, "v1"); err != nil {
			return err
		}
		return w.stable.Arrival(id).Finish(w.t.Context())
	}
	for _, end := range []string{"rollback", "finish"} {
		for _, half := range []bool{false, true} { // p was cut off behind its first batch
			if half && end == "finish" {
				continue
			}
			t.Run(fmt.Sprintf("stage, %s of the other, half %v", end, half), func(t *testing.T) {
				eachInterleaving(t, func(w *world) {
					prepare(w)
					if half {
						w.faults.arm(1, false)
					}
					if err := staged(w, "p"); (err != nil) != half {
						w.t.Fatal(err)
					}
					w.faults.disarm()
				}, func(w *world) error { return staged(w, "q") },
					func(w *world) error { return then(w, "p", end) },
					func(w *world) {
						if end == "finish" { // what is seen is never hidden again
							w.wantShown(a, 1, "the other finished")
						}
						if err := then(w, "q", "finish"); err != nil {
							w.t.Error(err)
						}
						w.wantShown(a, 1, "finished")
						w.audit(true)
					})
			})
		}
		t.Run("rollback, stage and "+end+" of the other", func(t *testing.T) {
			eachInterleaving(t, func(w *world) {
				prepare(w)
				if err := staged(w, "p"); err != nil {
					w.t.Fatal(err)
				}
			}, func(w *world) error { return then(w, "p", "rollback") },
				func(w *world) error { return errors.Join(staged(w, "q"), then(w, "q", end)) },
				func(w *world) {
					if end == "finish" {
						w.wantShown(a, 1, "finished")
					} else {
						w.wantShown(a, 0, "rolled back")
					}
					w.audit(true)
				})
		})
	}
	t.Run("stage, taken away between two batches", func(t *testing.T) { // by who takes it for dead; no fence stops it here
		w := newWorld(t, nil)
		prepare(w)
		commits := 0
		w.catalog.onCommit(func(tiers.Change) { commits++ })
		w.catalog.onGet(func([]string) {
			if commits == 1 {
				w.catalog.onGet(nil)
				if err := then(w, "p", "rollback"); err != nil {
					t.Error(err)
				}
			}
		})
		if err := errors.Join(staged(w, "p"), then(w, "p", "finish")); err != nil {
			t.Fatal(err)
		}
		w.wantShown(a, 1, "finished")
		w.audit(true)
	})
	for _, first := range []string{"p", "q"} {
		t.Run("both go, q cut off behind its first batch, "+first+" first", func(t *testing.T) {
			other := map[string]string{"p": "q", "q": "p"}[first]
			eachInterleaving(t, func(w *world) {
				prepare(w)
				if err := staged(w, "p"); err != nil {
					w.t.Fatal(err)
				}
				w.faults.arm(1, false)
				if err := staged(w, "q"); err == nil {
					w.t.Fatal("q was not cut off")
				}
				w.faults.disarm()
			}, func(w *world) error { return then(w, first, "rollback") }, func(w *world) error { return then(w, other, "rollback") },
				func(w *world) {
					w.audit(true)
					for _, record := range w.catalog.all(w.t, "") {
						if strings.HasPrefix(record.Key, "staged/") || strings.HasSuffix(record.Key, "@"+a.root.Digest.String()) {
							w.t.Errorf("%s is left", record.Key)
						}
					}
				})
		})
	}
	// Only the blobs are shared; and one that was cut off before its manifest.
	other := func(w *world, id string) error {
		body := image(layers[0], nil, "application/x.other", layers...)
		m, err := oci.ParseManifest("", body)
		if err != nil {
			return err
		}
		root := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		if _, err := w.Store(w.t.Context(), w.stable.Tier, root.Digest, body); err != nil {
			return err
		}
		return w.stable.Arrival(id).Stage(w.t.Context(), tiers.Arriving{Descriptor: root, Manifest: m})
	}
	show := func(w *world, id string) {
		var change tiers.Change
		w.stable.Arrival(id).Change(&change)
		if _, err := w.catalog.Commit(w.t.Context(), change); err != nil {
			w.t.Error(err)
		}
		w.audit(false)
		if err := w.stable.Arrival(id).Finish(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
	t.Run("rollback, another with the same blobs", func(t *testing.T) {
		eachInterleaving(t, func(w *world) {
			prepare(w)
			if err := staged(w, "p"); err != nil {
				w.t.Fatal(err)
			}
		}, func(w *world) error { return then(w, "p", "rollback") }, func(w *world) error { return other(w, "q") }, func(w *world) {
			show(w, "q")
			w.audit(true)
		})
	})
	t.Run("rollback of what was cut off, the same by another", func(t *testing.T) {
		eachInterleaving(t, func(w *world) {
			prepare(w)
			if err := other(w, "o"); err != nil { // so that the blobs are seen already
				w.t.Fatal(err)
			}
			show(w, "o")
			w.faults.arm(1, false)
			if err := staged(w, "p"); err == nil {
				w.t.Fatal("it was not cut off")
			}
			w.faults.disarm()
		}, func(w *world) error { return then(w, "p", "rollback") },
			func(w *world) error { return errors.Join(staged(w, "q"), then(w, "q", "finish")) },
			func(w *world) {
				w.wantShown(a, 1, "finished")
				w.audit(true)
			})
	})
	t.Run("stage of a manifest alone, finish of the other", func(t *testing.T) {
		body := index()
		m, err := oci.ParseManifest("", body)
		if err != nil {
			t.Fatal(err)
		}
		root := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		eachInterleaving(t, func(w *world) {
			a = artifact{root: root, nodes: []tiers.Arriving{{Descriptor: root, Manifest: m, Depth: 1}}}
			if _, err := w.Store(w.t.Context(), w.stable.Tier, root.Digest, body); err != nil {
				w.t.Fatal(err)
			}
			if err := staged(w, "p"); err != nil {
				w.t.Fatal(err)
			}
		}, func(w *world) error { return staged(w, "q") }, func(w *world) error { return then(w, "p", "finish") },
			func(w *world) { w.wantShown(a, 1, "the other finished") })
	})
	t.Run("rollback, the same again", func(t *testing.T) {
		again := func(w *world) error { return then(w, "p", "rollback") }
		eachInterleaving(t, func(w *world) {
			prepare(w)
			if err := staged(w, "p"); err != nil {
				w.t.Fatal(err)
			}
		}, again, again, func(w *world) { w.audit(true) })
	})
	t.Run("finish, the same again", func(t *testing.T) {
		again := func(w *world) error { return w.stable.Arrival("p").Finish(w.t.Context()) }
		eachInterleaving(t, func(w *world) {
			prepare(w)
			if err := errors.Join(staged(w, "p"), w.commit("p", a, "v1")); err != nil {
				w.t.Fatal(err)
			}
		}, again, again, func(w *world) { w.wantShown(a, 1, "finished"); w.audit(true) })
	})
}

// The same where a batch holds several manifests: of two arrivals, the manifests of one are
// all of the other's, or share its blobs.
func TestArrivalBatchesInterleaved(t *testing.T) {
	then := func(w *world, id string, a artifact, end string) error {
		if end == "rollback" {
			return w.stable.Arrival(id).Rollback(w.t.Context())
		}
		if err := w.commit(id, a, "tag-"+id); err != nil {
			return err
		}
		return w.stable.Arrival(id).Finish(w.t.Context())
	}
	for _, same := range []bool{true, false} {
		for _, end := range []string{"rollback", "finish"} {
			var p, q artifact
			prepare := func(w *world) {
				p = w.artifact(1, "a")
				if q = p; !same {
					q = w.artifact(1, "b")
				}
				if err := w.stage("p", p); err != nil {
					w.t.Fatal(err)
				}
			}
			t.Run(fmt.Sprintf("stage, %s of the other, same %v", end, same), func(t *testing.T) {
				eachInterleaving(t, prepare, func(w *world) error { return w.stage("q", q) },
					func(w *world) error { return then(w, "p", p, end) },
					func(w *world) {
						if err := then(w, "q", q, "finish"); err != nil {
							w.t.Error(err)
						}
						w.wantShown(q, 1, "finished")
						w.audit(true)
					})
			})
			t.Run(fmt.Sprintf("rollback, stage and %s of the other, same %v", end, same), func(t *testing.T) {
				eachInterleaving(t, prepare, func(w *world) error { return then(w, "p", p, "rollback") },
					func(w *world) error { return errors.Join(w.stage("q", q), then(w, "q", q, end)) },
					func(w *world) {
						if end == "finish" {
							w.wantShown(q, 1, "finished")
						} else {
							w.wantShown(q, 0, "rolled back")
						}
						w.audit(true)
					})
			})
		}
	}
}

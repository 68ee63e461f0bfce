package tiers_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// takes says whether a change deletes a key with all of the parts in it.
func takes(c tiers.Change, parts ...string) bool {
	return slices.ContainsFunc(c.Delete, func(key string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(key, part) })
	})
}

// puts says whether a change writes a key that begins with prefix.
func puts(c tiers.Change, prefix string) bool {
	return slices.ContainsFunc(c.Put, func(p tiers.Put) bool { return strings.HasPrefix(p.Key, prefix) })
}

// beforeCommit has f called once, ahead of the first change that is the one.
func (w *world) beforeCommit(is func(tiers.Change) bool, f func(tiers.Change)) {
	w.catalog.onCommit(func(c tiers.Change) {
		if is(c) {
			w.catalog.onCommit(nil)
			f(c)
		}
	})
}

// delete deletes records past everything that keeps them.
func (w *world) delete(keys ...string) {
	w.t.Helper()
	if _, err := w.catalog.Catalog.Commit(w.t.Context(), tiers.Change{Delete: keys}); err != nil {
		w.t.Fatal(err)
	}
}

// giveUp takes away the objects whose intents a change is about to delete, as collection does
// with those that are too old.
func (w *world) giveUp(b *bucket, c tiers.Change) {
	w.t.Helper()
	for _, key := range c.Delete {
		if _, object, ok := strings.Cut(key, "/intent/"); ok {
			w.delete(key)
			if err := b.Delete(w.t.Context(), object); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// A blob whose object was given up while it was sent is not recorded.
func TestWholeUploadGivenUp(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 100)
	d := digest.FromBytes(data)
	w.beforeCommit(func(c tiers.Change) bool {
		return takes(c, "/intent/") && puts(c, "store/"+w.dev.Tier.Store()+"/blob/")
	},
		func(c tiers.Change) { w.giveUp(w.buckets["dev"], c) })
	if err := w.upload(w.dev, data, []chunk{{size: 100, final: true}}, d); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrUploadUnknown)
	}
	if _, err := w.dev.Blob(t.Context(), d); !errors.Is(err, oci.ErrBlobUnknown) {
		t.Errorf("the blob: %v, want %v", err, oci.ErrBlobUnknown)
	}
	w.audit(false)
	if err := w.upload(w.dev, data, []chunk{{size: 100, final: true}}, d); err != nil {
		t.Error(err)
	}
	w.audit(true)
}

// An object that nobody recorded is named for as long as it is there, whatever fails.
func TestWithdrawFaults(t *testing.T) {
	data := bytesOf(1, 100)
	d := digest.FromBytes(data)
	var object string
	eachFault(t, func(w *world) {
		var err error
		if object, err = w.Announce(w.t.Context(), w.dev.Tier, d, "test", "alice"); err != nil {
			w.t.Fatal(err)
		}
		if err := w.dev.Tier.Bucket.Put(w.t.Context(), object, bytes.NewReader(data), 100); err != nil {
			w.t.Fatal(err)
		}
	}, func(w *world) {
		_ = w.Withdraw(w.t.Context(), w.dev.Tier, d, object) // of a fault the audit tells what is left
		w.audit(false)
	})
}

// Contents whose objects were given up while they were copied come again, under other keys.
func TestBringGivenUp(t *testing.T) {
	w := newWorld(t, nil)
	var all []digest.Digest
	for i := range 5 {
		all = append(all, w.blob(w.dev, bytesOf(uint64(i), 50)).Digest)
	}
	w.beforeCommit(func(c tiers.Change) bool { return puts(c, "store/"+w.stable.Tier.Store()+"/blob/") },
		func(c tiers.Change) { w.giveUp(w.buckets["stable"], c) })
	if err := w.bringSome(all); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
}

// Nothing is staged of which the bytes have gone.
func TestStageCondemned(t *testing.T) {
	w := newWorld(t, nil)
	a := w.artifact(1, "a")
	for _, d := range a.all {
		if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); err != nil {
			t.Fatal(err)
		}
	}
	layer := a.nodes[0].Manifest.Layers[0].Digest
	w.beforeCommit(func(c tiers.Change) bool { return puts(c, "staged/") },
		func(tiers.Change) { w.delete("store/" + w.stable.Tier.Store() + "/blob/" + layer.String()) })
	if err := w.stable.Arrival("p").Stage(t.Context(), a.nodes...); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("%v, want %v", err, oci.ErrConflict)
	}
	if left := w.catalog.all(t, "tier/stable/"); len(left) != 0 {
		t.Errorf("it was staged: %v", left)
	}
}

// A link that nothing needs may go while a manifest is staged that will need it: it comes
// back.
func TestStageUnlinked(t *testing.T) {
	w := newWorld(t, nil)
	first, second := w.artifact(1, "a"), w.artifact(1, "b") // of the same blobs
	if err := errors.Join(w.stage("p", first), w.commit("p", first, "v1"), w.stable.Arrival("p").Finish(t.Context())); err != nil {
		t.Fatal(err)
	}
	layer := second.nodes[0].Manifest.Layers[0].Digest
	w.beforeCommit(func(c tiers.Change) bool { return puts(c, "staged/") },
		func(tiers.Change) { w.delete("tier/stable/link/acme/app@" + layer.String()) })
	if err := errors.Join(w.stage("q", second), w.commit("q", second, "v2"), w.stable.Arrival("q").Finish(t.Context())); err != nil {
		t.Fatal(err)
	}
	w.wantShown(second, 1, "finished")
	w.audit(true)
}

// What goes from its source, or altogether, while it is mounted is not mounted.
func TestMountInterleaved(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world, d digest.Digest) error{
		"the source deletes it": func(w *world, d digest.Digest) error { return w.repo("dev", "acme/from").DeleteBlob(w.t.Context(), d) },
		"its bytes go": func(w *world, d digest.Digest) error {
			w.delete("store/" + w.dev.Tier.Store() + "/blob/" + d.String())
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			d := w.blob(w.repo("dev", "acme/from"), bytesOf(1, 40)).Digest
			w.beforeCommit(func(c tiers.Change) bool { return puts(c, "tier/dev/link/acme/app@") }, func(tiers.Change) {
				if err := meanwhile(w, d); err != nil {
					t.Error(err)
				}
			})
			if ok, err := w.dev.Mount(t.Context(), w.repo("dev", "acme/from"), d); ok || err != nil {
				t.Errorf("mounted %v, %v", ok, err)
			}
			if _, err := w.dev.Blob(t.Context(), d); !errors.Is(err, oci.ErrBlobUnknown) {
				t.Errorf("the blob: %v, want %v", err, oci.ErrBlobUnknown)
			}
		})
	}
}

package tiers_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// reliance is a request that relies on bytes which the next collection would take. do says
// whether it was told that it may; then holds must stay true.
type reliance struct {
	prepare func(w *world)
	do      func(w *world) (told bool, err error)
	holds   func(w *world) error
}

// lapsedBlob is the blob that everybody relies on.
func lapsedBlob() (ocispec.Descriptor, []byte) {
	data := bytesOf(7, 40)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}, data
}

// unless lets pass the errors by which a request is told that the bytes are not there.
func unless(err error, refusals ...error) (told bool, other error) {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return false, nil
		}
	}
	return err == nil, err
}

func readable(r func(w *world) *tiers.Repository, d ocispec.Descriptor) func(w *world) error {
	return func(w *world) error {
		rc, err := r(w).Fetch(w.t.Context(), d)
		if err != nil {
			return err
		}
		defer rc.Close()
		verifier := d.Digest.Verifier()
		if _, err := io.Copy(verifier, rc); err != nil {
			return err
		}
		if !verifier.Verified() {
			return oci.ErrCorrupt
		}
		return nil
	}
}

func reliances() map[string]reliance {
	blob, data := lapsedBlob()
	small := image(blob, nil, "")
	manifest := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(small), Size: int64(len(small))}
	wide := image(blob, nil, "", layersOf(55)...)
	dev := func(w *world) *tiers.Repository { return w.dev }
	other := func(w *world) *tiers.Repository { return w.repo("dev", "acme/other") }
	push := func(w *world) { w.blob(w.dev, data) }
	put := func(body []byte) func(w *world) (bool, error) {
		return func(w *world) (bool, error) {
			_, err := w.dev.PutManifest(w.t.Context(), "v1", "", "", body)
			return unless(err, oci.ErrManifestReference)
		}
	}
	return map[string]reliance{
		"push of a manifest": {push, put(small), readable(dev, blob)},
		"push of a wide manifest": {func(w *world) { push(w); w.pushLayers(55) }, put(wide),
			readable(dev, layersOf(55)[54])},
		"push of a manifest that was deleted": {func(w *world) {
			push(w)
			if err := w.dev.DeleteManifest(w.t.Context(), w.manifest(w.dev, "v1", small).Digest); err != nil {
				w.t.Fatal(err)
			}
		}, put(small), readable(dev, manifest)},
		"upload": {push, func(w *world) (bool, error) { return unless(w.dev.Push(w.t.Context(), blob, stream(data))) }, readable(dev, blob)},
		"upload in parts": {push, func(w *world) (bool, error) {
			return unless(w.upload(w.dev, data, chunks(2, 20), blob.Digest))
		}, readable(dev, blob)},
		"mount": {push, func(w *world) (bool, error) { return other(w).Mount(w.t.Context(), w.dev, blob.Digest) }, readable(other, blob)},
		"HEAD": {push, func(w *world) (bool, error) {
			_, err := w.dev.Promise(w.t.Context(), blob.Digest)
			return unless(err, oci.ErrBlobUnknown)
		}, readable(dev, blob)},
		"Exists": {push, func(w *world) (bool, error) { return w.dev.Exists(w.t.Context(), blob) }, readable(dev, blob)},
		"pin": {push, func(w *world) (bool, error) {
			return unless(w.Pin(w.t.Context(), w.dev.Tier, []digest.Digest{blob.Digest}, "p", true), oci.ErrConflict)
		}, func(w *world) error {
			_, err := w.Bring(w.t.Context(), w.dev.Tier, w.stable.Tier, blob.Digest, "test", "alice")
			return err
		}},
		"arrival": {func(w *world) {
			for d, body := range map[digest.Digest][]byte{blob.Digest: data, manifest.Digest: small} {
				if _, err := w.Store(w.t.Context(), w.stable.Tier, d, body); err != nil {
					w.t.Fatal(err)
				}
			}
		}, arrive(manifest, small, blob, data), readable(func(w *world) *tiers.Repository { return w.stable }, blob)},
		"arrival of a blob that is shown": {func(w *world) {
			if err := w.stable.AsRegistry().Push(w.t.Context(), blob, stream(data)); err != nil {
				w.t.Fatal(err)
			}
		}, arrive(manifest, small, blob, data), readable(func(w *world) *tiers.Repository { return w.stable }, blob)},
	}
}

// arrive brings a manifest to stable as a promotion does: pinned, stored, staged, committed.
func arrive(manifest ocispec.Descriptor, body []byte, blob ocispec.Descriptor, data []byte) func(w *world) (bool, error) {
	return func(w *world) (bool, error) {
		ctx, t := w.t.Context(), w.stable.Tier
		if err := w.Pin(ctx, t, []digest.Digest{blob.Digest, manifest.Digest}, "p", false); err != nil {
			return false, err
		}
		for d, content := range map[digest.Digest][]byte{blob.Digest: data, manifest.Digest: body} {
			if _, err := w.Store(ctx, t, d, content); err != nil {
				return false, err
			}
		}
		m, err := oci.ParseManifest("", body)
		if err != nil {
			return false, err
		}
		arrival := w.stable.Arrival("p")
		if err := arrival.Stage(ctx, tiers.Arriving{Descriptor: manifest, Manifest: m}); err != nil {
			return false, err
		}
		var change tiers.Change
		arrival.Change(&change)
		if _, err := w.catalog.Commit(ctx, change); err != nil {
			return false, err
		}
		return true, errors.Join(arrival.Finish(ctx), w.Unpin(ctx, "p"))
	}
}

// Whoever relies on bytes that nothing needs and nobody was promised, at every point of the
// collection that takes them, and a collection at every point of his request: he is told
// that they are not there, or they stay.
func TestCollectWhileReliedUpon(t *testing.T) {
	for name, r := range reliances() {
		for _, collector := range []string{"paused", "between"} {
			t.Run(name+", the collector "+collector, func(t *testing.T) {
				t.Parallel()
				told := false
				rely := func(w *world) (err error) { told, err = r.do(w); return err }
				collect := func(w *world) error {
					_, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil)
					return err
				}
				work, meanwhile := collect, rely
				if collector == "between" {
					work, meanwhile = rely, collect
				}
				eachInterleaving(t, func(w *world) {
					told = false
					r.prepare(w)
					w.release()
					w.pass(lapsed)
				}, work, meanwhile, func(w *world) {
					w.stays(told, r.holds)
				})
			})
		}
	}
}

// stays collects what was condemned: what somebody was told is there must be there still.
func (w *world) stays(told bool, holds func(w *world) error) {
	w.t.Helper()
	for range 2 {
		w.pass(drained)
		if _, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	w.audit(false)
	if !told {
		return
	}
	if err := holds(w); err != nil {
		w.t.Errorf("it was told that the bytes are there, and they are not: %v", err)
	}
}

// A promise is kept to its end, and to the end of what is told shortly before it is renewed.
func TestPromise(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	blob, data := lapsedBlob()
	w.blob(w.dev, data)
	const promise, grain = 24 * time.Hour, time.Hour
	for range 3 { // told just before it would be written down again
		w.pass(grain - time.Second)
		if _, err := w.dev.Promise(t.Context(), blob.Digest); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Second)
	}
	w.pass(promise - 3*time.Second)
	if c := w.collect(); len(gone(c)) != 0 {
		t.Errorf("%v go before the promise has passed", gone(c))
	}
	if err := readable(func(w *world) *tiers.Repository { return w.dev }, blob)(w); err != nil {
		t.Error(err)
	}
	// To pull it, and to mount nothing, promises nothing.
	w.read(w.dev, blob.Digest)
	w.pass(4 * grain)
	if c := w.collect(); gone(c)[tiers.SweepLinks] != 1 || gone(c)[tiers.SweepBlobs] != 1 {
		t.Errorf("%v go behind the promise", gone(c))
	}
	if _, err := w.dev.Promise(t.Context(), blob.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
		t.Errorf("of what was condemned HEAD says %v", err)
	}
	w.blob(w.dev, data) // while the former object drains
	w.pass(drained)
	w.collect()
	if err := readable(func(w *world) *tiers.Repository { return w.dev }, blob)(w); err != nil {
		t.Error("the object of a later push went with the former one:", err)
	}
	w.wantOnlyBlobs()
}

// A promise that is renewed by many at once is renewed for all.
func TestPromiseAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	blob, data := lapsedBlob()
	w.blob(w.dev, data)
	w.pass(2 * time.Hour)
	var group errgroup.Group
	for range 20 {
		group.Go(func() error { _, err := w.dev.Promise(context.Background(), blob.Digest); return err })
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// A session that has ended answers a repeated request with success only while the blob is
// there.
func TestFinishAgainAfterCollection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tiers.Config) { c.Collection.Promise = time.Minute })
	blob, data := lapsedBlob()
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.whole(u.ID, data, blob.Digest); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Minute)
	w.collect()
	if err := w.whole(u.ID, data, blob.Digest); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("the blob was collected, and the repeated request is answered with %v", err)
	}
	w.blob(w.dev, data)
	if err := w.whole(u.ID, data, blob.Digest); err != nil {
		t.Error(err)
	}
}

// A promise brings nothing back that was taken away while it was given.
func TestPromiseBringsNothingBack(t *testing.T) {
	t.Parallel()
	blob, data := lapsedBlob()
	for name, take := range map[string]func(w *world) error{
		"the right to read": func(w *world) error { return w.dev.DeleteBlob(w.t.Context(), blob.Digest) },
		"the bytes": func(w *world) error {
			_, err := w.catalog.Commit(w.t.Context(), tiers.Change{Delete: []string{"store/" + w.dev.Tier.Store() + "/blob/" + blob.Digest.String()}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.blob(w.dev, data)
			w.pass(lapsed)
			w.catalog.onCommit(func(tiers.Change) {
				w.catalog.onCommit(nil)
				if err := take(w); err != nil {
					t.Error(err)
				}
			})
			if _, err := w.dev.Promise(t.Context(), blob.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
				t.Errorf("%v, want %v", err, oci.ErrBlobUnknown)
			}
			if _, err := w.dev.Blob(t.Context(), blob.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
				t.Errorf("it came back: %v", err)
			}
		})
	}
}

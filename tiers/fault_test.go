package tiers_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// again does what a client does whose request failed for the store's sake: the same again.
func (w *world) again(what string, do func() error) {
	w.t.Helper()
	for range 4 {
		err := do()
		w.audit(false)
		if err == nil {
			return
		}
		if !errors.Is(err, oci.ErrUnavailable) {
			w.t.Fatalf("%s: %v", what, err)
		}
	}
	w.t.Fatalf("%s never came to its end", what)
}

// Whatever write of a push fails, either way, a second push makes it whole.
func TestPushFaults(t *testing.T) {
	var layers []ocispec.Descriptor
	var child ocispec.Descriptor
	wide := 2
	prepare := func(w *world) {
		layers = w.pushLayers(wide)
		child = w.image(w.dev, "v1", 1)
	}
	for name, body := range map[string]func() []byte{
		"image":    func() []byte { return image(layers[0], nil, "", layers[1]) },
		"wide":     func() []byte { return image(layers[0], nil, "", layers...) },
		"referrer": func() []byte { return image(layers[0], &child, evidenceType) },
		"index":    func() []byte { return index(child) },
	} {
		t.Run(name, func(t *testing.T) {
			if wide = 2; name == "wide" {
				wide = 55 // two transactions
			}
			eachFault(t, prepare, func(w *world) {
				b := body()
				w.again("push", func() error { _, err := w.dev.PutManifest(w.t.Context(), "v1", "", "", b); return err })
				if _, got, err := w.dev.Manifest(w.t.Context(), "v1"); err != nil || !bytes.Equal(got, b) {
					w.t.Errorf("pulled %d bytes, %v", len(got), err)
				}
				pushed := 0
				for _, e := range w.events() {
					if e.Type == tiers.EventManifestPushed && e.Digest == digest.FromBytes(b) {
						pushed++
					}
				}
				if pushed != 1 {
					w.t.Errorf("%d events tell of one push", pushed)
				}
			})
		})
	}
}

// Whatever write of a DELETE fails, either way, nothing half is seen, and a second DELETE
// ends it.
func TestDeleteFaults(t *testing.T) {
	var layers []ocispec.Descriptor
	var d ocispec.Descriptor
	eachFault(t, func(w *world) {
		layers = w.pushLayers(3)
		d = w.manifest(w.dev, "", image(layers[0], nil, "", layers...))
		for i := range 22 {
			if err := w.dev.Tag(w.t.Context(), d, fmt.Sprintf("v%d", i)); err != nil {
				w.t.Fatal(err)
			}
		}
	}, func(w *world) {
		gone := func(do func() error) func() error {
			return func() error {
				err := do()
				if errors.Is(err, oci.ErrManifestUnknown) || errors.Is(err, oci.ErrBlobUnknown) {
					return nil // the try before did it
				}
				return err
			}
		}
		w.again("delete", gone(func() error { return w.dev.DeleteManifest(w.t.Context(), d.Digest) }))
		w.again("delete blob", gone(func() error { return w.dev.DeleteBlob(w.t.Context(), layers[0].Digest) }))
		if tags, _, err := w.dev.Tags(w.t.Context(), "", 100); err != nil || len(tags) != 0 {
			w.t.Errorf("tags are left: %v, %v", tags, err)
		}
	})
}

// Leftovers of a push that was cut off do not keep anybody from deleting what they name.
func TestDeleteBehindBrokenPush(t *testing.T) {
	w := newWorld(t, nil)
	layers := w.pushLayers(55)
	body := image(layers[0], nil, "", layers...)
	w.release()
	w.faults.arm(3, false) // intent, object, first batch, and then the end
	if _, err := w.dev.PutManifest(t.Context(), "v1", "", "", body); !errors.Is(err, oci.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, oci.ErrUnavailable)
	}
	w.faults.disarm()
	if err := w.dev.DeleteBlob(t.Context(), layers[0].Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.dev.PutManifest(t.Context(), "v1", "", "", body); !errors.Is(err, oci.ErrManifestReference) {
		t.Errorf("%v, want %v", err, oci.ErrManifestReference)
	}
	w.pushLayers(1)
	w.manifest(w.dev, "v1", body)
	w.audit(false)
}

// A reference that is taken away while a push of several transactions is under way makes
// that push begin anew.
func TestPushNoticesLostReferences(t *testing.T) {
	w := newWorld(t, nil)
	layers := w.pushLayers(55)
	body := image(layers[0], nil, "", layers...)
	w.release()
	n := 0
	w.catalog.onCommit(func(c tiers.Change) {
		if n++; n == 3 { // behind the first batch
			w.catalog.onCommit(nil)
			if err := w.dev.DeleteBlob(t.Context(), layers[7].Digest); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := w.dev.PutManifest(t.Context(), "v1", "", "", body); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
}

// Whatever write of an arrival fails, either way, whoever takes it up ends it: all of it is
// seen or nothing.
func TestArrivalFaults(t *testing.T) {
	for _, end := range []string{"finish", "rollback", "beside another"} {
		t.Run(end, func(t *testing.T) {
			var a artifact
			eachFault(t, func(w *world) {
				a = w.artifact(1, "a")
				if end == "finish" {
					return // with all that it takes to bring the bytes
				}
				if err := w.stage("other", a); err != nil {
					w.t.Fatal(err)
				}
				if end == "rollback" {
					if err := w.stable.Arrival("other").Rollback(w.t.Context()); err != nil {
						w.t.Fatal(err)
					}
				}
			}, func(w *world) { w.carry(end, a) })
		})
	}
}

// carry does what the engine does: an attempt that breaks off before its commit is rolled
// back and another one begun; one whose commit is there is finished.
func (w *world) carry(end string, a artifact) {
	w.t.Helper()
	ctx := w.t.Context()
	settle := func(what string, do func() error) {
		w.again(what, do)
	}
	for attempt := range 3 {
		id := fmt.Sprintf("p.%d", attempt)
		err := w.stage(id, a)
		if err == nil && end != "rollback" {
			err = w.commit(id, a, "v1")
		}
		w.audit(false)
		committed := len(w.catalog.all(w.t, "committed/"+id)) > 0
		if committed {
			w.wantShown(a, 1, "committed")
			settle("finish", func() error { return w.stable.Arrival(id).Finish(ctx) })
			w.wantShown(a, 1, "finished")
			break
		}
		w.wantShown(a, 0, "not committed")
		settle("rollback", func() error { return w.stable.Arrival(id).Rollback(ctx) })
		w.wantShown(a, 0, "rolled back")
		if err == nil { // the end that was asked for
			break
		}
		if !errors.Is(err, oci.ErrUnavailable) {
			w.t.Fatal(err)
		}
	}
	if end == "beside another" {
		settle("rollback of the other", func() error { return w.stable.Arrival("other").Rollback(ctx) })
		w.wantShown(a, 1, "the other rolled back")
	}
	for _, r := range append(w.catalog.all(w.t, "staged/"), w.catalog.all(w.t, "committed/")...) {
		w.t.Errorf("%s is left over", r.Key)
	}
	if end == "rollback" {
		for _, r := range w.catalog.all(w.t, "tier/stable/") {
			w.t.Errorf("%s is left over", r.Key)
		}
	}
}

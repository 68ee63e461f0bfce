package tiers_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// The references of a push that is under way stay, however often is collected; those of one
// that took so long that it is taken for cut off go, and the push begins anew.
func TestCollectWhilePushing(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		gone  bool
	}{"in time": {20 * time.Hour, false}, "too long": {lapsed, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			layers := w.pushLayers(120) // three transactions
			body := image(layers[0], nil, "", layers...)
			w.release()
			n := 0
			w.catalog.onCommit(func(change tiers.Change) {
				if n++; n != 4 {
					return
				}
				w.catalog.onCommit(nil)
				w.pass(c.pause)
				if got := w.collect().Sweeps[tiers.SweepReferences].Gone > 0; got != c.gone {
					t.Errorf("references went: %v", got)
				}
			})
			_, err := w.dev.PutManifest(t.Context(), "v1", "", "", body)
			if c.gone && errors.Is(err, oci.ErrManifestReference) { // the blobs have gone as well
				w.pushLayers(120)
				_, err = w.dev.PutManifest(t.Context(), "v1", "", "", body)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.audit(false)
			w.rest()
			w.wantOnlyBlobs()
			if err := readable(func(w *world) *tiers.Repository { return w.dev }, layers[119])(w); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is being brought to a tier has no manifest yet and is nobody's to prune; and a
// collection at every point of an arrival, or an arrival at every point of a collection,
// leaves it whole.
func TestCollectWhileArriving(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.artifact(1, "a")
	slices.Sort(a.all)
	a.all = slices.Compact(a.all)
	if err := w.Pin(t.Context(), w.stable.Tier, a.all, "p", false); err != nil {
		t.Fatal(err)
	}
	if err := w.stage("p", a); err != nil {
		t.Fatal(err)
	}
	w.rest()
	w.audit(false)
	if err := w.commit("p", a, "v1"); err != nil {
		t.Fatal(err)
	}
	w.wantShown(a, 1, "committed")
	w.rest()
	if err := errors.Join(w.stable.Arrival("p").Finish(t.Context()), w.Unpin(t.Context(), "p")); err != nil {
		t.Fatal(err)
	}
	w.rest()
	w.wantShown(a, 1, "finished")
	w.wantOnlyBlobs()
}

// A push at every point of the sweep that takes the rest of a push that was cut off.
func TestCollectOrphansWhilePushed(t *testing.T) {
	all := layersOf(120)
	body := image(all[0], nil, "", all...)
	push := func(w *world) error { _, err := w.dev.PutManifest(w.t.Context(), "v1", "", "", body); return err }
	collect := func(w *world) error { _, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil); return err }
	for _, collector := range []string{"paused", "between"} {
		t.Run("the collector "+collector, func(t *testing.T) {
			t.Parallel()
			told := false
			again := func(w *world) (err error) { told, err = unless(push(w), oci.ErrManifestReference); return err }
			work, meanwhile := collect, again
			if collector == "between" {
				work, meanwhile = again, collect
			}
			eachInterleaving(t, func(w *world) {
				w.pushLayers(120)
				w.release()
				w.faults.arm(4, false) // intent, object, two batches, and then the end
				if err := push(w); !errors.Is(err, oci.ErrUnavailable) {
					w.t.Fatal(err)
				}
				w.faults.disarm()
				w.pass(25 * time.Hour) // the marker is old, the blobs are promised still
			}, work, meanwhile, func(w *world) {
				w.stays(told, readable(func(w *world) *tiers.Repository { return w.dev },
					ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}))
			})
		})
	}
}

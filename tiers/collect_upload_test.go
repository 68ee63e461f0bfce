package tiers_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A session that its client left behind goes with all that it wrote; one that a client
// still uses stays, however long ago it began.
func TestCollectUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	plan := finishes["parts and a tail"]
	data := dataFor(plan)
	left, used := w.begun(data, plan), w.begun(data, plan[:1])
	for range 3 {
		w.pass(9 * time.Hour)
		u, err := w.dev.Upload(t.Context(), used.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Append(t.Context(), stream(nil), -1, -1); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.collect(); c.Sweeps[tiers.SweepUploads].Gone != 1 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepUploads])
	}
	if err := w.finish(left.ID, digest.FromBytes(data)); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("the session left behind: %v, want %v", err, oci.ErrUploadUnknown)
	}
	if err := w.finish(used.ID, digest.FromBytes(data[:plan[0].size])); err != nil {
		t.Errorf("the session in use: %v", err)
	}
	w.rest()
	w.wantOnlyBlobs()
}

// What an ended session could not clean up, and one that could not be cancelled whole, is
// cleaned up.
func TestCollectEndedUploads(t *testing.T) {
	t.Parallel()
	plan := chunks(3, 10) // two former tails
	for name, end := range map[string]func(w *world, u *tiers.Upload) error{
		"finished":  func(w *world, u *tiers.Upload) error { return w.finish(u.ID, digest.FromBytes(dataFor(plan))) },
		"cancelled": func(w *world, u *tiers.Upload) error { return u.Cancel(w.t.Context()) },
	} {
		for n := range 8 { // the last ones do not come to the fault
			w := newWorld(t, nil)
			u := w.begun(dataFor(plan), plan)
			w.faults.arm(n, false)
			err := end(w, u)
			hit := w.faults.disarm()
			if err != nil && !errors.Is(err, oci.ErrUnavailable) {
				t.Fatal(err)
			}
			w.audit(false)
			w.rest()
			w.wantOnlyBlobs()
			if left := w.catalog.all(t, "upload/"); len(left) > 0 && !w.catalog.expires[left[0].Key] {
				t.Errorf("%s, %d (%s): %s is left over", name, n, hit, left[0].Value)
			}
		}
	}
}

// A client that comes back to its session while that is being dropped has its blob, or is
// told that the session is over.
func TestCollectUploadInUse(t *testing.T) {
	plan := finishes["parts and a tail"]
	data := dataFor(plan)
	for _, collector := range []string{"paused", "between"} {
		t.Run("the collector "+collector, func(t *testing.T) {
			t.Parallel()
			var id string
			told := false
			back := func(w *world) (err error) {
				u, err := w.dev.Upload(w.t.Context(), id)
				if err == nil {
					err = u.Append(w.t.Context(), stream([]byte("the end")), -1, -1)
				}
				if err == nil {
					err = w.finish(id, digest.FromBytes(append(dataFor(plan), "the end"...)))
				}
				told, err = unless(err, oci.ErrUploadUnknown, oci.ErrRangeInvalid, oci.ErrObjectUnknown)
				return err
			}
			collect := func(w *world) error {
				_, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil)
				return err
			}
			work, meanwhile := collect, back
			if collector == "between" {
				work, meanwhile = back, collect
			}
			eachInterleaving(t, func(w *world) {
				id, told = w.begun(data, plan).ID, false
				w.pass(lapsed)
			}, work, meanwhile, func(w *world) {
				w.stays(told, func(w *world) error {
					b, err := w.dev.Blob(w.t.Context(), digest.FromBytes(append(dataFor(plan), "the end"...)))
					if err == nil {
						_ = w.read(w.dev, b.Digest)
					}
					return err
				})
			})
		})
	}
}

// An upload whose tier is no longer configured is reported, and what it names stays.
func TestCollectUploadOfUnknownTier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.begun(bytesOf(1, 10), chunks(1, 10))
	record := w.catalog.all(t, "upload/")[0]
	value := strings.Replace(string(record.Value), `"tier":"dev"`, `"tier":"former"`, 1)
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: record.Key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
	w.pass(lapsed)
	c, err := w.Collect(t.Context(), tiers.CollectOptions{}, nil)
	if err != nil || len(c.Problems) != 1 || !strings.Contains(c.Problems[0].Message, "former") || len(gone(c)) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if len(w.objects("dev")) == 0 {
		t.Error("its objects have gone")
	}
}

// An object whose writing takes longer than its announcement is good for is given up; a
// manifest is then stored once more, and nothing of the former object stays.
func TestCollectIntentInUse(t *testing.T) {
	t.Parallel()
	for name, push := range map[string]func(w *world) error{
		"manifest": func(w *world) error { _, err := w.dev.PutManifest(w.t.Context(), "v1", "", "", index()); return err },
		"store": func(w *world) error {
			body := index()
			_, err := w.Store(w.t.Context(), w.dev.Tier, digest.FromBytes(body), body)
			return err
		},
		"blob": func(w *world) error {
			data := bytesOf(1, 10)
			if err := w.upload(w.dev, data, []chunk{{size: 10, final: true}}, digest.FromBytes(data)); !errors.Is(err, oci.ErrUploadUnknown) {
				return fmt.Errorf("its object was given up, and the client is told %w", err)
			}
			return w.upload(w.dev, data, []chunk{{size: 10, final: true}}, digest.FromBytes(data))
		},
		"bring": func(w *world) error {
			d := w.blob(w.dev, bytesOf(2, 10)).Digest
			if err := w.Pin(w.t.Context(), w.dev.Tier, []digest.Digest{d}, "p", true); err != nil {
				return err
			}
			w.slow("stable", "copy")
			_, err := w.Bring(w.t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice")
			return errors.Join(err, w.Unpin(w.t.Context(), "p"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			if name != "bring" {
				w.slow("dev", "put")
			}
			if err := push(w); err != nil {
				t.Error(err)
			}
			w.audit(false)
			if len(w.catalog.all(t, "store/"+w.dev.Tier.Store()+"/condemned/"))+len(w.catalog.all(t, "store/"+w.stable.Tier.Store()+"/condemned/")) == 0 {
				t.Error("no object was given up")
			}
			w.rest()
			w.wantOnlyBlobs()
		})
	}
}

// slow lets the next write of a kind take so long that a collection takes it for abandoned.
func (w *world) slow(tier, op string) {
	w.buckets[tier].hook(func(now, _ string) {
		if now == op {
			w.buckets[tier].hook(nil)
			w.pass(lapsed)
			w.collect()
		}
	})
}

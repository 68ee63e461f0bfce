package tiers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// problems collects and wants problems that say what.
func (w *world) problems(what ...string) tiers.Collected {
	w.t.Helper()
	c, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil)
	if err != nil {
		w.t.Error(err)
	}
	found := ""
	for _, p := range c.Problems {
		found += string(p.Sweep) + ": " + p.Key + ": " + p.Message + "\n"
	}
	for _, s := range what {
		if !strings.Contains(found, s) {
			w.t.Errorf("no problem says %q:\n%s", s, found)
		}
	}
	if len(what) != len(c.Problems) {
		w.t.Errorf("%d problems, want %d:\n%s", len(c.Problems), len(what), found)
	}
	return c
}

// Strays are found however few objects are remembered at once, and nothing that has a name
// is taken for one.
func TestCollectStraysByWindows(t *testing.T) {
	for _, n := range []int{1, 2, 1000, 2000} {
		w := newWorld(t, nil)
		w.SetWindow(n)
		l := scatter(w)
		w.artifact(6, "b")
		for range 3 {
			w.stray("blobs/" + w.NewID())
		}
		w.pass(lapsed)
		if c := w.collect(); c.Sweeps[tiers.SweepStrays].Gone != 5 {
			t.Errorf("with a window of %d: %+v", n, c.Sweeps[tiers.SweepStrays])
		}
		w.pass(drained)
		w.collect()
		w.wantOnlyBlobs()
		l.wantStay("collected")
	}
}

// More objects than one listing returns.
func TestCollectManyStrays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.SetWindow(1500)
	d := w.image(w.dev, "v1", 1)
	for range 1100 {
		w.stray("blobs/" + w.NewID())
	}
	w.release()
	w.pass(lapsed)
	if c := w.collect(); c.Sweeps[tiers.SweepStrays].Gone != 1100 || c.Sweeps[tiers.SweepStrays].Bytes != 5500 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepStrays])
	}
	w.pass(drained)
	if c := w.collect(); c.Sweeps[tiers.SweepObjects].Gone != 1100 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepObjects])
	}
	w.wantOnlyBlobs()
	if _, _, err := w.dev.Manifest(t.Context(), d.Digest.String()); err != nil {
		t.Error(err)
	}
}

// A stray is young by either of its two times: it stays.
func TestCollectYoungStray(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	early := w.NewID()
	w.pass(lapsed)
	w.stray("blobs/" + w.NewID()) // by the store's clock, which stands behind, it is old
	if c := w.collect(); len(gone(c)) != 0 {
		t.Errorf("a key of just now: %v go", gone(c))
	}
	w.ahead.Store(int64(-time.Hour))
	w.stray("blobs/" + early)
	w.ahead.Store(0)
	if c := w.collect(); len(gone(c)) != 0 {
		t.Errorf("an object of just now: %v go", gone(c))
	}
}

// What the registry would not have put there is reported and stays.
func TestCollectForeignObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	keys := []string{"blobs/notes.txt", "blobs/sha256/notes/" + w.NewID(), "notes.txt"}
	for _, key := range keys {
		w.stray(key)
	}
	w.pass(lapsed)
	w.problems("notes.txt", "sha256/notes")
	w.pass(drained)
	w.problems("notes.txt", "sha256/notes")
	for _, key := range keys {
		if _, err := w.buckets["dev"].Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

// In a bucket that another catalog uses, nothing is taken for a stray: it may be the
// other's.
func TestCollectSharedBucket(t *testing.T) {
	t.Parallel()
	buckets := map[string]tiers.Bucket{"dev": stores.Bucket(t), "stable": stores.Bucket(t)}
	other := newWorldOn(t, buckets, nil)
	d := other.image(other.dev, "v1", 1)
	other.begun(dataFor(finishes["parts"]), finishes["parts"])
	w := newWorldOn(t, buckets, nil)
	own := w.blob(w.dev, bytesOf(2, 10))
	w.stray("blobs/" + w.NewID())
	before := w.objects("dev")
	w.pass(lapsed)
	c := w.problems("3 objects have no name", "1 multipart uploads have no name")
	if n := gone(c); n[tiers.SweepStrays]+n[tiers.SweepMultiparts] != 0 || n[tiers.SweepBlobs] != 1 {
		t.Errorf("%v go", n)
	}
	w.pass(drained)
	w.problems("3 objects have no name", "1 multipart uploads have no name")
	if after := w.objects("dev"); len(after) != len(before)-1 {
		t.Errorf("%d objects of %d are left; %s alone was to go", len(after), len(before), own.Digest)
	}
	if _, _, err := other.dev.Manifest(t.Context(), d.Digest.String()); err != nil {
		t.Error(err)
	}
	other.audit(false)
}

// Where a record cannot be read that may name anything, nothing is taken for a stray.
func TestCollectBlind(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(w *world) string{
		"upload": func(w *world) string { return "upload/x" },
		"blob": func(w *world) string {
			return "store/" + w.dev.Tier.Store() + "/blob/" + digest.FromString("x").String()
		},
	} {
		w := newWorld(t, nil)
		d := w.image(w.dev, "v1", 1)
		w.stray("blobs/" + w.NewID())
		if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: key(w), Value: []byte("{")}}}); err != nil {
			t.Fatal(err)
		}
		w.pass(lapsed)
		c, err := w.Collect(t.Context(), tiers.CollectOptions{}, nil)
		if err != nil || gone(c)[tiers.SweepStrays]+gone(c)[tiers.SweepBlobs] != 0 || len(c.Problems) < 2 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if _, _, err := w.dev.Manifest(t.Context(), d.Digest.String()); err != nil {
			t.Error(err)
		}
	}
}

// A bucket without the mark of the catalog is not searched for strays.
func TestCollectUnmarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.stray("blobs/" + w.NewID())
	marks, err := w.buckets["dev"].List(t.Context(), "catalogs/", "", 10)
	if err != nil || len(marks) != 1 {
		t.Fatal(marks, err)
	}
	if err := w.buckets["dev"].Bucket.Delete(t.Context(), marks[0].Key); err != nil {
		t.Fatal(err)
	}
	w.pass(lapsed)
	c, err := w.Collect(t.Context(), tiers.CollectOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "mark") || len(gone(c)) != 0 {
		t.Errorf("%v, %v go", err, gone(c))
	}
}

// A start does not mark a bucket twice, and all replicas have one id.
func TestMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.replica(tiers.Limits{})
	w.replica(tiers.Limits{})
	for _, tier := range []string{"dev", "stable"} {
		marks, err := w.buckets[tier].List(t.Context(), "catalogs/", "", 10)
		if err != nil || len(marks) != 1 {
			t.Errorf("%s: %v, %v", tier, marks, err)
		}
	}
}

// An object that is condemned and yet is where a blob lies is not deleted.
func TestCollectCondemnedBlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.image(w.dev, "v1", 1)
	prefix := "store/" + w.dev.Tier.Store()
	key := fields(t, w.catalog.all(t, prefix+"/blob/"+d.Digest.String())[0])["key"].(string)
	value := `{"digest":"` + d.Digest.String() + `","at":"2020-01-01T00:00:00Z","why":"a test"}`
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: prefix + "/condemned/" + key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
	c := w.problems("it stays")
	if len(gone(c)) != 0 {
		t.Errorf("%v go", gone(c))
	}
	if err := readable(func(w *world) *tiers.Repository { return w.dev }, d)(w); err != nil {
		t.Error(err)
	}
}

// A store that does not delete keeps nobody from the rest, and is asked again.
func TestCollectDeleteFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range uint64(3) {
		w.blob(w.dev, bytesOf(i, 10))
	}
	w.pass(lapsed)
	w.collect()
	w.pass(drained)
	w.faults.arm(0, false) // a deletion; others are under way beside it
	c := w.problems("it stays for the next collection")
	if w.faults.disarm() == "" || c.Sweeps[tiers.SweepObjects].Gone != 2 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepObjects])
	}
	if c := w.collect(); c.Sweeps[tiers.SweepObjects].Gone != 1 {
		t.Errorf("%+v", c.Sweeps[tiers.SweepObjects])
	}
	w.wantOnlyBlobs()
}

// Progress is told, with what was done so far, and stays as it was told.
func TestCollectProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	scatter(w)
	w.pass(lapsed)
	var phases []tiers.Sweep
	var told []tiers.Collected
	c, err := w.Collect(t.Context(), tiers.CollectOptions{Actor: "carol"}, func(c tiers.Collected) {
		if len(phases) == 0 || phases[len(phases)-1] != c.Phase {
			phases = append(phases, c.Phase)
		}
		told = append(told, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []tiers.Sweep{tiers.SweepUploads, tiers.SweepIntents, tiers.SweepReferences, tiers.SweepLinks, tiers.SweepBlobs,
		tiers.SweepStrays, tiers.SweepMultiparts, tiers.SweepObjects, ""}
	if !slices.Equal(phases, want) {
		t.Errorf("phases %q", phases)
	}
	if len(told[0].Sweeps) != 1 || len(told[len(told)-1].Sweeps) != len(c.Sweeps) {
		t.Error("what was told has changed since")
	}
	for _, e := range w.events() {
		if e.Type == tiers.EventBlobDeleted && (e.Actor != "carol" || e.Cause == "" || e.Digest == "" || e.Repository == "") {
			t.Errorf("event %+v", e)
		}
	}
}

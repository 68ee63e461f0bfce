package tiers_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A session is counted from its beginning to its end, whichever end that is, and the
// record that counts it expires.
func TestOpenUploads(t *testing.T) {
	w := limited(t, tiers.Limits{Uploads: 2})
	other := w.repo("dev", "other")
	start := func() *tiers.Upload {
		t.Helper()
		u, err := w.dev.StartUpload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	open := func(want int) {
		t.Helper()
		records := w.catalog.all(t, "uploading/dev/")
		if len(records) != want {
			t.Errorf("%d sessions are counted, want %d", len(records), want)
		}
		for _, r := range records {
			if !w.catalog.expires[r.Key] {
				t.Errorf("%s stays for ever", r.Key)
			}
		}
		if _, err := other.StartUpload(t.Context()); (want == 2) != errors.Is(err, oci.ErrTooManyRequests) {
			t.Errorf("with %d open: %v", want, err)
		} else if err == nil {
			for _, r := range w.catalog.all(t, "uploading/dev/") {
				if r.Created > records[len(records)-1].Created {
					cancel(t, other, r.Key[len("uploading/dev/"):])
				}
			}
		}
	}
	data := bytesOf(1, 10)
	one, two := start(), start()
	open(2)
	w.blob(w.dev, []byte("in one request"))
	open(2)
	if err := one.Append(t.Context(), stream(data), 0, 10); err != nil {
		t.Fatal(err)
	}
	open(2)
	if err := w.finish(one.ID, digest.FromBytes(data)); err != nil {
		t.Fatal(err)
	}
	open(1)
	cancel(t, w.dev, two.ID) // without a byte
	one, two = start(), start()
	if err := one.Append(t.Context(), stream(data), 0, 10); err != nil {
		t.Fatal(err)
	}
	cancel(t, w.dev, one.ID)
	open(1)
	if err := two.Finish(t.Context(), stream(data), 0, 10, digest.FromBytes(data)); err != nil { // whole
		t.Fatal(err)
	}
	one, two = start(), start()
	if err := one.Finish(t.Context(), stream(data), 0, 10, digest.FromString("other")); !errors.Is(err, oci.ErrDigestInvalid) {
		t.Fatal(err)
	}
	open(1)
	cancel(t, w.dev, two.ID)
	if n := len(w.catalog.all(t, "uploading/")); n != 0 {
		t.Errorf("%d sessions are counted and none is open", n)
	}
	w.audit(true)
}

func cancel(t *testing.T, r *tiers.Repository, id string) {
	t.Helper()
	u, err := r.Upload(t.Context(), id)
	if err == nil {
		err = u.Cancel(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// However many ask at once, one replica opens some and no more than it may, and what it
// refused takes no room.
func TestOpenUploadsRace(t *testing.T) {
	const most, racers = 3, 20
	w := limited(t, tiers.Limits{Uploads: most})
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { _, errs[i] = w.repo("dev", fmt.Sprint("app", i)).StartUpload(t.Context()) })
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, oci.ErrTooManyRequests) {
			t.Errorf("racer %d: %v", i, err)
		}
	}
	if won < 1 || won > most {
		t.Errorf("%d sessions are open, want 1 to %d", won, most)
	}
	if counted := len(w.catalog.all(t, "uploading/dev/")); counted != won {
		t.Errorf("%d sessions are counted, %d are open", counted, won)
	}
	for i := won; i < most; i++ {
		if _, err := w.dev.StartUpload(t.Context()); err != nil {
			t.Errorf("with %d open: %v", i, err)
		}
	}
	if _, err := w.dev.StartUpload(t.Context()); !errors.Is(err, oci.ErrTooManyRequests) {
		t.Errorf("with %d open: got %v, want %v", most, err, oci.ErrTooManyRequests)
	}
}

package tiers_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A session that nothing was sent to costs nothing, is known all the same, and is over for
// good once it is cancelled.
func TestSessionFresh(t *testing.T) {
	w := newWorld(t, nil)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if records := w.catalog.all(t, "upload/"); len(records) != 0 {
		t.Errorf("records %v", records)
	}
	found, err := w.dev.Upload(t.Context(), u.ID)
	if err != nil || found.Offset() != 0 {
		t.Fatalf("%v, %v", found, err)
	}
	if err := found.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"found": func() error { _, err := w.dev.Upload(t.Context(), u.ID); return err },
		"chunk": func() error { return u.Append(t.Context(), stream([]byte("x")), 0, 1) },
		"whole": func() error { return w.whole(u.ID, []byte("x"), digest.FromString("x")) },
	} {
		if err := ask(); !errors.Is(err, oci.ErrUploadUnknown) && !errors.Is(err, oci.ErrRangeInvalid) {
			t.Errorf("%s after the cancel: %v", name, err)
		}
	}
	w.audit(true)
}

// An id that is too old to begin is unknown; a session that has begun is not.
func TestSessionAge(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(c *tiers.Config) { c.Now = func() time.Time { return now } })
	fresh, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := bytesOf(1, 10)
	begun := w.begun(data, []chunk{{size: 10}})
	now = now.Add(2 * time.Hour)
	if _, err := w.dev.Upload(t.Context(), fresh.ID); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrUploadUnknown)
	}
	if err := w.whole(fresh.ID, data, digest.FromBytes(data)); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("whole: %v, want %v", err, oci.ErrUploadUnknown)
	}
	if err := w.finish(begun.ID, digest.FromBytes(data)); err != nil {
		t.Error(err)
	}
}

// whole ends an upload with a request that sends all of the blob.
func (w *world) whole(id string, data []byte, want digest.Digest) error {
	u, err := w.dev.WholeUpload(w.t.Context(), id)
	if err != nil {
		return err
	}
	return u.Finish(w.t.Context(), stream(data), -1, int64(len(data)), want)
}

// A body that was taken for a whole blob is the end of one where the session had begun,
// at another replica say.
func TestWholeUploadOfBegunSession(t *testing.T) {
	for name, sent := range map[string][]chunk{"a tail": {{size: 10}}, "a part": {{size: 5 * mib}}, "a part and a tail": {{size: 5 * mib}, {size: 7}}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			data := append(dataFor(sent), "the end"...)
			u := w.begun(data, sent)
			if err := w.whole(u.ID, []byte("the end"), digest.FromBytes(data)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
				t.Error("other bytes came back")
			}
			w.audit(true)
		})
	}
}

// The same whole blob sent twice in one session is one blob and twice success; another
// digest is not.
func TestWholeUploadReplay(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 100)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.whole(u.ID, data, digest.FromBytes(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.whole(u.ID, []byte("x"), digest.FromString("x")); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrUploadUnknown)
	}
	if err := w.whole(u.ID, []byte("y"), digest.FromString("x")); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("a wrong digest: %v, want %v", err, oci.ErrUploadUnknown)
	}
	if live := len(w.buckets["dev"].live); live != 1 {
		t.Errorf("%d objects for one blob", live)
	}
	w.audit(true)
}

// A wrong digest ends the session, of which nothing stays.
func TestWholeUploadWrongDigest(t *testing.T) {
	w := newWorld(t, nil)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.whole(u.ID, []byte("y"), digest.FromString("x")); !errors.Is(err, oci.ErrDigestInvalid) {
		t.Fatalf("%v, want %v", err, oci.ErrDigestInvalid)
	}
	if _, err := w.dev.Upload(t.Context(), u.ID); !errors.Is(err, oci.ErrUploadUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrUploadUnknown)
	}
	if left := w.left(""); len(left) != 0 || len(w.buckets["dev"].live) != 0 {
		t.Errorf("left: %v, %v", left, w.buckets["dev"].live)
	}
}

// Whatever write of a whole upload fails, a client that sends it again has its blob.
func TestWholeUploadFaults(t *testing.T) {
	data := bytesOf(3, 50)
	want := digest.FromBytes(data)
	eachFault(t, nil, func(w *world) {
		u, err := w.dev.StartUpload(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		w.again("whole", func() error { return w.whole(u.ID, data, want) })
		if !bytes.Equal(w.read(w.dev, want), data) {
			w.t.Error("other bytes came back")
		}
	})
}

// Keys announced ahead are never given twice, and what is not used is taken back.
func TestAnnounceAhead(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(c *tiers.Config) { c.Now = func() time.Time { return now } })
	for i := range uint64(40) {
		w.blob(w.dev, bytesOf(i, 20)) // the recorder fails on a key that is written twice
	}
	intents := func() int { return len(w.catalog.all(t, "store/"+w.dev.Tier.Store()+"/intent/")) }
	if n := intents(); n == 0 || n > 64 {
		t.Errorf("%d keys are announced after a burst", n)
	}
	now = now.Add(time.Hour) // too old to use: withdrawn with the next batch
	w.blob(w.dev, bytesOf(99, 20))
	if n := intents(); n > 1 {
		t.Errorf("%d keys are announced, the old ones among them", n)
	}
	w.audit(true)
}

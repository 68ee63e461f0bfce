package s3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers/s3"
)

// waitFor polls until ok, for a minute at the most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not in a minute: %s", what)
}

// A server that hangs is sent so many requests of a kind and no more; so many wait for their
// turn, others are refused at once, and all is as before when it answers again.
func TestTurns(t *testing.T) {
	var arrived atomic.Int64
	release := make(chan struct{})
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-release
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	})
	answer := sync.OnceFunc(func() { close(release) })
	t.Cleanup(answer) // ahead of the server's own end, which waits for it
	store.LimitTurns(2, time.Hour)
	var first, waiting sync.WaitGroup
	for range 2 {
		first.Go(func() {
			if _, err := store.Stat(t.Context(), "k"); err != nil {
				t.Errorf("stat: %v", err)
			}
		})
	}
	waitFor(t, "two requests under way", func() bool { return arrived.Load() == 2 })
	patient, leave := context.WithCancel(t.Context())
	for range s3.MostWaiting {
		waiting.Go(func() {
			if _, err := store.Stat(patient, "k"); !errors.Is(err, context.Canceled) {
				t.Errorf("stat: %v, want %v", err, context.Canceled)
			}
		})
	}
	waitFor(t, "as many wait as may", func() bool { return store.Waiting() == s3.MostWaiting })
	if _, err := store.Stat(t.Context(), "k"); !errors.Is(err, oci.ErrUnavailable) { // though others wait for an hour
		t.Errorf("one more: %v, want %v", err, oci.ErrUnavailable)
	}
	leave()
	waiting.Wait()
	if n := arrived.Load(); n != 2 {
		t.Errorf("%d requests were sent", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Stat(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("stat of one who has gone: %v", err)
	}
	answer()
	first.Wait()
	if _, err := store.Stat(t.Context(), "k"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Answers that are being read take a turn until they are closed, of which a second time
// gives nothing back, and uploads take none from them.
func TestReadingTurns(t *testing.T) {
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"e"`)
		if r.Method == http.MethodGet {
			ranged("bytes 0-2/3", "abc")(w, r)
		}
	})
	store.LimitTurns(2, 50*time.Millisecond)
	open := func() (io.ReadCloser, error) { return store.Open(t.Context(), "k", 0, 3) }
	var bodies []io.ReadCloser
	for range 2 {
		rc, err := open()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, rc)
	}
	if _, err := open(); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("a third: %v, want %v", err, oci.ErrUnavailable)
	}
	if err := store.Put(t.Context(), "k", io.LimitReader(zeros{}, 10), 10); err != nil {
		t.Errorf("an upload: %v", err)
	}
	bodies[0].Close()
	bodies[0].Close()
	if rc, err := open(); err != nil {
		t.Errorf("after one was closed: %v", err)
	} else {
		defer rc.Close()
	}
	if _, err := open(); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("after one was closed twice: %v, want %v", err, oci.ErrUnavailable)
	}
	bodies[1].Close()
}

// A read that fails gives its turn back.
func TestFailedTurns(t *testing.T) {
	store := against(t, fail("NoSuchKey", 404))
	store.LimitTurns(1, 50*time.Millisecond)
	for range 3 {
		if _, err := store.Open(t.Context(), "k", 0, 3); !errors.Is(err, oci.ErrObjectUnknown) {
			t.Errorf("open: %v", err)
		}
		if err := store.Put(t.Context(), "k", io.LimitReader(zeros{}, 10), 10); !errors.Is(err, oci.ErrObjectUnknown) {
			t.Errorf("put: %v", err)
		}
	}
}

package tiers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Of several chunks sent at one offset one is taken, and its bytes are the blob's.
func TestUploadRacingChunks(t *testing.T) {
	for _, c := range []chunk{{size: 10}, {size: 10, unknown: true}, {size: 5*mib + 3}, {size: 6 * mib, unknown: true}} {
		t.Run(fmt.Sprintf("%d, unknown %v", c.size, c.unknown), func(t *testing.T) {
			w := newWorld(t, nil)
			first, err := w.dev.StartUpload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const racers = 4
			errs := make([]error, racers)
			var wg sync.WaitGroup
			for i := range racers {
				wg.Go(func() {
					u, err := w.dev.Upload(t.Context(), first.ID)
					if err == nil {
						err = u.Append(t.Context(), stream(bytesOf(uint64(i), c.size)), 0, c.length())
					}
					errs[i] = err
				})
			}
			wg.Wait()
			winner := slices.Index(errs, nil)
			for i, err := range errs {
				if i != winner && !errors.Is(err, oci.ErrRangeInvalid) {
					t.Errorf("racer %d: %v, want %v; the winner is %d", i, err, oci.ErrRangeInvalid, winner)
				}
			}
			if winner < 0 {
				t.Fatal("nobody won")
			}
			data := append(bytesOf(uint64(winner), c.size), "end"...)
			if err := w.resume(w.dev, first.ID, data, []chunk{{size: 3}}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
				t.Error("the blob is not the winner's")
			}
			w.audit(true)
		})
	}
}

// begun opens an upload and sends all of data in chunks.
func (w *world) begun(data []byte, plan []chunk) *tiers.Upload {
	w.t.Helper()
	u, err := w.dev.StartUpload(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	offset := 0
	for _, c := range plan {
		if err := u.Append(w.t.Context(), stream(data[offset:offset+c.size]), -1, c.length()); err != nil {
			w.t.Fatal(err)
		}
		offset += c.size
	}
	return u
}

// finish ends an upload as a request of its own.
func (w *world) finish(id string, want digest.Digest) error {
	u, err := w.dev.Upload(w.t.Context(), id)
	if err != nil {
		return err
	}
	return u.Finish(w.t.Context(), stream(nil), -1, 0, want)
}

var finishes = map[string][]chunk{
	"a tail":           {{size: 10}},
	"parts":            {{size: 5 * mib}, {size: 5 * mib}},
	"parts and a tail": {{size: 5 * mib}, {size: 10}},
}

// dataFor makes what a plan sends.
func dataFor(plan []chunk) []byte {
	size := 0
	for _, c := range plan {
		size += c.size
	}
	return bytesOf(9, size)
}

// Requests that end one upload at once make one blob, which stays.
func TestUploadRacingFinishes(t *testing.T) {
	for name, plan := range finishes {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				w := newWorld(t, nil)
				data := dataFor(plan)
				u := w.begun(data, plan)
				errs := make([]error, 3)
				var wg sync.WaitGroup
				for i := range errs {
					wg.Go(func() { errs[i] = w.finish(u.ID, digest.FromBytes(data)) })
				}
				wg.Wait()
				if !slices.Contains(errs, nil) {
					// All of them were overtaken; whoever asks again is alone.
					if err := w.finish(u.ID, digest.FromBytes(data)); err != nil {
						t.Fatalf("%v, after %v", err, errs)
					}
				}
				for _, err := range errs {
					// A store may say anything while two complete one object: asking again may help.
					if err != nil && !errors.Is(err, oci.ErrRangeInvalid) && !errors.Is(err, oci.ErrUploadUnknown) && !errors.Is(err, oci.ErrUnavailable) {
						t.Error(err)
					}
				}
				if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
					t.Error("other bytes came back")
				}
				w.audit(true)
			}
		})
	}
}

// A request that takes an upload apart, for its wrong digest or because it cancels, never
// takes away the blob that another request makes of it meanwhile.
func TestUploadDropRacesFinish(t *testing.T) {
	for name, plan := range finishes {
		data := dataFor(plan)
		for what, drop := range map[string]func(w *world, u *tiers.Upload) error{
			"wrong digest": func(w *world, u *tiers.Upload) error { return w.finish(u.ID, digest.FromString("other")) },
			"cancel":       func(_ *world, u *tiers.Upload) error { return u.Cancel(t.Context()) },
		} {
			for _, op := range []string{"abort", "delete"} {
				t.Run(fmt.Sprintf("%s, %s at %s", name, what, op), func(t *testing.T) {
					w := newWorld(t, nil)
					u := w.begun(data, plan)
					var finished error
					done := false
					w.buckets["dev"].hook(func(got, _ string) {
						if got == op && !done {
							done = true
							finished = w.finish(u.ID, digest.FromBytes(data))
						}
					})
					dropped := drop(w, u)
					w.buckets["dev"].hook(nil)
					if finished == nil && done {
						if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
							t.Error("other bytes came back")
						}
					} else if done && !errors.Is(finished, oci.ErrUploadUnknown) {
						t.Errorf("finish: %v, want %v", finished, oci.ErrUploadUnknown)
					}
					if what == "cancel" && dropped != nil && finished != nil {
						t.Errorf("neither came to its end: %v, %v", dropped, finished)
					}
					w.audit(true)
				})
			}
		}
	}
}

// A chunk that is still under way when the upload is cancelled is not recorded.
func TestUploadCancelRacesChunk(t *testing.T) {
	for _, size := range []int{10, 6 * mib} {
		w := newWorld(t, nil)
		u, err := w.dev.StartUpload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body, feed := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- u.Append(t.Context(), body, 0, int64(size)) }()
		data := bytesOf(1, size)
		if _, err := feed.Write(data[:1]); err != nil { // the chunk has the session
			t.Fatal(err)
		}
		other, err := w.dev.Upload(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = feed.Write(data[1:]) }() // fails if the request gives up first
		if err := <-done; err == nil {
			t.Error("a chunk was taken after the upload was cancelled")
		}
		feed.Close()
		if left := w.left(""); len(left) != 0 {
			t.Errorf("records are left: %v", left)
		}
	}
}

// A request that is repeated before the first is answered, and is about to end the session
// when the first does, is answered like it: the client would take the upload for lost.
func TestUploadRepeatedWhileItEnds(t *testing.T) {
	plans := map[string][]chunk{"nothing yet": nil, "a tail": {{size: 10}}, "parts": {{size: 5 * mib}, {size: 5 * mib}}}
	for name, plan := range plans {
		for _, moment := range []string{"the session is claimed", "the blob is recorded"} {
			if plan == nil && moment == "the session is claimed" {
				continue // one that is sent whole claims nothing
			}
			for _, assumed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, when %s, assumed %v", name, moment, assumed), func(t *testing.T) {
					w := newWorld(t, nil)
					sent, rest := dataFor(plan), bytesOf(3, 7)
					want := digest.FromBytes(append(slices.Clone(sent), rest...))
					begun := w.begun(sent, plan)
					find := w.dev.Upload
					if assumed {
						find = w.dev.WholeUpload
					}
					end := func(find func(context.Context, string) (*tiers.Upload, error), rest []byte) error {
						u, err := find(t.Context(), begun.ID)
						if err == nil {
							err = u.Finish(t.Context(), stream(rest), -1, int64(len(rest)), want)
						}
						return err
					}
					again := rest
					if plan != nil && moment == "the blob is recorded" {
						again = nil // they are there, and a client that asks is told so
					}
					var first error
					w.catalog.onCommit(func(change tiers.Change) {
						records := slices.ContainsFunc(change.Put, func(p tiers.Put) bool { return p.Key == blobKey(w.dev.Tier, want) })
						if records == (moment == "the blob is recorded") {
							w.catalog.onCommit(nil)
							first = end(w.dev.Upload, again)
						}
					})
					if err := end(find, rest); err != nil || first != nil {
						t.Errorf("the second answer is %v, the first %v", err, first)
					}
					w.catalog.onCommit(nil)
					if data := w.read(w.dev, want); !bytes.Equal(data, append(slices.Clone(sent), rest...)) {
						t.Error("other bytes came back")
					}
					w.audit(true)
				})
			}
		}
	}
}

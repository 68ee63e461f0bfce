package tiers_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// eachFault runs a flow once for every write that it does, with that write lost and with
// it applied but reported as failed. Each run has a fresh world; prepare, which may be
// nil, fills it before the fault is set. flow is not told which write fails: it does what a
// client would do, retries included.
func eachFault(t *testing.T, prepare, flow func(w *world)) {
	t.Helper()
	eachFaultOf(t, nil, prepare, flow)
}

// eachFaultOf is eachFault in worlds of another configuration.
func eachFaultOf(t *testing.T, edit func(*tiers.Config), prepare, flow func(w *world)) {
	t.Helper()
	buckets := map[string]tiers.Bucket{"dev": stores.Bucket(t), "stable": stores.Bucket(t)}
	for _, applied := range []bool{false, true} {
		for n, hit := 0, "first"; hit != ""; n++ {
			if n > 200 {
				t.Fatal("the flow never ends without a fault")
			}
			t.Run(fmt.Sprintf("%d, applied %v", n, applied), func(t *testing.T) {
				w := newWorldOn(t, buckets, edit)
				if prepare != nil {
					prepare(w)
				}
				w.faults.arm(n, applied)
				flow(w)
				hit = w.faults.disarm()
				if t.Failed() {
					t.Logf("the fault was in %s", hit)
				}
			})
		}
	}
}

// Whatever write of an upload fails, either way, a client that goes on, or begins again
// where it is told to, gets its blob whole, and nothing is left unaccounted for.
func TestUploadFaults(t *testing.T) {
	for name, plan := range map[string][]chunk{
		"put":              {},
		"bytes":            chunks(3, 4),
		"streamed":         {{size: 12, unknown: true}},
		"parts and a tail": {{size: 4}, {size: 5 * mib}, {size: 4}},
	} {
		data := dataFor(plan)
		if len(plan) == 0 {
			data = bytesOf(9, 12)
		}
		t.Run(name, func(t *testing.T) {
			eachFault(t, nil, func(w *world) {
				w.persist(data, plan)
				w.audit(false)
				if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
					w.t.Error("other bytes came back")
				}
			})
		})
	}
}

// persist uploads as a patient client: after an error it asks where the upload stands and
// goes on from there, and begins again where the upload is unknown.
func (w *world) persist(data []byte, plan []chunk) {
	w.t.Helper()
	id := ""
	for range 8 {
		if id == "" {
			u, err := w.dev.StartUpload(w.t.Context())
			if err != nil {
				if !errors.Is(err, oci.ErrUnavailable) {
					w.t.Fatal(err)
				}
				continue
			}
			id = u.ID
		}
		err := w.resume(w.dev, id, data, plan)
		w.audit(false)
		switch {
		case err == nil:
			return
		case errors.Is(err, oci.ErrUploadUnknown):
			id = ""
		case !errors.Is(err, oci.ErrUnavailable) && !errors.Is(err, oci.ErrRangeInvalid):
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("the upload never came to its end")
}

// The same with what a client does that gives up and cancels, and one whose digest is
// wrong: afterwards all that is left is named by the session.
func TestUploadDropFaults(t *testing.T) {
	for name, plan := range finishes {
		if name == "parts" {
			continue // what is done to them is done with a tail behind them as well
		}
		data := dataFor(plan)
		t.Run(name, func(t *testing.T) {
			for what, want := range map[string]digest.Digest{"cancel": "", "wrong digest": digest.FromString("other")} {
				t.Run(what, func(t *testing.T) {
					id := ""
					eachFault(t, func(w *world) { id = w.begun(data, plan).ID }, func(w *world) {
						for range 4 {
							u, err := w.dev.Upload(w.t.Context(), id)
							if errors.Is(err, oci.ErrUploadUnknown) {
								break
							} else if err != nil {
								w.t.Fatal(err)
							}
							if want == "" {
								err = u.Cancel(w.t.Context())
							} else {
								err = u.Finish(w.t.Context(), stream(nil), -1, 0, want)
							}
							if want != "" && err == nil {
								w.t.Error("content of another digest was taken")
							}
						}
						w.audit(false)
						if _, err := w.dev.Blob(w.t.Context(), digest.FromBytes(data)); !errors.Is(err, oci.ErrBlobUnknown) {
							w.t.Errorf("%v, want %v", err, oci.ErrBlobUnknown)
						}
					})
				})
			}
		})
	}
}

// A small streamed blob whose last record is lost is whole when the client asks again: its
// bytes are in an object of their own already.
func TestUploadFinishAgain(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(9, 12)
	u := w.begun(data, []chunk{{size: 12, unknown: true}})
	for n := range 3 {
		w.faults.arm(n, false)
		if err := w.finish(u.ID, digest.FromBytes(data)); err == nil {
			break
		}
		w.faults.disarm()
	}
	if err := w.finish(u.ID, digest.FromBytes(data)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
		t.Error("other bytes came back")
	}
	w.audit(true)
}

// Bytes that a request left behind are not forgotten when another way ends the upload.
func TestUploadLeavesNoParts(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(9, 6*mib)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.buckets["dev"].hook(func(op, _ string) {
		if op == "part" {
			w.faults.arm(0, false)
		}
	})
	if err := u.Append(t.Context(), stream(data), 0, 6*mib); !errors.Is(err, oci.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, oci.ErrUnavailable)
	}
	w.buckets["dev"].hook(nil)
	w.faults.disarm()
	small := data[:7]
	if err := w.resume(w.dev, u.ID, small, []chunk{{size: 7}}); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
	if open := w.buckets["dev"].open; len(open) != 0 {
		t.Errorf("multipart uploads are left: %v", open)
	}
}

// A session whose record was lost on the way back, but names its multipart upload, goes on
// with that: it must be there. So nothing of what was acknowledged is lost with it.
func TestUploadGoesOnBehindLostClaim(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(9, 6*mib)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(t.Context(), stream(data[:5]), 0, 5); err != nil {
		t.Fatal(err)
	}
	w.buckets["dev"].hook(func(op, _ string) {
		if op == "begin" {
			w.faults.arm(1, true) // the transaction behind it
		}
	})
	if err := w.session(u.ID).Append(t.Context(), stream(data[5:]), 5, int64(len(data)-5)); !errors.Is(err, oci.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, oci.ErrUnavailable)
	}
	w.buckets["dev"].hook(nil)
	if hit := w.faults.disarm(); hit == "" {
		t.Fatal("nothing failed")
	}
	if u = w.session(u.ID); u.Offset() != 5 {
		t.Fatalf("offset %d, want 5", u.Offset())
	}
	if err := u.Append(t.Context(), stream(data[5:]), 5, int64(len(data)-5)); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(u.ID, digest.FromBytes(data)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
		t.Error("other bytes came back")
	}
	w.audit(true)
}

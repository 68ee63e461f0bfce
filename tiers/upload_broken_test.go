package tiers_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A body that breaks off leaves the upload where it was; the client goes on from there.
func TestUploadBrokenBody(t *testing.T) {
	w := newWorld(t, nil)
	seed := uint64(0)
	for name, c := range map[string]struct{ sent, total, length int }{
		"small, known":              {3, 10, 10},
		"small, streamed":           {3, 10, -1},
		"a part, known":             {3 * mib, 6 * mib, 6 * mib},
		"a part, streamed":          {3 * mib, 6 * mib, -1},
		"behind a part, streamed":   {9 * mib, 10 * mib, -1},
		"the second part, known":    {20 * mib, 40 * mib, 40 * mib},
		"the very last byte, known": {10*mib - 1, 10 * mib, 10 * mib},
	} {
		for before, ending := range map[int]error{0: errVanished, 5: io.ErrUnexpectedEOF} { // the latter is net/http's
			t.Run(fmt.Sprintf("%s, %v, behind %d", name, ending, before), func(t *testing.T) {
				seed++
				data := bytesOf(seed, before+c.total)
				u, err := w.dev.StartUpload(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if before > 0 {
					if err := u.Append(t.Context(), stream(data[:before]), 0, int64(before)); err != nil {
						t.Fatal(err)
					}
				}
				body := io.MultiReader(bytes.NewReader(data[before:before+c.sent]), iotest.ErrReader(ending))
				if err := u.Append(t.Context(), body, int64(before), int64(c.length)); err == nil {
					t.Fatal("a broken body was taken for a whole one")
				} else if ending == errVanished && !errors.Is(err, errVanished) {
					t.Errorf("%v does not say %v", err, errVanished)
				}
				if u, err = w.dev.Upload(t.Context(), u.ID); err != nil {
					t.Fatal(err)
				}
				if u.Offset() != int64(before) {
					t.Fatalf("offset %d, want %d", u.Offset(), before)
				}
				if err := u.Append(t.Context(), stream(data[before:]), int64(before), int64(c.length)); err != nil {
					t.Fatal(err)
				}
				if err := u.Finish(t.Context(), stream(nil), -1, 0, digest.FromBytes(data)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
					t.Error("other bytes came back")
				}
			})
		}
	}
	w.audit(true)
}

// A PUT whose body breaks off can be sent again, or be gone on with in chunks, large ones
// too: the key of the first try is not written again.
func TestUploadBrokenPut(t *testing.T) {
	for name, plan := range map[string][]chunk{
		"the same again": {{size: 6 * mib, final: true}},
		"a chunk":        {{size: 6 * mib}},
		"streamed":       {{size: 6 * mib, unknown: true}},
		"small chunks":   chunks(3, 2*mib),
		"byte and large": {{size: 1}, {size: 6*mib - 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			data := bytesOf(3, 6*mib)
			u, err := w.dev.StartUpload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			body := io.MultiReader(bytes.NewReader(data[:mib]), iotest.ErrReader(errVanished))
			if err := u.Finish(t.Context(), body, -1, 6*mib, digest.FromBytes(data)); !errors.Is(err, errVanished) {
				t.Fatalf("%v, want %v", err, errVanished)
			}
			if err := w.resume(w.dev, u.ID, data, plan); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(w.read(w.dev, digest.FromBytes(data)), data) {
				t.Error("other bytes came back")
			}
			w.audit(true)
		})
	}
}

// resume goes on with an upload from where it says it stands, and finishes it.
func (w *world) resume(r *tiers.Repository, id string, data []byte, plan []chunk) error {
	want := digest.FromBytes(data)
	for _, c := range append(plan, chunk{final: true}) {
		u, err := r.Upload(w.t.Context(), id)
		if err != nil {
			return err
		}
		if u.Done() != "" {
			return u.Finish(w.t.Context(), stream(nil), -1, 0, want)
		}
		end := int64(len(data))
		if !c.final {
			end = min(end, u.Offset()+int64(c.size))
		}
		body, length := stream(data[u.Offset():end]), end-u.Offset()
		if c.unknown {
			length = -1
		}
		if c.final {
			return u.Finish(w.t.Context(), body, u.Offset(), length, want)
		}
		if err := u.Append(w.t.Context(), body, u.Offset(), length); err != nil {
			return err
		}
	}
	return nil
}

// A cancelled upload leaves nothing, wherever it stood.
func TestUploadCancel(t *testing.T) {
	for name, plan := range map[string][]chunk{
		"fresh":            {},
		"a tail":           {{size: 5}},
		"two tails":        {{size: 5}, {size: 5}},
		"a part":           {{size: 5 * mib}},
		"a part and tails": {{size: 5 * mib, unknown: true}, {size: 5}, {size: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			u, err := w.dev.StartUpload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range plan {
				if err := u.Append(t.Context(), stream(bytesOf(1, c.size)), -1, c.length()); err != nil {
					t.Fatal(err)
				}
			}
			if err := u.Cancel(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(w.buckets["dev"].live) + len(w.buckets["dev"].open); n != 0 {
				t.Errorf("%d objects and multipart uploads are left", n)
			}
			if left := w.left(""); len(left) != 0 {
				t.Errorf("records are left: %v", left)
			}
			if _, err := w.dev.Upload(t.Context(), u.ID); !errors.Is(err, oci.ErrUploadUnknown) {
				t.Errorf("%v, want %v", err, oci.ErrUploadUnknown)
			}
		})
	}
}

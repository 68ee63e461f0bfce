package tiers_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// spoiling is a bucket whose reads go through spoil.
type spoiling struct {
	tiers.Bucket
	spoil func(io.Reader) io.Reader // nil: as they are
}

func (s *spoiling) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	rc, err := s.Bucket.Open(ctx, key, offset, length)
	if err != nil || s.spoil == nil {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{s.spoil(rc), rc}, nil
}

// The bytes that an upload has acknowledged and that are too few for a part are read again
// by the next request. What the store gives then is not taken for them because it is given:
// the running hash has passed, so the blob would be other bytes than its digest says.
func TestUploadTailIsProven(t *testing.T) {
	for name, spoil := range map[string]func(io.Reader) io.Reader{
		"wrong bytes": func(r io.Reader) io.Reader { return &flipper{r: r} },
		"too few":     func(r io.Reader) io.Reader { return io.LimitReader(r, 2) },
		"cut off": func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 2), iotest.ErrReader(io.ErrUnexpectedEOF))
		},
	} {
		for what, c := range map[string]struct{ first, second, last int }{
			"a tail behind a tail":  {5, 5, 0},
			"a part behind a tail":  {5, 6 * mib, 0},
			"a tail behind a part":  {6 * mib, 5, 0},
			"the end behind a tail": {5, 0, 5},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				b := &spoiling{Bucket: stores.Bucket(t)}
				w := newWorldOn(t, map[string]tiers.Bucket{"dev": b, "stable": stores.Bucket(t)}, nil)
				data := bytesOf(7, c.first+c.second+c.last)
				u, err := w.dev.StartUpload(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				steps := []func(*tiers.Upload) error{
					func(u *tiers.Upload) error { return u.Append(t.Context(), stream(data[:c.first]), 0, int64(c.first)) },
				}
				if c.second > 0 {
					steps = append(steps, func(u *tiers.Upload) error {
						return u.Append(t.Context(), stream(data[c.first:][:c.second]), int64(c.first), int64(c.second))
					})
				}
				steps = append(steps, func(u *tiers.Upload) error {
					return u.Finish(t.Context(), stream(data[len(data)-c.last:]), int64(len(data)-c.last), int64(c.last), digest.FromBytes(data))
				})
				for _, step := range steps {
					b.spoil = spoil
					if err := step(w.session(u.ID)); err != nil && !errors.Is(err, oci.ErrUnavailable) {
						t.Errorf("a store that gives other bytes: %v, want %v", err, oci.ErrUnavailable)
					} else if err != nil {
						b.spoil = nil
						if err := step(w.session(u.ID)); err != nil {
							t.Fatal(err)
						}
					}
				}
				b.spoil = nil
				blob, err := w.dev.Blob(t.Context(), digest.FromBytes(data))
				if err != nil {
					t.Fatal(err)
				}
				rc, err := blob.Open(t.Context(), 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				defer rc.Close()
				if got, err := digest.FromReader(rc); err != nil || got != digest.FromBytes(data) {
					t.Errorf("the blob is %s, %v, want %s", got, err, digest.FromBytes(data))
				}
			})
		}
	}
}

// session finds a session that was begun in dev.
func (w *world) session(id string) *tiers.Upload {
	w.t.Helper()
	u, err := w.dev.Upload(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

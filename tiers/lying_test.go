package tiers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// liar is a real bucket that does not always give back what was put into it.
type liar struct {
	tiers.Bucket
	lie atomic.Pointer[lie] // nil: it is honest
}

// lie is what becomes of an object that is read.
type lie func(rc io.ReadCloser, length int64) (io.ReadCloser, error)

func (l *liar) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	rc, err := l.Bucket.Open(ctx, key, offset, length)
	if lie := l.lie.Load(); lie != nil && err == nil {
		return (*lie)(rc, length)
	}
	return rc, err
}

// lies are all ways to be wrong about an object.
func lies() map[string]lie {
	type body struct {
		io.Reader
		io.Closer
	}
	return map[string]lie{
		"other bytes": func(rc io.ReadCloser, _ int64) (io.ReadCloser, error) { return body{&flipper{r: rc}, rc}, nil },
		"fewer bytes": func(rc io.ReadCloser, length int64) (io.ReadCloser, error) {
			return body{io.LimitReader(rc, length-1), rc}, nil
		},
		"a broken connection": func(rc io.ReadCloser, length int64) (io.ReadCloser, error) {
			broken := fmt.Errorf("%w: %w", oci.ErrUnavailable, io.ErrUnexpectedEOF)
			return body{io.MultiReader(io.LimitReader(rc, length/2), iotestErr{broken}), rc}, nil
		},
		"no object": func(rc io.ReadCloser, _ int64) (io.ReadCloser, error) {
			return nil, errors.Join(oci.ErrObjectUnknown, rc.Close())
		},
	}
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

// A store that gives back other bytes than were put into it fails an upload that reads them,
// and blames nobody else; when it is right again the upload goes on where it was.
func TestUploadFromLiar(t *testing.T) {
	store := &liar{Bucket: stores.Bucket(t)}
	w := newWorldOn(t, map[string]tiers.Bucket{"dev": store, "stable": stores.Bucket(t)}, nil)
	seed := uint64(0)
	for name, lie := range lies() {
		for what, c := range map[string]struct {
			chunks []int // appended while it is honest
			rest   int
			finish func(id string, rest []byte, data []byte) error
		}{
			"a tail that more follows": {[]int{3}, 4, func(id string, rest, data []byte) error {
				return w.endUpload(id, rest, digest.FromBytes(data))
			}},
			"a tail that becomes part of a part": {[]int{3}, 6 * mib, func(id string, rest, data []byte) error {
				return w.endUpload(id, rest, digest.FromBytes(data))
			}},
			"a tail behind a part": {[]int{5 * mib, 3}, 0, func(id string, rest, data []byte) error {
				return w.endUpload(id, rest, digest.FromBytes(data))
			}},
			"the end, sent as if it were all": {[]int{3}, 4, func(id string, rest, data []byte) error {
				u, err := w.dev.WholeUpload(t.Context(), id)
				if err != nil {
					return err
				}
				return u.Finish(t.Context(), stream(rest), -1, int64(len(rest)), digest.FromBytes(data))
			}},
			"another algorithm": {[]int{3}, 0, func(id string, rest, data []byte) error {
				return w.endUpload(id, rest, digest.SHA512.FromBytes(data))
			}},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				seed++
				u, err := w.dev.StartUpload(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var sent []byte
				for i, n := range c.chunks {
					part := bytesOf(seed+uint64(1000*i), n)
					if u, err = w.dev.Upload(t.Context(), u.ID); err == nil {
						err = u.Append(t.Context(), stream(part), -1, int64(n))
					}
					if err != nil {
						t.Fatal(err)
					}
					sent = append(sent, part...)
				}
				rest := bytesOf(seed+5000, c.rest)
				data := append(bytes.Clone(sent), rest...)
				store.lie.Store(&lie)
				err = c.finish(u.ID, rest, data)
				store.lie.Store(nil)
				if !errors.Is(err, oci.ErrUnavailable) || errors.Is(err, oci.ErrDigestInvalid) || errors.Is(err, oci.ErrSizeInvalid) {
					t.Fatalf("%v, want %v", err, oci.ErrUnavailable)
				}
				if err := c.finish(u.ID, rest, data); err != nil {
					t.Fatalf("when it is honest again: %v", err)
				}
			})
		}
	}
	w.audit(false)
}

// endUpload ends an upload as a client does whose last request failed.
func (w *world) endUpload(id string, rest []byte, want digest.Digest) error {
	u, err := w.dev.Upload(w.t.Context(), id)
	if err != nil {
		return err
	}
	return u.Finish(w.t.Context(), stream(rest), -1, int64(len(rest)), want)
}

// What a manifest or evidence is read as is what it was stored as, or an error that says
// that the store is in trouble; the wrong bytes are kept nowhere.
func TestReadFromLiar(t *testing.T) {
	store := &liar{Bucket: stores.Bucket(t)}
	w := newWorldOn(t, map[string]tiers.Bucket{"dev": store, "stable": stores.Bucket(t)}, nil)
	layer := w.blob(w.dev, bytesOf(1, 100_000))
	body := image(layer, nil, "")
	manifest := w.manifest(w.dev, "v1", body)
	fetch := func(desc ocispec.Descriptor) ([]byte, error) {
		rc, err := w.dev.Fetch(t.Context(), desc)
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		return io.ReadAll(rc)
	}
	for name, lie := range lies() {
		for what, read := range map[string]func() ([]byte, error){
			"manifest":         func() ([]byte, error) { _, got, err := w.dev.Manifest(t.Context(), "v1"); return got, err },
			"fetched manifest": func() ([]byte, error) { return fetch(manifest) },
			"fetched blob":     func() ([]byte, error) { return fetch(layer) },
		} {
			want := body
			if what == "fetched blob" {
				want = bytesOf(1, 100_000)
			}
			w.Forget() // what was pushed is in memory
			store.lie.Store(&lie)
			got, err := read()
			store.lie.Store(nil)
			if err == nil || bytes.Equal(got, want) {
				t.Errorf("%s, %s: %d bytes, %v", name, what, len(got), err)
			}
			// A reader of evidence takes everything else for evidence that is no good.
			if what != "manifest" && !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("%s, %s: %v, want %v", name, what, err, oci.ErrUnavailable)
			}
			if got, err := read(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s, honest again: %d bytes, %v", name, what, len(got), err)
			}
		}
	}
}

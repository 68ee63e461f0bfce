package tiers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const mib = 1 << 20

// chunk is one request of an upload: so many bytes, with or without saying how many.
type chunk struct {
	size    int
	unknown bool // streamed: the length is not said
	final   bool // the body of the PUT that ends the upload
}

func chunks(n, size int) []chunk {
	all := make([]chunk, n)
	for i := range all {
		all[i].size = size
	}
	return all
}

// upload sends data in chunks and finishes; want is what the client says that it is.
func (w *world) upload(r *tiers.Repository, data []byte, plan []chunk, want digest.Digest) error {
	w.t.Helper()
	u, err := r.StartUpload(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	last, offset := chunk{}, 0
	for _, c := range plan {
		if c.final {
			last = c
			break
		}
		if u, err = r.Upload(w.t.Context(), u.ID); err != nil { // each request reads the session anew
			w.t.Fatal(err)
		}
		if err := u.Append(w.t.Context(), stream(data[offset:offset+c.size]), int64(offset), c.length()); err != nil {
			return err
		}
		if offset += c.size; u.Offset() != int64(offset) {
			w.t.Errorf("offset %d after %d bytes", u.Offset(), offset)
		}
	}
	if u, err = r.Upload(w.t.Context(), u.ID); err != nil {
		w.t.Fatal(err)
	}
	if u.Offset() != int64(offset) {
		w.t.Errorf("offset %d after %d bytes, read anew", u.Offset(), offset)
	}
	return u.Finish(w.t.Context(), stream(data[offset:offset+last.size]), -1, last.length(), want)
}

func (c chunk) length() int64 {
	if c.unknown {
		return -1
	}
	return int64(c.size)
}

// Every way of a client to upload ends with the blob, one object, and nothing else.
func TestUpload(t *testing.T) {
	type plan = []chunk
	cases := map[string]plan{
		"nothing":                  {},
		"nothing, streamed":        {{unknown: true}},
		"post and put":             {{size: 3 * mib, final: true}},
		"put of 32 MiB":            {{size: 32 * mib, final: true}},
		"put over one request":     {{size: 64*mib + 1, final: true}},
		"put streamed":             {{size: 9 * mib, unknown: true, final: true}},
		"put streamed, small":      {{size: 9, unknown: true, final: true}},
		"chunk of 40 MiB":          {{size: 40 * mib}},
		"bytes":                    chunks(20, 1),
		"1 MiB chunks":             chunks(12, mib),
		"6 MiB chunks":             chunks(3, 6*mib),
		"6 MiB chunks, last short": append(chunks(2, 6*mib), chunk{size: 5}),
		"streamed chunks":          {{size: 6 * mib, unknown: true}, {size: 3, unknown: true}, {size: 6 * mib, unknown: true}},
		"large, tiny, large":       {{size: 33 * mib}, {size: 1}, {size: 33 * mib}},
		"mixed":                    {{size: 7}, {size: 6 * mib, unknown: true}, {size: 1}, {size: 5 * mib}, {size: 9, unknown: true}},
		"an empty chunk between":   {{size: 7}, {}, {unknown: true}, {size: 8}},
		"chunks and a last body":   {{size: 6 * mib}, {size: 7}, {size: 3, final: true}},
		"chunks and a large last":  {{size: 3}, {size: 6 * mib, final: true}},
		"chunks and a streamed":    {{size: 3}, {size: 6 * mib, unknown: true, final: true}},
	}
	for _, n := range []int{1, 5*mib - 1, 5 * mib, 5*mib + 1} {
		cases[fmt.Sprintf("chunk %d", n)] = plan{{size: n}}
	}
	for _, n := range []int{1, 5*mib - 1, 5 * mib, 5*mib + 1, 8*mib - 1, 8 * mib, 8*mib + 1, 20 * mib} {
		cases[fmt.Sprintf("streamed %d", n)] = plan{{size: n, unknown: true}}
	}
	w := newWorld(t, nil)
	seed := uint64(0)
	for name, c := range cases {
		seed++
		t.Run(name, func(t *testing.T) {
			size := 0
			for _, chunk := range c {
				size += chunk.size
			}
			data := bytesOf(seed, size)
			d := digest.FromBytes(data)
			if err := w.upload(w.dev, data, c, d); err != nil {
				t.Fatal(err)
			}
			if got := w.read(w.dev, d); !bytes.Equal(got, data) {
				t.Fatalf("%d bytes came back, which are not the %d sent", len(got), len(data))
			}
		})
	}
	w.audit(true)
	blobs := w.catalog.all(t, "store/"+w.dev.Tier.Store()+"/blob/")
	if live := len(w.buckets["dev"].live); live != len(blobs) {
		t.Errorf("%d objects for %d blobs", live, len(blobs))
	}
}

// Content that is not what the digest says leaves nothing.
func TestUploadWrongDigest(t *testing.T) {
	for name, plan := range map[string][]chunk{
		"put":              {{size: 10, final: true}},
		"put streamed":     {{size: 10, unknown: true, final: true}},
		"nothing":          {},
		"nothing streamed": {{unknown: true}},
		"bytes":            {{size: 10}, {size: 3}},
		"parts":            {{size: 5 * mib}, {size: 5 * mib}},
		"parts and a tail": {{size: 5 * mib}, {size: 10}},
		"streamed parts":   {{size: 6 * mib, unknown: true}, {size: 3, final: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			size := 0
			for _, c := range plan {
				size += c.size
			}
			for _, want := range []digest.Digest{digest.FromString("other"), digest.SHA512.FromString("other")} {
				if err := w.upload(w.dev, bytesOf(1, size), plan, want); !errors.Is(err, oci.ErrDigestInvalid) {
					t.Fatalf("%v, want %v", err, oci.ErrDigestInvalid)
				}
				if n := len(w.buckets["dev"].live) + len(w.buckets["dev"].open); n != 0 {
					t.Errorf("%d objects and multipart uploads are left", n)
				}
				if left := w.left(""); len(left) != 0 {
					t.Errorf("records are left: %v", left)
				}
			}
		})
	}
}

// SHA-512 names blobs as SHA-256 does, however they came.
func TestUploadSHA512(t *testing.T) {
	w := newWorld(t, nil)
	for i, plan := range [][]chunk{{{size: 10, final: true}}, {{size: 10}}, {{size: 6 * mib}, {size: 7, unknown: true}}, {}} {
		size := 0
		for _, c := range plan {
			size += c.size
		}
		data := bytesOf(uint64(i), size)
		d := digest.SHA512.FromBytes(data)
		if err := w.upload(w.dev, data, plan, d); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.read(w.dev, d), data) {
			t.Errorf("plan %d: other bytes came back", i)
		}
	}
	w.audit(true)
}

// The last request asked again gets the same answer; with another digest it does not.
func TestUploadReplay(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 10)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := w.dev.Upload(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Finish(t.Context(), stream(data), 0, 10, digest.FromBytes(data)); err != nil {
			t.Fatal(err)
		}
		if again.Done() != digest.FromBytes(data) {
			t.Errorf("done as %q", again.Done())
		}
	}
	again, err := w.dev.Upload(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another digest": again.Finish(t.Context(), stream(nil), -1, 0, digest.FromString("x")),
		"more bytes":     again.Append(t.Context(), stream(data), -1, 10),
		"cancel":         again.Cancel(t.Context()),
	} {
		if !errors.Is(err, oci.ErrUploadUnknown) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUploadUnknown)
		}
	}
	if len(w.read(w.dev, digest.FromBytes(data))) != 10 {
		t.Error("the blob is not whole")
	}
	w.audit(true)
	if events := w.events(); len(events) != 1 {
		t.Errorf("%d events for one blob", len(events))
	}
}

// A session belongs to one repository and one actor.
func TestUploadOfOthers(t *testing.T) {
	w := newWorld(t, nil)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bob, err := w.Repository("dev", "acme/app", "bob")
	if err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() (*tiers.Upload, error){
		"another repository": func() (*tiers.Upload, error) { return w.repo("dev", "acme/other").Upload(t.Context(), u.ID) },
		"another actor":      func() (*tiers.Upload, error) { return bob.Upload(t.Context(), u.ID) },
		"a changed id":       func() (*tiers.Upload, error) { return w.dev.Upload(t.Context(), u.ID[:25]+"!") },
		"no id":              func() (*tiers.Upload, error) { return w.dev.Upload(t.Context(), "") },
		"a path":             func() (*tiers.Upload, error) { return w.dev.Upload(t.Context(), "../upload/"+u.ID) },
	} {
		if _, err := ask(); !errors.Is(err, oci.ErrUploadUnknown) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUploadUnknown)
		}
	}
	if _, err := w.stable.Upload(t.Context(), u.ID); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("a tier above: %v, want %v", err, oci.ErrDenied)
	}
}

// A chunk that begins elsewhere than the upload ends is refused and changes nothing.
func TestUploadRange(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 30)
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(t.Context(), stream(data[:10]), 0, 10); err != nil {
		t.Fatal(err)
	}
	for _, start := range []int64{0, 9, 11, 1 << 40} {
		if err := u.Append(t.Context(), stream(data), start, 30); !errors.Is(err, oci.ErrRangeInvalid) {
			t.Errorf("append at %d: %v, want %v", start, err, oci.ErrRangeInvalid)
		}
		if err := u.Finish(t.Context(), stream(data), start, 30, digest.FromBytes(data)); !errors.Is(err, oci.ErrRangeInvalid) {
			t.Errorf("finish at %d: %v, want %v", start, err, oci.ErrRangeInvalid)
		}
	}
	if err := u.Finish(t.Context(), stream(data[10:]), 10, 20, digest.FromBytes(data)); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
}

var errVanished = errors.New("the client vanished")

// The same content again is the same object, for whatever repository.
func TestUploadDuplicate(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 5*mib+7)
	d := digest.FromBytes(data)
	other := w.repo("dev", "acme/other")
	for _, r := range []*tiers.Repository{w.dev, other, w.dev} {
		for _, plan := range [][]chunk{{{size: len(data), final: true}}, {{size: 5 * mib}, {size: 7}}, {{size: len(data), unknown: true}}} {
			if err := w.upload(r, data, plan, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if live := len(w.buckets["dev"].live); live != 1 {
		t.Errorf("%d objects for one content", live)
	}
	if !bytes.Equal(w.read(other, d), data) {
		t.Error("other bytes came back")
	}
	w.audit(true)
}

// With one buffer, two streamed uploads at once both come to their end.
func TestUploadBuffers(t *testing.T) {
	w := newWorld(t, func(c *tiers.Config) { c.Buffers = 1 })
	first, last := io.Pipe()
	done := make(chan error, 2)
	data := bytesOf(1, 10)
	go func() { done <- w.streamed(first, digest.FromBytes(data)) }()
	if _, err := last.Write(data[:5]); err != nil { // it holds the buffer
		t.Fatal(err)
	}
	go func() { done <- w.streamed(stream(bytesOf(2, 9*mib)), digest.FromBytes(bytesOf(2, 9*mib))) }()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Append(cancelled, stream(data), -1, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("without a buffer, cancelled: %v", err)
	}
	if _, err := last.Write(data[5:]); err != nil {
		t.Fatal(err)
	}
	last.Close()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// Failed uploads give their buffer back.
	for range 3 {
		if err := u.Append(t.Context(), iotest.ErrReader(errVanished), -1, -1); !errors.Is(err, errVanished) {
			t.Fatalf("%v, want %v", err, errVanished)
		}
		if u, err = w.dev.Upload(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) streamed(body io.Reader, want digest.Digest) error {
	u, err := w.dev.StartUpload(w.t.Context())
	if err != nil {
		return err
	}
	return u.Finish(w.t.Context(), body, -1, -1, want)
}

// The events of uploads tell what it takes to make the records again.
func TestUploadEvent(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 10)
	w.blob(w.dev, data)
	events := w.events()
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	e := events[0]
	if e.Type != tiers.EventBlobPushed || e.Actor != "alice" || e.Tier != "dev" || e.Repository != "acme/app" ||
		e.Digest != digest.FromBytes(data) || e.Size != 10 || e.Store != w.dev.Tier.Store() || e.ID == "" || e.Time.IsZero() {
		t.Errorf("event %+v", e)
	}
	rc, err := w.buckets["dev"].Open(t.Context(), e.Key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil || digest.NewDigest(digest.SHA256, h) != e.Digest {
		t.Errorf("the key of the event is not that of the bytes: %v", err)
	}
}

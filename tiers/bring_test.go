package tiers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Bytes come by the cheapest way there is, whole.
func TestBring(t *testing.T) {
	for name, c := range map[string]struct {
		size   int
		digest func([]byte) digest.Digest
		stream bool
		want   tiers.How
	}{
		"copied":           {100, digest.FromBytes, false, tiers.Copied},
		"copied, parts":    {5*mib + 1, digest.FromBytes, false, tiers.Copied},
		"copied, empty":    {0, digest.FromBytes, false, tiers.Copied},
		"copied, sha512":   {100, digest.SHA512.FromBytes, false, tiers.Copied},
		"streamed":         {100, digest.FromBytes, true, tiers.Streamed},
		"streamed, empty":  {0, digest.FromBytes, true, tiers.Streamed},
		"streamed, sha512": {3 * mib, digest.SHA512.FromBytes, true, tiers.Streamed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.buckets["stable"].copies = !c.stream
			data := bytesOf(1, c.size)
			d := c.digest(data)
			plan := []chunk{{size: c.size, unknown: true}} // 5 MiB and more in parts
			if err := w.upload(w.dev, data, plan, d); err != nil {
				t.Fatal(err)
			}
			for _, want := range []tiers.How{c.want, tiers.Linked} {
				b, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice")
				if err != nil || b.How != want || b.Size != int64(c.size) {
					t.Fatalf("%+v, %v, want %v", b, err, want)
				}
				rc, err := w.buckets["stable"].Open(t.Context(), b.Key, 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				defer rc.Close()
				if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
					t.Errorf("other bytes came: %d, %v", len(got), err)
				}
			}
			release := w.repo("release", "acme/app").Tier // the bucket of stable
			if b, err := w.Bring(t.Context(), w.stable.Tier, release, d, "test", "alice"); err != nil || b.How != tiers.Linked {
				t.Errorf("in one bucket: %+v, %v", b, err)
			}
			w.audit(true)
		})
	}
}

// A copy that is not the content is not recorded and does not stay.
func TestBringCorrupt(t *testing.T) {
	for _, way := range []struct{ copies, sums bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			w := newWorld(t, nil)
			data := bytesOf(1, 100)
			d := algorithm.FromBytes(data)
			if err := w.upload(w.dev, data, []chunk{{size: 100, final: true}}, d); err != nil {
				t.Fatal(err)
			}
			w.buckets["stable"].copies, w.buckets["stable"].sums, w.buckets["stable"].corrupt = way.copies, way.sums, true
			if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); !errors.Is(err, oci.ErrCorrupt) {
				t.Errorf("%+v, %s: %v, want %v", way, algorithm, err, oci.ErrCorrupt)
			}
			if len(w.buckets["stable"].live) != 0 || len(w.left("store/"+w.stable.Tier.Store())) != 0 {
				t.Error("something is left of the corrupt copy")
			}
			w.audit(true)
			w.buckets["stable"].corrupt = false
			if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); err != nil {
				t.Error(err)
			}
			w.audit(true)
		}
	}
}

// Stat tells the sum of what is there, as some stores do.
func (b *bucket) Stat(ctx context.Context, key string) (tiers.ObjectInfo, error) {
	info, err := b.Bucket.Stat(ctx, key)
	if err != nil || !b.sums {
		return info, err
	}
	rc, err := b.Bucket.Open(ctx, key, 0, info.Size)
	if err != nil {
		return info, err
	}
	defer rc.Close()
	sum, err := digest.SHA256.FromReader(rc)
	if err != nil {
		return info, err
	}
	info.SHA256 = sum.Encoded()
	return info, nil
}

// What is larger than one request may hold goes in parts, and nothing stays of what breaks
// off or is not what it should be.
func TestBringInParts(t *testing.T) {
	for name, c := range map[string]struct {
		digest  func([]byte) digest.Digest
		size    int
		corrupt bool
		fails   string // which call of the store does
		want    error
	}{
		"three parts":             {digest.FromBytes, 11*mib + 7, false, "", nil},
		"even parts":              {digest.FromBytes, 10 * mib, false, "", nil},
		"sha512":                  {digest.SHA512.FromBytes, 6 * mib, false, "", nil},
		"a wrong byte":            {digest.FromBytes, 11 * mib, true, "", oci.ErrCorrupt},
		"a wrong byte, by sha512": {digest.SHA512.FromBytes, 6 * mib, true, "", oci.ErrCorrupt},
		"no part is taken":        {digest.FromBytes, 11 * mib, false, "part", oci.ErrUnavailable},
		"it is never completed":   {digest.FromBytes, 11 * mib, false, "complete", oci.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.SetLargest(5 * mib)
			above := w.buckets["stable"]
			above.copies, above.corrupt = false, c.corrupt
			data := bytesOf(1, c.size)
			d := c.digest(data)
			if err := w.upload(w.dev, data, []chunk{{size: c.size, final: true}}, d); err != nil {
				t.Fatal(err)
			}
			above.fail(c.fails)
			b, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice")
			if !errors.Is(err, c.want) || c.want != nil && err == nil {
				t.Fatalf("got %+v, %v; want %v", b, err, c.want)
			}
			if len(above.open) != 0 {
				t.Errorf("uploads are open: %v", above.open)
			}
			if c.want == nil {
				rc, err := above.Open(t.Context(), b.Key, 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				defer rc.Close()
				if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) || b.How != tiers.Streamed {
					t.Errorf("other bytes came, %v: %d, %v", b.How, len(got), err)
				}
			} else if len(above.live) != 0 || len(w.left("store/"+w.stable.Tier.Store()+"/blob/")) != 0 {
				t.Error("something is left of it")
			}
			w.audit(c.want != oci.ErrUnavailable) // what a store may make yet stays announced
		})
	}
}

// A store that stumbles now and then has what is missing brought once more, under other keys.
func TestBringAgain(t *testing.T) {
	for _, copies := range []bool{true, false} {
		w := newWorld(t, nil)
		var all []digest.Digest
		for i := range 40 {
			all = append(all, w.blob(w.dev, bytesOf(uint64(i), 50)).Digest)
		}
		w.buckets["stable"].copies = copies
		w.buckets["stable"].failEach(7)
		if err := w.bringSome(all); err != nil {
			t.Fatal(err)
		}
		w.buckets["stable"].failEach(0)
		w.audit(false)
		for _, d := range all {
			if b, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, d, "test", "alice"); err != nil || b.How != tiers.Linked {
				t.Errorf("%+v, %v", b, err)
			}
		}
	}
}

// Contents come in batches, whatever others do meanwhile: what somebody else brought first is
// theirs, each is told of once, and no object is left over.
func TestBringAll(t *testing.T) {
	for name, c := range map[string]struct {
		before    string // what is about to be written
		meanwhile func(w *world, all []digest.Digest) error
	}{
		"alone":                {"-", nil},
		"some are there":       {"store/%s/intent/", func(w *world, all []digest.Digest) error { return w.bringSome(all[3:9]) }},
		"some come meanwhile":  {"store/%s/blob/", func(w *world, all []digest.Digest) error { return w.bringSome(all[30:60]) }},
		"all of them, at once": {"store/%s/blob/", func(w *world, all []digest.Digest) error { return w.bringSome(all) }},
	} {
		for _, copies := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", copies ", copies), func(t *testing.T) {
				w := newWorld(t, nil)
				w.buckets["stable"].copies = copies
				var all []digest.Digest
				for i := range 75 {
					all = append(all, w.blob(w.dev, bytesOf(uint64(i), 50+i)).Digest)
				}
				prefix := strings.ReplaceAll(c.before, "%s", w.stable.Tier.Store())
				w.catalog.onCommit(func(change tiers.Change) {
					if c.meanwhile != nil && slices.ContainsFunc(change.Put, func(p tiers.Put) bool { return strings.HasPrefix(p.Key, prefix) }) {
						w.catalog.onCommit(nil)
						if err := c.meanwhile(w, all); err != nil {
							t.Error(err)
						}
					}
				})
				told := map[digest.Digest]string{}
				way := tiers.Bringing{From: w.dev.Tier, To: w.stable.Tier, Purpose: "test", Actor: "alice", AtOnce: 4}
				err := w.BringAll(t.Context(), way, all, func(d digest.Digest, b tiers.Brought) {
					if told[d] != "" {
						t.Errorf("told twice of %s", d)
					}
					told[d] = b.Key
				})
				if err != nil || len(told) != len(all) {
					t.Fatalf("told of %d, %v", len(told), err)
				}
				for _, r := range w.catalog.all(t, "store/"+w.stable.Tier.Store()+"/blob/") {
					d := digest.Digest(r.Key[strings.LastIndex(r.Key, "/")+1:])
					if key := fields(t, r)["key"]; key != told[d] {
						t.Errorf("%s is at %s, told %s", d, key, told[d])
					}
				}
				w.audit(true)
			})
		}
	}
}

// What was announced and is not begun, because others fail, costs the store no request, and its
// intents go.
func TestBringNotBegun(t *testing.T) {
	w := newWorld(t, nil)
	w.buckets["stable"].fail("copy")
	asked := 0
	w.buckets["stable"].hook(func(op, _ string) {
		if op == "delete" {
			asked++
		}
	})
	var all []digest.Digest
	for i := range 30 {
		all = append(all, w.blob(w.dev, bytesOf(uint64(i), 50)).Digest)
	}
	if err := w.bringSome(all); !errors.Is(err, oci.ErrUnavailable) {
		t.Fatalf("%v, want %v", err, oci.ErrUnavailable)
	}
	const begun = 4 * 4 // at once, in each try
	if left := w.catalog.all(t, "store/"+w.stable.Tier.Store()+"/intent/blobs/sha256/"); asked != 0 || len(left) > begun {
		t.Errorf("the store was asked %d times, %d intents are left", asked, len(left))
	}
}

// bringSome is somebody else who brings contents.
func (w *world) bringSome(digests []digest.Digest) error {
	way := tiers.Bringing{From: w.dev.Tier, To: w.stable.Tier, Purpose: "other", Actor: "bob"}
	return w.BringAll(w.t.Context(), way, digests, func(digest.Digest, tiers.Brought) {})
}

// Whatever write of a batch fails, another try brings all of it, and nothing is left that
// nobody knows of.
func TestBringAllFaults(t *testing.T) {
	var all []digest.Digest
	eachFault(t, func(w *world) {
		all = nil
		for i := range 5 {
			all = append(all, w.blob(w.dev, bytesOf(uint64(i), 50)).Digest)
		}
	}, func(w *world) {
		w.again("bring", func() error { return w.bringSome(all) })
	})
}

func TestBringUnknown(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.Bring(t.Context(), w.dev.Tier, w.stable.Tier, digest.FromString("x"), "test", "alice"); !errors.Is(err, oci.ErrBlobUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrBlobUnknown)
	}
	if left := w.left(""); len(left) != 0 {
		t.Errorf("records are left: %v", left)
	}
}

// Pins of what is gone are refused; all pins of one id go at once.
func TestPin(t *testing.T) {
	w := newWorld(t, nil)
	var there []digest.Digest
	for i := range 130 {
		there = append(there, w.blob(w.dev, fmt.Appendf(nil, "%d", i)).Digest)
	}
	gone := append(there[:3:3], digest.FromString("x"))
	if err := w.Pin(t.Context(), w.dev.Tier, gone, "p", true); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("%v, want %v", err, oci.ErrConflict)
	}
	if err := w.Pin(t.Context(), w.stable.Tier, gone, "p", false); err != nil {
		t.Error(err)
	}
	if err := w.Pin(t.Context(), w.dev.Tier, there, "p", true); err != nil {
		t.Error(err)
	}
	if err := w.Pin(t.Context(), w.dev.Tier, there[:1], "q", true); err != nil {
		t.Error(err)
	}
	pins := func() int {
		n := 0
		for _, tier := range []*tiers.Tier{w.dev.Tier, w.stable.Tier} {
			n += len(w.catalog.all(t, "store/"+tier.Store()+"/ref/"))
		}
		return n
	}
	if n := pins(); n != 130+4+1 {
		t.Errorf("%d pins, want 135", n)
	}
	for range 2 {
		if err := w.Unpin(t.Context(), "p"); err != nil {
			t.Error(err)
		}
		if n := pins(); n != 1 {
			t.Errorf("%d pins are left, want 1", n)
		}
	}
}

// Content that two store at once is one object.
func TestStoreTwice(t *testing.T) {
	w := newWorld(t, nil)
	body := []byte("record")
	d := digest.FromBytes(body)
	raced := false
	w.buckets["dev"].hook(func(op, _ string) {
		if op == "put" && !raced {
			raced = true
			if _, err := w.Store(t.Context(), w.dev.Tier, d, body); err != nil {
				t.Error(err)
			}
		}
	})
	key, err := w.Store(t.Context(), w.dev.Tier, d, body)
	if err != nil {
		t.Fatal(err)
	}
	if live := w.buckets["dev"].live; len(live) != 1 || !live[key] {
		t.Errorf("objects %v, the key is %s", live, key)
	}
	w.audit(true)
}

// Retry asks again after a conflict, a bounded number of times with pauses that differ,
// and after nothing else.
func TestRetry(t *testing.T) {
	var times []time.Time
	err := tiers.Retry(t.Context(), func() error { times = append(times, time.Now()); return &tiers.ConflictError{Keys: []string{"k"}} })
	if !errors.Is(err, oci.ErrConflict) || len(times) < 3 || len(times) > 20 {
		t.Errorf("%v after %d tries", err, len(times))
	}
	if total := times[len(times)-1].Sub(times[0]); total < 20*time.Millisecond || total > 10*time.Second {
		t.Errorf("gave up after %v", total)
	}
	for _, want := range []error{nil, oci.ErrUnavailable, oci.ErrDenied} {
		tries := 0
		if err := tiers.Retry(t.Context(), func() error { tries++; return want }); !errors.Is(err, want) || tries != 1 {
			t.Errorf("%v: %v after %d tries", want, err, tries)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err = tiers.Retry(ctx, func() error { tries++; cancel(); return oci.ErrConflict })
	if err == nil || tries != 1 {
		t.Errorf("cancelled: %v after %d tries", err, tries)
	}
}

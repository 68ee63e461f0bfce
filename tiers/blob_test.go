package tiers_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A blob is read through a repository that holds it, and through no other.
func TestBlobAccess(t *testing.T) {
	w := newWorld(t, nil)
	data := bytesOf(1, 100)
	desc := w.blob(w.dev, data)
	for name, r := range map[string]*tiers.Repository{"another repository": w.repo("dev", "acme/other"),
		"a name that begins alike": w.repo("dev", "acme/app2"), "another tier": w.stable} {
		if _, err := r.Blob(t.Context(), desc.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrBlobUnknown)
		}
		if ok, err := r.Exists(t.Context(), desc); ok || err != nil {
			t.Errorf("%s: exists %v, %v", name, ok, err)
		}
	}
	b, err := w.dev.Blob(t.Context(), desc.Digest)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := b.Open(t.Context(), 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data[10:30]) {
		t.Errorf("a range: %d bytes, %v", len(got), err)
	}
}

func TestMount(t *testing.T) {
	w := newWorld(t, nil)
	desc := w.blob(w.dev, bytesOf(1, 100))
	target := w.repo("dev", "acme/copy")
	for name, c := range map[string]struct {
		from *tiers.Repository
		d    digest.Digest
	}{
		"from one that does not hold it": {w.repo("dev", "acme/other"), desc.Digest},
		"what nobody holds":              {w.dev, digest.FromString("x")},
		"from another store":             {w.stable, desc.Digest},
	} {
		if ok, err := target.Mount(t.Context(), c.from, c.d); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if _, err := target.Blob(t.Context(), desc.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrBlobUnknown)
	}
	if ok, err := target.Mount(t.Context(), w.dev, desc.Digest); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if len(w.read(target, desc.Digest)) != 100 {
		t.Error("the mounted blob is not whole")
	}
	if _, err := w.stable.Mount(t.Context(), w.dev, desc.Digest); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("%v, want %v", err, oci.ErrDenied)
	}
	// It lives on where the first repository lets go of it.
	if err := w.dev.DeleteBlob(t.Context(), desc.Digest); err != nil {
		t.Fatal(err)
	}
	if len(w.read(target, desc.Digest)) != 100 {
		t.Error("the mounted blob went with the other")
	}
	events := w.events()
	if len(events) != 3 || events[1].Type != tiers.EventBlobMounted || events[1].From != "dev/acme/app" || events[1].Repository != "acme/copy" ||
		events[1].Key == "" || events[1].Size != 100 || events[2].Type != tiers.EventBlobDeleted {
		t.Errorf("events %+v", events)
	}
	w.audit(true)
}

// A write to a tier that is filled by promotion is told the way in.
func TestWritable(t *testing.T) {
	w := newWorld(t, nil)
	release := w.repo("release", "acme/app")
	d := digest.FromString("x")
	for reference, want := range map[string]string{
		"v1":       "HOST/dev/acme/app:v1, then run: sluice promote HOST/stable/acme/app:v1 --to release",
		d.String(): "HOST/dev/acme/app@" + d.String() + ", then run: sluice promote HOST/stable/acme/app@" + d.String() + " --to release",
		"":         "HOST/dev/acme/app:TAG, then run: sluice promote HOST/stable/acme/app:TAG --to release",
	} {
		if err := release.Writable(reference); !errors.Is(err, oci.ErrDenied) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", reference, err, want)
		}
	}
	for name, do := range map[string]func() error{
		"upload":   func() error { _, err := release.StartUpload(t.Context()); return err },
		"session":  func() error { _, err := release.Upload(t.Context(), "x"); return err },
		"manifest": func() error { _, err := release.PutManifest(t.Context(), "v1", "", "", index()); return err },
		"tag":      func() error { return release.Tag(t.Context(), ocispec.Descriptor{Digest: d}, "v1") },
		"push":     func() error { return release.Push(t.Context(), ocispec.Descriptor{Digest: d}, stream(nil)) },
	} {
		if err := do(); !errors.Is(err, oci.ErrDenied) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrDenied)
		}
	}
	if left := w.left(""); len(left) != 0 {
		t.Errorf("records: %v", left)
	}
}

// Whoever is told that bytes are here renews the promise to keep them, but not at every
// turn.
func TestRenew(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(c *tiers.Config) { c.Now = func() time.Time { return now } })
	desc := w.blob(w.dev, bytesOf(1, 10))
	key := "store/" + w.dev.Tier.Store() + "/blob/" + desc.Digest.String()
	for i, step := range []struct {
		later   time.Duration
		renewed bool
	}{{time.Minute, false}, {2 * time.Hour, true}, {time.Minute, false}} {
		before := w.catalog.all(t, key)[0]
		now = now.Add(step.later)
		if ok, err := w.repo("dev", "acme/other").Mount(t.Context(), w.dev, desc.Digest); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if after := w.catalog.all(t, key)[0]; (after.Revision != before.Revision) != step.renewed {
			t.Errorf("step %d: renewed %v, want %v", i, !step.renewed, step.renewed)
		}
	}
}

// A descriptor that cannot be is refused, not believed.
func TestPushImpossibleSize(t *testing.T) {
	w := newWorld(t, nil)
	for _, mediaType := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageLayer} {
		for _, size := range []int64{-1, 11, 9, 1 << 40} {
			desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString("0123456789"), Size: size}
			if size == 1<<40 && mediaType == ocispec.MediaTypeImageLayer {
				continue // would be sent until the body ends
			}
			if err := w.dev.Push(t.Context(), desc, strings.NewReader("0123456789")); err == nil {
				t.Errorf("%s of %d bytes was taken", mediaType, size)
			}
		}
	}
}

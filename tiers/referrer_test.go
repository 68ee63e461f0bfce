package tiers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/tiers"
)

// annotated renders an image with a subject and size bytes of annotations.
func annotated(config, subject ocispec.Descriptor, artifactType string, size int) []byte {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}, Subject: &subject, ArtifactType: artifactType,
		Annotations: map[string]string{"of": artifactType, "large": strings.Repeat("x", size)}}
	m.SchemaVersion = 2
	data, _ := json.Marshal(m) // plain data
	return data
}

// referrers walks all pages and returns the annotations by digest.
func (w *world) referrers(r *tiers.Repository, subject digest.Digest, artifactType string, n int) (all map[digest.Digest]map[string]string, pages int) {
	w.t.Helper()
	all = map[digest.Digest]map[string]string{}
	for last := ""; pages == 0 || last != ""; pages++ {
		page, next, err := r.Referrers(w.t.Context(), subject, artifactType, last, n)
		if err != nil {
			w.t.Fatal(err)
		}
		bytes := 0
		for _, d := range page {
			if all[d.Digest] != nil {
				w.t.Errorf("%s is listed twice", d.Digest)
			}
			all[d.Digest] = d.Annotations
			bytes += len(d.Annotations["large"])
		}
		if len(page) > 1 && bytes > 4<<20 || len(page) > n {
			w.t.Errorf("a page has %d referrers and %d bytes", len(page), bytes)
		}
		last = next
	}
	return all, pages
}

// Annotations of any size that a manifest may have are listed whole, from records or from
// the manifests, and pages stay small.
func TestLargeAnnotations(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	subject := w.manifest(w.dev, "v1", image(blob, nil, ""))
	want := map[digest.Digest]map[string]string{}
	for i, size := range []int{0, 1, 4000, 4090, 5000, 16 << 10, 1 << 20, 3 << 20, 3<<20 + 1<<19, 2 << 20} {
		artifactType := fmt.Sprintf("application/x.%d", i)
		desc := w.manifest(w.dev, "", annotated(blob, subject, artifactType, size))
		want[desc.Digest] = map[string]string{"of": artifactType, "large": strings.Repeat("x", size)}
		if one, _ := w.referrers(w.dev, subject.Digest, artifactType, 10); len(one) != 1 || !maps.Equal(one[desc.Digest], want[desc.Digest]) {
			t.Errorf("%d bytes: listed %d by type, or other annotations", size, len(one))
		}
	}
	for _, n := range []int{1, 3, 1000} {
		got, pages := w.referrers(w.dev, subject.Digest, "", n)
		if !maps.EqualFunc(got, want, maps.Equal[map[string]string]) {
			t.Errorf("n=%d: got %d of %d, or other annotations", n, len(got), len(want))
		}
		if pages < 3 { // about 9.5 MiB
			t.Errorf("n=%d: %d pages", n, pages)
		}
	}
	for _, r := range w.catalog.all(t, "tier/dev/referrer/") {
		if len(r.Value) > 5<<10 {
			t.Errorf("record %s has %d bytes", r.Key, len(r.Value))
		}
	}
	w.audit(true)
}

// What a promotion brings is listed with large annotations too.
func TestLargeAnnotationsArrive(t *testing.T) {
	w := newWorld(t, oneStore)
	blob := w.blob(w.dev, bytesOf(1, 40))
	subject := w.manifest(w.dev, "v1", image(blob, nil, ""))
	body := annotated(blob, subject, "application/x", 2<<20)
	desc := w.manifest(w.dev, "", body)
	arrival := w.stable.Arrival("p1")
	if err := arrival.Stage(t.Context(), tiers.Arriving{Descriptor: desc, Manifest: w.parse(body)}); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.referrers(w.stable, subject.Digest, "", 10); len(got) != 0 {
		t.Error("listed before its time")
	}
	var change tiers.Change
	arrival.Change(&change)
	if _, err := w.catalog.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"committed", "finished"} {
		if got, _ := w.referrers(w.stable, subject.Digest, "", 10); len(got[desc.Digest]["large"]) != 2<<20 {
			t.Errorf("%s: listed %d, or without its annotations", state, len(got))
		}
		if err := arrival.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A page reads so many manifests and no more, and the next goes on from there.
func TestLargeAnnotationsAreReadInPages(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	subject := w.manifest(w.dev, "v1", image(blob, nil, ""))
	for i := range 40 {
		w.manifest(w.dev, "", annotated(blob, subject, fmt.Sprintf("application/x.%d", i), 5000))
	}
	if got, pages := w.referrers(w.dev, subject.Digest, "", 1000); len(got) != 40 || pages != 2 {
		t.Errorf("%d on %d pages, want 40 on 2", len(got), pages)
	}
}

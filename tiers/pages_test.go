package tiers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A listing is as fresh from memory as from the catalog: whatever changes a repository,
// through whatever replica, is in the next page.
func TestPagesAreFresh(t *testing.T) {
	w := newWorld(t, nil)
	elsewhere, err := w.replica(tiers.Limits{}).Repository("dev", "acme/app", "bob")
	if err != nil {
		t.Fatal(err)
	}
	subject := w.image(w.dev, "v0", 1)
	blob := w.blob(w.dev, []byte("{}"))
	tagsAre := func(what string, want ...string) {
		t.Helper()
		for range 2 { // the second time from memory
			for name, r := range map[string]*tiers.Repository{"here": w.dev, "elsewhere": elsewhere} {
				got, _, err := r.Tags(t.Context(), "", 100)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%s, %s: %v, %v, want %v", what, name, got, err, want)
				}
			}
		}
	}
	referrersAre := func(what, artifactType string, want ...ocispec.Descriptor) {
		t.Helper()
		for range 2 {
			for name, r := range map[string]*tiers.Repository{"here": w.dev, "elsewhere": elsewhere} {
				got, _, err := r.Referrers(t.Context(), subject.Digest, artifactType, "", 100)
				if err != nil || !slices.EqualFunc(got, want, func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest }) {
					t.Errorf("%s, %s: %v, %v, want %v", what, name, got, err, want)
				}
			}
		}
	}
	tagsAre("pushed", "v0")
	referrersAre("none yet", "")
	second := w.image(elsewhere, "v1", 2)
	tagsAre("pushed elsewhere", "v0", "v1")
	if err := w.dev.Tag(t.Context(), second, "v2"); err != nil {
		t.Fatal(err)
	}
	tagsAre("tagged", "v0", "v1", "v2")
	if err := elsewhere.DeleteTag(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	tagsAre("tag deleted elsewhere", "v0", "v2")
	referrer := w.manifest(elsewhere, "", image(blob, &subject, "application/x.test"))
	referrersAre("one", "", referrer)
	referrersAre("of its type", "application/x.test", referrer)
	referrersAre("of another type", "application/x.other")
	if err := w.dev.DeleteManifest(t.Context(), referrer.Digest); err != nil {
		t.Fatal(err)
	}
	referrersAre("gone", "")
	if err := elsewhere.DeleteManifest(t.Context(), second.Digest); err != nil {
		t.Fatal(err)
	}
	tagsAre("manifest deleted", "v0")
}

// A page that was read while something changed is not kept as that of either generation.
func TestPagesRacedByChange(t *testing.T) {
	w := newWorld(t, nil)
	d := w.image(w.dev, "v0", 1)
	for i := range 3 {
		tag := fmt.Sprintf("w%d", i)
		raced := false
		w.catalog.onList(func(q tiers.Query) {
			if !raced {
				raced = true
				if err := w.dev.Tag(t.Context(), d, tag); err != nil {
					t.Error(err)
				}
			}
		})
		if _, _, err := w.dev.Tags(t.Context(), "", 100+i); err != nil {
			t.Fatal(err)
		}
		w.catalog.onList(nil)
		if !raced {
			t.Fatal("nothing was listed: the test is no test")
		}
		if got, _, err := w.dev.Tags(t.Context(), "", 100+i); err != nil || !slices.Equal(got, []string{"v0", tag}) {
			t.Errorf("after %s came: %v, %v", tag, got, err)
		}
		if err := w.dev.DeleteTag(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		if got, _, err := w.dev.Tags(t.Context(), "", 100+i); err != nil || !slices.Equal(got, []string{"v0"}) {
			t.Errorf("after %s went: %v, %v", tag, got, err)
		}
	}
}

// What a caller does to its page is not seen by the next.
func TestPagesAreTheCallers(t *testing.T) {
	w := newWorld(t, nil)
	w.image(w.dev, "v0", 1)
	for range 3 {
		tags, _, err := w.dev.Tags(t.Context(), "", 10)
		if err != nil || len(tags) != 1 || tags[0] != "v0" {
			t.Fatalf("%v, %v", tags, err)
		}
		tags[0] = "changed"
	}
	if _, _, err := w.repo("dev", "acme/none").Tags(t.Context(), "", 10); err == nil {
		t.Error("a repository that never was has tags")
	} else if !errors.Is(err, oci.ErrNameUnknown) {
		t.Error(err)
	}
}

// Listings that are kept take a bounded part of memory, and a registry that forgets them
// answers as before.
func TestPagesBound(t *testing.T) {
	w := newWorld(t, nil)
	d := w.image(w.dev, "v0", 1)
	for i := range 30 {
		if err := w.dev.Tag(t.Context(), d, fmt.Sprintf("t%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 400 { // each its own page, with a name that is long
		last := fmt.Sprintf("s%060000d", i)
		tags, _, err := w.dev.Tags(t.Context(), last, 10)
		if err != nil || len(tags) != 10 || tags[0] != "t00" {
			t.Fatalf("%v, %v", tags, err)
		}
	}
	if kept := w.Kept(); kept < 12<<20 || kept > 16<<20 {
		t.Errorf("%d bytes are kept", kept)
	}
	w.Forget()
	if kept := w.Kept(); kept != 0 {
		t.Errorf("%d bytes are kept by a registry that forgot", kept)
	}
	if tags, _, err := w.dev.Tags(t.Context(), "", 100); err != nil || len(tags) != 31 {
		t.Errorf("%d tags, %v", len(tags), err)
	}
}

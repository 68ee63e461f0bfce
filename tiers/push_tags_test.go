package tiers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// tenTags are as many as one push may set.
func tenTags() []string {
	var tags []string
	for i := range tiers.MaxPushTags {
		tags = append(tags, fmt.Sprintf("t%d", i))
	}
	return tags
}

// pushTagged pushes under the digest of the given algorithm with tags.
func (w *world) pushTagged(a digest.Algorithm, body []byte, tags ...string) (tiers.Pushed, error) {
	return w.dev.PutManifest(w.t.Context(), a.FromBytes(body).String(), "", "", body, tags...)
}

// wantTags fails unless exactly these tags of the repository point at d.
func (w *world) wantTags(d digest.Digest, tags ...string) {
	w.t.Helper()
	got, err := w.dev.TagsOf(w.t.Context(), d)
	if err != nil || !slices.Equal(got, tags) {
		w.t.Errorf("tags of %s: %v, %v; want %v", d, got, err, tags)
	}
	for _, tag := range tags {
		if desc, err := w.dev.Resolve(w.t.Context(), tag); err != nil || desc.Digest != d {
			w.t.Errorf("%s is %v, %v; want %s", tag, desc.Digest, err, d)
		}
	}
}

// Tags beside a digest are set with the manifest, for new manifests and for those there
// are, under both algorithms; what moved is told in events that a reader knows already.
func TestPushTags(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	old := w.manifest(w.dev, "b", image(blob, nil, "application/x.old"))
	body := image(blob, nil, "application/x.new")
	pushed, err := w.pushTagged(digest.SHA256, body, "a", "b", "a")
	if err != nil || !slices.Equal(pushed.Tags, []string{"a", "b"}) {
		t.Fatalf("%v, %v", pushed.Tags, err)
	}
	w.wantTags(pushed.Digest, "a", "b")
	w.wantTags(old.Digest)
	before := len(w.events())
	if _, err := w.pushTagged(digest.SHA256, body, "b", "a"); err != nil || len(w.events()) != before {
		t.Errorf("the same again: %v, %d events more", err, len(w.events())-before)
	}
	if _, err := w.pushTagged(digest.SHA256, body, "b", "c"); err != nil {
		t.Fatal(err)
	}
	w.wantTags(pushed.Digest, "a", "b", "c")
	sum, err := w.pushTagged(digest.SHA512, body, "c", "d")
	if err != nil {
		t.Fatal(err)
	}
	w.wantTags(sum.Digest, "c", "d")
	w.wantTags(pushed.Digest, "a", "b")

	var told []string
	for _, e := range w.events()[2:] { // behind the blob and the old manifest
		told = append(told, fmt.Sprint(e.Type, " ", e.Tag, " ", e.Digest.Algorithm(), " ", e.Previous != ""))
		if e.Key == "" || e.MediaType != ocispec.MediaTypeImageManifest || e.Size != int64(len(body)) {
			t.Errorf("not enough to make it again: %+v", e)
		}
	}
	if want := []string{
		"manifest.pushed a sha256 false", "tag.set b sha256 true", "tag.set c sha256 false",
		"manifest.pushed c sha512 true", "tag.set d sha512 false",
	}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	w.audit(true)
}

func TestPushTagsRefused(t *testing.T) {
	w := newWorld(t, nil)
	body := image(w.blob(w.dev, bytesOf(1, 40)), nil, "")
	for _, tt := range []struct {
		name string
		tags []string
		want error
	}{
		{"one more", append(tenTags(), "x"), oci.ErrTooManyTags},
		{"one more, and out of the grammar", append(tenTags(), "-"), oci.ErrTooManyTags},
		{"grammar", []string{"good", "-bad"}, oci.ErrTagInvalid},
		{"empty", []string{""}, oci.ErrTagInvalid},
	} {
		if _, err := w.pushTagged(digest.SHA256, body, tt.tags...); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := w.dev.Resolve(t.Context(), digest.FromBytes(body).String()); !errors.Is(err, oci.ErrManifestUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrManifestUnknown)
	}
	w.audit(true)
}

// Whatever write of a push with ten tags fails, either way, all of them are seen or none,
// and a second push makes it whole: also where the references need several transactions.
func TestPushTagsFaults(t *testing.T) {
	for _, width := range []int{1, 33, 81} { // 32 fit beside ten tags, 50 in a batch
		t.Run(fmt.Sprint(width, " layers"), func(t *testing.T) {
			var body, old []byte
			eachFault(t, func(w *world) {
				layers := w.pushLayers(width)
				old, body = image(layers[0], nil, "application/x.old"), image(layers[0], nil, "", layers...)
				w.manifest(w.dev, "t3", old)
				w.manifest(w.dev, "t7", old)
			}, func(w *world) {
				d := digest.FromBytes(body)
				w.again("push", func() error {
					_, err := w.pushTagged(digest.SHA256, body, tenTags()...)
					if tags, listErr := w.dev.TagsOf(w.t.Context(), d); listErr == nil && len(tags) != 0 && len(tags) != tiers.MaxPushTags {
						w.t.Errorf("%d of %d tags are seen", len(tags), tiers.MaxPushTags)
					}
					return err
				})
				w.wantTags(d, tenTags()...)
				w.wantTags(digest.FromBytes(old))
				w.audit(false)
			})
		})
	}
}

// A tag that somebody moves while a push is under way is not lost to either: the push is
// done again over what came first.
func TestPushTagsMovedMeanwhile(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	other, body := w.manifest(w.dev, "", image(blob, nil, "application/x.other")), image(blob, nil, "")
	w.release()
	n := 0
	w.catalog.onCommit(func(tiers.Change) {
		if n++; n == 2 { // behind the intent, before the records
			w.catalog.onCommit(nil)
			if err := w.dev.Tag(t.Context(), other, "b"); err != nil {
				t.Error(err)
			}
		}
	})
	pushed, err := w.pushTagged(digest.SHA256, body, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	w.wantTags(pushed.Digest, "a", "b")
	if last := w.events()[len(w.events())-1]; last.Tag != "b" || last.Previous != other.Digest {
		t.Errorf("told %+v, want that b left %s", last, other.Digest)
	}
	w.audit(true)
}

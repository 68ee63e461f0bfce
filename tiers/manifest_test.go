package tiers_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// missing is a descriptor of something that was never pushed.
func missing(mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString("never pushed"), Size: 12}
}

func TestPutManifestRules(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	elsewhere := w.blob(w.repo("dev", "acme/other"), bytesOf(2, 40))
	child := w.manifest(w.dev, "", image(blob, nil, ""))
	longer := func(d ocispec.Descriptor) ocispec.Descriptor { d.Size++; return d }
	asIndex := child
	asIndex.MediaType = ocispec.MediaTypeImageIndex
	empty := w.blob(w.dev, nil)
	good := image(blob, nil, "", blob, blob, empty)
	foreign := missing("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")

	for name, c := range map[string]struct {
		reference   string // empty: the digest
		want        digest.Digest
		contentType string
		body        []byte
		err         error
	}{
		"repeated and empty layers": {body: good},
		"by tag":                    {reference: "v1", body: good},
		"by tag with its digest":    {reference: "v1", want: digest.FromBytes(good), body: good},
		"sha512":                    {reference: digest.SHA512.FromBytes(good).String(), body: good},
		"missing subject":           {body: image(blob, ptr(missing(ocispec.MediaTypeImageManifest)), "")},
		"foreign layer":             {body: image(blob, nil, "", foreign)},
		"empty index":               {body: index()},
		"index":                     {body: index(child, child)},

		"missing config":        {body: image(missing(ocispec.MediaTypeImageConfig), nil, ""), err: oci.ErrManifestReference},
		"missing layer":         {body: image(blob, nil, "", missing(ocispec.MediaTypeImageLayer)), err: oci.ErrManifestReference},
		"another repository's":  {body: image(elsewhere, nil, ""), err: oci.ErrManifestReference},
		"a manifest as layer":   {body: image(blob, nil, "", child), err: oci.ErrManifestReference},
		"missing child":         {body: index(missing(ocispec.MediaTypeImageManifest)), err: oci.ErrManifestReference},
		"a blob as child":       {body: index(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: blob.Digest, Size: blob.Size}), err: oci.ErrManifestReference},
		"longer layer":          {body: image(blob, nil, "", longer(empty)), err: oci.ErrManifestInvalid},
		"longer config":         {body: image(longer(blob), nil, ""), err: oci.ErrManifestInvalid},
		"longer child":          {body: index(longer(child)), err: oci.ErrManifestInvalid},
		"child of other type":   {body: index(asIndex), err: oci.ErrManifestInvalid},
		"no manifest":           {body: []byte("{}"), err: oci.ErrManifestInvalid},
		"another type":          {contentType: ocispec.MediaTypeImageIndex, body: good, err: oci.ErrManifestInvalid},
		"too large":             {body: append(bytes.Clone(good), make([]byte, oci.MaxManifestSize)...), err: oci.ErrTooLarge},
		"bad tag":               {reference: "-v1", body: good, err: oci.ErrTagInvalid},
		"bad digest":            {reference: "sha256:ABC", body: good, err: oci.ErrDigestInvalid},
		"md5":                   {reference: "md5:d41d8cd98f00b204e9800998ecf8427e", body: good, err: oci.ErrDigestInvalid},
		"another digest":        {reference: child.Digest.String(), body: good, err: oci.ErrDigestInvalid},
		"a tag, another digest": {reference: "v1", want: child.Digest, body: good, err: oci.ErrDigestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			objects, records := len(w.buckets["dev"].live), len(w.catalog.all(t, ""))
			reference := c.reference
			if reference == "" {
				reference = digest.FromBytes(c.body).String()
			}
			pushed, err := w.dev.PutManifest(t.Context(), reference, c.want, c.contentType, c.body)
			if !errors.Is(err, c.err) || c.err != nil && err == nil {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err != nil {
				if len(w.buckets["dev"].live) != objects || len(w.catalog.all(t, "")) != records {
					t.Error("a refused push has left something")
				}
				return
			}
			desc, body, err := w.dev.Manifest(t.Context(), reference)
			if err != nil || !bytes.Equal(body, c.body) || desc.Digest != pushed.Digest || desc.Size != int64(len(body)) || desc.MediaType != pushed.MediaType {
				t.Errorf("read back: %v, %d bytes, %v", desc, len(body), err)
			}
		})
	}
	w.audit(true)
}

func ptr[T any](v T) *T { return &v }

// Bytes that garbage collection has condemned while a push looked for them are as missing.
func TestPutManifestCondemned(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	body := image(blob, nil, "")
	n := 0
	w.catalog.onCommit(func(tiers.Change) {
		if n++; n == 2 { // behind the intent, before the records
			w.catalog.onCommit(nil)
			if _, err := w.catalog.Commit(t.Context(), tiers.Change{Delete: []string{"store/" + w.dev.Tier.Store() + "/blob/" + blob.Digest.String()}}); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := w.dev.PutManifest(t.Context(), "v1", "", "", body); !errors.Is(err, oci.ErrManifestReference) {
		t.Errorf("%v, want %v", err, oci.ErrManifestReference)
	}
	if _, err := w.dev.Blob(t.Context(), blob.Digest); !errors.Is(err, oci.ErrBlobUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrBlobUnknown)
	}
}

// The bytes of a manifest that another repository has had are stored anew where they were
// condemned while it was pushed.
func TestPutManifestBytesCondemned(t *testing.T) {
	w := newWorld(t, nil)
	other := w.repo("dev", "acme/other")
	body := image(w.blob(w.dev, bytesOf(1, 40)), nil, "")
	w.blob(other, bytesOf(1, 40))
	if _, err := other.PutManifest(t.Context(), "v1", "", "", body); err != nil {
		t.Fatal(err)
	}
	record := "store/" + w.dev.Tier.Store() + "/blob/" + digest.FromBytes(body).String()
	w.beforeCommit(func(c tiers.Change) bool { return puts(c, "tier/dev/manifest/acme/app@") },
		func(tiers.Change) { w.delete(record) })
	if _, err := w.dev.PutManifest(t.Context(), "v1", "", "", body); err != nil {
		t.Fatal(err)
	}
	if len(w.catalog.all(t, record)) != 1 {
		t.Error("the manifest is there and its bytes are not")
	}
}

// Indexes may be nested as deep as the limit says, and no deeper.
func TestPutManifestDepth(t *testing.T) {
	w := newWorld(t, nil)
	below := w.image(w.dev, "", 1)
	for depth := 1; depth <= oci.MaxIndexDepth; depth++ {
		below = w.manifest(w.dev, "", index(below))
	}
	body := index(below)
	if _, err := w.dev.PutManifest(t.Context(), "deep", "", "", body); !errors.Is(err, oci.ErrManifestInvalid) {
		t.Errorf("%v, want %v", err, oci.ErrManifestInvalid)
	}
	w.audit(true)
}

// Manifests that need more than one transaction become visible whole.
func TestPutManifestWide(t *testing.T) {
	w := newWorld(t, nil)
	for _, n := range []int{49, 50, 51, 130} {
		layers := w.pushLayers(n)
		w.manifest(w.dev, fmt.Sprintf("wide-%d", n), image(layers[0], nil, "", layers...))
	}
	config := w.blob(w.dev, nil)
	var children []ocispec.Descriptor
	for i := range 120 {
		children = append(children, w.manifest(w.dev, "", image(config, nil, fmt.Sprintf("application/x.%d", i))))
	}
	d := w.manifest(w.dev, "index", index(children...))
	if got, err := w.dev.Resolve(t.Context(), "index"); err != nil || got.Digest != d.Digest {
		t.Errorf("%v, %v", got, err)
	}
	w.audit(true)
}

// More blobs than a manifest may name are refused as such, not as a fault of the store.
func TestPutManifestTooWide(t *testing.T) {
	w := newWorld(t, nil)
	var layers []ocispec.Descriptor
	for i := range 1501 {
		layers = append(layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(fmt.Sprint("layer ", i)), Size: 1})
	}
	_, err := w.dev.PutManifest(t.Context(), "v1", "", "", image(layers[0], nil, "", layers...))
	if !errors.Is(err, oci.ErrManifestInvalid) {
		t.Errorf("%v, want %v", err, oci.ErrManifestInvalid)
	}
}

// One event for each change of state, none for what changes nothing.
func TestPutManifestEvents(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	subject := w.manifest(w.dev, "", image(blob, nil, ""))
	a := image(blob, &subject, "application/x.a")
	b := image(blob, nil, "application/x.b")
	push := func(reference string, body []byte) {
		t.Helper()
		if _, err := w.dev.PutManifest(t.Context(), reference, "", "", body); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.events())
	for _, step := range []struct {
		do   func()
		want tiers.EventType // empty: none
	}{
		{func() { push("v1", a) }, tiers.EventManifestPushed},
		{func() { push("v1", a) }, ""},
		{func() { push(digest.FromBytes(a).String(), a) }, ""},
		{func() { push("v2", a) }, tiers.EventTagged},
		{func() { push("v1", b) }, tiers.EventManifestPushed},
		{func() { push("v1", a) }, tiers.EventTagged},
		{func() { _ = w.dev.Tag(t.Context(), plain(ocispec.Descriptor{Digest: digest.FromBytes(b)}), "v3") }, tiers.EventTagged},
		{func() { _ = w.dev.Tag(t.Context(), plain(ocispec.Descriptor{Digest: digest.FromBytes(b)}), "v3") }, ""},
		{func() { _ = w.dev.DeleteTag(t.Context(), "v3") }, tiers.EventUntagged},
		{func() { _ = w.dev.DeleteManifest(t.Context(), digest.FromBytes(b)) }, tiers.EventManifestDeleted},
	} {
		step.do()
		events := w.events()[before:]
		before += len(events)
		switch {
		case step.want == "" && len(events) == 0:
		case len(events) != 1 || events[0].Type != step.want:
			t.Fatalf("events %+v, want one %q", events, step.want)
		case events[0].Actor != "alice" || events[0].Tier != "dev" || events[0].Repository != "acme/app":
			t.Errorf("event %+v", events[0])
		}
	}
	pushed := w.events()[2]
	blobs := fields(t, w.catalog.all(t, "store/"+w.dev.Tier.Store()+"/blob/"+digest.FromBytes(a).String())[0])
	if pushed.Tag != "v1" || pushed.Digest != digest.FromBytes(a) || pushed.Subject != subject.Digest || pushed.ArtifactType != "application/x.a" ||
		pushed.MediaType != ocispec.MediaTypeImageManifest || pushed.Size != int64(len(a)) || pushed.Store != w.dev.Tier.Store() || pushed.Key != blobs["key"] {
		t.Errorf("the event does not say all: %+v", pushed)
	}
	moved := w.events()[5]
	if moved.Previous != digest.FromBytes(b) {
		t.Errorf("a moved tag pointed at %q before, want %q", moved.Previous, digest.FromBytes(b))
	}
	w.audit(true)
}

// Tags are listed in order, in pages, from any place.
func TestTags(t *testing.T) {
	w := newWorld(t, nil)
	if _, _, err := w.dev.Tags(t.Context(), "", 10); !errors.Is(err, oci.ErrNameUnknown) {
		t.Errorf("%v, want %v", err, oci.ErrNameUnknown)
	}
	all := []string{"A", "_", "a", "a.b", "b", "v1", "v10", "v2"}
	for _, tag := range all {
		w.image(w.dev, tag, 1)
	}
	w.image(w.repo("dev", "acme/app2"), "zz", 1) // a name that begins alike
	for _, n := range []int{-1, 1, 3, len(all), 1 << 30} {
		var got []string
		for last := ""; ; {
			page, next, err := w.dev.Tags(t.Context(), last, n)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if next == "" {
				break
			}
			last = next
		}
		if !slices.Equal(got, all) {
			t.Errorf("by %d: %v, want %v", n, got, all)
		}
	}
	if page, _, err := w.dev.Tags(t.Context(), "a.", 2); err != nil || !slices.Equal(page, []string{"a.b", "b"}) {
		t.Errorf("after a place between: %v, %v", page, err)
	}
	if page, next, err := w.dev.Tags(t.Context(), "zzz\x00\xff/@:", 2); err != nil || len(page) != 0 || next != "" {
		t.Errorf("behind the end: %v, %q, %v", page, next, err)
	}
}

// Referrers are listed by digest, filtered by type, and in pages.
func TestReferrers(t *testing.T) {
	w := newWorld(t, nil)
	config := w.blob(w.dev, nil)
	subject := missing(ocispec.MediaTypeImageManifest) // it may come later
	if page, next, err := w.dev.Referrers(t.Context(), subject.Digest, "", "", 10); err != nil || len(page) != 0 || next != "" {
		t.Errorf("of nothing: %v, %q, %v", page, next, err)
	}
	want := map[digest.Digest]bool{}
	for i := range 7 {
		d := w.manifest(w.dev, "", image(config, &subject, fmt.Sprintf("application/x.%d", i%2), w.blob(w.dev, fmt.Append(nil, i))))
		want[d.Digest] = true
	}
	w.manifest(w.dev, "", image(config, ptr(w.image(w.dev, "", 3)), "application/x.0")) // of another subject
	var got []ocispec.Descriptor
	for last := ""; ; {
		page, next, err := w.dev.Referrers(t.Context(), subject.Digest, "", last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, page...); next == "" {
			break
		}
		last = next
	}
	for _, d := range got {
		if !want[d.Digest] || d.Size == 0 || d.MediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("referrer %+v", d)
		}
		delete(want, d.Digest)
	}
	if len(want) != 0 || !slices.IsSortedFunc(got, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) }) {
		t.Errorf("%d referrers are missing, got %v", len(want), got)
	}
	page, _, err := w.dev.Referrers(t.Context(), subject.Digest, "application/x.1", "", 100)
	if err != nil || len(page) != 3 || page[0].ArtifactType != "application/x.1" {
		t.Errorf("filtered: %v, %v", page, err)
	}
	all, err := w.dev.Predecessors(t.Context(), subject)
	if err != nil || len(all) != 7 {
		t.Errorf("%d predecessors, %v", len(all), err)
	}
}

// Many pushers of one tag all come through, and the tag is whole all the while.
func TestTagContention(t *testing.T) {
	w := newWorld(t, nil)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	bodies := make([][]byte, len(errs))
	for i := range errs {
		bodies[i] = image(w.blob(w.dev, fmt.Append(nil, i)), nil, "")
	}
	for i := range errs {
		wg.Go(func() {
			if _, err := w.dev.PutManifest(t.Context(), "latest", "", "", bodies[i]); err != nil {
				errs[i] = err
			} else if _, _, err := w.dev.Manifest(t.Context(), "latest"); err != nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	w.audit(true)
}

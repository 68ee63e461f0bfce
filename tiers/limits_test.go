package tiers_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// limited makes a world whose tier dev has limits.
func limited(t *testing.T, limits tiers.Limits) *world {
	t.Helper()
	return newWorld(t, func(c *tiers.Config) { c.Tiers[0].Limits = limits })
}

func TestLimitsProblems(t *testing.T) {
	nested := make([]tiers.Quota, 9)
	for i := range nested {
		nested[i] = tiers.Quota{Prefix: strings.TrimPrefix(strings.Repeat("/a", i), "/"), Bytes: 1}
	}
	for name, tc := range map[string]struct {
		limits tiers.Limits
		above  bool
		want   string // the field and the text of the only problem; empty for none
	}{
		"nothing":            {},
		"nothing above":      {above: true},
		"everything":         {limits: tiers.Limits{BlobSize: 1, ManifestSize: oci.MaxManifestSize, NameLength: 255, Uploads: 10000, ImmutableTags: []string{"v*"}, NoDelete: true, Quotas: []tiers.Quota{{Bytes: 1}, {Prefix: "acme", Bytes: 1}, {Prefix: "acme/app", Bytes: 1}}}},
		"eight nested":       {limits: tiers.Limits{Quotas: nested[:8]}},
		"blob":               {limits: tiers.Limits{BlobSize: -1}, want: "blobSize is negative"},
		"manifest":           {limits: tiers.Limits{ManifestSize: oci.MaxManifestSize + 1}, want: "manifestSize is 4194305 bytes: want up to 4194304"},
		"negative manifest":  {limits: tiers.Limits{ManifestSize: -1}, want: "manifestSize is -1"},
		"name":               {limits: tiers.Limits{NameLength: 256}, want: "nameLength is 256: want up to 255"},
		"negative name":      {limits: tiers.Limits{NameLength: -1}, want: "nameLength is -1"},
		"uploads":            {limits: tiers.Limits{Uploads: 10001}, want: "uploads is 10001"},
		"negative uploads":   {limits: tiers.Limits{Uploads: -1}, want: "uploads is -1"},
		"tag":                {limits: tiers.Limits{ImmutableTags: []string{"v*", "["}}, want: `immutableTags[1] "[" is no pattern`},
		"empty tag":          {limits: tiers.Limits{ImmutableTags: []string{""}}, want: `immutableTags[0] "" is no pattern`},
		"prefix is pattern":  {limits: tiers.Limits{Quotas: []tiers.Quota{{Prefix: "acme/**", Bytes: 1}}}, want: `quotas[0].prefix "acme/**": want whole components`},
		"prefix with slash":  {limits: tiers.Limits{Quotas: []tiers.Quota{{Prefix: "acme/", Bytes: 1}}}, want: `quotas[0].prefix "acme/"`},
		"no size":            {limits: tiers.Limits{Quotas: []tiers.Quota{{Prefix: "acme"}}}, want: "quotas[0].size is missing"},
		"twice":              {limits: tiers.Limits{Quotas: []tiers.Quota{{Prefix: "a", Bytes: 1}, {Prefix: "b", Bytes: 1}, {Prefix: "a", Bytes: 2}}}, want: `quotas[2].prefix "a" has a quota already`},
		"nine nested":        {limits: tiers.Limits{Quotas: nested}, want: "lies within 9 quotas: want up to 8"},
		"too many":           {limits: tiers.Limits{Quotas: make([]tiers.Quota, 1001)}, want: "quotas are 1001"},
		"blob above":         {limits: tiers.Limits{BlobSize: 1}, above: true, want: "limit nothing here: only promotion fills this tier"},
		"tags above":         {limits: tiers.Limits{ImmutableTags: []string{"v*"}}, above: true, want: "limit nothing here"},
		"no deletion above":  {limits: tiers.Limits{NoDelete: true}, above: true, want: "limit nothing here"},
		"quota above":        {limits: tiers.Limits{Quotas: []tiers.Quota{{Bytes: 1}}}, above: true, want: "limit nothing here"},
		"session count etc.": {limits: tiers.Limits{Uploads: 1}, above: true, want: "limit nothing here"},
	} {
		t.Run(name, func(t *testing.T) {
			found := tc.limits.Problems(!tc.above)
			if tc.want == "" && len(found) == 0 {
				return
			}
			if tc.want == "" || len(found) != 1 || !strings.Contains(found[0].String(), tc.want) {
				t.Fatalf("got %v, want one that holds %q", found, tc.want)
			}
			tier := tiers.Tier{Name: "dev", Push: true, Limits: tc.limits, Bucket: stores.Bucket(t)}
			list := []tiers.Tier{tier}
			if tc.above {
				list[0].Limits = tiers.Limits{}
				tier.Name, tier.Push, tier.From = "stable", false, "dev"
				list = append(list, tier)
			}
			w := newWorld(t, nil)
			_, err := tiers.New(t.Context(), tiers.Config{Catalog: w.catalog, Log: slog.New(slog.DiscardHandler), Tiers: list})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New says %v, want %q", err, tc.want)
			}
		})
	}
}

// The limits of sizes hold whatever way the bytes come, and nothing of them stays.
func TestSizeLimits(t *testing.T) {
	w := limited(t, tiers.Limits{BlobSize: 7 * mib, ManifestSize: 400})
	fits, tooLarge := bytesOf(1, 7*mib), bytesOf(2, 7*mib+1)
	for name, plan := range map[string][]chunk{
		"at once":                 {{size: 7*mib + 1}},
		"at once, unknown length": {{size: 7*mib + 1, unknown: true}},
		"at the end":              {{size: 7 * mib}, {size: 1}},
		"streamed after a chunk":  {{size: 6 * mib, unknown: true}, {size: mib + 1, unknown: true}},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := w.dev.StartUpload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range plan {
				if err = u.Append(t.Context(), stream(tooLarge[u.Offset():int(u.Offset())+c.size]), -1, c.length()); (err != nil) != (i == len(plan)-1) {
					t.Fatalf("chunk %d: %v", i, err)
				}
			}
			if !errors.Is(err, oci.ErrTooLarge) {
				t.Errorf("got %v, want %v", err, oci.ErrTooLarge)
			}
			if again, err := w.dev.Upload(t.Context(), u.ID); err != nil {
				t.Error(err)
			} else if err := again.Cancel(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	w.blob(w.dev, fits)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(tooLarge), Size: int64(len(tooLarge))}
	if err := w.dev.Push(t.Context(), desc, unread{t}); !errors.Is(err, oci.ErrTooLarge) {
		t.Errorf("a pushed blob: got %v, want %v", err, oci.ErrTooLarge)
	}
	if err := w.dev.PushBlob(t.Context(), stream(tooLarge), -1, desc.Digest); !errors.Is(err, oci.ErrTooLarge) {
		t.Errorf("a pushed blob of unknown length: got %v, want %v", err, oci.ErrTooLarge)
	}
	large := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 401}
	if err := w.dev.Push(t.Context(), large, unread{t}); !errors.Is(err, oci.ErrTooLarge) {
		t.Errorf("a pushed manifest: got %v, want %v", err, oci.ErrTooLarge)
	}
	w.image(w.dev, "v1", 1)
	w.audit(true)
}

// unread is content that must not be looked at.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("what is too large anyway was read")
	return 0, io.EOF
}

// A blob of a tier without the limit does not come by a mount either.
func TestMountSizeLimit(t *testing.T) {
	bucket := stores.Bucket(t)
	w := newWorldOn(t, map[string]tiers.Bucket{"dev": bucket, "stable": stores.Bucket(t)}, func(c *tiers.Config) {
		c.Tiers = append(c.Tiers, tiers.Tier{Name: "small", Push: true, Bucket: c.Tiers[0].Bucket, Limits: tiers.Limits{BlobSize: 10}})
	})
	w.buckets["small"] = w.buckets["dev"]
	small := w.repo("small", "acme/app")
	for size, want := range map[int]error{10: nil, 11: oci.ErrTooLarge} {
		d := w.blob(w.dev, bytesOf(1, size)).Digest
		if ok, err := small.Mount(t.Context(), w.dev, d); !errors.Is(err, want) || ok != (want == nil) {
			t.Errorf("%d bytes: %v, %v, want %v", size, ok, err, want)
		}
	}
	w.audit(true)
}

// What oras-go does with tags is held to the same rules as HTTP.
func TestImmutableTags(t *testing.T) {
	w := limited(t, tiers.Limits{ImmutableTags: []string{"v?"}, NoDelete: false})
	one, two := w.image(w.dev, "v1", 1), w.image(w.dev, "1", 2)
	want := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	want(w.dev.Tag(t.Context(), two, "v1"), oci.ErrTagImmutable)
	want(w.dev.Tag(t.Context(), one, "v1"), nil)
	want(w.dev.Tag(t.Context(), two, "v2"), nil)
	want(w.dev.Tag(t.Context(), one, "v10"), nil) // not of the pattern
	want(w.dev.Tag(t.Context(), two, "v10"), nil)
	want(w.dev.DeleteTag(t.Context(), "v2"), oci.ErrTagImmutable)
	want(w.dev.DeleteTag(t.Context(), "v10"), nil)
	want(w.dev.DeleteManifest(t.Context(), one.Digest), oci.ErrTagImmutable)
	// One that becomes immutable while its manifest is being deleted.
	three, once := w.image(w.dev, "", 3), false
	w.catalog.onCommit(func(tiers.Change) {
		if !once {
			once = true
			want(w.dev.Tag(t.Context(), three, "v3"), nil)
		}
	})
	want(w.dev.DeleteManifest(t.Context(), three.Digest), oci.ErrTagImmutable)
	if got, err := w.dev.Resolve(t.Context(), "v3"); err != nil || got.Digest != three.Digest {
		t.Errorf("v3 is %s, %v", got.Digest, err)
	}
	w.audit(true)
}

func TestNoDelete(t *testing.T) {
	w := limited(t, tiers.Limits{NoDelete: true})
	d := w.image(w.dev, "v1", 1)
	blob := w.blob(w.dev, []byte("loose"))
	for name, err := range map[string]error{
		"tag": w.dev.DeleteTag(t.Context(), "v1"), "manifest": w.dev.DeleteManifest(t.Context(), d.Digest), "blob": w.dev.DeleteBlob(t.Context(), blob.Digest),
	} {
		if !errors.Is(err, oci.ErrUnsupported) {
			t.Errorf("%s: got %v, want %v", name, err, oci.ErrUnsupported)
		}
	}
	for _, reference := range []string{"v1", d.Digest.String()} {
		if got, err := w.dev.Resolve(t.Context(), reference); err != nil || got.Digest != d.Digest {
			t.Errorf("%s is %s, %v, want %s", reference, got.Digest, err, d.Digest)
		}
	}
	w.read(w.dev, blob.Digest)
}

func TestNameLengthLimit(t *testing.T) {
	w := limited(t, tiers.Limits{NameLength: 8})
	long := w.repo("dev", "acme/long")
	body := []byte("content")
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(body), Size: int64(len(body))}
	if err := long.Push(t.Context(), desc, stream(body)); !errors.Is(err, oci.ErrNameInvalid) {
		t.Errorf("got %v, want %v", err, oci.ErrNameInvalid)
	}
	w.image(w.dev, "v1", 1)
	if err := long.Tag(t.Context(), desc, "v1"); !errors.Is(err, oci.ErrNameInvalid) {
		t.Errorf("got %v, want %v", err, oci.ErrNameInvalid)
	}
	w.audit(true)
}

// However many tags a manifest has, none goes where one has to stay, be it the last that is
// looked at; and where none has to, they all go with it.
func TestDeleteWithManyTags(t *testing.T) {
	const n = 1030 // more than are read at once
	w := limited(t, tiers.Limits{ImmutableTags: []string{"z"}})
	d := w.image(w.dev, "z", 1).Digest
	for i := 0; i < n; i += 50 {
		var change tiers.Change
		for j := i; j < min(i+50, n); j++ {
			tag := fmt.Sprintf("v%d", j)
			change.Put = append(change.Put,
				tiers.Put{Key: "tier/dev/tag/acme/app:" + tag, Value: fmt.Appendf(nil, `{"digest":%q}`, d)},
				tiers.Put{Key: "tier/dev/tagged/acme/app@" + d.String() + "/" + tag})
		}
		if _, err := w.catalog.Commit(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dev.DeleteManifest(t.Context(), d); !errors.Is(err, oci.ErrTagImmutable) {
		t.Errorf("got %v, want %v", err, oci.ErrTagImmutable)
	}
	if left := len(w.catalog.all(t, "tier/dev/tag/")); left != n+1 {
		t.Errorf("%d tags are left of %d", left, n+1)
	}
	free, err := w.replica(tiers.Limits{}).Repository("dev", "acme/app", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.DeleteManifest(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if left := w.catalog.all(t, "tier/dev/tag"); len(left) != 0 {
		t.Errorf("%d tags are left without their manifest: %s", len(left), left[0].Key)
	}
	w.audit(true)
}

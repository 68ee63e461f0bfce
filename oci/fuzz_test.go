package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// The grammars as the distribution spec writes them, against the loops that stand for them.
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// FuzzCheckName: what is a name is one by the grammar as well, and comes apart into what it was put together from.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"dev/acme/app", "a.b_c__d---e/0", "a..b", "../a", "a//b", "a_.b", "a___b", "A", "dev/", "a\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := oci.CheckName(name)
		if want := len(name) <= oci.MaxNameLength && nameGrammar.MatchString(name); (err == nil) != want {
			t.Fatalf("%q: got %v, want ok=%v", name, err, want)
		}
		if err != nil {
			if !errors.Is(err, oci.ErrNameInvalid) {
				t.Fatalf("%q: got %v", name, err)
			}
			return
		}
		tier, repository := oci.SplitTier(name)
		if strings.Contains(tier, "/") || strings.TrimSuffix(tier+"/"+repository, "/") != name {
			t.Fatalf("%q came apart into %q and %q", name, tier, repository)
		}
	})
}

// FuzzCheckTag: what is a tag holds nothing but its letters, and is never taken for a
// digest.
func FuzzCheckTag(f *testing.F) {
	for _, tag := range []string{"latest", ".a", "-a", "a/b", "", "a:b", "sha256-00.sig", strings.Repeat("a", 129), "a\n"} {
		f.Add(tag)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		want := tagGrammar.MatchString(tag)
		err := oci.CheckTag(tag)
		if (err == nil) != want || err != nil && !errors.Is(err, oci.ErrTagInvalid) || err == nil && oci.IsDigest(tag) {
			t.Fatalf("%q: got %v, want ok=%v", tag, err, want)
		}
	})
}

// FuzzParseDigest: what parses is written as it was read, in full and in lower case.
func FuzzParseDigest(f *testing.F) {
	hex := strings.Repeat("0a", 32)
	for _, d := range []string{"sha256:" + hex, "sha512:" + hex + hex, "sha256:" + hex[:63], "sha256:" + strings.ToUpper(hex), "sha384:" + hex, "sha256:" + hex + "\n", "SHA256:" + hex, "sha256:../../../etc/passwd"} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, s string) {
		algorithm, encoded, _ := strings.Cut(s, ":")
		length := map[string]int{"sha256": 64, "sha512": 128}[algorithm]
		want := length > 0 && len(encoded) == length && strings.Trim(encoded, "0123456789abcdef") == "" &&
			!strings.ContainsFunc(encoded, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
		d, err := oci.ParseDigest(s)
		if (err == nil) != want {
			t.Fatalf("%q: got %v, want ok=%v", s, err, want)
		}
		if err != nil {
			if !errors.Is(err, oci.ErrDigestInvalid) || d != "" {
				t.Fatalf("%q: got %q, %v", s, d, err)
			}
			return
		}
		if d.String() != s || !oci.IsDigest(s) || oci.CheckTag(s) == nil || oci.CheckTag(oci.FallbackTag(d)) != nil {
			t.Fatalf("%q became %q, with the tag %q", s, d, oci.FallbackTag(d))
		}
	})
}

// FuzzParseReference: what parses renders back to the same, and its parts pass their own
// checks.
func FuzzParseReference(f *testing.F) {
	hex := strings.Repeat("0a", 32)
	for _, s := range []string{"localhost:5000/dev/acme/app:1.0", "h/release/app:1@sha256:" + hex, "h/dev/app@sha256:" + hex + ":1", "h/dev/app:1:2", "h//dev/app", "h/dev/../app", "@/dev/app", "h/dev/app@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := oci.ParseReference(s)
		if err != nil {
			return
		}
		if ref.String() != s {
			t.Fatalf("%q parses as %+v, which prints as %q", s, ref, ref)
		}
		if again, err := oci.ParseReference(ref.String()); err != nil || again != ref {
			t.Fatalf("%q parses as %+v and then as %+v, %v", s, ref, again, err)
		}
		_, digestErr := oci.ParseDigest(ref.Digest.String())
		if oci.CheckName(ref.Name()) != nil || ref.Tag != "" && oci.CheckTag(ref.Tag) != nil || ref.Digest != "" && digestErr != nil || strings.Contains(ref.Host, "/") || ref.Host == "" {
			t.Fatalf("%q parses as %+v", s, ref)
		}
	})
}

// reading is what a client that uses encoding/json takes a manifest for. It folds the case
// of keys and lets the last of two win.
type reading struct {
	MediaType string
	Config    *ocispec.Descriptor
	Subject   *ocispec.Descriptor
	Layers    []ocispec.Descriptor
	Manifests []ocispec.Descriptor
	Blobs     []ocispec.Descriptor
}

// FuzzParseManifest: what passes is an image or an index and never both, every descriptor
// is sound, and a reader of other habits finds the same in it.
func FuzzParseManifest(f *testing.F) {
	for _, seed := range []string{
		image(""), index(empty), "{}", `{"schemaVersion":2,"manifests":null}`, image(`,"subject":` + empty), image(`,"manifests":[]`), image(`,"Layers":[]`),
		strings.Replace(image(""), `"size":2`, `"size":2,"Digest":"sha256:00"`, 1), image(`,"annotations":{"a":"` + "\xff" + `"}`), image("") + "{}",
	} {
		f.Add(imageType, []byte(seed))
		f.Add(indexType, []byte(seed))
		f.Add("", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		m, err := oci.ParseManifest(contentType, bytes.Clone(body))
		if err != nil {
			if !errors.Is(err, oci.ErrManifestInvalid) && !errors.Is(err, oci.ErrTooLarge) || m != nil {
				t.Fatalf("got %v, %v", m, err)
			}
			return
		}
		if !oci.IsManifest(m.MediaType) || oci.IsIndex(m.MediaType) == (m.Config != nil) && m.MediaType != oci.MediaTypeArtifactManifest {
			t.Fatalf("a %s with configuration %v", m.MediaType, m.Config)
		}
		if m.Children != nil && (m.Config != nil || m.Layers != nil) {
			t.Fatal("an image and an index at once")
		}
		all := slices.Concat(m.Layers, m.Children)
		for _, d := range []*ocispec.Descriptor{m.Config, m.Subject} {
			if d != nil {
				all = append(all, *d)
			}
		}
		for _, d := range all {
			if _, err := oci.ParseDigest(d.Digest.String()); err != nil || d.Size < 0 || d.MediaType == "" {
				t.Fatalf("descriptor %v passed", d)
			}
		}
		compareReading(t, m, body)
	})
}

func compareReading(t *testing.T, m *oci.Manifest, body []byte) {
	var other reading
	if err := json.Unmarshal(body, &other); err != nil {
		return // such a client has no second opinion
	}
	digests := func(lists ...[]ocispec.Descriptor) (all []digest.Digest) {
		for _, d := range slices.Concat(lists...) {
			all = append(all, d.Digest)
		}
		return all
	}
	one := func(d *ocispec.Descriptor) digest.Digest {
		if d == nil {
			return ""
		}
		return d.Digest
	}
	if other.MediaType != "" && other.MediaType != m.MediaType || one(other.Config) != one(m.Config) || one(other.Subject) != one(m.Subject) ||
		!slices.Equal(digests(other.Layers, other.Blobs), digests(m.Layers)) || !slices.Equal(digests(other.Manifests), digests(m.Children)) {
		t.Fatalf("read as %+v here and as %+v elsewhere", m, other)
	}
}

package attest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const (
	artifact = digest.Digest("sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
	tagBase  = "sha256-5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
)

func find(t *testing.T, repo attest.Source, limits attest.Limits) []attest.Attachment {
	t.Helper()
	found, err := attest.Find(context.Background(), repo, artifact, limits)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// readable are the contents that were read; problems the rest.
func readable(found []attest.Attachment) (contents []string) {
	for _, a := range found {
		if a.Problem == "" {
			contents = append(contents, string(a.Format)+":"+string(a.Content))
		}
	}
	slices.Sort(contents)
	return contents
}

func problems(found []attest.Attachment) (problems []string) {
	for _, a := range found {
		if a.Problem != "" {
			problems = append(problems, a.Problem)
		}
	}
	return problems
}

func TestFindFormats(t *testing.T) {
	repo := newRepository()
	envelope := func(s string) ocispec.Descriptor { return repo.put(attest.MediaTypeDSSE, []byte(s)) }
	repo.attachBundle(t, artifact, []byte("v0.3"))
	old := "application/vnd.dev.sigstore.bundle+json;version=0.2"
	repo.attach(artifact, old, repo.manifest(t, artifact, old, repo.put(old, []byte("v0.2"))))
	repo.attach(artifact, attest.MediaTypeDSSE, repo.manifest(t, artifact, attest.MediaTypeDSSE, envelope("bare")))
	repo.attach(artifact, attest.PayloadType, repo.manifest(t, artifact, attest.PayloadType, envelope("cosign oci-1-1"), repo.put(attest.PayloadType, []byte("statement"))))
	repo.tags[tagBase+".att"] = repo.manifest(t, "", "", envelope("att 1"), envelope("att 2"))
	repo.tags[tagBase+".sbom"] = repo.manifest(t, "", "", repo.put("text/spdx+json", []byte("sbom")))
	const sigType, simple = "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json"
	repo.attach(artifact, sigType, repo.manifest(t, artifact, sigType, repo.put(simple, []byte("signature oci-1-1"))))
	repo.tags[tagBase+".sig"] = repo.manifest(t, "", "", repo.put(simple, []byte("sig 1")), repo.put(simple, []byte("sig 2")))
	viaTag := repo.manifest(t, artifact, attest.MediaTypeBundle, repo.put(attest.MediaTypeBundle, []byte("fallback")))
	viaTag.ArtifactType = attest.MediaTypeBundle
	untyped := repo.manifest(t, artifact, attest.MediaTypeBundle, repo.put(attest.MediaTypeBundle, []byte("fallback untyped")))
	listed := repo.referrers[artifact][0] // named twice, read once
	signature := repo.manifest(t, artifact, "application/vnd.cncf.notary.signature", repo.put("application/jose+json", []byte("notation")))
	repo.tags[tagBase] = repo.index(t, viaTag, untyped, listed, signature)

	found := find(t, repo, attest.Limits{})
	want := []string{
		"cosign-att:att 1", "cosign-att:att 2", "cosign-sig:sig 1", "cosign-sig:sig 2", "cosign-sig:signature oci-1-1", "dsse:bare", "dsse:cosign oci-1-1", "notary-jws:notation", "sigstore-bundle:fallback",
		"sigstore-bundle:fallback untyped", "sigstore-bundle:v0.2", "sigstore-bundle:v0.3", "unsigned:sbom", "unsigned:statement",
	}
	if got := readable(found); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := problems(found); got != nil {
		t.Errorf("problems: %q", got)
	}
	if !slices.IsSortedFunc(found, func(a, b attest.Attachment) int {
		return strings.Compare(string(a.Manifest.Digest), string(b.Manifest.Digest))
	}) {
		t.Error("not in the order of the manifests' digests")
	}
}

func TestFindNothing(t *testing.T) {
	if found := find(t, newRepository(), attest.Limits{}); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	if _, err := attest.Find(context.Background(), newRepository(), "sha256:short", attest.Limits{}); !errors.Is(err, oci.ErrDigestInvalid) {
		t.Errorf("got %v, want ErrDigestInvalid", err)
	}
}

func TestFindOnTheLastPage(t *testing.T) {
	repo := newRepository()
	all := make([]ocispec.Descriptor, 10_000)
	for i := range all {
		all[i] = ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/x.unrelated",
			Digest: digest.Digest(fmt.Sprintf("sha256:%064x", i)), Size: 100,
		}
	}
	good := repo.manifest(t, artifact, attest.MediaTypeBundle, repo.put(attest.MediaTypeBundle, []byte("good")))
	good.ArtifactType = attest.MediaTypeBundle
	repo.referrers[artifact] = append(all, good) // hashes do not begin with 59 zeros, so it is in order
	found := find(t, repo, attest.Limits{})
	if got := readable(found); !slices.Equal(got, []string{"sigstore-bundle:good"}) || len(found) != 1 {
		t.Errorf("found %v", found)
	}
	if repo.fetched != 2 {
		t.Errorf("%d reads, want the good manifest and its layer only", repo.fetched)
	}
	if repo.pages != 21 {
		t.Errorf("%d pages", repo.pages)
	}
}

// A malformed referrer beside a good one is reported and blocks nothing (in each of the
// ways in which one can be malformed).
func TestFindMalformedBesideGood(t *testing.T) {
	layer := func(repo *repository, content string) ocispec.Descriptor {
		return repo.put(attest.MediaTypeBundle, []byte(content))
	}
	raw := func(repo *repository, body string) ocispec.Descriptor {
		return repo.put(ocispec.MediaTypeImageManifest, []byte(body))
	}
	empty := `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}`
	subject := `"subject":{"mediaType":"x/y","digest":"` + artifact.String() + `","size":1}`
	image := `"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","artifactType":"` + attest.MediaTypeBundle + `","config":` + empty + `,`
	tests := []struct {
		name string
		make func(t *testing.T, repo *repository) ocispec.Descriptor
		want string
	}{
		{"no JSON", func(_ *testing.T, r *repository) ocispec.Descriptor { return raw(r, "{") }, "malformed"},
		{"image and index", func(_ *testing.T, r *repository) ocispec.Descriptor {
			return raw(r, "{"+image+subject+`,"layers":[],"manifests":[]}`)
		}, "malformed"},
		{"duplicate subject", func(_ *testing.T, r *repository) ocispec.Descriptor {
			return raw(r, "{"+image+subject+","+subject+`,"layers":[]}`)
		}, "malformed"},
		{"case-variant subject", func(_ *testing.T, r *repository) ocispec.Descriptor {
			return raw(r, "{"+image+strings.Replace(subject, "subject", "Subject", 1)+`,"layers":[]}`)
		}, "malformed"},
		{"trailing bytes", func(_ *testing.T, r *repository) ocispec.Descriptor {
			return raw(r, "{"+image+subject+`,"layers":[]}{}`)
		}, "malformed"},
		{"other subject", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, digest.FromString("other"), attest.MediaTypeBundle, layer(r, "x"))
		}, "subject is sha256:"},
		{"no subject", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, "", attest.MediaTypeBundle, layer(r, "x"))
		}, "no subject"},
		{"an index", func(t *testing.T, r *repository) ocispec.Descriptor { return r.index(t) }, "image manifest"},
		{"an index called an image", func(t *testing.T, r *repository) ocispec.Descriptor {
			desc := r.index(t)
			desc.MediaType = ocispec.MediaTypeImageManifest
			return desc
		}, "malformed"},
		{"listed as another type", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, artifact, "application/x.other", layer(r, "x"))
		}, "listed as"},
		{"no layers", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, artifact, attest.MediaTypeBundle)
		}, "none of its 0 layers"},
		{"foreign layers", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, artifact, attest.MediaTypeBundle, r.put("application/x.tar", []byte("x")))
		}, "none of its 1 layers"},
		{"manifest missing", func(t *testing.T, r *repository) ocispec.Descriptor {
			desc := r.manifest(t, artifact, attest.MediaTypeBundle, layer(r, "x"))
			delete(r.content, desc.Digest)
			return desc
		}, "cannot be read"},
		{"manifest corrupt", func(t *testing.T, r *repository) ocispec.Descriptor {
			desc := r.manifest(t, artifact, attest.MediaTypeBundle, layer(r, "x"))
			r.broken[desc.Digest.String()] = oci.ErrCorrupt
			return desc
		}, "corrupt"},
		{"manifest too large", func(t *testing.T, r *repository) ocispec.Descriptor {
			return raw(r, strings.Repeat(" ", oci.MaxManifestSize+1))
		}, fmt.Sprint(oci.MaxManifestSize)},
		{"layer missing", func(t *testing.T, r *repository) ocispec.Descriptor {
			l := layer(r, "x")
			delete(r.content, l.Digest)
			return r.manifest(t, artifact, attest.MediaTypeBundle, l)
		}, "cannot be read"},
		{"layer shorter than described", func(t *testing.T, r *repository) ocispec.Descriptor {
			l := layer(r, "x")
			l.Size = 5
			return r.manifest(t, artifact, attest.MediaTypeBundle, l)
		}, "has 1"},
		{"layer longer than described", func(t *testing.T, r *repository) ocispec.Descriptor {
			l := layer(r, "xxxxx")
			l.Size = 2
			return r.manifest(t, artifact, attest.MediaTypeBundle, l)
		}, "goes on"},
		{"layer over the limit", func(t *testing.T, r *repository) ocispec.Descriptor {
			return r.manifest(t, artifact, attest.MediaTypeBundle, layer(r, strings.Repeat("x", 101)))
		}, "MaxAttestationBytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			repo := newRepository()
			repo.attachBundle(t, artifact, []byte("good"))
			bad := tt.make(t, repo)
			repo.attach(artifact, attest.MediaTypeBundle, bad)
			bad.ArtifactType = attest.MediaTypeBundle
			repo.tags[tagBase] = repo.index(t, bad) // named twice, reported once
			found := find(t, repo, attest.Limits{MaxAttestationBytes: 100})
			if got := readable(found); !slices.Equal(got, []string{"sigstore-bundle:good"}) {
				t.Errorf("read %q", got)
			}
			got := problems(found)
			if len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("problems %q, want one with %q", got, tt.want)
			}
			for _, a := range found {
				if a.Problem != "" && (a.Manifest.Digest != bad.Digest || a.Content != nil) {
					t.Errorf("the problem is that of %s with content %q", a.Manifest.Digest, a.Content)
				}
			}
		})
	}
}

// What a client wrote into the fallback tag cannot hide what is attached otherwise.
func TestFindFallbackHidesNothing(t *testing.T) {
	repo := newRepository()
	att := repo.manifest(t, "", "", repo.put(attest.MediaTypeDSSE, []byte("att")))
	repo.tags[tagBase+".att"] = att
	good := repo.attachBundle(t, artifact, []byte("good"))
	liar, wrongSize, wrongType := att, good, good
	liar.ArtifactType = attest.MediaTypeBundle
	wrongSize.Size, wrongSize.ArtifactType = 5, attest.MediaTypeBundle
	wrongType.MediaType, wrongType.ArtifactType = ocispec.MediaTypeImageIndex, attest.MediaTypeBundle
	repo.tags[tagBase] = repo.index(t, liar, wrongSize, wrongType)
	if got := readable(find(t, repo, attest.Limits{})); !slices.Equal(got, []string{"cosign-att:att", "sigstore-bundle:good"}) {
		t.Errorf("read %q", got)
	}
}

func TestFindMalformedTags(t *testing.T) {
	for name, set := range map[string]func(*testing.T, *repository){
		"fallback tag is an image": func(t *testing.T, r *repository) { r.tags[tagBase] = r.manifest(t, "", "") },
		"fallback tag is no JSON":  func(_ *testing.T, r *repository) { r.tags[tagBase] = r.put(ocispec.MediaTypeImageIndex, []byte("x")) },
		"fallback tag is incomplete": func(_ *testing.T, r *repository) {
			r.tags[tagBase] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: artifact}
		},
		"att tag is an index":     func(t *testing.T, r *repository) { r.tags[tagBase+".att"] = r.index(t) },
		"att tag has no envelope": func(t *testing.T, r *repository) { r.tags[tagBase+".att"] = r.manifest(t, "", "") },
		"sbom tag is no JSON": func(_ *testing.T, r *repository) {
			r.tags[tagBase+".sbom"] = r.put(ocispec.MediaTypeImageManifest, []byte("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			repo := newRepository()
			repo.attachBundle(t, artifact, []byte("good"))
			set(t, repo)
			found := find(t, repo, attest.Limits{})
			if got := readable(found); !slices.Equal(got, []string{"sigstore-bundle:good"}) || len(problems(found)) != 1 {
				t.Errorf("read %q, problems %q", got, problems(found))
			}
		})
	}
}

func TestFindLimits(t *testing.T) {
	tests := []struct {
		name   string
		limits attest.Limits
		want   string
		read   int
	}{
		{"referrers", attest.Limits{MaxReferrers: 3}, "MaxReferrers", 3},
		{"attachments", attest.Limits{MaxAttachments: 5}, "MaxAttachments", 2},
		{"bytes of one", attest.Limits{MaxAttestationBytes: 5}, "MaxAttestationBytes", 0},
		{"bytes of all", attest.Limits{MaxTotalBytes: 35}, "MaxTotalBytes", 3},
		{"none passed", attest.Limits{MaxReferrers: 5, MaxAttachments: 10, MaxAttestationBytes: 10, MaxTotalBytes: 50}, "", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			repo := newRepository()
			for i := range 5 {
				repo.attachBundle(t, artifact, fmt.Appendf(nil, "content %02d", i))
			}
			found := find(t, repo, tt.limits)
			if got := readable(found); len(got) != tt.read {
				t.Errorf("read %q, want %d", got, tt.read)
			}
			got := problems(found)
			if tt.want == "" {
				if got != nil {
					t.Errorf("problems %q", got)
				}
				return
			}
			if len(got) == 0 {
				t.Fatal("the limit is not reported")
			}
			for _, p := range got {
				if !strings.Contains(p, tt.want) {
					t.Errorf("problem %q does not name %s", p, tt.want)
				}
			}
		})
	}
}

func TestFindSourceFails(t *testing.T) {
	for _, cause := range []error{oci.ErrUnavailable, context.DeadlineExceeded, errors.New("who knows"),
		fmt.Errorf("%w: %w", oci.ErrUnavailable, oci.ErrBlobUnknown)} {
		for _, where := range []string{"referrers", tagBase, tagBase + ".att", tagBase + ".sbom", "manifest", "layer", "index"} {
			t.Run(where, func(t *testing.T) {
				repo := newRepository()
				layer := repo.put(attest.MediaTypeBundle, []byte("x"))
				desc := repo.manifest(t, artifact, attest.MediaTypeBundle, layer)
				repo.attach(artifact, attest.MediaTypeBundle, desc)
				repo.tags[tagBase] = repo.index(t)
				at := map[string]string{"manifest": desc.Digest.String(), "layer": layer.Digest.String(), "index": repo.tags[tagBase].Digest.String()}[where]
				if at == "" {
					at = where
				}
				repo.broken[at] = cause
				found, err := attest.Find(context.Background(), repo, artifact, attest.Limits{})
				if found != nil || !errors.Is(err, cause) {
					t.Errorf("got %v, %v; want %v", found, err, cause)
				}
			})
		}
	}
}

// stuck is a source whose listing never ends.
// A source that gives other bytes for a while has not said that there is no evidence: of two
// scans the older would count.
func TestFindWrongBytes(t *testing.T) {
	for _, wrong := range []string{"manifest", "layer"} {
		repo := newRepository()
		desc := repo.attachBundle(t, artifact, []byte("bundle"))
		spoilt := desc.Digest
		if wrong == "layer" {
			spoilt = digest.FromString("bundle")
		}
		repo.content[spoilt] = slices.Clone(repo.content[spoilt])
		repo.content[spoilt][0] ^= 1
		if found, err := attest.Find(t.Context(), repo, artifact, attest.Limits{}); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("a %s of other bytes: %v, %v, want %v", wrong, found, err, oci.ErrUnavailable)
		}
	}
}

type stuck struct{ *repository }

func (stuck) Referrers(context.Context, digest.Digest, string, string, int) ([]ocispec.Descriptor, string, error) {
	return nil, "same", nil
}

func TestFindEndlessListing(t *testing.T) {
	if _, err := attest.Find(context.Background(), stuck{newRepository()}, artifact, attest.Limits{}); !errors.Is(err, oci.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestFindSHA512(t *testing.T) {
	subject := digest.SHA512.FromString("artifact")
	repo := newRepository()
	repo.attachBundle(t, subject, []byte("good"))
	found, err := attest.Find(context.Background(), repo, subject, attest.Limits{})
	if err != nil || !slices.Equal(readable(found), []string{"sigstore-bundle:good"}) {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestFindUnsigned(t *testing.T) {
	statement := `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","subject":[{"digest":{"sha256":"` + artifact.Encoded() + `"}}],"predicate":{}}`
	tests := []struct {
		name   string
		layers func(*repository) []ocispec.Descriptor
		found  int
		only   bool
	}{
		{"BuildKit's", func(r *repository) []ocispec.Descriptor {
			return []ocispec.Descriptor{r.put(attest.PayloadType, []byte(statement)), r.put(attest.PayloadType, []byte(statement+" "))}
		}, 2, true},
		{"an image with a statement", func(r *repository) []ocispec.Descriptor {
			return []ocispec.Descriptor{r.put(attest.PayloadType, []byte(statement)), r.put(ocispec.MediaTypeImageLayerGzip, []byte("tar"))}
		}, 1, false},
		{"an image", func(r *repository) []ocispec.Descriptor {
			return []ocispec.Descriptor{r.put(ocispec.MediaTypeImageLayerGzip, []byte("tar"))}
		}, 0, false},
		{"an image labelled as statement", func(r *repository) []ocispec.Descriptor {
			return []ocispec.Descriptor{r.put(attest.PayloadType, []byte("tar"))}
		}, 1, false},
		{"no layers", func(*repository) []ocispec.Descriptor { return []ocispec.Descriptor{} }, 0, false},
		{"a statement that is gone", func(r *repository) []ocispec.Descriptor {
			l := r.put(attest.PayloadType, []byte(statement))
			delete(r.content, l.Digest)
			return []ocispec.Descriptor{l}
		}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			repo := newRepository()
			child := repo.manifest(t, "", "", tt.layers(repo)...)
			found, only, err := attest.FindUnsigned(context.Background(), repo, child, attest.Limits{})
			if err != nil || len(found) != tt.found || only != tt.only {
				t.Fatalf("got %d, %v, %v; want %d, %v", len(found), only, err, tt.found, tt.only)
			}
			for _, a := range found {
				if a.Format != attest.FormatUnsigned {
					t.Errorf("format %q", a.Format)
				}
			}
		})
	}
	t.Run("source fails", func(t *testing.T) {
		repo := newRepository()
		child := repo.manifest(t, "", "")
		repo.broken[child.Digest.String()] = oci.ErrUnavailable
		if _, _, err := attest.FindUnsigned(context.Background(), repo, child, attest.Limits{}); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		repo := newRepository()
		found, only, err := attest.FindUnsigned(context.Background(), repo, repo.index(t), attest.Limits{})
		if err != nil || only || len(problems(found)) != 1 {
			t.Errorf("got %v, %v, %v", found, only, err)
		}
	})
}

func TestBuildKitSubject(t *testing.T) {
	label := func(kind, subject string) ocispec.Descriptor {
		return ocispec.Descriptor{Annotations: map[string]string{"vnd.docker.reference.type": kind, "vnd.docker.reference.digest": subject}}
	}
	for _, tt := range []struct {
		entry    ocispec.Descriptor
		subject  digest.Digest
		labelled bool
	}{
		{label("attestation-manifest", artifact.String()), artifact, true},
		{label("attestation-manifest", "sha256:x"), "", true},
		{label("other", artifact.String()), "", false},
		{ocispec.Descriptor{}, "", false},
	} {
		if subject, labelled := attest.BuildKitSubject(tt.entry); subject != tt.subject || labelled != tt.labelled {
			t.Errorf("%v: got %q, %v", tt.entry.Annotations, subject, labelled)
		}
	}
}

package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// dressed is an image with all that may hang on one.
type dressed struct {
	*world
	named map[string]ocispec.Descriptor
}

// dress pushes an index under a tag with two platforms, one of which has a tag of its own,
// and everything that clients attach to such.
func (w *world) dress(tag string, seed uint64) dressed {
	w.t.Helper()
	d := dressed{w, map[string]ocispec.Descriptor{}}
	config := w.blob(w.dev, nil)
	attach := func(name, reference string, subject *ocispec.Descriptor, artifactType string) {
		w.t.Helper()
		d.named[name] = w.manifest(w.dev, reference, image(w.blob(w.dev, fmt.Appendf(nil, "%s %d", name, seed)), subject, artifactType, config))
	}
	d.named["amd64"], d.named["arm64"] = w.image(w.dev, "", 2*seed), w.image(w.dev, tag+"-arm64", 2*seed+1)
	d.named["root"] = w.manifest(w.dev, tag, index(d.named["amd64"], d.named["arm64"]))
	root, amd64 := d.named["root"], d.named["amd64"]
	attach("bundle", "", &root, evidenceType)
	attach("sbom", "", &amd64, "application/spdx+json")
	sbom := d.named["sbom"]
	attach("of sbom", "", &sbom, evidenceType)
	for _, suffix := range []string{"att", "sig", "sbom"} {
		attach("."+suffix, oci.FallbackTag(root.Digest)+"."+suffix, nil, "")
	}
	attach("listed", "", &amd64, oci.MediaTypeNotary)
	d.named["fallback"] = w.manifest(w.dev, oci.FallbackTag(amd64.Digest), index(d.named["listed"]))
	return d
}

func (d dressed) names() string { return d.here(d.named) }

// What hangs on an image stays while that stays, and goes with it in the same run.
func TestRetainAttached(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"*-arm64"}, Keep: true}, tiers.RetentionRule{KeepLast: 1}, tiers.RetentionRule{Untagged: day}))
	old := w.dress("v1", 1)
	c.pass(time.Hour)
	young := w.dress("v2", 2)
	c.pass(2 * day)
	all := old.names()
	did := w.retain(tiers.RetainOptions{})
	if got := old.names(); got != "arm64" {
		t.Errorf("of the old one are left: %s", got)
	}
	if got := young.names(); got != all {
		t.Errorf("of the young one are left: %s, want %s", got, all)
	}
	if did.Manifests != 10 || did.Referrers != 8 || did.Tags != 5 || len(did.Kept) != 0 {
		t.Errorf("did %+v", did)
	}
	if tags, _, err := w.dev.Tags(t.Context(), "", 100); err != nil || len(tags) != 7 {
		t.Errorf("tags are left: %v, %v", tags, err)
	}
	w.audit(true)
	if again := w.retain(tiers.RetainOptions{}); again.Tags+again.Manifests > 0 {
		t.Errorf("the next run did %+v", again)
	}
}

// What hangs on several stays until the last of them is gone.
func TestRetainShared(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{KeepFor: day}))
	child := w.image(w.dev, "", 1)
	sig := func(of ocispec.Descriptor) string { return oci.FallbackTag(of.Digest) + ".sig" }
	one, two := w.manifest(w.dev, "one", index(child)), w.manifest(w.dev, "two", index(child, child))
	shared := image(w.blob(w.dev, nil), nil, "")
	signature := w.manifest(w.dev, sig(one), shared)
	w.manifest(w.dev, sig(two), shared)
	self := image(w.blob(w.dev, nil), nil, "application/x.self")
	own := w.manifest(w.dev, "own", self)
	w.manifest(w.dev, sig(own), self)
	c.pass(2 * day)
	named := map[string]ocispec.Descriptor{"child": child, "one": one, "two": two, "signature": signature, "own": own}
	if err := w.dev.Tag(t.Context(), two, "three"); err != nil {
		t.Fatal(err)
	}
	did := w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "child signature two" || did.Tags != 5 || did.Referrers != 1 {
		t.Errorf("left are %s, did %+v", got, did)
	}
	w.audit(true)
	c.pass(2 * day)
	did = w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "" || did.Manifests != 3 || did.Tags != 2 {
		t.Errorf("left are %s, did %+v", got, did)
	}
	w.audit(true)
}

// Both go at once, so what hangs on both goes once.
func TestRetainSharedAtOnce(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"t*"}, KeepFor: day}, tiers.RetentionRule{Untagged: day}))
	child, tagged := w.image(w.dev, "", 1), w.image(w.dev, "tb", 2)
	one, two := w.manifest(w.dev, "ta", index(child, tagged)), w.manifest(w.dev, "", index(tagged, child))
	outer := w.manifest(w.dev, "tc", index(one, two))
	config := w.blob(w.dev, nil)
	for i, subject := range []ocispec.Descriptor{child, tagged, one, two, outer} {
		w.manifest(w.dev, "", image(config, &subject, fmt.Sprintf("application/x.%d", i)))
	}
	c.pass(2 * day)
	did := w.retain(tiers.RetainOptions{})
	if did.Manifests != 10 || did.Referrers != 5 || did.Tags != 3 {
		t.Errorf("did %+v", did)
	}
	w.audit(true)
	if left := w.left("tier/dev/manifest/"); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// What was attached to a digest that is not there waits for it, but not for ever.
func TestRetainAttachedEarly(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{KeepFor: time.Hour}, tiers.RetentionRule{Untagged: 7 * day}))
	body := image(w.blob(w.dev, bytesOf(1, 40)), nil, "")
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
	config := w.blob(w.dev, nil)
	tag := oci.FallbackTag(subject.Digest)
	long := oci.FallbackTag(digest.SHA512.FromString("never"))
	named := map[string]ocispec.Descriptor{
		"att":    w.manifest(w.dev, tag+".att", image(config, nil, "")),
		"bundle": w.manifest(w.dev, "", image(config, &subject, evidenceType)),
		"list":   w.manifest(w.dev, long, index()),
		"odd":    w.manifest(w.dev, tag+"0", image(config, nil, "application/x.odd")),
	}
	c.pass(6 * day)
	w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "att bundle list odd" {
		t.Errorf("left are %s", got)
	}
	w.manifest(w.dev, "", body)
	c.pass(2 * day)
	w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "att bundle" {
		t.Errorf("with the subject there, left are %s", got)
	}
	c.pass(6 * day)
	w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "" {
		t.Errorf("with the subject old, left are %s", got)
	}
	w.audit(true)
}

// Tags that attach manifests to each other, in a circle, keep them: nobody knows which is
// about which. Another run must not end otherwise, nor this one never.
func TestRetainCircle(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Untagged: day}))
	var all []ocispec.Descriptor
	for i := range 6 {
		all = append(all, w.image(w.dev, "", uint64(i)))
	}
	for _, a := range all {
		for j, b := range all {
			if a.Digest != b.Digest {
				if err := w.dev.Tag(t.Context(), b, oci.FallbackTag(a.Digest)+fmt.Sprintf(".%d", j)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c.pass(2 * day)
	if did := w.retain(tiers.RetainOptions{}); did.Manifests+did.Tags > 0 {
		t.Errorf("did %+v", did)
	}
	w.audit(true)
}

// A tier above keeps an image and its tags here, and all that hangs on it; above a tier
// beside it nobody does.
func TestRetainAbove(t *testing.T) {
	for _, tier := range []string{"stable", "release"} {
		for _, end := range []string{"staged", "committed", "finished"} {
			t.Run(tier+" "+end, func(t *testing.T) {
				c := &clock{}
				w := newWorld(t, ruled(c, tiers.RetentionRule{KeepFor: day}, tiers.RetentionRule{Untagged: day}))
				d := w.dress("v1", 1)
				other := w.image(w.dev, "v0", 9)
				elsewhere, err := w.Repository("dev", "acme/other", "alice")
				if err != nil {
					t.Fatal(err)
				}
				w.image(elsewhere, "v1", 2) // amd64 of v1, in another repository
				w.rise(tier, end, d.named["amd64"], d.named["arm64"], d.named["root"])
				c.pass(2 * day)
				all := d.names()
				did := w.retain(tiers.RetainOptions{})
				if got := d.names(); got != all {
					t.Errorf("left are %s, want %s", got, all)
				}
				if got := w.here(map[string]ocispec.Descriptor{"other": other}); got != "" {
					t.Error("the other one stays")
				}
				if w.tags() != "v1 v1-arm64" || did.Tags != 2 || did.Manifests != 2 || did.Kept[tiers.KeptAbove] != 2 {
					t.Errorf("tags %s, did %+v", w.tags(), did)
				}
				w.audit(end == "finished")
			})
		}
	}
}

// rise brings manifests of dev to a tier above, as far as end says.
func (w *world) rise(tier, end string, all ...ocispec.Descriptor) {
	w.t.Helper()
	target := w.repo(tier, "acme/app")
	arrival := target.Arrival("p")
	for _, desc := range all {
		_, body, err := w.dev.Manifest(w.t.Context(), desc.Digest.String())
		if err != nil {
			w.t.Fatal(err)
		}
		m, err := oci.ParseManifest("", body)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, b := range append(m.Blobs(), desc) {
			if _, err := w.Bring(w.t.Context(), w.dev.Tier, target.Tier, b.Digest, "test", "alice"); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := arrival.Stage(w.t.Context(), tiers.Arriving{Descriptor: desc, Manifest: m}); err != nil {
			w.t.Fatal(err)
		}
	}
	if end == "staged" {
		return
	}
	var change tiers.Change
	arrival.Change(&change)
	if _, err := w.catalog.Commit(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
	if end == "finished" {
		if err := arrival.Finish(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Something that hangs on what goes, and that a promotion needs, follows later.
func TestRetainPromotion(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"v*"}, KeepFor: day}))
	d := w.dress("v1", 1)
	if err := w.dev.DeleteTag(t.Context(), "v1-arm64"); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * day)
	all := d.names()
	if err := w.Pin(t.Context(), w.dev.Tier, []digest.Digest{d.named["root"].Digest}, "p", true); err != nil {
		t.Fatal(err)
	}
	did := w.retain(tiers.RetainOptions{})
	if got := d.names(); got != all || did.Tags != 0 || did.Kept[tiers.KeptPromotion] != 1 {
		t.Errorf("pinned: left are %s, did %+v", got, did)
	}
	if err := w.Unpin(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	keep := func(why string, digests ...ocispec.Descriptor) tiers.Keeper {
		return func(_ context.Context, tier, repository string, of digest.Digest) (string, error) {
			if tier == "dev" && repository == "acme/app" && slices.ContainsFunc(digests, func(d ocispec.Descriptor) bool { return d.Digest == of }) {
				return why, nil
			}
			return "", nil
		}
	}
	did = w.retain(tiers.RetainOptions{Keep: keep("it waits", d.named["root"])})
	if got := d.names(); got != all || did.Kept[tiers.KeptPromotion] != 1 || did.Items[0].Why != "it waits" {
		t.Errorf("named: left are %s, did %+v", got, did)
	}
	did = w.retain(tiers.RetainOptions{Keep: keep("it waits", d.named["sbom"])})
	if got := d.names(); got != "of sbom sbom" || did.Manifests != 9 {
		t.Errorf("a part of it named: left are %s, did %+v", got, did)
	}
	did = w.retain(tiers.RetainOptions{})
	if got := d.names(); got != "" || did.Manifests != 2 || did.Referrers != 2 {
		t.Errorf("at last left are %s, did %+v", got, did)
	}
	w.audit(true)
	failing := func(context.Context, string, string, digest.Digest) (string, error) {
		return "", errors.New("no answer")
	}
	w.image(w.dev, "v2", 7)
	c.pass(2 * day)
	done, err := w.Retain(t.Context(), tiers.RetainOptions{Keep: failing}, nil)
	if err != nil || len(done.Problems) != 1 || !strings.Contains(done.Problems[0], "dev/acme/app: no answer") || w.tags() != "v2" {
		t.Errorf("%+v, %v", done, err)
	}
}

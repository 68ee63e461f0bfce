package tiers_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// More tags, layers and children than go in one transaction.
func TestRetainWide(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"v*"}, KeepFor: day}))
	layers := w.pushLayers(65)
	wide := w.manifest(w.dev, "", image(layers[0], nil, "", layers...))
	var children []ocispec.Descriptor
	for i := range 60 {
		children = append(children, w.manifest(w.dev, "", image(layers[0], nil, fmt.Sprintf("application/x.%d", i))))
	}
	parent := w.manifest(w.dev, "", index(children...))
	for i := range 45 {
		for what, desc := range map[string]ocispec.Descriptor{"wide": wide, "parent": parent} {
			if err := w.dev.Tag(t.Context(), desc, fmt.Sprintf("v%d-%s", i, what)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.dev.Tag(t.Context(), parent, "zz"); err != nil { // the last that anybody looks at
		t.Fatal(err)
	}
	c.pass(2 * day)
	if did := w.retain(tiers.RetainOptions{}); did.Tags != 90 || did.Manifests != 1 || w.tags() != "zz" {
		t.Errorf("did %+v, left are %s", did.Kept, w.tags())
	}
	w.audit(false) // references of what is gone wait for garbage collection
	if err := w.dev.Tag(t.Context(), parent, "v1"); err != nil {
		t.Fatal(err)
	}
	if err := w.dev.DeleteTag(t.Context(), "zz"); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * day)
	if did := w.retain(tiers.RetainOptions{}); did.Tags != 1 || did.Manifests != 61 || len(w.left("tier/dev/manifest/")) > 0 {
		t.Errorf("did %d tags and %d manifests", did.Tags, did.Manifests)
	}
	w.audit(false)
}

// An index that is being pushed keeps its children, though it was cut off: who pushes on
// finds all of them.
func TestRetainPushing(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Untagged: day}))
	config := w.blob(w.dev, nil)
	var children []ocispec.Descriptor
	for i := range 60 {
		children = append(children, w.manifest(w.dev, "", image(config, nil, fmt.Sprintf("application/x.%d", i))))
	}
	c.pass(2 * day)
	body := index(children...)
	commits := 0
	w.catalog.onCommit(func(change tiers.Change) {
		for _, put := range change.Put {
			if strings.HasPrefix(put.Key, "tier/dev/pushing/") {
				commits++
				w.faults.arm(1, false) // what comes behind the first batch
			}
		}
	})
	if _, err := w.dev.PutManifest(t.Context(), "multi", "", "", body); !errors.Is(err, oci.ErrUnavailable) || commits != 1 {
		t.Fatalf("it was not cut off: %v", err)
	}
	w.catalog.onCommit(nil)
	w.faults.disarm()
	did := w.retain(tiers.RetainOptions{})
	if did.Manifests == 0 || did.Manifests > 10 {
		t.Errorf("%d went; want those of the last batch, which nothing names yet", did.Manifests)
	}
	w.audit(false)
	for i := range 60 {
		w.manifest(w.dev, "", image(config, nil, fmt.Sprintf("application/x.%d", i)))
	}
	w.manifest(w.dev, "multi", body)
	w.audit(false) // the object of the push that was cut off waits for garbage collection
}

// An index whose bytes are lost goes all the same; its children cannot be told.
func TestRetainUnreadable(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{KeepFor: day}))
	child := w.image(w.dev, "", 1)
	root := w.manifest(w.dev, "v1", index(child))
	record, err := w.catalog.Catalog.Get(t.Context(), "store/"+w.dev.Tier.Store()+"/blob/"+root.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.buckets["dev"].Bucket.Delete(t.Context(), fields(t, record[0])["key"].(string)); err != nil {
		t.Fatal(err)
	}
	w.Forget()
	c.pass(2 * day)
	if did := w.retain(tiers.RetainOptions{}); did.Manifests != 1 || did.Tags != 1 || !w.has(child.Digest.String()) {
		t.Errorf("did %+v", did)
	}
}

// What is wrong with one repository is told, and the others are gone through; where the
// catalog is gone the run ends.
func TestRetainProblems(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{KeepLast: 1}))
	for _, name := range []string{"acme/a", "acme/b", "acme/c"} {
		repo := w.repo("dev", name)
		w.image(repo, "v1", 1)
		w.image(repo, "v2", 2)
	}
	if _, err := w.catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "tier/dev/tag/acme/b:v1", Value: []byte("nonsense")}}}); err != nil {
		t.Fatal(err)
	}
	w.faults.arm(0, false)
	done, err := w.Retain(t.Context(), tiers.RetainOptions{}, nil)
	if !errors.Is(err, oci.ErrUnavailable) || done.Manifests != 0 {
		t.Errorf("without a catalog: %+v, %v", done, err)
	}
	w.faults.disarm()
	var steps []int
	done, err = w.Retain(t.Context(), tiers.RetainOptions{}, func(r tiers.Retained) { steps = append(steps, r.Manifests) })
	if err != nil || done.Manifests != 2 || done.Repositories != 3 || len(done.Problems) != 1 || !strings.HasPrefix(done.Problems[0], "dev/acme/b: ") {
		t.Errorf("did %+v, %v", done, err)
	}
	if len(steps) < 3 || steps[0] != 0 || steps[len(steps)-1] != 2 {
		t.Errorf("told of on the way: %v", steps)
	}
}

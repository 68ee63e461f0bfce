package tiers_test

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Times behind which a collection with the default configuration takes things away.
const (
	lapsed  = 28 * time.Hour // promises, intents, uploads, strays
	drained = 21 * time.Minute
)

// collect collects, without a problem.
func (w *world) collect() tiers.Collected {
	w.t.Helper()
	c, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range c.Problems {
		w.t.Errorf("problem: %+v", p)
	}
	return c
}

// gone says how much a collection took away, by sweep.
func gone(c tiers.Collected) map[tiers.Sweep]int64 {
	all := map[tiers.Sweep]int64{}
	for sweep, s := range c.Sweeps {
		if s.Gone != 0 {
			all[sweep] = s.Gone
		}
	}
	return all
}

// rest lets all promises pass and collects until nothing goes any more.
func (w *world) rest() {
	w.t.Helper()
	for range 5 {
		w.pass(lapsed)
		if c := w.collect(); len(gone(c)) == 0 {
			return
		}
	}
	w.t.Error("collections never come to rest")
}

// objects lists what lies in the bucket of a tier, multipart uploads too.
func (w *world) objects(tier string) []string {
	w.t.Helper()
	var keys []string
	for after := ""; ; {
		page, err := w.buckets[tier].List(w.t.Context(), "blobs/", after, tiers.MaxObjects)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range page {
			keys = append(keys, o.Key)
			after = o.Key
		}
		if len(page) < tiers.MaxObjects {
			break
		}
	}
	open, err := w.buckets[tier].Uploads(w.t.Context(), "", "", tiers.MaxObjects)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range open {
		keys = append(keys, u.Key+" in parts")
	}
	slices.Sort(keys)
	return keys
}

// wantOnlyBlobs compares what lies in the buckets with the blobs of the catalog: at rest
// there is nothing else, and all of them are there.
func (w *world) wantOnlyBlobs() {
	w.t.Helper()
	for _, tier := range w.Tiers() {
		var named []string
		for _, r := range w.catalog.all(w.t, "store/"+tier.Store()+"/blob/") {
			named = append(named, fields(w.t, r)["key"].(string))
		}
		slices.Sort(named)
		if found := w.objects(tier.Name); !slices.Equal(found, named) {
			w.t.Errorf("in the bucket of %s lie\n%s\nand the catalog knows\n%s", tier.Name, strings.Join(found, "\n"), strings.Join(named, "\n"))
		}
	}
	w.audit(true)
}

// content is something that must stay readable, or must go.
type content struct {
	what string
	repo *tiers.Repository
	desc ocispec.Descriptor
}

// litter is a registry in which much happened, and what of it must stay.
type litter struct {
	*world
	stay, leave []content
}

func (l *litter) keep(what string, r *tiers.Repository, descs ...ocispec.Descriptor) {
	for _, d := range descs {
		l.stay = append(l.stay, content{what, r, d})
	}
}

func (l *litter) drop(what string, r *tiers.Repository, descs ...ocispec.Descriptor) {
	for _, d := range descs {
		l.leave = append(l.leave, content{what, r, d})
	}
}

// pushed pushes an image of a blob made of seed and returns both.
func (w *world) pushed(r *tiers.Repository, reference string, seed uint64, subject *ocispec.Descriptor, artifactType string) (manifest, blob ocispec.Descriptor) {
	w.t.Helper()
	blob = w.blob(r, bytesOf(seed, 30))
	return w.manifest(r, reference, image(blob, subject, artifactType)), blob
}

// scatter does all that a registry has to keep and to collect. Seeds of 100 and more go.
func scatter(w *world) *litter {
	w.t.Helper()
	l := &litter{world: w}
	l.scatterKept()
	l.scatterDeleted()
	l.scatterBroken()
	w.release()
	return l
}

func (l *litter) scatterKept() {
	other := l.repo("dev", "acme/other")
	tagged, blob := l.pushed(l.dev, "v1", 1, nil, "")
	l.keep("tagged", l.dev, tagged, blob)
	untagged, blob := l.pushed(l.dev, "", 2, nil, "")
	l.keep("untagged", l.dev, untagged, blob)
	child, blob := l.pushed(l.dev, "", 3, nil, "")
	l.keep("child of an index", l.dev, child, blob, l.manifest(l.dev, "multi", index(child)))
	evidence, blob := l.pushed(l.dev, "", 4, &tagged, evidenceType)
	l.keep("referrer", l.dev, evidence, blob)
	if ok, err := other.Mount(l.t.Context(), l.dev, blob.Digest); !ok || err != nil {
		l.t.Fatal(ok, err)
	}
	l.keep("mounted and needed", other, blob, l.manifest(other, "v1", image(blob, nil, "")))
	a := l.artifact(5, "risen")
	if err := l.stage("risen.1", a); err != nil {
		l.t.Fatal(err)
	}
	if err := l.commit("risen.1", a, "v1"); err != nil {
		l.t.Fatal(err)
	}
	if err := l.stable.Arrival("risen.1").Finish(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	for _, n := range a.nodes {
		l.keep("risen", l.stable, n.Descriptor)
		l.keep("blobs of what rose", l.stable, n.Manifest.Blobs()...)
	}
	l.keepDocument()
}

// keepDocument stores the document of an event.
func (l *litter) keepDocument() {
	body := []byte("what a promotion moved")
	d := digest.FromBytes(body)
	if _, err := l.Store(l.t.Context(), l.stable.Tier, d, body); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.catalog.Commit(l.t.Context(), tiers.Change{Put: []tiers.Put{l.KeepRecord(l.stable.Tier, d, "risen")}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *litter) scatterDeleted() {
	other := l.repo("dev", "acme/other")
	l.drop("never needed", l.dev, l.blob(l.dev, bytesOf(100, 30)))
	if ok, err := other.Mount(l.t.Context(), l.dev, digest.FromBytes(bytesOf(1, 30))); !ok || err != nil {
		l.t.Fatal(ok, err)
	}
	l.drop("mounted and never needed", other, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(bytesOf(1, 30)), Size: 30})
	deleted, blob := l.pushed(l.dev, "old", 101, nil, "")
	if err := l.dev.DeleteManifest(l.t.Context(), deleted.Digest); err != nil {
		l.t.Fatal(err)
	}
	l.drop("deleted", l.dev, deleted, blob)
	layers := l.pushLayers(70) // more references than go in one transaction
	wide := l.manifest(l.dev, "wide", image(layers[0], nil, "", layers...))
	if err := l.dev.DeleteManifest(l.t.Context(), wide.Digest); err != nil {
		l.t.Fatal(err)
	}
	l.drop("deleted, wide", l.dev, wide)
	l.drop("blobs of it", l.dev, layers...)
}

func (l *litter) scatterBroken() {
	l.release()
	l.faults.arm(3, false) // intent, object, first batch, and then the end
	all := layersOf(70)
	if _, err := l.dev.PutManifest(l.t.Context(), "broken", "", "", image(all[1], nil, "", all...)); err == nil {
		l.t.Fatal("the push was not cut off")
	}
	l.faults.disarm()
	l.begun(dataFor(finishes["parts and a tail"]), finishes["parts and a tail"])
	l.begun(bytesOf(102, 10), chunks(2, 5))
	l.stray("blobs/" + l.NewID())
	l.stray("blobs/sha256/" + digest.FromString("x").Encoded() + "/" + l.NewID())
	l.strayParts()
}

// stray puts an object that nothing names.
func (w *world) stray(key string) {
	w.t.Helper()
	if err := w.buckets["dev"].Bucket.Put(w.t.Context(), key, strings.NewReader("stray"), 5); err != nil {
		w.t.Fatal(err)
	}
}

// strayParts begins a multipart upload that nothing names.
func (w *world) strayParts() {
	w.t.Helper()
	if _, err := w.buckets["dev"].Bucket.Begin(w.t.Context(), "blobs/"+w.NewID()); err != nil {
		w.t.Fatal(err)
	}
}

// wantStay reads everything that must be there.
func (l *litter) wantStay(when string) {
	l.t.Helper()
	for _, c := range l.stay {
		rc, err := c.repo.Fetch(l.t.Context(), c.desc)
		if err != nil {
			l.t.Errorf("%s: %s: %v", when, c.what, err)
			continue
		}
		verifier := c.desc.Digest.Verifier()
		var body bytes.Buffer
		_, err = body.ReadFrom(rc)
		rc.Close()
		_, _ = verifier.Write(body.Bytes()) // a hash takes all
		if err != nil || !verifier.Verified() {
			l.t.Errorf("%s: %s: %d bytes came back, %v", when, c.what, body.Len(), err)
		}
	}
}

// wantLeft says whether what must go is there still.
func (l *litter) wantLeft(when string, there bool) {
	l.t.Helper()
	for _, c := range l.leave {
		if oci.IsManifest(c.desc.MediaType) {
			continue // a DELETE took it
		}
		if _, err := c.repo.Blob(l.t.Context(), c.desc.Digest); (err == nil) != there {
			l.t.Errorf("%s: %s: %v", when, c.what, err)
		}
	}
}

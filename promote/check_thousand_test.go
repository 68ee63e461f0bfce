package promote_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// field is a repository of its own in dev, with something of everything in it, and what was
// damaged there.
type field struct {
	*gate
	n       int
	repo    *tiers.Repository
	name    string
	layers  []ocispec.Descriptor // of a 0 to 2, of b 3 to 5, of c 6, of d 7
	a, b    ocispec.Descriptor   // images; a is tagged v2
	index   ocispec.Descriptor   // of both, tagged v1
	c, of   ocispec.Descriptor   // an image, and an index of it
	d       ocispec.Descriptor   // an image by itself, tagged v3
	note    ocispec.Descriptor   // a referrer of index
	planted map[string]int       // faults, by kind and by what they are about
}

// nothing is a digest that nothing has.
func (f *field) nothing(what string) digest.Digest { return digest.FromString(fmt.Sprintln(what, f.n)) }

// layer is the content of one of the layers.
func (f *field) layer(i int) []byte {
	return fmt.Appendf(nil, "layer %d of field %d, for somebody to damage", i, f.n)
}

func (f *field) fill() error {
	var err error
	if f.repo, err = f.registry.Repository("dev", f.name, "dev"); err != nil {
		return err
	}
	for i := range 8 {
		data := f.layer(i)
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
		if err := f.repo.Push(f.Context(), desc, bytes.NewReader(data)); err != nil {
			return err
		}
		f.layers = append(f.layers, desc)
	}
	image := func(tag string, subject *ocispec.Descriptor, layers ...ocispec.Descriptor) (ocispec.Descriptor, error) {
		return f.put(tag, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: layers[0], Layers: layers, Subject: subject,
			Annotations: map[string]string{"field": f.name}})
	}
	index := func(tag string, manifests ...ocispec.Descriptor) (ocispec.Descriptor, error) {
		return f.put(tag, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	}
	for _, step := range []func() error{
		func() error { f.a, err = image("v2", nil, f.layers[:3]...); return err },
		func() error { f.b, err = image("", nil, f.layers[3:6]...); return err },
		func() error { f.c, err = image("", nil, f.layers[6]); return err },
		func() error { f.d, err = image("v3", nil, f.layers[7]); return err },
		func() error { f.index, err = index("v1", f.a, f.b); return err },
		func() error { f.of, err = index("", f.c); return err },
		func() error { f.note, err = image("", &f.index, f.layers[0]); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) put(tag string, document any) (ocispec.Descriptor, error) {
	body, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if tag == "" {
		tag = digest.FromBytes(body).String()
	}
	pushed, err := f.repo.PutManifest(f.Context(), tag, "", "", body)
	return ocispec.Descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}, err
}

// The keys of the field's records.

func (f *field) in(family string, d digest.Digest) string {
	return "tier/dev/" + family + "/" + f.name + "@" + d.String()
}

func (f *field) tag(tag string) string { return "tier/dev/tag/" + f.name + ":" + tag }

func (f *field) store(rest string) string { return "store/" + f.repo.Tier.Store() + "/" + rest }

func (f *field) ref(d digest.Digest, rest string) string {
	return f.store("ref/" + d.String() + "/" + rest)
}

func (f *field) holds(d, manifest digest.Digest) string {
	return f.ref(d, "dev/"+f.name+"@"+manifest.String())
}

// damaged notes a fault that was planted.
func (f *field) damaged(kind, about string) { f.planted[kind+" "+about]++ }

// add plants a record that must not be.
func (f *field) add(kind, key, value string) {
	f.plant(key, value)
	f.damaged(kind, key)
}

// take takes away a record that must be.
func (f *field) take(kind, key string) {
	f.remove(key)
	f.damaged(kind, key)
}

// change has a record say something else.
func (f *field) change(kind, key string, fields map[string]any) {
	f.edit(key, fields)
	f.damaged(kind, key)
}

// spoil puts other bytes in the place of an object, or none.
func (f *field) spoil(kind string, d digest.Digest, data []byte) {
	t, _, key := f.objectOf("dev", d)
	f.must(t.Bucket.Delete(f.Context(), key))
	if data != nil {
		f.must(t.Bucket.Put(f.Context(), key, bytes.NewReader(data), int64(len(data))))
	}
	f.damaged(kind, key)
}

// lose takes away an object and the record of it.
func (f *field) lose(kind string, d digest.Digest) {
	t, record, key := f.objectOf("dev", d)
	f.must(t.Bucket.Delete(f.Context(), key))
	f.take(kind, record)
}

// damage plants everything that one field has room for without one fault hiding another.
func (f *field) damage() {
	f.bytes()
	f.records()
	f.leftOvers()
	f.promotions()
}

func (f *field) bytes() {
	f.spoil("object-missing", f.layers[0].Digest, nil)
	f.spoil("object-size", f.layers[1].Digest, []byte("short"))
	f.spoil("object-corrupt", f.layers[2].Digest, make([]byte, f.layers[2].Size))
	f.lose("blob-missing", f.layers[3].Digest)
	switch f.n % 4 {
	case 0:
		f.lose("manifest-bytes-missing", f.d.Digest)
	case 1:
		f.spoil("object-missing", f.d.Digest, nil)
	case 2:
		f.spoil("object-corrupt", f.d.Digest, make([]byte, f.d.Size))
	case 3:
		f.spoil("object-size", f.d.Digest, []byte("{}"))
	}
	key := fmt.Sprintf("blobs/stray-%d", f.n)
	f.must(f.repo.Tier.Bucket.Put(f.Context(), key, strings.NewReader("stray"), 5))
	f.damaged("stray-object", key)
	key = fmt.Sprintf("blobs/open-%d", f.n)
	_, err := f.repo.Tier.Bucket.Begin(f.Context(), key)
	f.must(err)
	f.damaged("stray-upload", key)
	_, _, key = f.objectOf("dev", f.layers[7].Digest)
	f.plant(f.store("intent/"+key), `{"for":"push","by":"","startedAt":"2036-01-01T00:00:00Z"}`)
	f.damaged("blob-doomed", key)
	_, record, key := f.objectOf("dev", f.layers[5].Digest)
	f.plant(strings.Replace(record, f.layers[5].Digest.String(), digest.SHA512.FromBytes(f.layer(5)).String(), 1), string(f.stored(record).Value))
	f.damaged("blob-shared", key)
}

func (f *field) records() {
	f.take("link-missing", f.in("link", f.layers[4].Digest))
	f.take("reference-missing", f.holds(f.layers[5].Digest, f.b.Digest))
	f.take("self-reference-missing", f.ref(f.a.Digest, ".manifest/dev/"+f.name))
	f.plant(f.ref(f.layers[4].Digest, ".manifest/dev/"+f.name), "")
	f.add("manifest-invalid", f.in("manifest", f.layers[4].Digest), fmt.Sprintf(`{"mediaType":%q,"size":%d,"createdAt":"2026-01-01T00:00:00Z","by":"eve"}`, ocispec.MediaTypeImageManifest, f.layers[4].Size))
	f.change("manifest-record", f.in("manifest", f.b.Digest), map[string]any{"artifactType": "application/x.other"})
	f.change("tag-record", f.tag("v1"), map[string]any{"size": 1})
	f.take("tagged-missing", f.in("tagged", f.a.Digest)+"/v2")
	f.add("tagged-left-over", f.in("tagged", f.index.Digest)+"/v2", "")
	note := f.in("referrer", f.index.Digest) + "/" + f.note.Digest.String()
	f.add("referrer-left-over", f.in("referrer", f.index.Digest)+"/"+f.nothing("referrer").String(), string(f.stored(note).Value))
	f.change("referrer-record", note, map[string]any{"annotations": nil})
	f.take("repository-missing", "tier/dev/repo/"+f.name)
	d := f.nothing("tag")
	f.plant(f.in("tagged", d)+"/x", "")
	f.add("tag-dangling", f.tag("x"), fmt.Sprintf(`{"digest":%q,"mediaType":"application/x","size":5,"updatedAt":"2026-01-01T00:00:00Z","by":"eve"}`, d))
	f.remove(f.ref(f.c.Digest, ".manifest/dev/"+f.name), f.holds(f.layers[6].Digest, f.c.Digest))
	f.take("child-missing", f.in("manifest", f.c.Digest))
	f.change("link-size", f.in("link", f.layers[6].Digest), map[string]any{"size": 1})
	f.add("record-invalid", f.tag("y"), "{")
	f.add("record-invalid", f.in("tagged", f.d.Digest)+"/v3", "{")
}

func (f *field) leftOvers() {
	f.add("reference-orphan", f.holds(f.layers[6].Digest, f.nothing("manifest")), "")
	f.add("reference-orphan", f.ref(f.layers[6].Digest, fmt.Sprintf(".manifest/dev/acme/nobody-%d", f.n)), "")
	f.add("link-dangling", f.in("link", f.nothing("blob")), `{"size":3}`)
	f.add("pin-orphan", f.ref(f.layers[6].Digest, ".pin/gone.1"), "")
	f.add("pin-orphan", fmt.Sprintf("pinned/gone.1/%d", f.n), `{"store":"s","digests":[]}`)
	f.add("staged-orphan", fmt.Sprintf("staged/gone.1/%d", f.n), fmt.Sprintf(`{"manifest":%q}`, f.nothing("staged")))
	f.add("committed-orphan", fmt.Sprintf("committed/gone-%d.1", f.n), "")
	f.change("mark-orphan", f.in("link", f.layers[5].Digest), map[string]any{"pending": []string{fmt.Sprintf("gone-%d.1", f.n)}})
	f.add("intent-expired", f.store(fmt.Sprintf("intent/blobs/old-%d", f.n)), `{"for":"push","by":"","startedAt":"2026-01-01T00:00:00Z"}`)
	f.add("record-invalid", f.in("subject", f.index.Digest), "[]")
	f.add("record-invalid", f.in("orphaned", f.nothing("orphaned")), "{")
	f.add("record-unknown", f.in("unheard-of", f.nothing("family")), "{}")
	f.plant(f.holds(f.layers[6].Digest, f.nothing("pushing")), "")
	f.add("push-interrupted", f.in("pushing", f.nothing("pushing")), "")
}

func (f *field) promotions() {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	journal := func(id string, state promote.State, finished *time.Time) string {
		return string(tiers.Encode(promote.Promotion{ID: id, State: state, Repository: f.name, Digest: f.index.Digest, From: "dev", To: "stable", Tags: []string{}, RequestedBy: "eve", CreatedAt: at, FinishedAt: finished}))
	}
	id := func(what string) string { return fmt.Sprintf("%s-%d", what, f.n) }
	f.add("promotion-key-orphan", "promotion-key/"+id("k"), "nobody")
	f.add("open-orphan", "promotion-open/"+id("o"), "")
	f.add("waiting-orphan", "promotion-waiting/"+f.name+"@"+id("w"), fmt.Sprintf(`{"from":"dev","to":"stable","reference":"v1","digest":%q,"until":"2036-01-01T00:00:00Z"}`, f.index.Digest))
	f.add("promotion-stuck", "promotion/"+id("s"), journal(id("s"), promote.Running, nil))
	f.damaged("artifact-unheld", f.ref(f.index.Digest, ".pin/"+id("s")))
	f.add("journal-contradiction", "promotion/"+id("j"), journal(id("j"), promote.Errored, nil))
	f.add("standing-orphan", "standing/stable/"+f.name+"@"+f.index.Digest.String(), `{"promotion":"nobody","allowed":true,"since":"2026-01-01T00:00:00Z"}`)
	f.add("record-invalid", "promotion/"+id("r"), "{}")
	f.plant("promotion/"+id("e"), journal(id("e"), promote.Errored, &at))
	f.add("event-contradiction", "event/"+id("e"), string(tiers.Encode(tiers.Event{ID: id("e"), Type: tiers.EventPromoted, Time: at, Tier: "stable", Repository: f.name, Cause: id("e"),
		Body: []byte(journal(id("e"), promote.Succeeded, &at))})))
	f.plant("promotion/"+id("u"), journal(id("u"), promote.Errored, &at))
	f.plant("promotion-open/"+id("u"), "")
	f.damaged("promotion-untidied", "promotion/"+id("u"))
}

// rises has an image rise to stable in a repository of its own.
func (f *field) rises(name string) promote.Promotion {
	of := &field{gate: f.gate, name: name}
	var err error
	of.repo, err = f.registry.Repository("dev", name, "dev")
	f.must(err)
	data := []byte("what rises in " + name)
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	f.must(of.repo.Push(f.Context(), layer, bytes.NewReader(data)))
	image, err := of.put("1.0", ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: layer, Layers: []ocispec.Descriptor{layer}})
	f.must(err)
	statement, err := attest.NewStatement(provenanceType, []byte(`{"buildDefinition":{"buildType":"https://example.com/b"}}`), "app", image.Digest)
	f.must(err)
	bundle, err := attest.Sign(f.Context(), statement, f.ci)
	f.must(err)
	_, err = attest.Attach(f.Context(), of.repo, bundle, provenanceType, image, time.Now())
	f.must(err)
	return f.promoteOK(promote.Request{Repository: name, Reference: "1.0", To: "stable"})
}

// above is what is damaged above dev, of which a gate has few.
func (f *field) above() {
	var rose, others []promote.Promotion
	for i := range 5 {
		tag := fmt.Sprintf("rises-%d", i)
		image := f.image(tag, tag, nil)
		f.provenance(image)
		rose = append(rose, f.promoteOK(request(tag, "stable")))
	}
	for i := range 3 {
		others = append(others, f.rises(fmt.Sprintf("acme/other-%d", i)))
	}
	f.tidied()
	f.image("3.0", "three", nil)
	(&promoted{approvers: &approvers{gate: f.gate}}).smuggle()
	f.damaged("manifest-unvouched", "")

	stable := func(family string, d digest.Digest) string {
		return "tier/stable/" + family + "/" + repository + "@" + d.String()
	}
	(&promoted{approvers: &approvers{gate: f.gate}}).forget("stable", rose[0].Summary)
	f.damaged("manifest-lost", stable("manifest", rose[0].Summary))
	f.change("verdict-missing", "promotion/"+rose[1].ID, map[string]any{"verdict": nil})
	f.take("referrer-missing", stable("referrer", rose[2].Digest)+"/"+rose[2].Summary.String())
	f.add("record-invalid", "standing/stable/"+repository+"@"+rose[2].Digest.String(), "x")

	f.replace(rose[3], func(doc *promote.Record) {
		for i, m := range doc.Manifests {
			if m.Digest == rose[3].Summary {
				doc.Manifests[i].Digest = rose[4].Summary
			}
		}
	})
	f.change("summary-unverified", "promotion/"+rose[3].ID, map[string]any{"summary": rose[4].Summary})
	(&promoted{approvers: &approvers{gate: f.gate}, first: rose[3]}).vouch(rose[3].Summary)

	ref, _ := f.document(others[0])
	f.remove(ref)
	f.damaged("record-missing", "promotion/"+others[0].ID)
	_, d := f.document(others[1])
	t, record, key := f.objectOf("stable", d)
	f.must(t.Bucket.Delete(f.Context(), key))
	f.remove(record)
	f.damaged("record-missing", "promotion/"+others[1].ID)
	f.change("promotion-record", "promotion/"+others[2].ID, map[string]any{"summary": rose[1].Summary})

	f.change("policy-corrupt", "policy/stable-to-release", map[string]any{"document": "{}"})
	f.add("policy-pointer", "tier-policy/nowhere", "nobody")
	release, err := f.registry.Tier("release")
	f.must(err)
	f.must(release.Bucket.Put(f.Context(), "catalogs/other", strings.NewReader(""), 0))
	f.damaged("bucket-shared", "catalogs/other")

	f.damaged("usage-drift", "tier/dev/usage/acme/field-0") // by the links of that field that come and go
	f.plant("tier/former/repo/acme/app", "{}")
	f.damaged("not-configured", "tier/former/")
	f.plant("store/former/blob/"+string(rose[0].Digest), "{}")
	f.damaged("not-configured", "store/former/")
}

// fillUp plants more until there are most.
func (f *field) fillUp(wants map[string]int, most int) {
	all := 0
	for _, n := range wants {
		all += n
	}
	for ; all < most; all++ {
		key := "tier/dev/link/acme/more@" + digest.FromString(fmt.Sprint(all)).String()
		f.plant(key, `{"size":3}`)
		wants["link-dangling "+key]++
	}
}

// A thousand faults of all kinds at once are found, every one and nothing else; before they
// are planted, nothing is.
func TestCheckThousand(t *testing.T) {
	t.Parallel()
	const fields, most = 20, tiers.MaxFindings // as many faults as are told of one by one
	g := newGate(t, func(config *tiers.Config) {
		config.Tiers[0].Limits.Quotas = []tiers.Quota{{Prefix: "acme/field-0", Bytes: 1 << 40}}
	})
	all := make([]*field, fields)
	group := errgroup.Group{}
	group.SetLimit(8)
	for n := range all {
		all[n] = &field{gate: g, n: n, name: fmt.Sprintf("acme/field-%d", n), planted: map[string]int{}}
		group.Go(all[n].fill)
	}
	g.must(group.Wait())
	g.must(g.registry.Release(t.Context()))
	sound := g.check(tiers.CheckOptions{ReadData: true})
	g.found("before", sound)

	above := &field{gate: g, planted: map[string]int{}}
	above.above()
	g.must(g.registry.Release(t.Context()))
	wants := maps.Clone(above.planted)
	for _, f := range all {
		f.damage()
		for about, n := range f.planted {
			wants[about] += n
		}
	}
	above.fillUp(wants, most)
	found := g.check(tiers.CheckOptions{ReadData: true})
	hits, kinds := compare(t, found, wants)
	if total := sum(found.Found); total != hits || hits != most {
		t.Errorf("%d found, %d of them told of one by one and planted; want %d", total, hits, most)
	}
	t.Logf("%d faults of %d kinds found among %d records and %d objects, in %.1f s; the same when sound: %.1f s", hits, kinds, sum(found.Records), found.Objects, found.Seconds, sound.Seconds)

	g.engine.CompareAtOnce(3) // bit by bit it is the same
	bits := g.check(tiers.CheckOptions{ReadData: true})
	if hits, _ := compare(t, bits, wants); hits != most || bits.Objects != found.Objects {
		t.Errorf("bit by bit %d were found, among %d objects", hits, bits.Objects)
	}

	repaired := g.check(tiers.CheckOptions{ReadData: true, Repair: true})
	t.Logf("%d of them repaired; left: %v", repaired.Repaired, repaired.Severity)
	if repaired.Repaired < most/2 {
		t.Errorf("only %d were repaired", repaired.Repaired)
	}
}

// compare says how many of the faults that were planted were found, and of how many kinds.
func compare(t *testing.T, found tiers.Checked, wants map[string]int) (hits int64, kinds int) {
	t.Helper()
	rest, seen := maps.Clone(wants), map[string]bool{}
	for _, f := range found.Findings {
		about := f.Kind + " " + f.Key
		if rest[about]--; rest[about] < 0 {
			t.Errorf("not planted, and found: %s", tiers.Encode(f))
			continue
		}
		hits++
		seen[f.Kind] = true
		if rest[about] == 0 {
			delete(rest, about)
		}
	}
	for _, about := range slices.Sorted(maps.Keys(rest)) {
		t.Errorf("planted, and not found: %s", about)
	}
	return hits, len(seen)
}

func sum(counts map[string]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

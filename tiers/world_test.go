package tiers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

// world is a registry on real stores, with everything that is written to them recorded.
type world struct {
	*tiers.Registry
	t       *testing.T
	faults  *faults
	catalog *catalog
	buckets map[string]*bucket // by tier
	dev     *tiers.Repository  // dev/acme/app, of alice
	stable  *tiers.Repository  // stable/acme/app
	parsed  map[string]*oci.Manifest
	ahead   atomic.Int64 // how far its clock is, in nanoseconds
}

// pass lets time pass for the registry.
func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// newWorld makes the tiers dev, stable and release, the latter two in one bucket. edit,
// where not nil, changes the configuration.
func newWorld(t *testing.T, edit func(*tiers.Config)) *world {
	t.Helper()
	return newWorldOn(t, map[string]tiers.Bucket{"dev": stores.Bucket(t), "stable": stores.Bucket(t)}, edit)
}

// oneStore is an edit that keeps all tiers in the bucket of dev.
func oneStore(c *tiers.Config) {
	for i := range c.Tiers {
		c.Tiers[i].Bucket = c.Tiers[0].Bucket
	}
}

// newWorldOn is newWorld on buckets that former worlds have used: keys never meet.
func newWorldOn(t *testing.T, buckets map[string]tiers.Bucket, edit func(*tiers.Config)) *world {
	t.Helper()
	w := &world{t: t, faults: &faults{}, buckets: map[string]*bucket{}, parsed: map[string]*oci.Manifest{}}
	w.catalog = &catalog{Catalog: stores.Catalog(t), faults: w.faults, expires: map[string]bool{}}
	config := tiers.Config{Catalog: w.catalog, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }}
	for _, tier := range []tiers.Tier{{Name: "dev", Push: true}, {Name: "stable", From: "dev", MovingTags: []string{"latest"}}} {
		w.buckets[tier.Name] = record(t, buckets[tier.Name], w.faults)
		tier.Bucket = w.buckets[tier.Name]
		config.Tiers = append(config.Tiers, tier)
	}
	w.buckets["release"] = w.buckets["stable"] // one bucket, two tiers
	config.Tiers = append(config.Tiers, tiers.Tier{Name: "release", From: "stable", Bucket: w.buckets["stable"]})
	if edit != nil {
		edit(&config)
	}
	var err error
	if w.Registry, err = tiers.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.dev, w.stable = w.repo("dev", "acme/app"), w.repo("stable", "acme/app")
	return w
}

func (w *world) repo(tier, name string) *tiers.Repository {
	w.t.Helper()
	r, err := w.Repository(tier, name, "alice")
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// bytesOf makes n bytes that no other seed gives.
func bytesOf(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// stream hides everything but Read, as the body of a request does.
func stream(data []byte) io.Reader { return io.MultiReader(bytes.NewReader(data)) }

// blob pushes a blob in one request.
func (w *world) blob(r *tiers.Repository, data []byte) ocispec.Descriptor {
	w.t.Helper()
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := r.Push(w.t.Context(), desc, stream(data)); err != nil {
		w.t.Fatal(err)
	}
	return desc
}

// layerOf is the content of one of the many layers of a wide image.
func layerOf(i int) []byte { return fmt.Appendf(nil, "layer %d", i) }

// layersOf describes the first n of them.
func layersOf(n int) []ocispec.Descriptor {
	layers := make([]ocispec.Descriptor, n)
	for i := range layers {
		data := layerOf(i)
		layers[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	return layers
}

// pushLayers pushes the first n of them to dev.
func (w *world) pushLayers(n int) []ocispec.Descriptor {
	w.t.Helper()
	for i := range n {
		w.blob(w.dev, layerOf(i))
	}
	return layersOf(n)
}

// image renders an image manifest of the given layers.
func image(config ocispec.Descriptor, subject *ocispec.Descriptor, artifactType string, layers ...ocispec.Descriptor) []byte {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers, Subject: subject, ArtifactType: artifactType}
	m.SchemaVersion = 2
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	data, _ := json.Marshal(m) // plain data
	return data
}

// index renders an index of the given manifests.
func index(manifests ...ocispec.Descriptor) []byte {
	m := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
	m.SchemaVersion = 2
	if m.Manifests == nil {
		m.Manifests = []ocispec.Descriptor{}
	}
	data, _ := json.Marshal(m) // plain data
	return data
}

// manifest pushes a manifest under a reference; empty: its digest.
func (w *world) manifest(r *tiers.Repository, reference string, body []byte) ocispec.Descriptor {
	w.t.Helper()
	if reference == "" {
		reference = digest.FromBytes(body).String()
	}
	pushed, err := r.PutManifest(w.t.Context(), reference, "", "", body)
	if err != nil {
		w.t.Fatal(err)
	}
	return plain(pushed.Descriptor)
}

// plain is a descriptor as an index holds it.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// image pushes an image of one blob made of seed and returns its descriptor.
func (w *world) image(r *tiers.Repository, reference string, seed uint64) ocispec.Descriptor {
	w.t.Helper()
	return w.manifest(r, reference, image(w.blob(r, bytesOf(seed, 40)), nil, ""))
}

// read reads a blob through a repository.
func (w *world) read(r *tiers.Repository, d digest.Digest) []byte {
	w.t.Helper()
	b, err := r.Blob(w.t.Context(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	rc, err := b.Open(w.t.Context(), 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

// events lists what happened, in the order in which it did.
func (w *world) events() []tiers.Event {
	w.t.Helper()
	records := w.catalog.all(w.t, "event/")
	slices.SortFunc(records, func(a, b tiers.Record) int { return int(a.Revision - b.Revision) })
	events := make([]tiers.Event, len(records))
	for i, r := range records {
		if err := json.Unmarshal(r.Value, &events[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	return events
}

// release takes back what was announced ahead.
func (w *world) release() {
	w.t.Helper()
	if err := w.Release(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// left lists the keys under prefix that stay: not what expires, nor what was announced and
// not used, nor what every registry has.
func (w *world) left(prefix string) []string {
	w.t.Helper()
	w.release()
	var keys []string
	for _, r := range w.catalog.all(w.t, prefix) {
		if !w.catalog.expires[r.Key] && !slices.Contains([]string{"session-key", "catalog-id", "schema"}, r.Key) {
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// auditor compares the catalog with the buckets and with itself.
type auditor struct {
	*world
	strict  bool // nothing was interrupted: nothing may be left over
	records map[string]tiers.Record
	stored  map[string]*bucket         // by store
	named   map[string]map[string]bool // object keys that a record names, by store
}

// audit fails the test where the catalog and the buckets contradict each other: a record
// that points at nothing, a tag or manifest that cannot be pulled whole, an object that no
// record accounts for. strict also refuses what an interrupted request may leave behind.
func (w *world) audit(strict bool) {
	w.t.Helper()
	if strict {
		w.release()
	}
	a := &auditor{world: w, strict: strict, records: map[string]tiers.Record{}, stored: map[string]*bucket{}, named: map[string]map[string]bool{}}
	for _, r := range w.catalog.all(w.t, "") {
		a.records[r.Key] = r
	}
	for _, tier := range w.Tiers() {
		a.stored[tier.Store()] = w.buckets[tier.Name]
		if a.named[tier.Store()] == nil {
			a.named[tier.Store()] = map[string]bool{}
		}
	}
	for key, r := range a.records {
		switch {
		case strings.HasPrefix(key, "store/"):
			a.store(key, r)
		case strings.HasPrefix(key, "upload/"):
			a.upload(key, r)
		case strings.HasPrefix(key, "tier/"):
			a.tier(key, r)
		case strings.HasPrefix(key, "staged/") && strict:
			w.t.Errorf("%s is left over", key)
		}
	}
	for store, b := range a.stored {
		a.bucket(store, b)
	}
}

func (a *auditor) has(key string) bool { _, ok := a.records[key]; return ok }

// visible says whether a record's marks let it be seen.
func (a *auditor) visible(r tiers.Record) bool {
	pending, _ := fields(a.t, r)["pending"].([]any)
	for _, id := range pending {
		if a.has("committed/" + id.(string)) {
			return true
		}
	}
	return len(pending) == 0
}

func (a *auditor) store(key string, r tiers.Record) {
	store, rest := cut(key, "store/", "/")
	kind, name, _ := strings.Cut(rest, "/")
	switch kind {
	case "blob":
		object := fields(a.t, r)["key"].(string)
		a.named[store][object] = true
		b := a.stored[store]
		b.mu.Lock()
		known := b.live[object] && b.whole[object]
		b.mu.Unlock()
		if known {
			return
		}
		rc, err := a.stored[store].Open(context.Background(), object, 0, -1)
		if err != nil {
			a.t.Errorf("blob record %s: %v", key, err)
			return
		}
		defer rc.Close()
		verifier := digest.Digest(name).Verifier()
		n, err := io.Copy(verifier, rc)
		if err != nil || !verifier.Verified() || float64(n) != fields(a.t, r)["size"] {
			a.t.Errorf("blob record %s: object %s has %d other bytes, %v", key, object, n, err)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.whole[object] = true
	case "condemned":
		a.named[store][name] = true
	case "intent":
		a.named[store][name] = true
		if a.strict {
			a.t.Errorf("%s is left over", key)
		}
	case "ref":
		_, referrer := cut(name, "", "/")
		tier, manifest, _ := strings.Cut(referrer, "/")
		if !strings.HasPrefix(referrer, ".") && !a.has("tier/"+tier+"/manifest/"+manifest) && a.strict {
			a.t.Errorf("%s is left over", key)
		}
	}
}

func (a *auditor) upload(key string, r tiers.Record) {
	v := fields(a.t, r)
	if a.catalog.expires[key] {
		return // it vanishes, and what only it names would be lost
	}
	if a.strict {
		a.t.Errorf("%s is left over: %s", key, r.Value)
	}
	tier, err := a.Tier(v["tier"].(string))
	if err != nil {
		a.t.Fatal(err)
	}
	named := a.named[tier.Store()]
	for _, field := range []string{"key", "nextTail"} {
		if object, ok := v[field].(string); ok {
			named[object] = true
		}
	}
	if tail, ok := v["tail"].(map[string]any); ok {
		named[tail["key"].(string)] = true
	}
	old, _ := v["old"].([]any)
	for _, object := range old {
		named[object.(string)] = true
	}
}

// bucket looks for objects and multipart uploads that nothing accounts for.
func (a *auditor) bucket(store string, b *bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for object := range b.live {
		if !a.named[store][object] {
			a.t.Errorf("object %s is a stray", object)
		}
	}
	for id, key := range b.open {
		if !b.unknown[id] && !a.named[store][key] {
			a.t.Errorf("multipart upload %s of %s is a stray", id, key)
		}
	}
}

func (a *auditor) tier(key string, r tiers.Record) {
	name, rest := cut(key, "tier/", "/")
	kind, rest, _ := strings.Cut(rest, "/")
	tier, err := a.Tier(name)
	if err != nil {
		a.t.Fatal(err)
	}
	switch kind {
	case "manifest":
		if a.visible(r) {
			a.manifestRecord(tier, rest)
		} else if a.strict {
			a.t.Errorf("%s is left over, hidden", key)
		}
	case "pushing", "orphaned":
		if a.strict {
			a.t.Errorf("%s is left over", key)
		}
	case "tag":
		repo, tag, _ := strings.Cut(rest, ":")
		d := fields(a.t, r)["digest"].(string)
		if m, ok := a.records["tier/"+name+"/manifest/"+repo+"@"+d]; !ok || !a.visible(m) {
			a.t.Errorf("%s points at %s, which cannot be seen", key, d)
		}
		if !a.has("tier/" + name + "/tagged/" + repo + "@" + d + "/" + tag) {
			a.t.Errorf("%s is not listed with its manifest", key)
		}
	case "tagged":
		manifest, tag := rest[:strings.LastIndex(rest, "/")], rest[strings.LastIndex(rest, "/")+1:]
		repo, d, _ := strings.Cut(manifest, "@")
		if r, ok := a.records["tier/"+name+"/tag/"+repo+":"+tag]; !ok || fields(a.t, r)["digest"] != d {
			a.t.Errorf("%s: the tag is not there", key)
		}
	case "referrer":
		i := strings.LastIndex(rest, "/")
		repo, _, _ := strings.Cut(rest, "@")
		m, ok := a.records["tier/"+name+"/manifest/"+repo+"@"+rest[i+1:]]
		if !ok || a.visible(r) != a.visible(m) {
			a.t.Errorf("%s and its manifest do not agree", key)
		}
	case "link":
		_, d, _ := strings.Cut(rest, "@")
		if !a.has("store/" + tier.Store() + "/blob/" + d) {
			a.t.Errorf("%s is of bytes that are not there", key)
		}
		if a.strict && !a.visible(r) {
			a.t.Errorf("%s is left over, hidden", key)
		}
	case "usage":
		if sum := a.sum(tier, rest); fields(a.t, r)["bytes"] != sum {
			a.t.Errorf("%s: %s, the repositories hold %v", key, r.Value, sum)
		}
	}
}

// sum adds up what the repositories under prefix hold.
func (a *auditor) sum(tier *tiers.Tier, prefix string) (sum float64) {
	for key, r := range a.records {
		kind, name, _ := strings.Cut(strings.TrimPrefix(key, "tier/"+tier.Name+"/"), "/")
		repo, _, _ := strings.Cut(name, "@")
		if (kind == "link" || kind == "manifest") && strings.HasPrefix(key, "tier/"+tier.Name+"/") &&
			(prefix == "" || strings.HasPrefix(repo+"/", prefix+"/")) {
			sum += fields(a.t, r)["size"].(float64)
		}
	}
	return sum
}

// manifestRecord checks that a manifest that is seen is there with all that it needs.
func (a *auditor) manifestRecord(tier *tiers.Tier, name string) {
	repo, d, _ := strings.Cut(name, "@")
	r, err := a.Repository(tier.Name, repo, "auditor")
	if err != nil {
		a.t.Fatal(err)
	}
	m := a.parsed[name]
	if m == nil { // later the audit of its blob record says whether it can be read
		_, body, err := r.Manifest(context.Background(), d)
		if err != nil {
			a.t.Errorf("%s/%s: %v", tier.Name, name, err)
			return
		}
		if m, err = oci.ParseManifest("", body); err != nil {
			a.t.Fatal(err)
		}
		a.parsed[name] = m
	}
	store := "store/" + tier.Store()
	needs := map[digest.Digest]string{}
	for _, b := range m.Blobs() {
		needs[b.Digest] = "tier/" + tier.Name + "/link/" + repo + "@" + b.Digest.String()
	}
	for _, c := range m.Children {
		needs[c.Digest] = "tier/" + tier.Name + "/manifest/" + repo + "@" + c.Digest.String()
	}
	for need, key := range needs {
		if record, ok := a.records[key]; !ok || !a.visible(record) {
			a.t.Errorf("%s/%s needs %s, which cannot be seen", tier.Name, name, need)
		}
		if !a.has(store+"/blob/"+d) || !a.has(store+"/blob/"+need.String()) || !a.has(store+"/ref/"+need.String()+"/"+tier.Name+"/"+name) {
			a.t.Errorf("%s/%s needs %s, which nothing keeps", tier.Name, name, need)
		}
	}
	if m.Subject != nil && !a.has("tier/"+tier.Name+"/referrer/"+repo+"@"+m.Subject.Digest.String()+"/"+d) {
		a.t.Errorf("%s/%s is not listed with its subject", tier.Name, name)
	}
}

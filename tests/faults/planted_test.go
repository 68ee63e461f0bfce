package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/tests/faults/check"
)

// garden is a registry in which violations are planted by hand.
type garden struct {
	*testing.T
	*run1
	etcd *clientv3.Client
	s3   *minio.Client
}

func newGarden(t *testing.T) *garden {
	t.Helper()
	r := &run1{options: options{seed: fixedSeed, clients: 4, binary: binary(t), log: t.Output(), quiet: true}, figures: newFigures(fixedSeed)}
	if err := r.start(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	g := &garden{T: t, run1: r}
	var err error
	if g.etcd, err = clientv3.New(clientv3.Config{Endpoints: r.cluster.Endpoints(), DialTimeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.etcd.Close() })
	u, err := url.Parse(r.cluster.Store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	g.s3, err = minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(r.cluster.Store.Access, r.cluster.Store.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// work has clients work, undisturbed, until each kind of thing is there.
func (g *garden) work() {
	g.Helper()
	for range 60 {
		stop, cancel := context.WithTimeout(g.Context(), time.Second)
		var all sync.WaitGroup
		for _, c := range g.clients {
			all.Go(func() { c.Work(g.Context(), stop) })
		}
		all.Wait()
		cancel()
		if len(g.keys("tier/dev/tag/")) > 3 && len(g.keys("tier/stable/manifest/")) > 3 && len(g.keys("tier/dev/manifest/")) > 10 {
			break
		}
	}
	g.ops.Terminal(g.Context(), time.Now(), time.Minute)
	if err := g.checker.Quiet(g.Context(), time.Minute); err != nil {
		g.Fatal(err)
	}
	g.ops.Settle(g.Context())
}

// keys lists those of the catalog behind a prefix, without the root.
func (g *garden) keys(prefix string) []string {
	g.Helper()
	resp, err := g.etcd.Get(g.Context(), "sluice/v1/"+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		g.Fatal(err)
	}
	var all []string
	for _, kv := range resp.Kvs {
		all = append(all, strings.TrimPrefix(string(kv.Key), "sluice/v1/"))
	}
	return all
}

func (g *garden) get(key string) string {
	g.Helper()
	resp, err := g.etcd.Get(g.Context(), "sluice/v1/"+key)
	if err != nil || len(resp.Kvs) == 0 {
		g.Fatalf("%s: %v", key, err)
	}
	return string(resp.Kvs[0].Value)
}

// put writes a record and returns what undoes it.
func (g *garden) put(key, value string) (undo func()) {
	g.Helper()
	before, err := g.etcd.Get(g.Context(), "sluice/v1/"+key)
	if err != nil {
		g.Fatal(err)
	}
	if _, err := g.etcd.Put(g.Context(), "sluice/v1/"+key, value); err != nil {
		g.Fatal(err)
	}
	if len(before.Kvs) > 0 {
		return func() { g.put(key, string(before.Kvs[0].Value)) }
	}
	return func() { g.delete(key) }
}

func (g *garden) delete(key string) (undo func()) {
	g.Helper()
	value := g.get(key)
	if _, err := g.etcd.Delete(g.Context(), "sluice/v1/"+key); err != nil {
		g.Fatal(err)
	}
	return func() { g.put(key, value) }
}

// bucket is where an object lies: the ledger in that of the last tier, all else here in the
// lower one.
func bucket(key string) string {
	if strings.HasPrefix(key, "ledger/") {
		return "upper"
	}
	return "lower"
}

// object reads an object.
func (g *garden) object(key string) []byte {
	g.Helper()
	o, err := g.s3.GetObject(g.Context(), bucket(key), key, minio.GetObjectOptions{})
	if err != nil {
		g.Fatal(err)
	}
	defer o.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(o); err != nil {
		g.Fatal(err)
	}
	return b.Bytes()
}

func (g *garden) store(key string, content []byte) {
	g.Helper()
	if _, err := g.s3.PutObject(g.Context(), bucket(key), key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{}); err != nil {
		g.Fatal(err)
	}
}

func (g *garden) remove(key string) {
	g.Helper()
	if err := g.s3.RemoveObject(g.Context(), bucket(key), key, minio.RemoveObjectOptions{}); err != nil {
		g.Fatal(err)
	}
}

// needed finds a reference of a manifest in dev: the digest of a blob, and the manifest.
func (g *garden) needed() (ref, store, blob, repository, manifest string) {
	g.Helper()
	for _, key := range g.keys("store/") {
		parts := strings.SplitN(key, "/", 6)
		if len(parts) != 6 || parts[2] != "ref" || parts[4] != "dev" {
			continue
		}
		repository, manifest, _ := strings.Cut(parts[5], "@")
		if len(g.keys("tier/dev/link/"+repository+"@"+parts[3])) == 1 && len(g.keys("tier/dev/manifest/"+parts[5])) == 1 {
			return key, parts[1], parts[3], repository, manifest
		}
	}
	g.Fatal("no manifest needs anything")
	return
}

// objectOf is the object of a blob.
func (g *garden) objectOf(store, blob string) string {
	g.Helper()
	_, rest, _ := strings.Cut(g.get("store/"+store+"/blob/"+blob), `"key":"`)
	key, _, _ := strings.Cut(rest, `"`)
	return key
}

// open leaves a promotion open that is not there. Its owner seems to live: every second each
// replica takes up what nobody works on, and would tidy this up before it is looked for.
func (g *garden) open() (undo func()) {
	g.Helper()
	gone := g.put("replica/planted", "")
	end := g.put("promotion-open/x", "planted")
	return func() { end(); gone() }
}

// TestPlantedExternal plants violations of every kind and sees each of them found.
func TestPlantedExternal(t *testing.T) {
	g := newGarden(t)
	g.work()
	found := func(collected bool) []string {
		report, err := g.checker.Check(t.Context(), collected)
		if err != nil {
			t.Fatal(err)
		}
		return report.Violations
	}
	if all := append(found(false), g.journal.Violations()...); len(all) > 0 {
		t.Fatalf("a registry that nothing has happened to: %q", all)
	}
	ref, store, blob, repository, manifest := g.needed()
	object := g.objectOf(store, blob)
	plants := map[string]struct {
		want  string
		plant func() (undo func())
	}{
		"an object is gone": {"I3: blob " + blob, func() func() {
			content := g.object(object)
			g.remove(object)
			return func() { g.store(object, content) }
		}},
		"an object is too short": {"I1: blob " + blob, func() func() {
			content := g.object(object)
			g.store(object, content[1:])
			return func() { g.store(object, content) }
		}},
		"a blob is condemned":        {"I3: the object", func() func() { return g.put("store/"+store+"/condemned/"+object, "{}") }},
		"a blob record is gone":      {"I2: dev/" + repository, func() func() { return g.delete("store/" + store + "/blob/" + blob) }},
		"the record of a manifest's": {"I1: the bytes of manifest", func() func() { return g.delete("store/" + store + "/blob/" + manifest) }},
		"a reference is gone":        {"I2: nothing keeps", func() func() { return g.delete(ref) }},
		"a link is gone":             {"may not read", func() func() { return g.delete("tier/dev/link/" + repository + "@" + blob) }},
		"a manifest record is gone":  {"I2: ", func() func() { return g.delete("tier/dev/manifest/" + g.tagged()) }},
		"a tag names nothing":        {"I2: tag", func() func() { return g.put("tier/dev/tag/"+repository+":planted", `{"digest":"sha256:0"}`) }},
		"a tag is not listed": {"is not listed with its manifest", func() func() {
			return g.put("tier/dev/tag/"+repository+":planted", fmt.Sprintf(`{"digest":%q}`, manifest))
		}},
		"a manifest without a verdict":      {"I4: stable/", func() func() { return g.put("tier/stable/manifest/planted@"+manifest, "{}") }},
		"a mark is left":                    {"bears the mark", func() func() { return g.put("tier/dev/manifest/"+repository+"@"+manifest, `{"pending":["x"]}`) }},
		"a pin is left":                     {"pins are left", func() func() { return g.put("pinned/x/y", "{}") }},
		"a promotion is open":               {"open promotions are left", g.open},
		"a promotion is pending":            {"I6: promotion x is Pending", func() func() { return g.put("promotion/x", `{"state":"Pending"}`) }},
		"a promotion without verdict":       {"I4: promotion x", func() func() { return g.put("promotion/x", `{"state":"Succeeded","to":"stable"}`) }},
		"an entry of the ledger is another": {"is of another log", func() func() { return g.flip(g.newestTile("entries")) }},
		"a hash of the ledger is another":   {"L: the hashes tile/0/", func() func() { return g.flip(g.newestTile("0")) }},
		"a checkpoint is forged":            {"L: the checkpoint of ledger/", func() func() { return g.flip(g.newestCheckpoint()) }},
		"a checkpoint is gone": {"is not in the bucket", func() func() {
			key := g.newestCheckpoint()
			content := g.object(key)
			g.remove(key)
			return func() { g.store(key, content) }
		}},
		"a checkpoint in another's place": {"is the checkpoint of size", func() func() {
			key := "ledger/checkpoints/999999999999999/99999999999999999999"
			g.store(key, g.object(g.newestCheckpoint()))
			return func() { g.remove(key) }
		}},
		"an object that nobody names": {"I8: nothing names lower/blobs/planted", func() func() { g.store("blobs/planted", []byte("x")); return func() { g.remove("blobs/planted") } }},
	}
	for _, name := range slices.Sorted(maps.Keys(plants)) {
		undo := plants[name].plant()
		violations := found(name == "an object that nobody names")
		if !slices.ContainsFunc(violations, func(v string) bool { return strings.Contains(v, plants[name].want) }) {
			t.Errorf("%s: found %q, want %q", name, violations, plants[name].want)
		}
		undo()
	}
	if left := found(false); len(left) > 0 {
		t.Errorf("left when all was undone: %q", left)
	}
	g.spoil(object)
	g.lie()
	g.lose()
}

// tagged is a manifest of dev that has a tag.
func (g *garden) tagged() string {
	g.Helper()
	keys := g.keys("tier/dev/tagged/")
	name, _, _ := strings.Cut(strings.Replace(strings.TrimPrefix(keys[0], "tier/dev/tagged/"), "@", "\x00", 1), "\x00")
	_, rest, _ := strings.Cut(keys[0], "@")
	d, _, _ := strings.Cut(rest, "/")
	return name + "@" + d
}

// spoil changes a byte of an object: whoever reads all objects again notices.
func (g *garden) spoil(object string) {
	content := g.object(object)
	content[0] ^= 1
	g.store(object, content)
	again, err := check.New(check.Config{Endpoints: g.cluster.Endpoints(), S3: g.cluster.Store.Endpoint, Access: g.cluster.Store.Access,
		Secret: g.cluster.Store.Secret, Buckets: g.cluster.Store.Buckets, Pushed: "dev"})
	if err != nil {
		g.Fatal(err)
	}
	defer again.Close()
	report, err := again.Check(g.Context(), false)
	if err != nil {
		g.Fatal(err)
	}
	if !slices.ContainsFunc(report.Violations, func(v string) bool { return strings.Contains(v, "I1: object lower/"+object) }) {
		g.Errorf("a byte of %s: found %q", object, report.Violations)
	}
}

// lie takes a tag away behind the registry's back: nothing that clients did explains what they
// read then.
func (g *garden) lie() {
	g.Helper()
	tag := g.keys("tier/dev/tag/")[0]
	value := g.get(tag)
	g.delete(tag)
	g.journal.Touch(strings.TrimPrefix(tag, "tier/dev/tag/"))
	g.ops.Settle(g.Context())
	if v := g.journal.Violations(); !slices.ContainsFunc(v, func(v string) bool { return strings.Contains(v, "cannot be explained") }) {
		g.Errorf("tag %s was %s and is gone: found %q", tag, value, v)
	}
}

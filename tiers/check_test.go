package tiers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/tiers"
)

// checked is a registry with some of everything in it, in which faults are planted by hand.
type checked struct {
	*world
	later atomic.Int64 // how much later it is than it is

	a      artifact           // in dev as v1, and in stable as v1
	lonely ocispec.Descriptor // an image in dev alone, as lonely
	layer  ocispec.Descriptor // its layer
	sha512 digest.Digest      // a blob in dev
}

func newChecked(t *testing.T, edit func(*tiers.Config)) *checked {
	t.Helper()
	c := &checked{}
	c.world = newWorld(t, func(config *tiers.Config) {
		config.Now = func() time.Time { return time.Now().Add(time.Duration(c.later.Load())) }
		if edit != nil {
			edit(config)
		}
	})
	c.fill()
	return c
}

func (c *checked) fill() {
	c.t.Helper()
	c.a = c.artifact(1, "a")
	if err := c.dev.Tag(c.t.Context(), c.a.root, "v1"); err != nil {
		c.t.Fatal(err)
	}
	if err := c.stage("p.1", c.a); err != nil {
		c.t.Fatal(err)
	}
	if err := c.commit("p.1", c.a, "v1"); err != nil {
		c.t.Fatal(err)
	}
	if err := c.stable.Arrival("p.1").Finish(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.layer = c.blob(c.dev, bytesOf(2, 50))
	c.lonely = c.manifest(c.dev, "lonely", image(c.layer, nil, "", c.blob(c.dev, bytesOf(3, 50))))
	data := bytesOf(4, 60)
	c.sha512 = digest.SHA512.FromBytes(data)
	if err := c.dev.Push(c.t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: c.sha512, Size: 60}, stream(data)); err != nil {
		c.t.Fatal(err)
	}
	c.release()
}

// widen pushes an image with more layers than fit one transaction, and returns the last.
func (c *checked) widen() digest.Digest {
	c.t.Helper()
	layers := c.pushLayers(60)
	c.manifest(c.dev, "wide", image(layers[0], nil, "", layers...))
	return layers[59].Digest
}

// check runs a check that knows no arrival.
func (c *checked) check(o tiers.CheckOptions) tiers.Checked {
	c.t.Helper()
	if o.Actor == "" {
		o.Actor = "auditor"
	}
	if o.Arrivals == nil {
		o.Arrivals = func(context.Context, string) (tiers.ArrivalState, error) { return tiers.ArrivalState{}, nil }
	}
	found, err := c.Check(c.t.Context(), o, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if found.Phase != tiers.CheckDone {
		c.t.Errorf("the check ended in the phase %q", found.Phase)
	}
	return found
}

// kinds are those of the findings, sorted.
func kinds(found tiers.Checked) []string {
	var all []string
	for _, f := range found.Findings {
		all = append(all, f.Kind)
	}
	slices.Sort(all)
	return all
}

func report(found tiers.Checked) string {
	var b strings.Builder
	for _, f := range found.Findings {
		fmt.Fprintf(&b, "\n  %s", tiers.Encode(f))
	}
	return b.String()
}

func (c *checked) want(when string, found tiers.Checked, want ...string) {
	c.t.Helper()
	slices.Sort(want)
	if got := kinds(found); !slices.Equal(got, want) {
		c.t.Errorf("%s: found %q, want %q:%s", when, got, want, report(found))
	}
}

// record reads a record that must be there.
func (c *checked) record(key string) tiers.Record {
	c.t.Helper()
	records, err := c.catalog.Catalog.Get(c.t.Context(), key)
	if err != nil || records[0].Revision == 0 {
		c.t.Fatalf("record %s: %v, %v", key, records, err)
	}
	return records[0]
}

// plant writes a record past everything that keeps the catalog right.
func (c *checked) plant(key, value string) {
	c.t.Helper()
	if _, err := c.catalog.Catalog.Commit(c.t.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(value)}}}); err != nil {
		c.t.Fatal(err)
	}
}

// remove deletes records that must be there.
func (c *checked) remove(keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		c.record(key)
	}
	if _, err := c.catalog.Catalog.Commit(c.t.Context(), tiers.Change{Delete: keys}); err != nil {
		c.t.Fatal(err)
	}
}

// edit changes some fields of a record.
func (c *checked) edit(key string, change map[string]any) {
	c.t.Helper()
	v := fields(c.t, c.record(key))
	for name, value := range change {
		v[name] = value
		if value == nil {
			delete(v, name)
		}
	}
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	c.plant(key, string(data))
}

// object is where the bytes of a digest are.
func (c *checked) object(tier *tiers.Tier, d digest.Digest) string {
	c.t.Helper()
	return fields(c.t, c.record(blobKey(tier, d)))["key"].(string)
}

// overwrite puts other bytes in the place of an object.
func (c *checked) overwrite(tier *tiers.Tier, d digest.Digest, data []byte) {
	c.t.Helper()
	c.putObject(tier, c.object(tier, d), data)
}

func (c *checked) putObject(tier *tiers.Tier, key string, data []byte) {
	c.t.Helper()
	bucket := c.buckets[tier.Name].Bucket
	if err := bucket.Delete(c.t.Context(), key); err != nil {
		c.t.Fatal(err)
	}
	if err := bucket.Put(c.t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checked) deleteObject(tier *tiers.Tier, key string) {
	c.t.Helper()
	if err := c.buckets[tier.Name].Bucket.Delete(c.t.Context(), key); err != nil {
		c.t.Fatal(err)
	}
}

// The keys of the schema, as the package documents it.

func blobKey(t *tiers.Tier, d digest.Digest) string {
	return "store/" + t.Store() + "/blob/" + d.String()
}

func refKey(t *tiers.Tier, d digest.Digest, rest string) string {
	return "store/" + t.Store() + "/ref/" + d.String() + "/" + rest
}

func inRepo(r *tiers.Repository, family string, d digest.Digest) string {
	return "tier/" + r.Tier.Name + "/" + family + "/" + r.Name + "@" + d.String()
}

func tagKey(r *tiers.Repository, tag string) string {
	return "tier/" + r.Tier.Name + "/tag/" + r.Name + ":" + tag
}

// of finds a node of the artifact: 0 the image, 1 the index, 2 the evidence.
func (c *checked) node(i int) tiers.Arriving { return c.a.nodes[i] }

// A sound registry has no findings, whatever is read, and a check counts what is there.
func TestCheckSound(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	c.widen()
	for _, o := range []tiers.CheckOptions{{}, {ReadData: true}, {ReadData: true, Repair: true}} {
		before := c.catalog.all(t, "")
		found := c.check(o)
		c.want(fmt.Sprintf("%+v", o), found)
		if !found.Sound() || found.Records["manifests"] != 8 || found.Records["tags"] != 4 || found.Objects == 0 || found.Bytes == 0 {
			t.Errorf("got %+v", found)
		}
		if o.ReadData != (found.ReadBlobs > 0) || found.ReadBlobs > found.Records["blobs"] {
			t.Errorf("read %d blobs of %d", found.ReadBlobs, found.Records["blobs"])
		}
		if after := c.catalog.all(t, ""); !slices.EqualFunc(before, after, func(a, b tiers.Record) bool { return a.Key == b.Key && a.Revision == b.Revision }) {
			t.Error("a check of a sound registry has changed it")
		}
	}
}

package tiers_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// planted is a fault, what is found of it, and what is left after a repair.
type planted struct {
	name  string
	plant func(c *checked)
	finds []string
	// besides comes to light while it is repaired, and goes with it; left stays, or comes to
	// light by it.
	besides, left []string
	data          bool // objects are read
	// alone says that it, or its repair, damages more than the catalog.
	alone bool
	edit  func(*tiers.Config)
}

const (
	nobody = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	dayAgo = -25 * time.Hour
)

// kindsOf is a list for the table.
func kindsOf(kinds ...string) []string { return kinds }

var plantedBytes = []planted{
	{name: "object gone, there is another", finds: kindsOf("object-missing"),
		plant: func(c *checked) { c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.a.all[2])) }},
	{name: "object gone for ever", finds: kindsOf("object-missing"), left: kindsOf("blob-missing"),
		plant: func(c *checked) { c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.layer.Digest)) }},
	{name: "object of a manifest gone for ever", finds: kindsOf("object-missing"), left: kindsOf("manifest-bytes-missing"),
		plant: func(c *checked) { c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.lonely.Digest)) }},
	{name: "object of another size", finds: kindsOf("object-size"),
		plant: func(c *checked) { c.overwrite(c.stable.Tier, c.a.all[2], bytesOf(9, 7)) }},
	{name: "record of another size", finds: kindsOf("object-size"),
		plant: func(c *checked) { c.edit(blobKey(c.dev.Tier, c.layer.Digest), map[string]any{"size": 49}) }},
	{name: "record of another size, larger", finds: kindsOf("object-size"),
		plant: func(c *checked) { c.edit(blobKey(c.dev.Tier, c.lonely.Digest), map[string]any{"size": 5000}) }},
	{name: "object of other bytes", data: true, finds: kindsOf("object-corrupt"),
		plant: func(c *checked) { c.overwrite(c.dev.Tier, c.a.all[2], bytesOf(9, 40)) }},
	{name: "object of other bytes, in stable", data: true, finds: kindsOf("object-corrupt"),
		plant: func(c *checked) { c.overwrite(c.stable.Tier, c.a.all[2], bytesOf(9, 40)) }},
	{name: "object of other bytes, sha512", data: true, finds: kindsOf("object-corrupt"), left: kindsOf("link-dangling"),
		plant: func(c *checked) { c.overwrite(c.dev.Tier, c.sha512, bytesOf(9, 60)) }},
	{name: "manifest of other bytes", finds: kindsOf("object-corrupt"),
		plant: func(c *checked) { c.overwrite(c.dev.Tier, c.a.root.Digest, bytesOf(9, int(c.a.root.Size))) }},
	{name: "one object of two blobs, one of them wrong", finds: kindsOf("blob-shared"), left: kindsOf("blob-missing"),
		plant: func(c *checked) {
			other := digest.FromBytes(bytesOf(3, 50))
			c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, other))
			c.edit(blobKey(c.dev.Tier, other), map[string]any{"key": c.object(c.dev.Tier, c.layer.Digest)})
		}},
	{name: "one object of two blobs, both right", finds: kindsOf("blob-shared"),
		plant: func(c *checked) {
			c.plant(blobKey(c.dev.Tier, digest.SHA512.FromBytes(bytesOf(2, 50))), string(c.record(blobKey(c.dev.Tier, c.layer.Digest)).Value))
		}},
	{name: "an intent names the object of a blob", finds: kindsOf("blob-doomed"),
		plant: func(c *checked) {
			c.plant("store/"+c.dev.Tier.Store()+"/intent/"+c.object(c.dev.Tier, c.layer.Digest), intentAt(0))
		}},
	{name: "the object of a blob is condemned", finds: kindsOf("blob-doomed"),
		plant: func(c *checked) {
			c.plant("store/"+c.dev.Tier.Store()+"/condemned/"+c.object(c.dev.Tier, c.layer.Digest), `{"size":50,"at":"2026-01-01T00:00:00Z","why":"x"}`)
		}},
	{name: "an upload names the object of a blob", finds: kindsOf("blob-doomed"),
		plant: func(c *checked) {
			c.plant("upload/x", `{"tier":"dev","repository":"acme/app","by":"eve","startedAt":"2026-01-01T00:00:00Z","key":"`+c.object(c.dev.Tier, c.layer.Digest)+`","nextPart":1,"offset":0}`)
		}},
	{name: "an object without a name", finds: kindsOf("stray-object"), plant: func(c *checked) {
		c.putObject(c.dev.Tier, "blobs/stray", bytesOf(9, 9))
		c.later.Store(int64(25 * time.Hour))
	}},
	{name: "an object without a name, of a digest", finds: kindsOf("stray-object"), plant: func(c *checked) {
		c.putObject(c.dev.Tier, "blobs/sha256/"+c.layer.Digest.Encoded()+"/stray", bytesOf(9, 9))
		c.later.Store(int64(25 * time.Hour))
	}},
	{name: "a young object without a name", finds: kindsOf("stray-object"), left: kindsOf("stray-object"),
		plant: func(c *checked) { c.putObject(c.dev.Tier, "blobs/stray", bytesOf(9, 9)) }},
	{name: "an object without a name, and another catalog", finds: kindsOf("bucket-shared", "stray-object"), left: kindsOf("bucket-shared", "stray-object"),
		plant: func(c *checked) {
			c.putObject(c.dev.Tier, "blobs/stray", bytesOf(9, 9))
			c.putObject(c.dev.Tier, "catalogs/other", nil)
			c.later.Store(int64(25 * time.Hour))
		}},
	{name: "a multipart upload without a name", finds: kindsOf("stray-upload"), plant: func(c *checked) {
		if _, err := c.buckets["dev"].Bucket.Begin(c.t.Context(), "blobs/upload"); err != nil {
			c.t.Fatal(err)
		}
		c.later.Store(int64(25 * time.Hour))
	}},
	{name: "an old intent", finds: kindsOf("intent-expired"), left: kindsOf("intent-expired"),
		plant: func(c *checked) { c.plant("store/"+c.dev.Tier.Store()+"/intent/blobs/x", intentAt(dayAgo)) }},
}

func intentAt(age time.Duration) string {
	value, _ := json.Marshal(map[string]any{"for": "push", "by": "alice", "startedAt": time.Now().Add(age)}) // plain data
	return string(value)
}

var plantedManifests = []planted{
	{name: "bytes of a manifest forgotten", alone: true, finds: kindsOf("manifest-bytes-missing"), plant: func(c *checked) {
		c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.a.root.Digest))
		c.remove(blobKey(c.dev.Tier, c.a.root.Digest))
	}},
	{name: "not a manifest", finds: kindsOf("manifest-invalid"), left: kindsOf("manifest-invalid"), plant: func(c *checked) {
		c.plant(inRepo(c.dev, "manifest", c.layer.Digest), `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":50,"createdAt":"2026-01-01T00:00:00Z","by":"eve"}`)
		c.plant(refKey(c.dev.Tier, c.layer.Digest, ".manifest/dev/acme/app"), "")
	}},
	{name: "another media type", finds: kindsOf("manifest-record"), plant: func(c *checked) {
		c.edit(inRepo(c.dev, "manifest", c.a.root.Digest), map[string]any{"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"})
	}},
	{name: "another size", finds: kindsOf("manifest-record"),
		plant: func(c *checked) { c.edit(inRepo(c.dev, "manifest", c.lonely.Digest), map[string]any{"size": 3}) }},
	{name: "another artifact type", finds: kindsOf("manifest-record"), plant: func(c *checked) {
		c.edit(inRepo(c.stable, "manifest", c.node(0).Descriptor.Digest), map[string]any{"artifactType": "application/x.b"})
	}},
	{name: "another subject", finds: kindsOf("manifest-record"), plant: func(c *checked) {
		c.edit(inRepo(c.stable, "manifest", c.node(2).Descriptor.Digest), map[string]any{"subject": nobody})
	}},
	{name: "another depth", finds: kindsOf("manifest-record"),
		plant: func(c *checked) { c.edit(inRepo(c.dev, "manifest", c.a.root.Digest), map[string]any{"depth": 7}) }},
	{name: "a blob forgotten, there is another", alone: true, finds: kindsOf("blob-missing"), plant: func(c *checked) {
		c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.a.all[2]))
		c.remove(blobKey(c.dev.Tier, c.a.all[2]))
	}},
	{name: "a blob forgotten", alone: true, finds: kindsOf("blob-missing"), left: kindsOf("blob-missing"), plant: func(c *checked) {
		c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.layer.Digest))
		c.remove(blobKey(c.dev.Tier, c.layer.Digest))
	}},
	{name: "a blob out of reach", finds: kindsOf("link-missing"), plant: func(c *checked) { c.remove(inRepo(c.stable, "link", c.a.all[2])) }},
	{name: "a link of another size", finds: kindsOf("link-size"),
		plant: func(c *checked) { c.edit(inRepo(c.dev, "link", c.layer.Digest), map[string]any{"size": 51}) }},
	{name: "a child missing", finds: kindsOf("child-missing"), left: kindsOf("child-missing"), plant: func(c *checked) {
		child := c.node(0)
		d := child.Descriptor.Digest
		c.remove(inRepo(c.dev, "manifest", d), refKey(c.dev.Tier, d, ".manifest/dev/acme/app"))
		for _, b := range child.Manifest.Blobs() {
			c.remove(refKey(c.dev.Tier, b.Digest, "dev/acme/app@"+d.String()))
		}
	}},
	{name: "a blob without its reference", finds: kindsOf("reference-missing"),
		plant: func(c *checked) {
			c.remove(refKey(c.dev.Tier, c.layer.Digest, "dev/acme/app@"+c.lonely.Digest.String()))
		}},
	{name: "a child without its reference", finds: kindsOf("reference-missing"), plant: func(c *checked) {
		c.remove(refKey(c.stable.Tier, c.node(0).Descriptor.Digest, "stable/acme/app@"+c.a.root.Digest.String()))
	}},
	{name: "a manifest without its reference", finds: kindsOf("self-reference-missing"),
		plant: func(c *checked) { c.remove(refKey(c.dev.Tier, c.lonely.Digest, ".manifest/dev/acme/app")) }},
	{name: "a tag of nothing", finds: kindsOf("tag-dangling"), plant: func(c *checked) {
		c.plant(tagKey(c.dev, "x"), tagOf(nobody))
		c.plant(inRepo(c.dev, "tagged", nobody)+"/x", "")
	}},
	{name: "a tag of nothing, above", finds: kindsOf("tag-dangling"), left: kindsOf("tag-dangling"), plant: func(c *checked) {
		c.plant(tagKey(c.stable, "x"), tagOf(nobody))
		c.plant(inRepo(c.stable, "tagged", nobody)+"/x", "")
	}},
	{name: "a tag of nothing, that may not move", finds: kindsOf("tag-dangling"), left: kindsOf("tag-dangling"),
		edit: func(config *tiers.Config) { config.Tiers[0].Limits.ImmutableTags = []string{"x"} },
		plant: func(c *checked) {
			c.plant(tagKey(c.dev, "x"), tagOf(nobody))
			c.plant(inRepo(c.dev, "tagged", nobody)+"/x", "")
		}},
	{name: "a tag of another size", finds: kindsOf("tag-record"), plant: func(c *checked) { c.edit(tagKey(c.dev, "v1"), map[string]any{"size": 3}) }},
	{name: "a tag of another media type", finds: kindsOf("tag-record"),
		plant: func(c *checked) { c.edit(tagKey(c.stable, "v1"), map[string]any{"mediaType": "application/x"}) }},
	{name: "a tag that its manifest does not list", finds: kindsOf("tagged-missing"),
		plant: func(c *checked) { c.remove(inRepo(c.dev, "tagged", c.lonely.Digest) + "/lonely") }},
	{name: "a tag that another manifest lists", finds: kindsOf("tagged-left-over"),
		plant: func(c *checked) { c.plant(inRepo(c.dev, "tagged", c.a.root.Digest)+"/lonely", "") }},
	{name: "a list of a tag that is not there", finds: kindsOf("tagged-left-over"),
		plant: func(c *checked) { c.plant(inRepo(c.stable, "tagged", c.a.root.Digest)+"/x", "") }},
	{name: "a referrer that is not listed", finds: kindsOf("referrer-missing"),
		plant: func(c *checked) { c.remove(inRepo(c.stable, "referrer", c.a.root.Digest) + "/" + c.evidence()) }},
	{name: "a referrer of another type", finds: kindsOf("referrer-record"), plant: func(c *checked) {
		c.edit(inRepo(c.dev, "referrer", c.a.root.Digest)+"/"+c.evidence(), map[string]any{"artifactType": "application/x.b"})
	}},
	{name: "a referrer with other annotations", finds: kindsOf("referrer-record"), plant: func(c *checked) {
		c.edit(inRepo(c.dev, "referrer", c.a.root.Digest)+"/"+c.evidence(), map[string]any{"annotations": map[string]string{"a": "b"}})
	}},
	{name: "a referrer of another subject", finds: kindsOf("referrer-left-over"), plant: func(c *checked) {
		c.plant(inRepo(c.dev, "referrer", nobody)+"/"+c.evidence(), string(c.record(inRepo(c.dev, "referrer", c.a.root.Digest)+"/"+c.evidence()).Value))
	}},
	{name: "a referrer that is not there", finds: kindsOf("referrer-left-over"), plant: func(c *checked) {
		c.plant(inRepo(c.dev, "referrer", c.a.root.Digest)+"/"+nobody, string(c.record(inRepo(c.dev, "referrer", c.a.root.Digest)+"/"+c.evidence()).Value))
	}},
	{name: "a repository that is not listed", finds: kindsOf("repository-missing"), plant: func(c *checked) { c.remove("tier/stable/repo/acme/app") }},
}

func (c *checked) evidence() string { return c.node(2).Descriptor.Digest.String() }

func tagOf(d string) string {
	return `{"digest":"` + d + `","mediaType":"application/vnd.oci.image.index.v1+json","size":5,"updatedAt":"2026-01-01T00:00:00Z","by":"eve"}`
}

var plantedLeftOvers = []planted{
	{name: "a reference of nothing, in dev", finds: kindsOf("reference-orphan"), plant: func(c *checked) { c.plant(refKey(c.dev.Tier, c.layer.Digest, "dev/acme/app@"+nobody), "") }},
	{name: "a reference of nothing, above", finds: kindsOf("reference-orphan"), plant: func(c *checked) {
		c.plant(refKey(c.stable.Tier, c.a.all[2], "release/acme/app@"+nobody), "")
	}},
	{name: "a self reference of nothing", finds: kindsOf("reference-orphan"), plant: func(c *checked) { c.plant(refKey(c.stable.Tier, c.a.root.Digest, ".manifest/release/acme/app"), "") }},
	{name: "a reference of pulls of which there is no record", finds: kindsOf("reference-orphan"), plant: func(c *checked) { c.plant(refKey(c.dev.Tier, c.layer.Digest, ".pulls/2026-11-25/0/x"), "") }},
	{name: "a reference that does not read as one", finds: kindsOf("reference-orphan"), plant: func(c *checked) { c.plant(refKey(c.dev.Tier, c.layer.Digest, "dev"), "") }},
	{name: "a push that was cut off", finds: kindsOf("push-interrupted"), left: kindsOf("push-interrupted"), plant: func(c *checked) {
		c.plant(refKey(c.dev.Tier, c.layer.Digest, "dev/acme/app@"+nobody), "")
		c.plant(inRepo(c.dev, "pushing", nobody), "")
	}},
	{name: "a link of nothing", finds: kindsOf("link-dangling"), left: kindsOf("link-dangling"), plant: func(c *checked) { c.plant(inRepo(c.dev, "link", nobody), `{"size":3}`) }},
	{name: "a pin of nobody", finds: kindsOf("pin-orphan"), plant: func(c *checked) { c.plant(refKey(c.dev.Tier, c.layer.Digest, ".pin/gone.1"), "") }},
	{name: "a journal of pins of nobody", finds: kindsOf("pin-orphan"), plant: func(c *checked) { c.plant("pinned/gone.1/x", `{"store":"s","digests":["`+nobody+`"]}`) }},
	{name: "a journal of an arrival of nobody", finds: kindsOf("staged-orphan"), plant: func(c *checked) { c.plant("staged/gone.1/x", `{"manifest":"`+nobody+`"}`) }},
	{name: "a commit record of nobody", finds: kindsOf("committed-orphan"), plant: func(c *checked) { c.plant("committed/gone.1", "") }},
	{name: "a link of an arrival of nobody", finds: kindsOf("mark-orphan"), plant: func(c *checked) {
		c.plant("tier/release/link/acme/app@"+c.a.all[2].String(), `{"size":40,"pending":["gone.1"]}`)
	}},
	{name: "all that an arrival of nobody has staged", alone: true, finds: kindsOf("mark-orphan", "mark-orphan", "mark-orphan", "mark-orphan", "staged-orphan"),
		besides: slices.Repeat(kindsOf("reference-orphan"), 5),
		plant: func(c *checked) {
			if err := c.stage("gone.1", c.artifact(1, "b")); err != nil {
				c.t.Fatal(err)
			}
		}},
	{name: "all that an arrival of nobody has committed", alone: true, finds: kindsOf("committed-orphan", "mark-orphan", "mark-orphan", "mark-orphan", "mark-orphan", "staged-orphan"),
		plant: func(c *checked) {
			a := c.artifact(1, "b")
			if err := c.stage("gone.1", a); err != nil {
				c.t.Fatal(err)
			}
			if err := c.commit("gone.1", a, "b"); err != nil {
				c.t.Fatal(err)
			}
		}},
	{name: "quarantines that are not counted", finds: kindsOf("quarantine-count"),
		plant: func(c *checked) { c.quarantine(nobody); c.edit("quarantined", map[string]any{"count": 5}) }},
	{name: "quarantines without their generation", finds: kindsOf("quarantine-count"),
		plant: func(c *checked) { c.quarantine(nobody); c.remove("quarantined") }},
	{name: "a generation of quarantines that cannot be read", finds: kindsOf("quarantine-count"),
		plant: func(c *checked) { c.quarantine(nobody); c.plant("quarantined", `{"count":"many"}`) }},
	{name: "a quarantine of another digest", finds: kindsOf("record-invalid"), left: kindsOf("record-invalid"),
		plant: func(c *checked) {
			c.quarantine(nobody)
			c.edit("quarantine/"+nobody, map[string]any{"digest": c.layer.Digest})
		}},
	{name: "a quota that drifted", finds: kindsOf("usage-drift"),
		edit: func(config *tiers.Config) {
			config.Tiers[0].Limits.Quotas = []tiers.Quota{{Prefix: "acme", Bytes: 1 << 20}}
		},
		plant: func(c *checked) { c.edit("tier/dev/usage/acme", map[string]any{"bytes": 5}) }},
	{name: "a quota that cannot be read", finds: kindsOf("record-invalid"),
		edit:  func(config *tiers.Config) { config.Tiers[0].Limits.Quotas = []tiers.Quota{{Bytes: 1 << 20}} },
		plant: func(c *checked) { c.plant("tier/dev/usage/", "x") }},
}

// Every kind of fault that the registry's own records and objects can have is found when it
// is planted by hand, and nothing else with it; a repair leaves what the table says.
func TestCheckPlanted(t *testing.T) {
	t.Parallel()
	var together []planted
	for _, p := range slices.Concat(plantedBytes, plantedManifests, plantedLeftOvers, plantedFamilies) {
		if !p.alone && p.edit == nil && !slices.ContainsFunc(plantedBytes, func(b planted) bool { return b.name == p.name }) {
			together = append(together, p)
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			newChecked(t, p.edit).planted(p)
		})
	}
	t.Run("one after the other", func(t *testing.T) {
		t.Parallel()
		c := newChecked(t, nil)
		wide := c.widen()
		c.release()
		putBack := stores.Remember(t, c.catalog.Catalog)
		for _, p := range append(together, planted{name: "a blob of a wide manifest out of reach", finds: kindsOf("link-missing"),
			plant: func(c *checked) { c.remove(inRepo(c.dev, "link", wide)) }}) {
			t.Run(p.name, func(t *testing.T) {
				defer putBack()
				c.t = t
				c.planted(p)
			})
		}
	})
}

func (c *checked) planted(p planted) {
	c.t.Helper()
	p.plant(c)
	found := c.check(tiers.CheckOptions{ReadData: p.data})
	c.want("planted", found, p.finds...)
	for _, f := range found.Findings {
		if f.Severity == "" || f.Message == "" || f.Remedy == "" || f.Repaired {
			c.t.Errorf("a finding says too little: %s", tiers.Encode(f))
		}
	}
	events := len(c.events())
	repaired := c.check(tiers.CheckOptions{ReadData: p.data, Repair: true})
	all := slices.Concat(p.finds, p.besides)
	c.want("repaired", repaired, all...)
	if len(p.left) == 0 && (repaired.Repaired != int64(len(all)) || !repaired.Sound()) {
		c.t.Errorf("repaired %d of %d:%s", repaired.Repaired, len(all), report(repaired))
	}
	if repaired.Repaired > 0 && len(c.events()) < events+1 {
		c.t.Error("no event tells of the repair")
	}
	c.want("after the repair", c.check(tiers.CheckOptions{ReadData: true}), p.left...)
}

// Records of every family that cannot be read are found, and nothing is taken away on the
// word of such a record.
func TestCheckUnreadable(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "{", `[1]`, `{"size":"x","for":1,"at":1,"tier":1,"id":1,"manifest":1,"store":1,"cause":1,"renewedAt":1,"startedAt":1}`} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			c := newChecked(t, nil)
			store := "store/" + c.dev.Tier.Store()
			keys := []string{blobKey(c.dev.Tier, c.layer.Digest), store + "/intent/blobs/x", store + "/condemned/blobs/y", inRepo(c.dev, "manifest", c.node(1).Descriptor.Digest),
				tagKey(c.dev, "v1"), inRepo(c.dev, "referrer", c.a.root.Digest) + "/" + c.evidence(), inRepo(c.dev, "link", c.sha512),
				"upload/x", "event/x", "staged/gone.1/x", "pinned/gone.1/x", "session-key", "schema", inRepo(c.dev, "orphaned", nobody)}
			if value != "" { // of a former version
				keys = append(keys, inRepo(c.dev, "tagged", c.lonely.Digest)+"/lonely", inRepo(c.dev, "pushing", nobody))
			}
			if !strings.HasPrefix(value, `{"`) { // any object is one of these
				keys = append(keys, "tier/dev/repo/acme/app", inRepo(c.dev, "subject", c.a.root.Digest))
			}
			c.unreadable(value, keys)
		})
	}
}

// unreadable gives records a value that cannot be read.
func (c *checked) unreadable(value string, keys []string) {
	c.t.Helper()
	for _, key := range keys {
		c.plant(key, value)
	}
	c.later.Store(int64(25 * time.Hour))
	found := c.check(tiers.CheckOptions{ReadData: true, Repair: true})
	var invalid []string
	for _, f := range found.Findings {
		switch f.Kind {
		case "record-invalid":
			invalid = append(invalid, f.Key)
		case "staged-orphan", "pin-orphan":
		default:
			c.t.Errorf("found besides: %s", tiers.Encode(f))
		}
	}
	slices.Sort(invalid)
	slices.Sort(keys)
	if !slices.Equal(invalid, keys) {
		c.t.Errorf("found %q, want %q:%s", invalid, keys, report(found))
	}
	for _, r := range c.catalog.all(c.t, "store/"+c.dev.Tier.Store()+"/condemned/") {
		if !strings.HasSuffix(r.Key, "/blobs/y") {
			c.t.Errorf("%s was condemned", r.Key)
		}
	}
}

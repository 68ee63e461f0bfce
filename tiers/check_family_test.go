package tiers_test

import (
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/tiers"
)

var plantedFamilies = []planted{
	{name: "records of no family", finds: slices.Repeat(kindsOf("record-unknown"), 5), left: slices.Repeat(kindsOf("record-unknown"), 5), plant: func(c *checked) {
		for _, key := range []string{"!", "nobody/x", "schema/x", "tier/dev/nothing/x", "store/" + c.dev.Tier.Store() + "/x"} {
			c.plant(key, "{}")
		}
	}},
	{name: "a reference of no kind", finds: kindsOf("record-unknown"), left: kindsOf("record-unknown"),
		plant: func(c *checked) { c.plant(refKey(c.dev.Tier, c.layer.Digest, ".x/y"), "") }},
	{name: "records of others", plant: func(c *checked) {
		for _, key := range []string{"other", "others/", "others/x"} {
			c.plant(key, "x")
		}
	}},
	{name: "a tier that is not configured", finds: kindsOf("not-configured"), left: kindsOf("not-configured"), plant: func(c *checked) {
		c.plant("tier/former/repo/acme/app", "{}")
		c.plant("tier/former/tag/acme/app:1", "{}")
		c.plant(refKey(c.dev.Tier, c.layer.Digest, "former/acme/app@"+nobody), "")
	}},
	{name: "a bucket that is not configured", finds: kindsOf("not-configured"), left: kindsOf("not-configured"), plant: func(c *checked) {
		c.plant("store/former/blob/"+nobody, "{}")
		c.plant("store/former/intent/x", "{}")
	}},
	{name: "what retention, pushes and collections write", plant: func(c *checked) {
		c.plant(inRepo(c.dev, "orphaned", nobody), `{"cause":"retention[0]: x","children":["`+nobody+`"]}`)
		c.plant(inRepo(c.dev, "orphaned", c.lonely.Digest), `{"cause":"retention[0]: x"}`) // pushed again
		c.plant(inRepo(c.dev, "tagged", c.lonely.Digest)+"/lonely", `{"renewedAt":"2026-01-01T00:00:00Z"}`)
		c.plant(inRepo(c.dev, "pushing", nobody), `{"startedAt":"2026-01-01T00:00:00Z"}`)
		c.plant("store/"+c.dev.Tier.Store()+"/condemned/blobs/x", `{"size":50,"at":"2026-01-01T00:00:00Z","why":"x"}`)
		c.plant("uploading/dev/x", "")
	}},
	{name: "a push again that cannot be read", finds: kindsOf("record-invalid"), plant: func(c *checked) {
		c.plant(inRepo(c.dev, "tagged", c.lonely.Digest)+"/lonely", "x")
	}},
	{name: "what retention left and cannot be read", finds: kindsOf("record-invalid"), plant: func(c *checked) {
		c.plant(inRepo(c.dev, "orphaned", nobody), `{"children":{}}`)
	}},
	{name: "what retention left of nothing", finds: kindsOf("record-invalid"), left: kindsOf("record-invalid"), plant: func(c *checked) {
		c.plant("tier/dev/orphaned/acme/app", `{"cause":"x"}`)
	}},
	{name: "a push under way that cannot be read", finds: kindsOf("record-invalid"), plant: func(c *checked) {
		c.plant(refKey(c.dev.Tier, c.layer.Digest, "dev/acme/app@"+nobody), "")
		c.plant(inRepo(c.dev, "pushing", nobody), `{"startedAt":"yesterday"}`)
	}},
	{name: "a schema of another version", finds: kindsOf("record-invalid"), left: kindsOf("record-invalid"), plant: func(c *checked) { c.plant("schema", `{"version":3}`) }},
	{name: "a short key of sessions", finds: kindsOf("record-invalid"), left: kindsOf("record-invalid"), plant: func(c *checked) { c.plant("session-key", `"c2hvcnQ="`) }},
}

// Families are jumped over whole, however many records they have, and nothing else is.
func TestCheckFamilies(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	c.widen()
	for i := range 250 { // more than one page of keys
		c.plant("others/"+strings.Repeat("x", i), "x")
	}
	c.plant("others", "x")
	c.plant("others0", "x")
	c.want("behind a large family", c.check(tiers.CheckOptions{}), "record-unknown", "record-unknown")
}

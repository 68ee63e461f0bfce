package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
)

// renewed says when somebody was last told of a blob, by its record and by that of the
// repository's right to read it.
func renewed(t *testing.T, r *tiers.Registry, link, blob string) [2]time.Time {
	t.Helper()
	records, err := r.Catalog().Get(t.Context(), link, blob)
	if err != nil {
		t.Fatal(err)
	}
	var times [2]time.Time
	for i, record := range records {
		var v struct{ RenewedAt time.Time }
		if err := json.Unmarshal(record.Value, &v); err != nil {
			t.Fatalf("%s: %v", record.Key, err)
		}
		times[i] = v.RenewedAt
	}
	return times
}

// A HEAD of one who may push is a promise, which is written down where the last one is old;
// to pull, or to ask without the right to push, promises nothing and writes nothing.
func TestHeadPromises(t *testing.T) {
	var registry *tiers.Registry
	f := newAuthFixture(t, func(c *Config) {
		dev := c.Registry.Tiers()[0]
		var err error
		registry, err = tiers.New(t.Context(), tiers.Config{Catalog: c.Registry.Catalog(), Log: slog.New(slog.DiscardHandler),
			Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: dev.Bucket}}, Collection: tiers.CollectConfig{Promise: 24 * time.Nanosecond}})
		if err != nil {
			t.Fatal(err)
		}
		c.Registry = registry
	})
	f.user = "ci:ci-secret"
	d := f.push("dev/acme/app", "layer").String()
	store := registry.Tiers()[0].Store()
	link, blob := "tier/dev/link/acme/app@"+d, "store/"+store+"/blob/"+d
	for _, c := range []struct {
		user, method string
		promises     bool
	}{{"cleaner", "HEAD", false}, {"cleaner", "GET", false}, {"ci", "GET", false}, {"ci", "HEAD", true}} {
		f.user = fmt.Sprintf("%s:%s-secret", c.user, c.user)
		before := renewed(t, registry, link, blob)
		f.want(f.do(c.method, "/v2/dev/acme/app/blobs/"+d, nil), 200, "")
		after := renewed(t, registry, link, blob)
		for i, key := range []string{link, blob} {
			if after[i].After(before[i]) != c.promises {
				t.Errorf("%s by %s: %s was renewed at %v and is at %v", c.method, c.user, key, before[i], after[i])
			}
		}
	}
	f.user = "ci:ci-secret"
	if got := f.do("HEAD", "/v2/dev/acme/app/blobs/"+zeros, nil); got.status != 404 {
		t.Errorf("HEAD of what is not there: %d", got.status)
	}
}

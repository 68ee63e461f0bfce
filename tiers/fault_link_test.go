package tiers_test

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Whatever write fails, either way, of what changes links and tags alone: asked again it is
// as if it had been asked once, and the events tell of nothing that did not happen.
func TestLinkAndTagFaults(t *testing.T) {
	limits := tiers.Limits{Uploads: 3, Quotas: []tiers.Quota{{Bytes: 1e6}}}
	data := bytesOf(1, 40)
	d := digest.FromBytes(data)
	eachFaultOf(t, func(c *tiers.Config) { c.Tiers[0].Limits = limits }, func(w *world) {
		w.image(w.dev, "v1", 1)
		w.image(w.dev, "v2", 2)
	}, func(w *world) {
		ctx := w.t.Context()
		second, err := w.dev.Resolve(ctx, "v2")
		if err != nil {
			w.t.Fatal(err)
		}
		web, lib := w.repo("dev", "acme/web"), w.repo("dev", "acme/lib")
		w.again("mount", func() error {
			ok, err := web.Mount(ctx, w.dev, d)
			if err == nil && !ok {
				w.t.Error("not mounted")
			}
			return err
		})
		w.again("mount from anywhere", func() error {
			_, err := lib.MountAny(ctx, d, func(string, string) bool { return true })
			return err
		})
		w.again("tag", func() error { return w.dev.Tag(ctx, second, "v1") })
		w.again("untag", func() error {
			if err := w.dev.DeleteTag(ctx, "v2"); !errors.Is(err, oci.ErrManifestUnknown) {
				return err
			}
			return nil
		})
		w.again("session", func() error { _, err := w.dev.StartUpload(ctx); return err })
		for _, r := range []*tiers.Repository{web, lib} {
			if _, err := r.Blob(ctx, d); err != nil {
				w.t.Errorf("%s: %v", r.FullName(), err)
			}
		}
		if tags, _, err := w.dev.Tags(ctx, "", 10); err != nil || len(tags) != 1 || tags[0] != "v1" {
			w.t.Errorf("tags %v, %v", tags, err)
		}
		moved := 0
		for _, e := range w.events() {
			if e.Type == tiers.EventTagged || e.Type == tiers.EventUntagged {
				moved++
			}
		}
		if moved != 2 {
			w.t.Errorf("%d events of tags that were moved and deleted once each", moved)
		}
		// The quota is the sum of what is there, however often a mount was asked for: the
		// audit compares that.
		w.audit(false)
	})
}

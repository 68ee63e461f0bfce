package tiers_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// replica is another server of the same registry: it shares the stores and nothing else.
func (w *world) replica(limits tiers.Limits) *tiers.Registry {
	w.t.Helper()
	r, err := tiers.New(w.t.Context(), tiers.Config{Catalog: w.catalog, Log: slog.New(slog.DiscardHandler),
		Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: w.buckets["dev"], Limits: limits}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func quotas(all ...tiers.Quota) tiers.Limits { return tiers.Limits{Quotas: all} }

// used says what the registry counts, as "prefix=bytes …".
func used(t *testing.T, r *tiers.Registry) string {
	t.Helper()
	tier, err := r.Tier("dev")
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Usage(t.Context(), tier)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, u := range all {
		word := u.Prefix + "=?"
		if u.Counted {
			word = fmt.Sprintf("%s=%d", u.Prefix, u.Used)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Everything that a repository may read counts once for each quota that covers it.
func TestQuotaCounts(t *testing.T) {
	w := limited(t, quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: 1e6}, tiers.Quota{Prefix: "acme/app", Bytes: 1e6}))
	web, other := w.repo("dev", "acme/web"), w.repo("dev", "acmeco/app")
	count := func(what, want string) {
		t.Helper()
		if got := used(t, w.Registry); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
		w.audit(true)
	}
	count("before anything", "=? acme=? acme/app=?")
	blob := w.blob(w.dev, bytesOf(1, 40))
	count("a blob", "=40 acme=40 acme/app=40")
	w.blob(w.dev, bytesOf(1, 40))
	count("the same again", "=40 acme=40 acme/app=40")
	w.blob(web, bytesOf(1, 40))
	count("the same elsewhere", "=80 acme=80 acme/app=40")
	w.blob(other, bytesOf(2, 7))
	count("not of acme", "=87 acme=80 acme/app=40")
	if ok, err := w.dev.Mount(t.Context(), other, digest.FromBytes(bytesOf(2, 7))); !ok || err != nil {
		t.Fatal(ok, err)
	}
	count("a mount", "=94 acme=87 acme/app=47")
	if ok, err := w.dev.Mount(t.Context(), other, digest.FromBytes(bytesOf(2, 7))); !ok || err != nil {
		t.Fatal(ok, err)
	}
	count("the same mount", "=94 acme=87 acme/app=47")
	body := image(blob, nil, "")
	m := w.manifest(w.dev, "v1", body)
	count("a manifest", fmt.Sprintf("=%d acme=%d acme/app=%d", 94+m.Size, 87+m.Size, 47+m.Size))
	w.manifest(w.dev, "v2", body)
	count("a tag", fmt.Sprintf("=%d acme=%d acme/app=%d", 94+m.Size, 87+m.Size, 47+m.Size))
	for what, err := range map[string]error{
		"manifest": w.dev.DeleteManifest(t.Context(), m.Digest), "blob": w.dev.DeleteBlob(t.Context(), blob.Digest),
	} {
		if err != nil {
			t.Fatal(what, err)
		}
	}
	count("both deleted", "=54 acme=47 acme/app=7")
}

// A push in several pieces is refused before its bytes come where that can be known, and
// at its end at the latest; then nothing of it is left.
func TestQuotaRefuses(t *testing.T) {
	w := limited(t, quotas(tiers.Quota{Prefix: "acme", Bytes: 100}))
	exceeded := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, oci.ErrQuotaExceeded) {
			t.Errorf("%s: got %v, want %v", what, err, oci.ErrQuotaExceeded)
		}
		w.audit(true)
	}
	w.blob(w.dev, bytesOf(1, 60))
	data := bytesOf(2, 41)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: 41}
	exceeded("a blob", w.dev.Push(t.Context(), desc, unread{t}))
	exceeded("a blob of unknown length", w.dev.PushBlob(t.Context(), stream(data), -1, desc.Digest))
	exceeded("streamed", w.upload(w.dev, data, []chunk{{size: 41, unknown: true}}, desc.Digest))
	u, err := w.dev.StartUpload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exceeded("a chunk", u.Append(t.Context(), unread{t}, 0, 41))
	if err := u.Append(t.Context(), stream(data[:30]), 0, 30); err != nil {
		t.Fatal(err)
	}
	if err := u.Append(t.Context(), unread{t}, 30, 11); !errors.Is(err, oci.ErrQuotaExceeded) {
		t.Errorf("a second chunk: %v", err)
	}
	if err := u.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.blob(w.dev, bytesOf(3, 40))
	_, err = w.dev.StartUpload(t.Context())
	exceeded("full", err)
	w.blob(w.dev, bytesOf(3, 40)) // the same fits
	w.blob(w.dev, nil)            // nothing fits
	_, err = w.dev.PutManifest(t.Context(), "v1", "", "", image(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(nil)}, nil, ""))
	exceeded("a manifest", err)
}

// Pushes at once through two replicas take all of the quota and no byte more.
func TestQuotaRace(t *testing.T) {
	const size, room, racers = 10, 7, 24
	limits := quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: room*size + size - 1})
	w := limited(t, limits)
	replicas := []*tiers.Registry{w.Registry, w.replica(limits)}
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			r, err := replicas[i%2].Repository("dev", fmt.Sprintf("acme/app%d", i%5), "alice")
			if err == nil {
				data := bytesOf(uint64(100+i), size)
				err = r.PushBlob(t.Context(), stream(data), size, digest.FromBytes(data))
			}
			errs[i] = err
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, oci.ErrQuotaExceeded) {
			t.Errorf("racer %d: %v", i, err)
		}
	}
	if got := used(t, w.Registry); won != room || got != fmt.Sprintf("=%d acme=%d", room*size, room*size) {
		t.Errorf("%d pushes passed, want %d; it counts %s", won, room, got)
	}
	if err := replicas[1].Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.audit(true)
}

// Whatever write fails, either way, the count is that of what is there.
func TestQuotaFaults(t *testing.T) {
	data := bytesOf(1, 12)
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: 12}
	body := image(layer, nil, "")
	eachFaultOf(t, func(c *tiers.Config) {
		c.Tiers[0].Limits = quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: 1e6})
	}, nil, func(w *world) {
		w.again("blob", func() error { return w.dev.Push(w.t.Context(), layer, stream(data)) })
		w.again("manifest", func() error { _, err := w.dev.PutManifest(w.t.Context(), "v1", "", "", body); return err })
		gone := func(err error) error {
			if errors.Is(err, oci.ErrManifestUnknown) || errors.Is(err, oci.ErrBlobUnknown) {
				return nil
			}
			return err
		}
		w.again("delete", func() error { return gone(w.dev.DeleteManifest(w.t.Context(), digest.FromBytes(body))) })
		w.again("delete blob", func() error { return gone(w.dev.DeleteBlob(w.t.Context(), layer.Digest)) })
		if got := used(w.t, w.Registry); got != "=0 acme=0" {
			w.t.Errorf("it counts %s", got)
		}
	})
}

// Whatever two replicas do at once, at every write of one of them, the audit finds the
// count right: a link that a DELETE takes and a manifest needs is the one to watch.
func TestQuotaInterleaved(t *testing.T) {
	limits := quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: 1e6})
	all := layersOf(53) // two transactions
	body, wide := image(all[0], nil, "", all[1]), image(all[0], nil, "", all...)
	type work func(w *world, r *tiers.Repository) error
	pushBlob := func(w *world, r *tiers.Repository) error {
		return r.Push(w.t.Context(), all[1], stream(layerOf(1)))
	}
	push := func(body []byte) work {
		return func(w *world, r *tiers.Repository) error {
			_, err := r.PutManifest(w.t.Context(), "v1", "", "", body)
			return err
		}
	}
	dropBlob := func(w *world, r *tiers.Repository) error { return r.DeleteBlob(w.t.Context(), all[1].Digest) }
	drop := func(w *world, r *tiers.Repository) error {
		return r.DeleteManifest(w.t.Context(), digest.FromBytes(body))
	}
	for name, c := range map[string]struct {
		blobs, manifest bool // what is there
		work, meanwhile work
	}{
		"blob, blob":               {false, false, pushBlob, pushBlob},
		"blob, it goes":            {true, false, pushBlob, dropBlob},
		"a blob goes, blob":        {true, false, dropBlob, pushBlob},
		"a blob goes, it goes":     {true, false, dropBlob, dropBlob},
		"manifest, manifest":       {true, false, push(body), push(body)},
		"manifest, a blob goes":    {true, false, push(body), dropBlob},
		"wide, a blob goes":        {true, false, push(wide), dropBlob},
		"a blob goes, manifest":    {true, false, dropBlob, push(body)},
		"manifest, it goes":        {true, true, push(wide), drop},
		"manifest goes, it goes":   {true, true, drop, drop},
		"manifest goes, it is new": {true, true, drop, push(body)},
	} {
		t.Run(name, func(t *testing.T) {
			var other *tiers.Repository
			eachInterleavingOf(t, func(conf *tiers.Config) { conf.Tiers[0].Limits = limits }, func(w *world) {
				if c.blobs {
					w.pushLayers(len(all))
				}
				if c.manifest {
					w.manifest(w.dev, "v1", body)
				}
				var err error
				if other, err = w.replica(limits).Repository("dev", "acme/app", "bob"); err != nil {
					w.t.Fatal(err)
				}
			}, func(w *world) error { return c.work(w, w.dev) }, func(w *world) error { return c.meanwhile(w, other) }, nil)
		})
	}
}

// A quota that is new counts what was there before, and one that was taken away forgets.
func TestQuotaComesAndGoes(t *testing.T) {
	w := newWorld(t, nil)
	w.image(w.dev, "v1", 1)
	w.blob(w.repo("dev", "acme"), bytesOf(2, 9))
	w.blob(w.repo("dev", "acmeco"), bytesOf(3, 11))
	acme := quotas(tiers.Quota{Prefix: "acme", Bytes: 1000})
	first := w.replica(acme)
	push := func(r *tiers.Registry, seed uint64, size int) error {
		repo, err := r.Repository("dev", "acme/app", "alice")
		if err != nil {
			t.Fatal(err)
		}
		data := bytesOf(seed, size)
		return repo.PushBlob(t.Context(), stream(data), int64(size), digest.FromBytes(data))
	}
	if err := push(first, 4, 5); err != nil {
		t.Fatal(err)
	}
	w.audit(false) // which compares
	before := used(t, first)
	w.blob(w.dev, bytesOf(5, 100)) // by a replica that knows no quota
	if got := used(t, first); got != before {
		t.Errorf("it counts %s, want %s: the test is no test", got, before)
	}
	w.replica(tiers.Limits{}) // a start without the quota
	again := w.replica(acme)
	if got := used(t, again); got != "acme=?" {
		t.Errorf("it remembers %s", got)
	}
	if err := push(again, 6, 5); err != nil {
		t.Fatal(err)
	}
	w.audit(false)
}

// A count that is too high, for the reasons that usage.go gives, refuses nobody for long,
// and one that is too low never falls below 0.
func TestQuotaCountsAnew(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, func(c *tiers.Config) {
		c.Tiers[0].Limits, c.Now = quotas(tiers.Quota{Prefix: "acme", Bytes: 100}), func() time.Time { return now }
	})
	w.blob(w.dev, bytesOf(1, 90))
	w.blob(w.dev, bytesOf(2, 5))
	past, err := w.replica(tiers.Limits{}).Repository("dev", "acme/app", "bob") // knows no quota
	if err != nil {
		t.Fatal(err)
	}
	// Its start took the record away. Make the count as if it had started before.
	w.blob(w.dev, bytesOf(3, 1))
	if err := past.DeleteBlob(t.Context(), digest.FromBytes(bytesOf(1, 90))); err != nil {
		t.Fatal(err)
	}
	fill := func() error {
		data := bytesOf(4, 90)
		return w.dev.PushBlob(t.Context(), stream(data), 90, digest.FromBytes(data))
	}
	if err := fill(); !errors.Is(err, oci.ErrQuotaExceeded) {
		t.Fatalf("got %v, want %v: it was counted just now", err, oci.ErrQuotaExceeded)
	}
	now = now.Add(time.Hour)
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	w.audit(false)
	if err := past.PushBlob(t.Context(), stream(bytesOf(5, 99)), 99, digest.FromBytes(bytesOf(5, 99))); err != nil {
		t.Fatal(err)
	}
	if err := w.dev.DeleteBlob(t.Context(), digest.FromBytes(bytesOf(5, 99))); err != nil {
		t.Fatal(err)
	}
	if got := used(t, w.Registry); got != "acme=0" {
		t.Errorf("it counts %s, want 0", got)
	}
}

// Without a quota or a limit of sessions no record of either is read or written.
func TestNoQuotaNoCost(t *testing.T) {
	w := newWorld(t, nil)
	none := func(key, what string) {
		if strings.HasPrefix(key, "tier/dev/usage/") || strings.HasPrefix(key, "uploading/") {
			t.Errorf("%s is %s", key, what)
		}
	}
	w.catalog.onGet(func(keys []string) {
		for _, key := range keys {
			none(key, "read")
		}
	})
	w.catalog.onList(func(q tiers.Query) { none(q.Prefix, "listed") })
	w.catalog.onCommit(func(c tiers.Change) {
		for _, condition := range c.If {
			none(condition.Key, "compared")
		}
		for _, p := range c.Put {
			none(p.Key, "written")
		}
		for _, key := range c.Delete {
			none(key, "deleted")
		}
	})
	d := w.image(w.dev, "v1", 1)
	if err := w.upload(w.dev, bytesOf(2, 9), chunks(3, 3), digest.FromBytes(bytesOf(2, 9))); err != nil {
		t.Fatal(err)
	}
	if err := w.dev.DeleteManifest(t.Context(), d.Digest); err != nil {
		t.Fatal(err)
	}
}

package promote_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// BenchmarkRebuild rebuilds a catalog of 100,000 records: 10,000 images of two blobs each,
// of which one is of all, in 100 repositories.
func BenchmarkRebuild(b *testing.B) {
	const images, repositories = 10_000, 100
	config := tiers.Config{Catalog: stores.Catalog(b), Log: slog.New(slog.DiscardHandler), Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(b)}}}
	r, err := tiers.New(b.Context(), config)
	must(b, err)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(b, err)
	log, err := ledger.New(b.Context(), ledger.Config{Registry: r, Signer: key, Origin: "bench", Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	tier := r.Tiers()[0]
	var group errgroup.Group
	group.SetLimit(32)
	for i := range images {
		group.Go(func() error { return benchImage(b.Context(), r, tier, fmt.Sprint("acme/app", i%repositories), i) })
	}
	must(b, group.Wait())
	for {
		_, err := log.Seal(b.Context())
		must(b, err)
		state, err := log.State(b.Context())
		must(b, err)
		if state.Size == 3*images {
			break
		}
	}
	for b.Loop() {
		config.Catalog = stores.Catalog(b)
		var peak atomic.Uint64
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), now.HeapInuse))
				select {
				case <-time.After(50 * time.Millisecond):
				case <-quit:
					return
				}
			}
		}()
		made, err := promote.Rebuild(b.Context(), config, ledger.VerifyOptions{Keys: []crypto.PublicKey{key.Public()}}, nil)
		close(quit)
		<-done
		must(b, err)
		if !made.Ledger.Sound || len(made.Problems) > 0 {
			b.Fatalf("%+v", made)
		}
		b.ReportMetric(float64(made.Records), "records")
		b.ReportMetric(float64(peak.Load())/(1<<20), "MiB-peak")
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// benchImage stores a manifest, and records what a push of it does.
func benchImage(ctx context.Context, r *tiers.Registry, t *tiers.Tier, repo string, i int) error {
	layer, shared := digest.FromString(fmt.Sprint("layer", i)), digest.FromString("config")
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":6},"layers":[{"mediaType":%q,"digest":%q,"size":10}]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, shared, ocispec.MediaTypeImageLayer, layer)
	d, object := digest.FromString(body), "blobs/"+r.NewID()
	if err := t.Bucket.Put(ctx, object, strings.NewReader(body), int64(len(body))); err != nil {
		return err
	}
	var change tiers.Change
	for _, what := range []tiers.Event{
		{Type: tiers.EventBlobPushed, Digest: shared, Size: 6, Key: "blobs/shared"},
		{Type: tiers.EventBlobPushed, Digest: layer, Size: 10, Key: "blobs/" + layer.Encoded()},
		{Type: tiers.EventManifestPushed, Digest: d, Size: int64(len(body)), Key: object, Tag: fmt.Sprint("v", i), MediaType: ocispec.MediaTypeImageManifest},
	} {
		what.Actor, what.Tier, what.Repository, what.Store = "ci", "dev", repo, t.Store()
		change.Put = append(change.Put, r.EventPut(what))
	}
	_, err := r.Catalog().Commit(ctx, change)
	return err
}

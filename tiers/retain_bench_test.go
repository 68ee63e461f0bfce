package tiers_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
)

// Tags, each with an image of its own, of the repository that BenchmarkRetain goes through.
const benchTags = 100_000

// A dry run over one very large repository of which a rule takes almost everything: what it
// holds in memory must not grow with that. etcd is a process of its own.
func BenchmarkRetain(b *testing.B) {
	endpoints, stop := stores.StartEtcd(b)
	b.Cleanup(stop)
	catalog, err := etcd.New(etcd.Config{Endpoints: endpoints})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { catalog.Close() })
	for kept, rules := range map[string][]tiers.RetentionRule{
		"the last 100": {{KeepLast: 100}, {Untagged: time.Hour}},
		"all but 101":  {{KeepFor: (benchTags - 100) * time.Second}, {Untagged: time.Hour}},
	} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		registry, err := tiers.New(b.Context(), tiers.Config{Catalog: catalog, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
			Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(b), Retention: tiers.Retention{Rules: rules}},
				{Name: "stable", From: "dev", Bucket: stores.Bucket(b)}}})
		if err != nil {
			b.Fatal(err)
		}
		manyTags(b, catalog, now)
		b.Run("keeping "+kept, func(b *testing.B) {
			var peak uint64
			for b.Loop() {
				done, err := registry.Retain(b.Context(), tiers.RetainOptions{DryRun: true}, func(tiers.Retained) {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapInuse)
				})
				if err != nil || done.Tags != done.Manifests || len(done.Problems) > 0 {
					b.Fatalf("%+v, %v", done, err)
				}
				b.ReportMetric(float64(done.Tags), "tags-go")
			}
			b.ReportMetric(float64(peak>>20), "MiB-peak")
			b.ReportMetric(benchTags*float64(b.N)/b.Elapsed().Seconds(), "tags/s")
		})
	}
}

// manyTags writes the records of a repository, each tag a second younger than the last.
func manyTags(b *testing.B, catalog tiers.Catalog, now time.Time) {
	b.Helper()
	change := tiers.Change{Put: []tiers.Put{{Key: "tier/dev/repo/acme/app", Value: []byte("{}")}}}
	commit := func() {
		if _, err := catalog.Commit(b.Context(), change); err != nil {
			b.Fatal(err)
		}
		change = tiers.Change{}
	}
	for i := range benchTags {
		at, d, tag := now.Add(time.Duration(i-benchTags)*time.Second), digest.FromString(fmt.Sprint(i)), fmt.Sprintf("build-%07d", i)
		change.Put = append(change.Put,
			tiers.Put{Key: "tier/dev/manifest/acme/app@" + d.String(), Value: tiers.Encode(tiers.ManifestRecord{MediaType: ocispec.MediaTypeImageManifest, Size: 500, CreatedAt: at, By: "ci"})},
			tiers.Put{Key: "tier/dev/tag/acme/app:" + tag, Value: tiers.Encode(tiers.TagRecord{Digest: d, MediaType: ocispec.MediaTypeImageManifest, Size: 500, UpdatedAt: at, By: "ci"})},
			tiers.Put{Key: "tier/dev/tagged/acme/app@" + d.String() + "/" + tag})
		if len(change.Put) > tiers.MaxOps-3 {
			commit()
		}
	}
	commit()
}

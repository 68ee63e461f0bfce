package tiers_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/s3"
)

// collectRecords is how many records the catalog of BenchmarkCollect holds, where
// SLUICE_COLLECT_RECORDS does not say.
const collectRecords = 20_000

// filling writes records, many in a transaction.
type filling struct {
	b       *testing.B
	catalog tiers.Catalog
	group   errgroup.Group
	change  tiers.Change
	records int
}

func (f *filling) put(key, value string) {
	f.change.Put = append(f.change.Put, tiers.Put{Key: key, Value: []byte(value)})
	if f.records++; len(f.change.Put) == 120 {
		f.flush()
	}
}

func (f *filling) flush() {
	change := f.change
	f.change = tiers.Change{}
	f.group.Go(func() error { _, err := f.catalog.Commit(context.Background(), change); return err })
}

func nthDigest(kind string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, n))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// BenchmarkCollect condemns and deletes a tenth of a catalog as blobs that nothing needs. The
// promise of everything has passed, so each record has to be looked at as closely as ever,
// and etcd and the S3 server are processes of their own: the memory is the collector's.
//
//	SLUICE_COLLECT_RECORDS=1000000 go test ./tiers -run '^$' -bench Collect -benchtime 1x -timeout 2h
func BenchmarkCollect(b *testing.B) {
	want := collectRecords
	if s := os.Getenv("SLUICE_COLLECT_RECORDS"); s != "" {
		var err error
		if want, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		b.StopTimer()
		catalog, bucket := benchStores(b)
		ahead := time.Duration(0)
		r, err := tiers.New(context.Background(), tiers.Config{Catalog: catalog, Log: slog.New(slog.DiscardHandler),
			Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: bucket}}, Now: func() time.Time { return time.Now().Add(ahead) }})
		if err != nil {
			b.Fatal(err)
		}
		dead := fillDead(b, r, catalog, bucket, want/10, want)
		ahead = lapsed
		before := resetPeak(b)
		b.StartTimer()
		c, err := r.Collect(context.Background(), tiers.CollectOptions{}, benchProgress(b))
		condemned := b.Elapsed()
		b.StopTimer()
		if err != nil || c.Sweeps[tiers.SweepBlobs].Gone != int64(dead) || len(c.Problems) > 0 {
			b.Fatalf("%+v, %v", c, err)
		}
		ahead += drained
		b.StartTimer()
		c, err = r.Collect(context.Background(), tiers.CollectOptions{}, benchProgress(b))
		b.StopTimer()
		if err != nil || c.Sweeps[tiers.SweepObjects].Gone != int64(dead) || len(c.Problems) > 0 {
			b.Fatalf("%+v, %v", c, err)
		}
		b.ReportMetric(condemned.Seconds(), "s-condemn")
		b.ReportMetric((b.Elapsed() - condemned).Seconds(), "s-delete")
		b.ReportMetric(peakMiB(b), "MiB-peak")
		b.ReportMetric(before, "MiB-before")
	}
}

// benchProgress logs how long each sweep takes.
func benchProgress(b *testing.B) func(tiers.Collected) {
	phase, since := tiers.Sweep(""), time.Now()
	return func(c tiers.Collected) {
		if c.Phase == phase {
			return
		}
		if phase != "" {
			b.Logf("%-10s %8.1f s %+v", phase, time.Since(since).Seconds(), c.Sweeps[phase])
		}
		phase, since = c.Phase, time.Now()
	}
}

func benchStores(b *testing.B) (*etcd.Catalog, *s3.Store) {
	endpoints, _ := stores.StartDurableEtcd(b)
	catalog, err := etcd.New(etcd.Config{Endpoints: endpoints})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { catalog.Close() })
	endpoint, access, secret := stores.StartS3(b)
	bucket, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: "collect", Region: "us-east-1", AccessKey: access, SecretKey: secret})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { bucket.Close() })
	if err := bucket.EnsureBucket(context.Background()); err != nil {
		b.Fatal(err)
	}
	return catalog, bucket
}

// fillDead makes dead blobs with their objects and links, and images until there are so many
// records.
func fillDead(b *testing.B, r *tiers.Registry, catalog tiers.Catalog, bucket tiers.Bucket, dead, records int) int {
	b.Helper()
	f := &filling{b: b, catalog: catalog}
	f.group.SetLimit(16)
	var puts errgroup.Group
	puts.SetLimit(16)
	store := "store/" + r.Tiers()[0].Store()
	at := `"` + r.Now().Format(time.RFC3339) + `"`
	link := `{"size":1,"renewedAt":` + at + `}`
	blob := func(d string) string {
		key := "blobs/" + r.NewID()
		f.put(store+"/blob/"+d, `{"key":"`+key+`","size":1,"renewedAt":`+at+`,"origin":"dev/bench/app"}`)
		return key
	}
	for i := range dead {
		d := nthDigest("dead", i)
		key := blob(d)
		f.put(fmt.Sprintf("tier/dev/link/bench/dead%d@%s", i%100, d), link)
		puts.Go(func() error { return bucket.Put(context.Background(), key, strings.NewReader("x"), 1) })
	}
	for i := 0; f.records < records; i++ {
		repo, m := fmt.Sprintf("bench/app%d", i%1000), nthDigest("manifest", i)
		blob(m)
		f.put("tier/dev/manifest/"+repo+"@"+m, `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"createdAt":`+at+`,"by":"bench"}`)
		f.put(store+"/ref/"+m+"/.manifest/dev/"+repo, "")
		f.put(fmt.Sprintf("tier/dev/tag/%s:v%d", repo, i), `{"digest":"`+m+`","mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"updatedAt":`+at+`,"by":"bench"}`)
		f.put(fmt.Sprintf("tier/dev/tagged/%s@%s/v%d", repo, m, i), "")
		for j := range 6 {
			d := nthDigest("layer", 6*i+j)
			blob(d)
			f.put(store+"/ref/"+d+"/dev/"+repo+"@"+m, "")
			f.put("tier/dev/link/"+repo+"@"+d, link)
		}
	}
	f.flush()
	if err := f.group.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := puts.Wait(); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d records, %d dead blobs", f.records, dead)
	return dead
}

// resetPeak begins to measure the peak of the resident memory anew and says where it stands.
func resetPeak(b *testing.B) float64 {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Logf("the peak is that of the whole run: %v", err)
	}
	return peakMiB(b)
}

// peakMiB is the peak of the resident memory.
func peakMiB(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	b.Fatal("no peak in /proc/self/status")
	return 0
}

package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/s3"
)

// busy is a registry on an etcd and an S3 server that are processes of their own, the etcd
// with the fsync of every write that a deployment has.
type busy struct {
	*testing.B
	registry *tiers.Registry
	ledger   *ledger.Ledger
}

func newBusy(b *testing.B) *busy {
	b.Helper()
	endpoints, _ := stores.StartDurableEtcd(b)
	catalog, err := etcd.New(etcd.Config{Endpoints: endpoints})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { catalog.Close() })
	endpoint, access, secret := stores.StartS3(b)
	bucket, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: "bench", AccessKey: access, SecretKey: secret})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { bucket.Close() })
	if err := bucket.EnsureBucket(b.Context()); err != nil {
		b.Fatal(err)
	}
	registry, err := tiers.New(b.Context(), tiers.Config{Catalog: catalog, Log: quiet(), Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: bucket}}})
	if err != nil {
		b.Fatal(err)
	}
	l, err := ledger.New(b.Context(), ledger.Config{Registry: registry, Signer: newSigner(b), Origin: origin, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	return &busy{b, registry, l}
}

// event is about as long as those of pushes are.
func event(i int) tiers.Event {
	return tiers.Event{Type: tiers.EventManifestPushed, Actor: "ci", Tier: "dev", Repository: "acme/app", Tag: fmt.Sprint("1.0.", i),
		Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", MediaType: "application/vnd.oci.image.manifest.v1+json",
		Store: "01KC0000000000000000000000", Key: "blobs/01KC0000000000000000000000", Size: 1234}
}

// BenchmarkKeepingUp records 1,000 events a second, each in a transaction of its own, for
// fifteen seconds, and says how long they took to be sealed. One operation is all of it.
func BenchmarkKeepingUp(b *testing.B) {
	const perSecond, span = 1000, 15 * time.Second
	for range b.N {
		world := newBusy(b)
		ctx, stop := context.WithCancel(b.Context())
		var work sync.WaitGroup
		work.Go(func() {
			if err := world.ledger.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		samples := make(chan []sample, 1)
		go func() { samples <- world.watch(perSecond * int64(span/time.Second)) }()
		recorded := world.record(perSecond, span)
		lags := lags(recorded, <-samples)
		stop()
		work.Wait()
		b.ReportMetric(float64(len(recorded))/recorded[len(recorded)-1].Sub(recorded[0]).Seconds(), "events/s")
		b.ReportMetric(float64(lags[len(lags)/2].Milliseconds()), "ms-lag-median")
		b.ReportMetric(float64(lags[len(lags)-1].Milliseconds()), "ms-lag-most")
	}
}

// record records events at a rate and returns when each was acknowledged.
func (w *busy) record(perSecond int, span time.Duration) []time.Time {
	const writers = 25
	var mu sync.Mutex
	var recorded []time.Time
	var work sync.WaitGroup
	each := time.Duration(writers) * time.Second / time.Duration(perSecond)
	for range writers {
		work.Go(func() {
			due := time.Now()
			for i := range int(span / each) {
				time.Sleep(time.Until(due))
				due = due.Add(each)
				if _, err := w.registry.Catalog().Commit(w.Context(), tiers.Change{Put: []tiers.Put{w.registry.EventPut(event(i))}}); err != nil {
					w.Error(err)
				}
				mu.Lock()
				recorded = append(recorded, time.Now())
				mu.Unlock()
			}
		})
	}
	work.Wait()
	slices.SortFunc(recorded, time.Time.Compare)
	return recorded
}

// sample is when the ledger was seen to have a size.
type sample struct {
	at   time.Time
	size int64
}

// watch looks at the ledger until it has a size.
func (w *busy) watch(size int64) (samples []sample) {
	for {
		state, err := w.ledger.State(w.Context())
		if err != nil {
			w.Error(err)
			return samples
		}
		samples = append(samples, sample{time.Now(), state.Size})
		if state.Size >= size {
			return samples
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lags is how long after they were recorded events were sealed, in ascending order.
func lags(recorded []time.Time, samples []sample) []time.Duration {
	all := make([]time.Duration, len(recorded))
	for i, at := range recorded {
		for samples[0].size <= int64(i) {
			samples = samples[1:]
		}
		all[i] = samples[0].at.Sub(at)
	}
	slices.Sort(all)
	return all
}

// BenchmarkBacklog seals 20,000 events that wait. One operation is all of it.
func BenchmarkBacklog(b *testing.B) {
	const waiting = 20_000
	for range b.N {
		b.StopTimer()
		world := newBusy(b)
		for n := 0; n < waiting; n += 100 {
			var change tiers.Change
			for i := range 100 {
				change.Put = append(change.Put, world.registry.EventPut(event(n+i)))
			}
			if _, err := world.registry.Catalog().Commit(b.Context(), change); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		begin := time.Now()
		for more := true; more; {
			var err error
			if more, err = world.ledger.Seal(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(waiting/time.Since(begin).Seconds(), "events/s")
	}
}

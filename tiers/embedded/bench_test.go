package embedded_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/s3"
)

// BenchmarkPut is what a durable object costs: with and without syncing, small and large,
// one writer and four.
func BenchmarkPut(b *testing.B) {
	for _, noSync := range []bool{false, true} {
		servers, err := embedded.Start(b.Context(), embedded.Config{Dir: b.TempDir(), NoSync: noSync})
		if err != nil {
			b.Fatal(err)
		}
		endpoint, access, secret, region := servers.S3()
		store, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: "bench", Region: region, AccessKey: access, SecretKey: secret})
		if err == nil {
			err = store.EnsureBucket(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, size := range []int{10 << 10, 16 << 20} {
			for _, writers := range []int{1, 4} {
				name := fmt.Sprintf("sync=%t/%dKiB/writers=%d", !noSync, size>>10, writers)
				b.Run(name, func(b *testing.B) { benchmarkPut(b, store, size, writers) })
			}
		}
		if err := servers.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkPut(b *testing.B, store *s3.Store, size, writers int) {
	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	b.SetBytes(int64(size))
	var next, run atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				key := fmt.Sprintf("blobs/sha256/%s-%d-%d/%d", b.Name(), b.N, run.Add(1), b.N)
				if err := store.Put(b.Context(), key, bytes.NewReader(body), int64(size)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

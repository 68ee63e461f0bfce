package etcd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sluice.dev/sluice/tiers"
)

// Reads that wait for others share a request. What many of them ask for is in it once, and
// each gets what it asked for, in its order.
func TestBatchShared(t *testing.T) {
	var mu sync.Mutex
	var sent [][]string
	begun, goOn := make(chan struct{}, concurrentBatches), make(chan struct{})
	b := batches{read: func(_ context.Context, keys []string) ([]tiers.Record, error) {
		mu.Lock()
		first := len(sent) < concurrentBatches
		sent = append(sent, keys)
		mu.Unlock()
		if first {
			begun <- struct{}{}
			<-goOn
		}
		records := make([]tiers.Record, len(keys))
		for i, key := range keys {
			records[i] = tiers.Record{Key: key, Value: []byte("of " + key)}
		}
		return records, nil
	}}
	var all sync.WaitGroup
	ask := func(keys ...string) {
		all.Go(func() {
			records, err := b.get(t.Context(), keys)
			if err != nil || len(records) != len(keys) {
				t.Errorf("%v: %v, %v", keys, records, err)
				return
			}
			for i, r := range records {
				if r.Key != keys[i] || string(r.Value) != "of "+keys[i] {
					t.Errorf("%v: %d is %+v", keys, i, r)
				}
			}
		})
	}
	for range concurrentBatches {
		ask("busy")
	}
	for range concurrentBatches {
		<-begun
	}
	waiting := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.next == nil {
			return 0
		}
		return len(b.next.keys)
	}
	for i := range 20 {
		ask(fmt.Sprint(i), "shared", fmt.Sprint(i), "other")
		for waiting() < i+3 { // it has joined
		}
	}
	close(goOn)
	all.Wait()
	if last := sent[len(sent)-1]; len(sent) != concurrentBatches+1 || len(last) != 22 || !slices.Contains(last, "shared") {
		t.Errorf("sent %q", sent)
	}
}

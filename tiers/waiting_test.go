package tiers_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Who waits for others that change a quota, and for a catalog that does not answer them, is
// told so in time, and nothing of it is counted.
func TestQuotaTurnsEnd(t *testing.T) {
	w := limited(t, quotas(tiers.Quota{Bytes: 1e6}))
	w.blob(w.dev, []byte("first")) // the quota is counted from now on
	release, held := make(chan struct{}), make(chan struct{})
	w.HurryQuotas(50 * time.Millisecond)
	var once sync.Once
	w.catalog.onCommit(func(c tiers.Change) {
		for _, put := range c.Put {
			if put.Key == "tier/dev/usage/" {
				once.Do(func() { close(held) })
				<-release
			}
		}
	})
	push := func(content string) error {
		return w.dev.PushBlob(t.Context(), stream([]byte(content)), int64(len(content)), digest.FromString(content))
	}
	done := make(chan error, 1)
	go func() { done <- push("second") }()
	<-held
	for range 3 {
		if err := push("third"); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%v, want %v", err, oci.ErrUnavailable)
		}
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := push("third"); err != nil {
		t.Error(err)
	}
	if got := used(t, w.Registry); got != "=16" {
		t.Errorf("used %q, want =16", got)
	}
	w.audit(false)
}

// Uploads of unknown length wait for a buffer, but no more of them than there is room for:
// where the store takes nothing they would wait for ever.
func TestUploadsWait(t *testing.T) {
	w := newWorld(t, func(c *tiers.Config) { c.Buffers = 1 })
	const waiting = 3
	w.LimitWaiting(waiting)
	release, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.buckets["dev"].hook(func(op, _ string) {
		if op == "begin" || op == "part" || op == "put" {
			once.Do(func() { close(held) })
			<-release
		}
	})
	push := func(seed uint64) error {
		data := bytesOf(seed, 100_000)
		return w.dev.PushBlob(t.Context(), stream(data), -1, digest.FromBytes(data))
	}
	results := make(chan error, 1+2*waiting)
	go func() { results <- push(1) }()
	<-held
	for i := range 2 * waiting {
		go func() { results <- push(uint64(2 + i)) }()
	}
	for range waiting { // so many find no room
		if err := <-results; !errors.Is(err, oci.ErrTooManyRequests) {
			t.Errorf("%v, want %v", err, oci.ErrTooManyRequests)
		}
	}
	close(release)
	for range 1 + waiting {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	w.audit(false)
}

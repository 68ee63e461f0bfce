package tiers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// faultyBucket is a real bucket whose reads go wrong as it is told.
type faultyBucket struct {
	*bucket
	mu   sync.Mutex
	open func(key string, try int, rc io.ReadCloser, err error) (io.ReadCloser, error)
	stat func(key string) error
	asks map[string]int
}

func (b *faultyBucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	open := b.open
	b.asks[key]++
	try := b.asks[key]
	b.mu.Unlock()
	rc, err := b.bucket.Open(ctx, key, offset, length)
	if open != nil {
		return open(key, try, rc, err)
	}
	return rc, err
}

func (b *faultyBucket) Stat(ctx context.Context, key string) (tiers.ObjectInfo, error) {
	b.mu.Lock()
	stat := b.stat
	b.mu.Unlock()
	if stat != nil {
		if err := stat(key); err != nil {
			return tiers.ObjectInfo{}, err
		}
	}
	return b.bucket.Stat(ctx, key)
}

func (b *faultyBucket) CanCopyFrom(tiers.Objects) bool { return false }

// faulty is a checked registry whose bucket of dev goes wrong.
func faulty(t *testing.T) (*checked, *faultyBucket) {
	t.Helper()
	b := &faultyBucket{asks: map[string]int{}}
	c := newChecked(t, func(config *tiers.Config) {
		b.bucket = config.Tiers[0].Bucket.(*bucket)
		config.Tiers[0].Bucket = b
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.asks)
	return c, b
}

// garbled is what a store gives that flips a bit.
func garbled(rc io.ReadCloser, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		data[len(data)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func unavailable(rc io.ReadCloser) (io.ReadCloser, error) {
	if rc != nil {
		rc.Close()
	}
	return nil, fmt.Errorf("%w: slow down", oci.ErrUnavailable)
}

// A store in trouble is not taken for one that has lost something.
func TestCheckStoreInTrouble(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		name  string
		open  func(c *checked) func(key string, try int, rc io.ReadCloser, err error) (io.ReadCloser, error)
		finds []string
	}{
		{"wrong bytes once, of a layer", func(c *checked) func(string, int, io.ReadCloser, error) (io.ReadCloser, error) {
			bad := c.object(c.dev.Tier, c.layer.Digest)
			return func(key string, try int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
				if key == bad && try == 1 {
					return garbled(rc, err)
				}
				return rc, err
			}
		}, kindsOf("object-unsteady")},
		{"wrong bytes once, of a manifest", func(c *checked) func(string, int, io.ReadCloser, error) (io.ReadCloser, error) {
			bad := c.object(c.dev.Tier, c.lonely.Digest)
			return func(key string, try int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
				if key == bad && try == 1 {
					return garbled(rc, err)
				}
				return rc, err
			}
		}, kindsOf("object-unsteady")},
		{"silence for a while", func(*checked) func(string, int, io.ReadCloser, error) (io.ReadCloser, error) {
			return func(_ string, try int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
				if try == 1 {
					return unavailable(rc)
				}
				return rc, err
			}
		}, nil},
		{"silence about one object", func(c *checked) func(string, int, io.ReadCloser, error) (io.ReadCloser, error) {
			bad := c.object(c.dev.Tier, c.layer.Digest)
			return func(key string, _ int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
				if key == bad {
					return unavailable(rc)
				}
				return rc, err
			}
		}, kindsOf("object-unreadable")},
		{"less than there is", func(c *checked) func(string, int, io.ReadCloser, error) (io.ReadCloser, error) {
			bad := c.object(c.dev.Tier, c.layer.Digest)
			return func(key string, _ int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
				if key != bad || err != nil {
					return rc, err
				}
				defer rc.Close()
				return io.NopCloser(io.MultiReader(strings.NewReader("short"), &broken{})), nil
			}
		}, kindsOf("object-unreadable")},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			c, b := faulty(t)
			b.open = trouble.open(c)
			before := c.catalog.all(t, "")
			c.want("in trouble", c.check(tiers.CheckOptions{ReadData: true, Repair: true}), trouble.finds...)
			if after := c.catalog.all(t, ""); !slices.EqualFunc(before, after, func(a, b tiers.Record) bool { return a.Key == b.Key && a.Revision == b.Revision }) {
				t.Error("the repair changed something")
			}
		})
	}
}

// broken is the rest of a connection that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A check of a store that is gone ends with that as its error, and says what it had found.
func TestCheckStoreGone(t *testing.T) {
	t.Parallel()
	c, b := faulty(t)
	c.remove(tagKey(c.stable, "v1"))
	gone := fmt.Errorf("%w: gone", oci.ErrUnavailable)
	for i := range 30 {
		c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.blob(c.dev, fmt.Appendf(nil, "blob %d", i)).Digest))
	}
	b.stat = func(string) error { return gone }
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	found, err := c.Check(ctx, tiers.CheckOptions{Repair: true, Actor: "auditor"}, nil)
	if !errors.Is(err, oci.ErrUnavailable) || found.Phase == tiers.CheckDone || !strings.Contains(err.Error(), found.Phase) {
		t.Errorf("got phase %q, %v", found.Phase, err)
	}
	if found.Repaired != 0 {
		t.Errorf("repaired %d", found.Repaired)
	}
}

// A repair makes room for a bounded number of lost blobs: that many are rather a store that
// is not itself.
func TestCheckLosesLittle(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	const many, most = 130, 100
	for i := range many {
		c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.blob(c.dev, fmt.Appendf(nil, "blob %d", i)).Digest))
	}
	before := len(c.catalog.all(t, "store/"+c.dev.Tier.Store()+"/blob/"))
	found := c.check(tiers.CheckOptions{Repair: true})
	if found.Found["object-missing"] != many || found.Repaired != 0 {
		t.Errorf("found %v, repaired %d", found.Found, found.Repaired)
	}
	if left := len(c.catalog.all(t, "store/"+c.dev.Tier.Store()+"/blob/")); before-left != most {
		t.Errorf("%d records went, want %d", before-left, most)
	}
	kept := 0
	for _, f := range found.Findings {
		if strings.Contains(f.Problem, "given up already") {
			kept++
		}
	}
	if kept != many-most {
		t.Errorf("%d findings say that their blob was kept, want %d", kept, many-most)
	}
}

// All findings are counted, and the first are told of.
func TestCheckBounded(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	const many = tiers.MaxFindings + 200
	for i := range many {
		c.plant(inRepo(c.dev, "link", digest.FromString(fmt.Sprint(i))), `{"size":1}`)
	}
	found := c.check(tiers.CheckOptions{})
	if found.Found["link-dangling"] != many || len(found.Findings) != tiers.MaxFindings || found.Severity[tiers.Info] != many || !found.Sound() {
		t.Errorf("found %v and told of %d", found.Found, len(found.Findings))
	}
	if size := len(tiers.Encode(found)); size > 3<<19 {
		t.Errorf("the result has %d bytes", size)
	}
}

// A bucket is gone through window by window, and every object is seen once.
func TestCheckWindows(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	c.widen()
	whole := c.check(tiers.CheckOptions{})
	c.SetWindow(7)
	c.putObject(c.dev.Tier, "blobs/!", nil)
	c.putObject(c.dev.Tier, "blobs/~", nil)
	c.deleteObject(c.dev.Tier, c.object(c.dev.Tier, c.layer.Digest))
	found := c.check(tiers.CheckOptions{})
	c.want("window by window", found, "stray-object", "stray-object", "object-missing")
	if found.Objects != whole.Objects+1 || found.Bytes != whole.Bytes || found.Records["blobs"] != whole.Records["blobs"] {
		t.Errorf("counted %d objects of %d bytes, %v; want one more than %d, %d, %v", found.Objects, found.Bytes, found.Records, whole.Objects, whole.Bytes, whole.Records)
	}
}

// Progress is told while a check goes on, and not any more when it has ended; a check whose
// context ends, ends.
func TestCheckProgress(t *testing.T) {
	t.Parallel()
	c, b := faulty(t)
	reached, cancelled := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.open = func(_ string, _ int, rc io.ReadCloser, err error) (io.ReadCloser, error) {
		once.Do(func() { close(reached); <-cancelled })
		return rc, err
	}
	var mu sync.Mutex
	told := 0
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		for range 600 { // until it was told of
			mu.Lock()
			n := told
			mu.Unlock()
			if n > 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
		close(cancelled)
	}()
	found, err := c.Check(ctx, tiers.CheckOptions{}, func(now tiers.Checked) {
		mu.Lock()
		defer mu.Unlock()
		told++
		if !strings.HasPrefix(now.Phase, "manifests of dev") || now.Objects == 0 {
			t.Errorf("told %+v", now)
		}
	})
	if !errors.Is(err, context.Canceled) || found.Phase == tiers.CheckDone {
		t.Errorf("got phase %q, %v", found.Phase, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if told == 0 {
		t.Error("nothing was told")
	}
}

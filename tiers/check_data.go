package tiers

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// data are the phases that read the bytes of blobs.
func (c *Checking) data() []CheckPhase {
	if !c.options.ReadData {
		return nil
	}
	chosen := &choice{subset: c.options.Subset, seed: rand.Uint64()}
	var phases []CheckPhase
	for _, s := range c.stores {
		phases = append(phases, CheckPhase{"data of " + s.names(), func(ctx context.Context, c *Checking) error { return c.checkData(ctx, s, chosen) }})
	}
	return phases
}

// checkData reads the chosen objects of a store and compares them with their digests.
func (c *Checking) checkData(ctx context.Context, s *checkStore, chosen *choice) error {
	total := c.report.snapshot().Bytes
	prefix := blobKey(s.id, "")
	return c.Walk(ctx, Query{Prefix: prefix}, func(page []Record) error {
		return c.each(ctx, page, func(ctx context.Context, record Record) error {
			d, err := oci.ParseDigest(strings.TrimPrefix(record.Key, prefix))
			b, blobErr := Decode[blobRecord](record)
			if err != nil || blobErr != nil || saneBlob(b) != nil {
				return nil // reported with the objects
			}
			if !chosen.takes(d, b.Size, total) {
				return nil
			}
			return c.readData(ctx, s, d, b)
		})
	})
}

func (c *Checking) readData(ctx context.Context, s *checkStore, d digest.Digest, b blobRecord) error {
	for range checkTries {
		got, err := c.hash(ctx, s, d, b)
		if err == nil && got == d {
			c.report.add(func(now *Checked) { now.ReadBlobs++ })
			c.heard()
			return nil
		}
		now, again, err := c.judge(ctx, s, d, b, err)
		if err != nil || !again {
			return err
		}
		b = now
	}
	return nil
}

// hash reads an object and says of what digest its bytes are.
func (c *Checking) hash(ctx context.Context, s *checkStore, d digest.Digest, b blobRecord) (got digest.Digest, err error) {
	err = c.patiently(ctx, func() error {
		h := d.Algorithm().Hash()
		err := readObject(ctx, s.bucket(), b, h)
		got = digest.NewDigest(d.Algorithm(), h)
		return err
	})
	if err == nil {
		c.report.add(func(now *Checked) { now.ReadBytes += b.Size })
	}
	return got, err
}

// judge says what is wrong with a blob whose bytes could not be read, with err, or are not
// what they should be, where err is nil. again says that it was moved meanwhile, or turned
// out right, and is to be read once more, as now says.
func (c *Checking) judge(ctx context.Context, s *checkStore, d digest.Digest, b blobRecord, err error) (now blobRecord, again bool, _ error) {
	if ctx.Err() != nil {
		return now, false, ctx.Err()
	}
	record, now, getErr := c.blob(ctx, s, d)
	if getErr != nil || record.Revision == 0 {
		return now, false, getErr
	}
	if now.Key != b.Key || now.Size != b.Size {
		return now, true, nil
	}
	right, statErr := c.checkObject(ctx, s, d)
	if statErr != nil || !right {
		return now, false, statErr
	}
	f := Finding{Invariant: "I1", Store: s.id, Key: b.Key, Digest: d}
	if err == nil { // it is not the way from the store that spoils it, if it comes so twice
		var got digest.Digest
		if got, err = c.hash(ctx, s, d, now); err == nil && got != d {
			f.Kind, f.Severity = KindObjectCorrupt, Danger
			f.Message = fmt.Sprintf("the bytes of the object are %s", got)
			return now, false, c.foundCorrupt(ctx, s, f, record)
		}
	}
	if err != nil {
		return now, false, c.unreadable(ctx, f, err)
	}
	f.Kind, f.Severity = KindObjectUnsteady, Fault
	f.Message = "the store gave other bytes once, and the right ones when it was asked again"
	f.Remedy = "look for failing memory, disks or network between this server and the store, and check again"
	return now, true, c.Found(ctx, f, nil)
}

// foundCorrupt reports corrupt bytes if the record still names them.
func (c *Checking) foundCorrupt(ctx context.Context, s *checkStore, f Finding, record Record) error {
	now, b, err := c.blob(ctx, s, f.Digest)
	if err != nil || now.Revision == 0 || b.Key != f.Key {
		return err
	}
	return c.foundLost(ctx, s, f, now)
}

// choice draws the objects that are read.
type choice struct {
	subset Subset
	seed   uint64

	mu    sync.Mutex
	taken int64 // bytes
}

// takes says whether an object is read; total is how many bytes there are of all.
func (c *choice) takes(d digest.Digest, size, total int64) bool {
	switch s := c.subset; {
	case s.Of > 0:
		n, err := strconv.ParseUint(d.Encoded()[:16], 16, 64)
		return err == nil && n%uint64(s.Of) == uint64(s.Part-1)
	case s.Percent > 0:
		return c.draw(d) < s.Percent/100
	case s.Bytes > 0:
		if total > 0 && c.draw(d) >= float64(s.Bytes)/float64(total) {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.taken > 0 && c.taken+size > s.Bytes {
			return false
		}
		c.taken += size
		return true
	}
	return true
}

// draw makes a number of a digest, from 0 to 1, that differs from check to check.
func (c *choice) draw(d digest.Digest) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", c.seed, d) // never fails
	n := h.Sum64()
	n ^= n >> 33 // FNV mixes its last bytes little
	n *= 0xff51afd7ed558ccd
	n ^= n >> 33
	return float64(n) / math.MaxUint64
}

// IsWhole says whether the subset is everything.
func (s Subset) IsWhole() bool { return s == Subset{} }

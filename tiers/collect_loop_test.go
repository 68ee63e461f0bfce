package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// pusher is a client with a repository of its own and the blobs of all others.
type pusher struct {
	*world
	repo     *tiers.Repository
	rand     *rand.Rand
	standing map[digest.Digest]ocispec.Descriptor // the blob of each manifest that was acknowledged
}

// retriable are answers behind which a client begins again: promises are short here, so a
// slow push may outlast its own.
func retriable(err error) bool {
	for _, e := range []error{oci.ErrManifestReference, oci.ErrUploadUnknown, oci.ErrRangeInvalid, oci.ErrBlobUnknown, oci.ErrConflict, oci.ErrUnavailable, oci.ErrObjectUnknown} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// push pushes an image in one of the ways in which clients do.
func (p *pusher) push(ctx context.Context) error {
	data := bytesOf(300+p.rand.Uint64N(60), 25)
	blob := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	body := image(blob, nil, fmt.Sprint("application/x.", p.rand.IntN(4)))
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(body), Size: int64(len(body))}
	var err error
	for range 20 {
		if err = p.pushBlob(ctx, blob, data); err == nil {
			_, err = p.repo.PutManifest(ctx, d.Digest.String(), "", "", body)
		}
		if err == nil {
			p.standing[d.Digest] = blob
			return nil
		}
		if !retriable(err) {
			return err
		}
	}
	return fmt.Errorf("it never came to its end: %w", err)
}

func (p *pusher) pushBlob(ctx context.Context, blob ocispec.Descriptor, data []byte) error {
	if there, err := p.repo.Exists(ctx, blob); there || err != nil {
		return err
	}
	if ok, err := p.repo.MountAny(ctx, blob.Digest, func(string, string) bool { return true }); ok || err != nil {
		return err
	}
	if p.rand.IntN(2) == 0 {
		return p.repo.Push(ctx, blob, stream(data))
	}
	u, err := p.repo.StartUpload(ctx)
	if err != nil {
		return err
	}
	if err := u.Append(ctx, stream(data[:10]), 0, -1); err != nil || p.rand.IntN(4) == 0 {
		return errors.Join(err, oci.ErrUploadUnknown) // left behind
	}
	return u.Finish(ctx, stream(data[10:]), 10, 15, blob.Digest)
}

// deleteOne deletes a manifest that stands.
func (p *pusher) deleteOne(ctx context.Context) error {
	for d := range p.standing {
		delete(p.standing, d)
		err := p.repo.DeleteManifest(ctx, d)
		if errors.Is(err, oci.ErrConflict) {
			err = p.repo.DeleteManifest(ctx, d)
		}
		return err
	}
	return nil
}

// check reads all that was acknowledged.
func (p *pusher) check(ctx context.Context) error {
	for d, blob := range p.standing {
		if _, _, err := p.repo.Manifest(ctx, d.String()); err != nil {
			return err
		}
		b, err := p.repo.Blob(ctx, blob.Digest)
		if err != nil {
			return err
		}
		rc, err := b.Open(ctx, 0, -1)
		if err != nil {
			return err
		}
		got, err := blob.Digest.Algorithm().FromReader(rc)
		rc.Close()
		if err != nil || got != blob.Digest {
			return fmt.Errorf("%s came back as %s: %w", blob.Digest, got, err)
		}
	}
	return nil
}

// Clients push, mount, delete and read the same blobs while two collectors go round, with
// promises of a moment: what was acknowledged is there at all times, and at the end nothing
// lies in the bucket that has no name.
func TestCollectAmongPushes(t *testing.T) {
	short := tiers.CollectConfig{Promise: 240 * time.Millisecond, Drain: 50 * time.Millisecond, Intent: 5 * time.Second, Upload: time.Second, Stray: 2 * time.Second}
	w := newWorld(t, func(c *tiers.Config) { c.Collection = short })
	w.catalog.onCommit(func(c tiers.Change) { // a collector that hesitates before what it does
		if len(c.Put) > 0 && strings.Contains(c.Put[0].Key, "/condemned/") {
			time.Sleep(rand.N(400 * time.Millisecond))
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var collectors sync.WaitGroup
	var condemned atomic.Int64
	for range 2 {
		collectors.Go(func() {
			for ctx.Err() == nil {
				c, err := w.Collect(ctx, tiers.CollectOptions{}, nil)
				condemned.Add(c.Sweeps[tiers.SweepBlobs].Gone)
				if ctx.Err() == nil && (err != nil || len(c.Problems) > 0) {
					t.Errorf("%v, %v", err, c.Problems)
				}
			}
		})
	}
	pushers := make([]*pusher, 4)
	var group errgroup.Group
	for i := range pushers {
		p := &pusher{world: w, repo: w.repo("dev", fmt.Sprint("loop/", i)), rand: rand.New(rand.NewPCG(uint64(i), 7)), standing: map[digest.Digest]ocispec.Descriptor{}}
		pushers[i] = p
		group.Go(func() error {
			for n := range 50 {
				err := p.push(ctx)
				for err == nil && len(p.standing) > 5 {
					err = p.deleteOne(ctx)
				}
				if err == nil {
					err = p.check(ctx)
				}
				if err != nil {
					return fmt.Errorf("%s, step %d: %w", p.repo.Name, n, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	stop()
	collectors.Wait()
	w.catalog.onCommit(nil)
	t.Logf("%d blobs were condemned", condemned.Load())
	w.untilOnlyBlobs(time.Minute)
	for _, p := range pushers {
		if err := p.check(t.Context()); err != nil {
			t.Errorf("%s at the end: %v", p.repo.Name, err)
		}
	}
}

// untilOnlyBlobs collects by the real clock until nothing but blobs is in the buckets.
func (w *world) untilOnlyBlobs(patience time.Duration) {
	w.t.Helper()
	w.release()
	for until := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		w.collect()
		var named []string
		for _, r := range w.catalog.all(w.t, "store/"+w.dev.Tier.Store()+"/blob/") {
			named = append(named, fields(w.t, r)["key"].(string))
		}
		slices.Sort(named)
		found := w.objects("dev")
		if slices.Equal(found, named) {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("after %v there lie\n%s\nand the catalog knows\n%s", patience, strings.Join(found, "\n"), strings.Join(named, "\n"))
		}
	}
}

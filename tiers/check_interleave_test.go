package tiers_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// moments counts what a check reads, and does something at the turn of one read.
type moments struct {
	mu    sync.Mutex
	n, at int
	do    func()
}

func (m *moments) arm(at int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n, m.at, m.do = 0, at, do
}

// read counts one read. Others go on while something is done at its turn.
func (m *moments) read() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.do == nil {
		return
	}
	if m.n++; m.n == m.at {
		do := m.do
		m.do = nil // what it reads itself does not count
		m.mu.Unlock()
		do()
		m.mu.Lock()
	}
}

// readBucket tells of every read.
type readBucket struct {
	*bucket
	moments *moments
}

func (b *readBucket) List(ctx context.Context, prefix, after string, n int) ([]tiers.ObjectEntry, error) {
	b.moments.read()
	page, err := b.bucket.List(ctx, prefix, after, n)
	b.moments.read()
	return page, err
}

func (b *readBucket) Uploads(ctx context.Context, prefix, after string, n int) ([]tiers.OpenUpload, error) {
	b.moments.read()
	page, err := b.bucket.Uploads(ctx, prefix, after, n)
	b.moments.read()
	return page, err
}

func (b *readBucket) Stat(ctx context.Context, key string) (tiers.ObjectInfo, error) {
	b.moments.read()
	return b.bucket.Stat(ctx, key)
}

func (b *readBucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b.moments.read()
	return b.bucket.Open(ctx, key, offset, length)
}

func (b *readBucket) CanCopyFrom(from tiers.Objects) bool {
	return b.bucket.CanCopyFrom(from.(*readBucket).bucket)
}

func (b *readBucket) CopyFrom(ctx context.Context, from tiers.Objects, src, key string, size int64) error {
	return b.bucket.CopyFrom(ctx, from.(*readBucket).bucket, src, key, size)
}

// meanwhile is what happens once in the middle of a check: what is made ready before it, and
// what is done then. Each time it is given another number.
type meanwhile struct {
	name    string
	prepare func(c *checked, i int)
	do      func(c *checked, i int) error
}

func (c *checked) wideBody(i int) []byte {
	return image(c.layer, nil, fmt.Sprintf("application/x.%d", i), append(layersOf(60), c.layer)...)
}

func (c *checked) smallBody(i int) []byte {
	return image(c.layer, nil, fmt.Sprintf("application/y.%d", i), c.layer)
}

func push(c *checked, tag string, body []byte) error {
	_, err := c.dev.PutManifest(c.t.Context(), tag, "", "", body)
	return err
}

var inTheMiddle = []meanwhile{
	{"push", nil, func(c *checked, i int) error {
		data := bytesOf(uint64(1000+i), 30)
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: 30}
		if err := c.dev.Push(c.t.Context(), desc, stream(data)); err != nil {
			return err
		}
		return push(c, "new", image(desc, nil, "", desc))
	}},
	{"push wide", nil, func(c *checked, i int) error { return push(c, "wide", c.wideBody(i)) }},
	{"delete", func(c *checked, i int) { c.manifest(c.dev, "old", c.smallBody(i)) }, func(c *checked, i int) error {
		return c.dev.DeleteManifest(c.t.Context(), digest.FromBytes(c.smallBody(i)))
	}},
	{"delete a referrer and its blob", func(c *checked, i int) {
		config := c.blob(c.dev, bytesOf(uint64(3000+i), 20))
		c.manifest(c.dev, "", image(config, &c.lonely, "application/x.note"))
	}, func(c *checked, i int) error {
		data := bytesOf(uint64(3000+i), 20)
		config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: 20}
		if err := c.dev.DeleteManifest(c.t.Context(), digest.FromBytes(image(config, &c.lonely, "application/x.note"))); err != nil {
			return err
		}
		return c.dev.DeleteBlob(c.t.Context(), config.Digest)
	}},
	{"move a tag", nil, func(c *checked, i int) error {
		return c.dev.Tag(c.t.Context(), []ocispec.Descriptor{c.lonely, c.a.root}[i%2], "moving")
	}},
	{"end an upload", func(c *checked, i int) { c.begin(i) }, func(c *checked, i int) error {
		return c.upload.Finish(c.t.Context(), bytes.NewReader([]byte("end")), -1, 3, digest.FromBytes(append(bytesOf(uint64(i), tiers.PartMin+9), "end"...)))
	}},
	{"cancel an upload", func(c *checked, i int) { c.begin(i) }, func(c *checked, i int) error { return c.upload.Cancel(c.t.Context()) }},
	{"commit an arrival", func(c *checked, i int) { c.arriving(i) }, func(c *checked, i int) error {
		id := fmt.Sprintf("q%d.1", i)
		if err := c.commit(id, c.b, "b"); err != nil {
			return err
		}
		return c.stable.Arrival(id).Finish(c.t.Context())
	}},
	{"roll an arrival back", func(c *checked, i int) { c.arriving(i) }, func(c *checked, i int) error {
		return c.stable.Arrival(fmt.Sprintf("q%d.1", i)).Rollback(c.t.Context())
	}},
	{"let go by retention", func(c *checked, i int) {
		config := c.blob(c.dev, bytesOf(uint64(7000+i), 20))
		child := c.manifest(c.dev, "", image(config, nil, "", config))
		root := c.manifest(c.dev, "going", index(child))
		c.manifest(c.dev, "", image(config, &root, "application/x.note"))
		c.later.Add(int64(dayAgo.Abs()))
		c.release()
	}, func(c *checked, i int) error {
		done, err := c.Retain(c.t.Context(), tiers.RetainOptions{}, nil)
		if err == nil && done.Manifests != 3 {
			err = fmt.Errorf("retention let %d manifests go, not 3: %v", done.Manifests, done.Problems)
		}
		return err
	}},
	{"collect", func(c *checked, i int) {
		c.blob(c.dev, bytesOf(uint64(5000+i), 10))
		c.release()
		if err := c.dev.DeleteBlob(c.t.Context(), digest.FromBytes(bytesOf(uint64(5000+i), 10))); err != nil {
			c.t.Fatal(err)
		}
	}, func(c *checked, _ int) error { return c.collect() }},
}

// begin opens an upload session with a part and more.
func (c *checked) begin(i int) {
	c.t.Helper()
	var err error
	if c.upload, err = c.dev.StartUpload(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	data := bytesOf(uint64(i), tiers.PartMin+9)
	for _, part := range [][]byte{data[:tiers.PartMin], data[tiers.PartMin:]} {
		if err := c.upload.Append(c.t.Context(), stream(part), -1, int64(len(part))); err != nil {
			c.t.Fatal(err)
		}
	}
}

// arriving stages an artifact that nobody has seen in stable.
func (c *checked) arriving(i int) {
	c.t.Helper()
	c.b = c.artifact(1, fmt.Sprintf("b%d", i))
	if err := c.stage(fmt.Sprintf("q%d.1", i), c.b); err != nil {
		c.t.Fatal(err)
	}
}

// collect condemns what nothing needs any more, and deletes it.
func (c *checked) collect() error {
	for range 2 {
		c.later.Add(int64(dayAgo.Abs()))
		if _, err := c.Collect(c.t.Context(), tiers.CollectOptions{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// everyMoment is 1 for all moments of a check, which takes minutes.
var everyMoment = flag.Int("every-moment", 29, "of so many moments of a check, one has something happen at it")

// Whatever happens at whatever moment of a check: a sound registry has no findings, and a
// repair changes nothing.
func TestCheckInterleaved(t *testing.T) {
	t.Parallel()
	for k, m := range inTheMiddle {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var reads moments
			c := newChecked(t, func(config *tiers.Config) {
				for i := range config.Tiers {
					config.Tiers[i].Bucket = &readBucket{config.Tiers[i].Bucket.(*bucket), &reads}
				}
				config.Tiers[0].Limits.Quotas = []tiers.Quota{{Prefix: "acme", Bytes: 1 << 40}}
				config.Tiers[0].Retention.Rules = []tiers.RetentionRule{{Tags: []string{"going"}, KeepFor: time.Hour}}
			})
			c.pushLayers(60)
			c.release()
			c.catalog.onGet(func([]string) { reads.read() })
			c.catalog.onList(func(tiers.Query) { reads.read() })
			check := func(n int) tiers.Checked {
				return c.check(tiers.CheckOptions{ReadData: true, Repair: n%2 == 0, Arrivals: func(context.Context, string) (tiers.ArrivalState, error) {
					return tiers.ArrivalState{Open: true}, nil
				}})
			}
			reads.arm(0, func() {})
			check(0)
			all := reads.n // what happens adds some, time and again
			for n := 1 + 7*k%*everyMoment; n <= all; n += *everyMoment {
				if m.prepare != nil {
					m.prepare(c, n)
				}
				reads.arm(n, func() {
					// In the middle of what the check does to a quota, others wait for their turn until
					// they are refused; here it is the check that waits for them.
					if err := m.do(c, n); err != nil && !errors.Is(err, oci.ErrUnavailable) {
						t.Errorf("meanwhile, at read %d of %d: %v", n, all, err)
					}
				})
				found := check(n)
				reads.arm(0, nil) // a check that read less than the first has not come to it, and nothing else shall
				for _, f := range found.Findings {
					t.Errorf("at read %d of %d: %s", n, all, tiers.Encode(f))
				}
				if t.Failed() {
					return
				}
			}
			if all < 50 {
				t.Errorf("a check read %d times", all)
			}
		})
	}
}

package failpoint

import (
	"bytes"
	"context"
	"io"

	"sluice.dev/sluice/tiers"
)

// lateSize is up to what size in bytes a body is kept for a Put that is applied late.
const lateSize = 1 << 20

// bucket has points around every call of a bucket. Presign and Identity are no calls that
// change anything and have none.
type bucket struct {
	tiers.Bucket
	points *Points
}

// plain is the bucket behind the points: an adapter knows its like only as it made it.
func plain(o tiers.Objects) tiers.Objects {
	if b, ok := o.(*bucket); ok {
		return b.Bucket
	}
	return o
}

func (b *bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	name := "s3.put@" + activity()
	memory, ok := r.(*bytes.Reader)
	if !ok || size > lateSize {
		body := b.points.halfway(name, r, size)
		return b.points.around(name, func() error { return b.Bucket.Put(ctx, key, body, size) }, nil)
	}
	content := make([]byte, memory.Len())
	n, _ := memory.ReadAt(content, memory.Size()-int64(memory.Len())) // of what is in memory
	content = content[:n]
	return b.points.around(name, func() error { return b.Bucket.Put(ctx, key, memory, size) }, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), laterTimeout)
		defer cancel()
		_ = b.Bucket.Put(ctx, key, bytes.NewReader(content), size) // nobody waits for the answer
	})
}

func (b *bucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	name := "s3.open@" + activity()
	if b.points.pass(name+"/before", false) == isLost {
		return nil, lost(name)
	}
	rc, err := b.Bucket.Open(ctx, key, offset, length)
	if err == nil {
		b.points.pass(name+"/after", false) // a read that was made cannot be lost
	}
	return rc, err
}

func (b *bucket) Stat(ctx context.Context, key string) (info tiers.ObjectInfo, err error) {
	err = b.points.around("s3.stat@"+activity(), func() (err error) {
		info, err = b.Bucket.Stat(ctx, key)
		return err
	}, nil)
	return info, err
}

// List and Uploads have, as all reads, no passage behind them.
func (b *bucket) List(ctx context.Context, prefix, after string, n int) ([]tiers.ObjectEntry, error) {
	if name := "s3.list@" + activity(); b.points.pass(name+"/before", false) == isLost {
		return nil, lost(name)
	}
	return b.Bucket.List(ctx, prefix, after, n)
}

func (b *bucket) Uploads(ctx context.Context, prefix, after string, n int) ([]tiers.OpenUpload, error) {
	if name := "s3.uploads@" + activity(); b.points.pass(name+"/before", false) == isLost {
		return nil, lost(name)
	}
	return b.Bucket.Uploads(ctx, prefix, after, n)
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	return b.points.around("s3.delete@"+activity(), func() error { return b.Bucket.Delete(ctx, key) }, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), laterTimeout)
		defer cancel()
		_ = b.Bucket.Delete(ctx, key) // nobody waits for the answer
	})
}

func (b *bucket) Begin(ctx context.Context, key string) (id string, err error) {
	err = b.points.around("s3.begin@"+activity(), func() (err error) {
		id, err = b.Bucket.Begin(ctx, key)
		return err
	}, nil)
	if err != nil {
		id = ""
	}
	return id, err
}

func (b *bucket) PutPart(ctx context.Context, key, id string, number int, r io.Reader, size int64) (part tiers.Part, err error) {
	name := "s3.part@" + activity()
	body := r
	if _, ok := r.(*bytes.Reader); !ok {
		body = b.points.halfway(name, r, size)
	}
	err = b.points.around(name, func() (err error) {
		part, err = b.Bucket.PutPart(ctx, key, id, number, body, size)
		return err
	}, nil)
	return part, err
}

func (b *bucket) Complete(ctx context.Context, key, id string, parts []tiers.Part) error {
	return b.points.around("s3.complete@"+activity(), func() error { return b.Bucket.Complete(ctx, key, id, parts) }, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), laterTimeout)
		defer cancel()
		_ = b.Bucket.Complete(ctx, key, id, parts) // nobody waits for the answer
	})
}

func (b *bucket) Abort(ctx context.Context, key, id string) error {
	return b.points.around("s3.abort@"+activity(), func() error { return b.Bucket.Abort(ctx, key, id) }, nil)
}

func (b *bucket) CanCopyFrom(from tiers.Objects) bool { return b.Bucket.CanCopyFrom(plain(from)) }

func (b *bucket) CopyFrom(ctx context.Context, from tiers.Objects, source, key string, size int64) error {
	return b.points.around("s3.copy@"+activity(), func() error { return b.Bucket.CopyFrom(ctx, plain(from), source, key, size) }, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), laterTimeout)
		defer cancel()
		_ = b.Bucket.CopyFrom(ctx, plain(from), source, key, size) // nobody waits for the answer
	})
}

// halfway has a passage where half of a streamed body has been read.
func (p *Points) halfway(name string, r io.Reader, size int64) io.Reader {
	return &halfway{r: r, left: size / 2, pass: func() { p.pass(name+"/during", false) }}
}

type halfway struct {
	r    io.Reader
	left int64
	pass func() // nil: done
}

// Read reads on.
func (h *halfway) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.left -= int64(n); h.left <= 0 && h.pass != nil {
		h.pass()
		h.pass = nil
	}
	return n, err
}

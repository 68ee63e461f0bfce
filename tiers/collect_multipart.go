package tiers

import (
	"context"
	"errors"
	"fmt"
)

// sweepMultiparts aborts the multipart uploads that nothing names: of sessions that are over,
// and of copies that were given up. One that was begun has a session or an intent that names
// its key, from before its beginning, and it is listed before these are read.
func (c *collector) sweepMultiparts(ctx context.Context, p *place) error {
	alone := c.alone(ctx, p.bucket)
	if alone != nil && !errors.Is(alone, errForeign) {
		return alone
	}
	for after, more := "", true; more; {
		page, err := p.bucket.Uploads(ctx, prefixObjects, after, MaxObjects)
		if err != nil {
			return err
		}
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		if err := c.abortPage(ctx, p, page, alone); err != nil {
			return err
		}
		if more = len(page) == MaxObjects; more {
			after = page[len(page)-1].Key
		}
		c.tell()
	}
	return nil
}

// abortPage aborts what is old in a page and has no name.
func (c *collector) abortPage(ctx context.Context, p *place, page []OpenUpload, alone error) error {
	w := &window{}
	for _, u := range page {
		id, ok := objectID(u.Key)
		if !ok {
			c.problem(p.store, u.Key, "the registry makes no such key: whoever began the multipart upload has to say what it is for")
		} else if c.isOld(u.StartedAt, id) {
			w.add(id)
		}
	}
	w.seal()
	if w.left == 0 {
		return nil
	}
	if err := errors.Join(c.strikeUploads(ctx, p, w), c.strikeIntents(ctx, p, w)); err != nil {
		return err
	}
	if why := w.doubt(alone); w.left > 0 && why != nil {
		c.problem(p.store, "", fmt.Sprintf("%d multipart uploads have no name and stay: %v", w.left, why))
		return nil
	}
	for _, u := range page {
		if !w.isStray(u.Key) {
			continue
		}
		if !c.options.DryRun {
			if err := p.bucket.Abort(ctx, u.Key, u.ID); err != nil {
				c.problem(p.store, u.Key, "multipart upload "+u.ID+" stays for the next collection: "+err.Error())
				continue
			}
		}
		c.gone(CollectItem{Store: p.store, Key: u.Key, Why: "multipart upload " + u.ID + ", begun at " + stamp(u.StartedAt) + ", has no name"})
	}
	return ctx.Err()
}

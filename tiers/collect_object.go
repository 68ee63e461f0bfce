package tiers

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// deletions is how many objects are deleted at once.
const deletions = 8

// deletePage is how many condemned objects are dealt with before their records go.
const deletePage = 1000

// condemnedObject is an object whose time has come.
type condemnedObject struct {
	record Record
	key    string
	condemnedRecord
}

// sweepObjects deletes condemned objects whose drain has passed, and then their records. Of
// a crash in between a record stays, and the next collection deletes once more. Keys are
// never used twice, so however late a deletion comes, it hits nothing else.
func (c *collector) sweepObjects(ctx context.Context, p *place) error {
	prefix := storePrefix(p.store, "condemned")
	return c.pages(ctx, Query{Prefix: prefix, Limit: deletePage}, func(page []Record) error {
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		due := c.dueObjects(p, prefix, page)
		due, err := c.nameless(ctx, p, due)
		if err != nil {
			return err
		}
		if !c.options.DryRun {
			if due, err = c.deleteObjects(ctx, p, due); err != nil {
				return err
			}
		}
		forgotten := make([]clearing, len(due))
		for i, o := range due {
			forgotten[i] = clearing{change: Change{If: []Condition{Unchanged(o.record)}, Delete: []string{o.record.Key}},
				item: CollectItem{Store: p.store, Key: o.key, Digest: o.Digest, Size: o.Size, Why: "condemned at " + stamp(o.At) + ": " + o.Why}}
		}
		return c.remove(ctx, forgotten, nil)
	})
}

// dueObjects picks what has been condemned for longer than it drains.
func (c *collector) dueObjects(p *place, prefix string, page []Record) []condemnedObject {
	var due []condemnedObject
	for _, record := range page {
		condemned, err := Decode[condemnedRecord](record)
		key := strings.TrimPrefix(record.Key, prefix)
		switch {
		case err != nil:
			c.problem(p.store, record.Key, err.Error())
		case !isObject(key):
			c.problem(p.store, record.Key, "it names no object of this registry's making")
		case c.Now().Sub(condemned.At) > c.collection.Drain:
			due = append(due, condemnedObject{record: record, key: key, condemnedRecord: condemned})
		}
	}
	return due
}

// nameless leaves out what a blob names after all: that must never be, and if it is, the
// bytes must stay.
func (c *collector) nameless(ctx context.Context, p *place, due []condemnedObject) ([]condemnedObject, error) {
	keys := make([]string, 0, len(due))
	for _, o := range due {
		if o.Digest != "" {
			keys = append(keys, blobKey(p.store, o.Digest))
		}
	}
	records, err := c.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	left := due[:0]
	for _, o := range due {
		if o.Digest != "" {
			blob := records[0]
			records = records[1:]
			if named, err := names(blob, o.key); err != nil {
				c.problem(p.store, o.record.Key, "the object stays, because it may be where a blob lies: "+err.Error())
				continue
			} else if named {
				c.problem(p.store, o.record.Key, fmt.Sprintf("the object is condemned, and the blob %s lies there: it stays; check the registry", o.Digest))
				continue
			}
		}
		left = append(left, o)
	}
	return left, nil
}

// deleteObjects deletes objects, some at once, and returns those that are gone.
func (c *collector) deleteObjects(ctx context.Context, p *place, due []condemnedObject) ([]condemnedObject, error) {
	var mu sync.Mutex
	var deleted []condemnedObject
	var group errgroup.Group
	group.SetLimit(deletions)
	for _, o := range due {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			err := p.bucket.Delete(ctx, o.key)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.problem(p.store, o.key, "it stays for the next collection: "+err.Error())
				return nil
			}
			deleted = append(deleted, o)
			return nil
		})
	}
	_ = group.Wait() // what could not be deleted is a problem of its own
	return deleted, ctx.Err()
}

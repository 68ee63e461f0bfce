package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// strayWindow is how many objects a search for strays remembers at once, 17 bytes each: for
// so many the names in the catalog are read once.
const strayWindow = 1_000_000

// sweepStrays condemns objects that nothing names. Every object has a name before its first
// byte and until it is deleted, first an intent or a session, then a blob, then the record
// that it is condemned. So objects are listed first, and the names read behind that in this
// order: what moves from one to the next meanwhile is seen at one of them. Only what is old
// by the store's clock and by the time in its key is looked at.
//
// In a bucket that another catalog uses too, strays are reported and stay.
func (c *collector) sweepStrays(ctx context.Context, p *place) error {
	alone := c.alone(ctx, p.bucket)
	if alone != nil && !errors.Is(alone, errForeign) {
		return alone
	}
	for after, more := "", true; more; {
		w := &window{after: after}
		var err error
		if more, err = c.fill(ctx, p, w); err != nil {
			return err
		}
		if err := c.strikeNames(ctx, p, w); err != nil {
			return err
		}
		if err := c.condemnStrays(ctx, p, w, alone); err != nil {
			return err
		}
		after = w.last
	}
	return nil
}

// window is a run of objects of a bucket, in which the catalog's names are struck out.
type window struct {
	after, last string      // the keys of the run lie behind the one and not behind the other
	ids         []ulid.ULID // of those old enough, in order
	named       []bool
	left        int  // how many are not named
	blind       bool // a record that may name any of them could not be read
}

// add takes up an object, in any order.
func (w *window) add(id ulid.ULID) { w.ids = append(w.ids, id) }

// seal ends the taking up. An id that stands twice, as of two multipart uploads of one
// object, stands once from then on.
func (w *window) seal() {
	slices.SortFunc(w.ids, ulid.ULID.Compare)
	w.ids = slices.Compact(w.ids)
	w.named, w.left = make([]bool, len(w.ids)), len(w.ids)
}

// strike notes that something names the object.
func (w *window) strike(key string) {
	if id, ok := objectID(key); ok {
		if i, ok := slices.BinarySearchFunc(w.ids, id, ulid.ULID.Compare); ok && !w.named[i] {
			w.named[i] = true
			w.left--
		}
	}
}

// doubt says why what is left may have a name all the same; alone is what speaks against the
// bucket's being this catalog's alone.
func (w *window) doubt(alone error) error {
	if w.blind {
		return errBlind
	}
	return alone
}

// errBlind says that a record of the catalog could not be read.
var errBlind = errors.New("a record that may name them could not be read: check the registry")

// isStray says whether nothing names an object of the run.
func (w *window) isStray(key string) bool {
	id, ok := objectID(key)
	if !ok {
		return false
	}
	i, ok := slices.BinarySearchFunc(w.ids, id, ulid.ULID.Compare)
	return ok && !w.named[i]
}

// fill lists the next objects and says whether there are more.
func (c *collector) fill(ctx context.Context, p *place, w *window) (more bool, err error) {
	w.last = w.after
	for len(w.ids) < c.window {
		page, err := p.bucket.List(ctx, prefixObjects, w.last, MaxObjects)
		if err != nil {
			return false, err
		}
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		for _, o := range page {
			w.last = o.Key
			id, ok := objectID(o.Key)
			if !ok {
				c.problem(p.store, o.Key, "the registry makes no such key: whoever put the object there has to say what it is for")
			} else if c.isOld(o.ModifiedAt, id) {
				w.add(id)
			}
		}
		c.tell()
		if more = len(page) == MaxObjects; !more {
			break
		}
	}
	w.seal()
	return more, nil
}

// isOld says whether something is older than a stray must be, by both its times.
func (c *collector) isOld(at time.Time, id ulid.ULID) bool {
	return c.began.Sub(at) > c.collection.Stray && c.began.Sub(ulid.Time(id.Time())) > c.collection.Stray
}

// strikeNames strikes out what the catalog names.
func (c *collector) strikeNames(ctx context.Context, p *place, w *window) error {
	for _, strike := range []func(context.Context, *place, *window) error{c.strikeUploads, c.strikeIntents, c.strikeBlobs, c.strikeCondemned} {
		if w.left == 0 {
			return nil
		}
		if err := strike(ctx, p, w); err != nil {
			return err
		}
	}
	return nil
}

// strikeUploads strikes out what sessions name, of whatever tier.
func (c *collector) strikeUploads(ctx context.Context, _ *place, w *window) error {
	return c.pages(ctx, Query{Prefix: prefixUpload, Limit: uploadPage}, func(page []Record) error {
		for _, record := range page {
			state, err := Decode[uploadRecord](record)
			if err != nil {
				w.blind = true
				c.problem("", record.Key, err.Error())
				continue
			}
			for _, key := range state.objects() {
				w.strike(key)
			}
		}
		return nil
	})
}

func (c *collector) strikeBlobs(ctx context.Context, p *place, w *window) error {
	return c.pages(ctx, Query{Prefix: storePrefix(p.store, "blob"), Limit: collectPage}, func(page []Record) error {
		for _, record := range page {
			b, err := Decode[blobRecord](record)
			if err != nil {
				w.blind = true
				c.problem(p.store, record.Key, err.Error())
				continue
			}
			w.strike(b.Key)
		}
		return nil
	})
}

func (c *collector) strikeIntents(ctx context.Context, p *place, w *window) error {
	return c.strikeKeys(ctx, storePrefix(p.store, "intent"), w)
}

func (c *collector) strikeCondemned(ctx context.Context, p *place, w *window) error {
	return c.strikeKeys(ctx, storePrefix(p.store, "condemned"), w)
}

// strikeKeys strikes out the objects that the keys of records end in.
func (c *collector) strikeKeys(ctx context.Context, prefix string, w *window) error {
	return c.pages(ctx, Query{Prefix: prefix, Limit: collectPage, KeysOnly: true}, func(page []Record) error {
		for _, record := range page {
			w.strike(strings.TrimPrefix(record.Key, prefix))
		}
		return nil
	})
}

// condemnStrays lists the run once more, where something is left in it.
func (c *collector) condemnStrays(ctx context.Context, p *place, w *window, alone error) error {
	if w.left == 0 {
		return nil
	}
	if why := w.doubt(alone); why != nil {
		c.problem(p.store, "", fmt.Sprintf("%d objects have no name and stay: %v", w.left, why))
		return nil
	}
	for after := w.after; after < w.last; {
		page, err := p.bucket.List(ctx, prefixObjects, after, MaxObjects)
		if err != nil || len(page) == 0 {
			return err
		}
		page = slices.DeleteFunc(page, func(o ObjectEntry) bool {
			after = max(after, o.Key)
			return o.Key > w.last || !w.isStray(o.Key)
		})
		strays, err := c.strays(ctx, p, page)
		if err != nil {
			return err
		}
		if err := c.remove(ctx, strays, nil); err != nil {
			return err
		}
	}
	return nil
}

// strays makes the changes that condemn strays, if a second look finds no name for them.
func (c *collector) strays(ctx context.Context, p *place, objects []ObjectEntry) ([]clearing, error) {
	var digests []string
	for _, o := range objects {
		if d := objectDigest(o.Key); d != "" {
			digests = append(digests, blobKey(p.store, d))
		}
	}
	records, err := c.catalog.Get(ctx, digests...)
	if err != nil {
		return nil, err
	}
	var strays []clearing
	for _, o := range objects {
		d := objectDigest(o.Key)
		change := Change{If: []Condition{Absent(intentKey(p.store, o.Key)), Absent(condemnedKey(p.store, o.Key))}}
		if d != "" {
			record := records[0]
			records = records[1:]
			if named, err := names(record, o.Key); err != nil {
				c.problem(p.store, o.Key, "it seemed to have no name and may have one: "+err.Error())
				continue
			} else if named {
				c.problem(p.store, o.Key, "it seemed to have no name and has one: "+record.Key)
				continue
			}
			change.If = append(change.If, Unchanged(record))
		}
		why := "nothing names it; it was written at " + stamp(o.ModifiedAt)
		change.Put = []Put{c.condemn(p.store, o.Key, d, o.Size, why)}
		strays = append(strays, clearing{change: change, item: CollectItem{Store: p.store, Key: o.Key, Digest: d, Size: o.Size, Why: why}})
	}
	return strays, nil
}

// names says whether the record of a blob, if there is one, is of bytes in the object.
func names(record Record, object string) (bool, error) {
	if record.Revision == 0 {
		return false, nil
	}
	b, err := Decode[blobRecord](record)
	return b.Key == object, err
}

package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// checkWindow is how many objects are compared with the catalog at once. A bucket with
// more is gone through in windows, and for each all names of objects are read: memory is
// bounded, and what it costs is a reading of the catalog's names for every window.
const checkWindow = 200_000

// Who names an object.
const (
	namedByBlob = 1 << iota
	namedByIntent
	namedByUpload
	namedByDoom
)

// inBucket is an object of a window.
type inBucket struct {
	size     int64
	modified time.Time
	names    uint8
	blob     digest.Digest // one that names it
}

// bucketWindow is a range of the keys of a bucket, with all objects in it.
type bucketWindow struct {
	c       *Checking
	store   *checkStore
	first   bool   // the records that name objects are looked at themselves, too
	after   string // keys behind this one
	upTo    string // and up to this one; empty: all the rest
	objects map[string]*inBucket
}

// checkObjects compares a bucket with the records that name its objects.
//
// The objects are listed first. Then their names are read in the order in which an object
// passes from one to the next: uploads and intents, blobs, and what is about to be deleted.
// So an object that moves while that is read is seen under one name at the least, and one
// that is still there in the end without any has none.
func (c *Checking) checkObjects(ctx context.Context, s *checkStore) error {
	foreign, err := c.foreign(ctx, s)
	if err != nil {
		return err
	}
	w := &bucketWindow{c: c, store: s, first: true}
	for {
		if err := w.list(ctx); err != nil {
			return err
		}
		for _, read := range []func(context.Context) error{w.uploads, w.intents, w.blobs, w.condemned} {
			if err := read(ctx); err != nil {
				return err
			}
		}
		if err := w.strays(ctx, foreign); err != nil {
			return err
		}
		if w.upTo == "" {
			return c.checkOpenUploads(ctx, s, foreign)
		}
		w.after, w.first = w.upTo, false
	}
}

// list reads the objects of the window.
func (w *bucketWindow) list(ctx context.Context) error {
	w.objects, w.upTo = map[string]*inBucket{}, ""
	for after := w.after; ; {
		var page []ObjectEntry
		err := w.c.patiently(ctx, func() (err error) {
			page, err = w.store.bucket().List(ctx, prefixObjects, after, MaxObjects)
			return err
		})
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		for _, o := range page {
			w.objects[o.Key] = &inBucket{size: o.Size, modified: o.ModifiedAt}
			after = o.Key
		}
		w.c.report.add(func(now *Checked) { now.Objects += int64(len(page)) })
		if len(page) < MaxObjects {
			return nil
		}
		if len(w.objects) >= checkWindow {
			w.upTo = after
			return nil
		}
	}
}

// records walks a family that names objects; it is counted once.
func (w *bucketWindow) records(ctx context.Context, family, prefix string, each func(page []Record) error) error {
	if w.first {
		return w.c.Records(ctx, family, prefix, each)
	}
	return w.c.Walk(ctx, Query{Prefix: prefix}, each)
}

// name notes who names an object; nil where it is not in the window, or was not listed.
func (w *bucketWindow) name(key string, by uint8) *inBucket {
	o := w.objects[key]
	if o != nil {
		o.names |= by
	}
	return o
}

func (w *bucketWindow) uploads(ctx context.Context) error {
	return w.c.Walk(ctx, Query{Prefix: prefixUpload}, func(page []Record) error {
		for _, record := range page {
			u, err := Decode[uploadRecord](record)
			if err != nil { // reported by checkUploads
				w.store.uncertain = true
				continue
			}
			for _, key := range u.unrecorded() {
				w.name(key, namedByUpload)
			}
		}
		return nil
	})
}

// unrecorded are the keys of the objects that the session names and has not made blobs.
func (u uploadRecord) unrecorded() []string {
	keys := append([]string{u.NextTail}, u.Old...)
	if u.Tail != nil {
		keys = append(keys, u.Tail.Key)
	}
	if u.Done == "" {
		keys = append(keys, u.Key)
	}
	return keys
}

func (w *bucketWindow) intents(ctx context.Context) error {
	prefix := intentKey(w.store.id, "")
	return w.records(ctx, "intents", prefix, func(page []Record) error {
		for _, record := range page {
			key := strings.TrimPrefix(record.Key, prefix)
			w.name(key, namedByIntent)
			if !w.first {
				continue
			}
			about := Finding{Invariant: "I8", Store: w.store.id, Remedy: "sluice gc   # takes what was announced and not recorded"}
			intent, ok, err := CheckRecord[intentRecord](ctx, w.c, record, about, nil)
			if err != nil {
				return err
			}
			if age := w.c.registry.Now().Sub(intent.StartedAt); !ok || age < w.c.registry.collection.Intent {
				continue
			}
			about.Kind, about.Severity, about.Key = KindIntentExpired, Info, record.Key
			about.Message = fmt.Sprintf("the object %s was announced for a %s at %s and never recorded: whoever wrote it was cut off",
				key, intent.For, intent.StartedAt.Format(time.RFC3339))
			if err := w.c.Found(ctx, about, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *bucketWindow) blobs(ctx context.Context) error {
	prefix := blobKey(w.store.id, "")
	return w.records(ctx, "blobs", prefix, func(page []Record) error {
		return w.c.each(ctx, page, func(ctx context.Context, record Record) error {
			return w.blob(ctx, record, digest.Digest(strings.TrimPrefix(record.Key, prefix)))
		})
	})
}

// blob compares a blob's record with its object and with the object's other names.
func (w *bucketWindow) blob(ctx context.Context, record Record, d digest.Digest) error {
	about := Finding{Invariant: "I1", Store: w.store.id, Digest: d}
	b, ok, err := CheckRecord(ctx, w.c, record, about, func(b blobRecord) error {
		if _, err := oci.ParseDigest(d.String()); err != nil {
			return errKey
		}
		return saneBlob(b)
	})
	if err != nil || !ok {
		w.c.mu.Lock()
		defer w.c.mu.Unlock()
		w.store.uncertain = true
		return err
	}
	if w.first {
		w.c.report.add(func(now *Checked) { now.Bytes += b.Size })
	}
	if b.Key <= w.after || w.upTo != "" && b.Key > w.upTo {
		return nil // of another window
	}
	o, there := w.taken(b.Key, d)
	switch {
	case !there || o.size != b.Size:
		_, err := w.c.checkObject(ctx, w.store, d)
		return err
	case o.blob != "" && o.blob != d: // else it was changed while it was read, and so read twice
		return w.c.checkShared(ctx, w.store, d, o.blob)
	case o.names&(namedByIntent|namedByUpload) != 0:
		return w.c.checkDoomed(ctx, w.store, d)
	}
	return nil
}

// taken notes that a blob names an object, and says how that was known before.
func (w *bucketWindow) taken(key string, d digest.Digest) (before inBucket, there bool) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	o := w.name(key, namedByBlob)
	if o == nil {
		return inBucket{}, false
	}
	if before = *o; o.blob == "" {
		o.blob = d
	}
	return before, true
}

func (w *bucketWindow) condemned(ctx context.Context) error {
	prefix := condemnedKey(w.store.id, "")
	return w.records(ctx, "condemned", prefix, func(page []Record) error {
		for _, record := range page {
			if w.first {
				about := Finding{Invariant: "I8", Store: w.store.id}
				if _, _, err := CheckRecord[condemnedRecord](ctx, w.c, record, about, nil); err != nil {
					return err
				}
			}
			if o := w.name(strings.TrimPrefix(record.Key, prefix), namedByDoom); o != nil && o.blob != "" {
				if err := w.c.checkDoomed(ctx, w.store, o.blob); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// checkObject asks the store for the object of a blob, between two reads of its record.
// right says that it is there, as long as it should be.
func (c *Checking) checkObject(ctx context.Context, s *checkStore, d digest.Digest) (right bool, err error) {
	for range checkTries {
		before, b, err := c.blob(ctx, s, d)
		if err != nil || before.Revision == 0 {
			return false, err
		}
		info, statErr := c.stat(ctx, s, b.Key)
		after, now, err := c.blob(ctx, s, d)
		if err != nil || after.Revision == 0 {
			return false, err
		}
		if now.Key != b.Key {
			continue
		}
		f := Finding{Store: s.id, Key: b.Key, Digest: d, Severity: Danger}
		switch {
		case statErr == nil && info.Size == now.Size:
			return true, nil
		case statErr == nil:
			f.Invariant, f.Kind = "I1", KindObjectSize
			f.Message = fmt.Sprintf("the object has %d bytes, the blob's record says %d", info.Size, now.Size)
		case errors.Is(statErr, oci.ErrObjectUnknown):
			f.Invariant, f.Kind = "I3", KindObjectMissing
			f.Message = "the object is not in the bucket"
		default:
			return false, c.unreadable(ctx, f, statErr)
		}
		return false, c.foundLost(ctx, s, f, after)
	}
	return false, nil // it moves all the time: somebody is at it
}

// blob reads the record of a blob; Revision 0 where there is none that can be read.
func (c *Checking) blob(ctx context.Context, s *checkStore, d digest.Digest) (Record, blobRecord, error) {
	records, err := c.Get(ctx, blobKey(s.id, d))
	if err != nil || records[0].Revision == 0 {
		return Record{}, blobRecord{}, err
	}
	b, err := Decode[blobRecord](records[0])
	if err != nil || saneBlob(b) != nil {
		return Record{}, b, nil // reported where the family is read
	}
	return records[0], b, nil
}

// stat asks twice before it believes that an object is not there.
func (c *Checking) stat(ctx context.Context, s *checkStore, key string) (info ObjectInfo, err error) {
	for range 2 {
		err = c.patiently(ctx, func() (err error) {
			info, err = s.bucket().Stat(ctx, key)
			return err
		})
		if err == nil || !errors.Is(err, oci.ErrObjectUnknown) {
			return info, err
		}
	}
	return info, err
}

// unreadable reports an object that the store does not give. Where it gives none at all
// the check ends.
func (c *Checking) unreadable(ctx context.Context, f Finding, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.mu.Lock()
	c.silent++
	silent := c.silent
	c.mu.Unlock()
	if silent > checkSilent {
		return err
	}
	f.Invariant, f.Kind, f.Severity = "I1", KindObjectUnreadable, Fault
	f.Message = "the store does not give the object: " + shortened(err.Error())
	f.Remedy = "see what the store's own log says, and check again"
	return c.Found(ctx, f, nil)
}

// heard says that the store gave what it was asked for.
func (c *Checking) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = 0
}

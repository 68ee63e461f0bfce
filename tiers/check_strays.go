package tiers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// foreign says whether another catalog has left its mark in the bucket, and reports it: what
// has no name here may have one there.
func (c *Checking) foreign(ctx context.Context, s *checkStore) (bool, error) {
	records, err := c.Get(ctx, catalogIDKey)
	if err != nil {
		return false, err
	}
	own := ""
	if records[0].Revision != 0 {
		if own, err = Decode[string](records[0]); err != nil {
			s.uncertain = true
			_, _, err := CheckRecord[string](ctx, c, records[0], Finding{Invariant: "I8"}, nil)
			return true, err
		}
	}
	var marks []ObjectEntry
	err = c.patiently(ctx, func() (err error) {
		marks, err = s.bucket().List(ctx, prefixMark, "", MaxObjects)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("list the catalogs of the bucket: %w", err)
	}
	foreign := false
	for _, mark := range marks {
		if id, _, _ := strings.Cut(strings.TrimPrefix(mark.Key, prefixMark), "/"); id == own {
			continue
		}
		foreign = true
		f := Finding{Invariant: "I8", Kind: KindBucketShared, Severity: Info, Store: s.id, Key: mark.Key,
			Message: "another catalog uses the bucket too, or a former one did: objects that have no name here are left alone, for they may have one there",
			Remedy:  "give each catalog a bucket of its own; if the other is gone for good, delete the object " + mark.Key + " from the bucket"}
		if err := c.Found(ctx, f, nil); err != nil {
			return true, err
		}
	}
	return foreign, nil
}

// strays reports the objects of the window that nothing names. Where a record could not be
// read that may name one, nobody knows.
func (w *bucketWindow) strays(ctx context.Context, foreign bool) error {
	if w.store.uncertain {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(w.objects)) {
		if o := w.objects[key]; o.names == 0 {
			if err := w.stray(ctx, key, o, foreign); err != nil {
				return err
			}
		}
	}
	return nil
}

// stray makes sure that an object is still there and was not given a name that can be
// looked up.
func (w *bucketWindow) stray(ctx context.Context, key string, o *inBucket, foreign bool) error {
	c, s := w.c, w.store
	named, err := c.named(ctx, s, key)
	if err != nil || named {
		return err
	}
	if _, err := c.stat(ctx, s, key); errors.Is(err, oci.ErrObjectUnknown) {
		return nil // it went while names were read
	} else if err != nil {
		return c.unreadable(ctx, Finding{Store: s.id, Key: key}, err)
	}
	f := Finding{Invariant: "I8", Kind: KindStrayObject, Severity: Fault, Store: s.id, Key: key,
		Message: fmt.Sprintf("nothing names the object of %d bytes, written at %s", o.size, o.modified.UTC().Format(time.RFC3339)),
		Remedy:  "sluice gc   # takes it once it is a day old"}
	var mend func(context.Context) error
	if foreign {
		f.Severity, f.Remedy = Info, "see what other catalog uses the bucket"
	} else if c.registry.Now().Sub(o.modified) >= c.registry.collection.Stray {
		mend = func(ctx context.Context) error {
			return c.Mend(ctx, f, Change{If: []Condition{Absent(intentKey(s.id, key)), Absent(condemnedKey(s.id, key))},
				Put: []Put{c.registry.condemn(s.id, key, "", o.size, "stray")}})
		}
	}
	return c.Found(ctx, f, mend)
}

// named looks up the names of an object that follow from its key.
func (c *Checking) named(ctx context.Context, s *checkStore, key string) (bool, error) {
	keys := []string{intentKey(s.id, key), condemnedKey(s.id, key)}
	if parts := strings.Split(key, "/"); len(parts) == 4 {
		keys = append(keys, blobKey(s.id, digest.Digest(parts[1]+":"+parts[2])))
	}
	records, err := c.Get(ctx, keys...)
	if err != nil {
		return false, err
	}
	for _, record := range records[:2] {
		if record.Revision != 0 {
			return true, nil
		}
	}
	if len(records) < 3 || records[2].Revision == 0 {
		return false, nil
	}
	b, err := Decode[blobRecord](records[2])
	return err != nil || b.Key == key, nil
}

// checkUploads reads the sessions of uploads.
func (c *Checking) checkUploads(ctx context.Context) error {
	return c.Records(ctx, "uploads", prefixUpload, func(page []Record) error {
		about := Finding{Invariant: "I8", Remedy: "delete the record and let the client upload again: what only it names is then taken as a stray"}
		for _, record := range page {
			_, _, err := CheckRecord(ctx, c, record, about, func(u uploadRecord) error {
				if u.Tier == "" || u.Key == "" && !u.Dropped {
					return errors.New("it names neither tier nor object")
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// checkOpenUploads looks for multipart uploads that nothing names.
func (c *Checking) checkOpenUploads(ctx context.Context, s *checkStore, foreign bool) error {
	for after := ""; ; {
		page, err := c.openUploads(ctx, s, after)
		if err != nil {
			return err
		}
		nameless, err := c.nameless(ctx, s, page)
		if err != nil {
			return err
		}
		if len(nameless) > 0 {
			// One that was just begun is about to be named, or about to be aborted.
			if err := c.Later(ctx, func(ctx context.Context) error { return c.strayUploads(ctx, s, nameless, foreign) }); err != nil {
				return err
			}
		}
		if len(page) < MaxObjects {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

func (c *Checking) openUploads(ctx context.Context, s *checkStore, after string) (page []OpenUpload, err error) {
	err = c.patiently(ctx, func() (err error) {
		page, err = s.bucket().Uploads(ctx, prefixObjects, after, MaxObjects)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list multipart uploads: %w", err)
	}
	return page, nil
}

// nameless are those of the uploads that neither a session nor an intent names.
func (c *Checking) nameless(ctx context.Context, s *checkStore, page []OpenUpload) ([]OpenUpload, error) {
	if len(page) == 0 {
		return nil, nil
	}
	asked, sessions := map[string]bool{}, map[string]string{} // the upload of a key, as sessions name it; empty: not yet
	for _, u := range page {
		asked[u.Key] = true
	}
	err := c.Walk(ctx, Query{Prefix: prefixUpload}, func(records []Record) error {
		for _, record := range records {
			u, err := Decode[uploadRecord](record)
			if err != nil {
				s.uncertain = true
			} else if u.Done == "" && asked[u.Key] {
				sessions[u.Key] = u.S3ID
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var nameless []OpenUpload
	for _, u := range page {
		if id, ok := sessions[u.Key]; ok && (id == "" || id == u.ID) {
			continue
		}
		intent, err := c.Get(ctx, intentKey(s.id, u.Key))
		if err != nil {
			return nil, err
		}
		if intent[0].Revision == 0 {
			nameless = append(nameless, u)
		}
	}
	return nameless, nil
}

// strayUploads looks at uploads again that nothing named, and reports those that are still
// open and still nameless.
func (c *Checking) strayUploads(ctx context.Context, s *checkStore, suspects []OpenUpload, foreign bool) error {
	var open []OpenUpload
	for _, u := range suspects {
		var there []OpenUpload
		err := c.patiently(ctx, func() (err error) {
			there, err = s.bucket().Uploads(ctx, u.Key, "", MaxObjects)
			return err
		})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(there, func(o OpenUpload) bool { return o.Key == u.Key && o.ID == u.ID }) {
			open = append(open, u)
		}
	}
	nameless, err := c.nameless(ctx, s, open)
	if err != nil || s.uncertain {
		return err
	}
	for _, u := range nameless {
		f := Finding{Invariant: "I8", Kind: KindStrayUpload, Severity: Fault, Store: s.id, Key: u.Key,
			Message: fmt.Sprintf("nothing names the multipart upload %s, begun at %s: its parts take room and can become nothing", u.ID, u.StartedAt.UTC().Format(time.RFC3339)),
			Remedy:  "sluice gc   # aborts it once it is a day old"}
		var mend func(context.Context) error
		if foreign {
			f.Severity = Info
		} else if c.registry.Now().Sub(u.StartedAt) >= c.registry.collection.Stray {
			mend = func(ctx context.Context) error {
				if err := s.bucket().Abort(ctx, u.Key, u.ID); err != nil {
					return err
				}
				return c.Mend(ctx, f, Change{})
			}
		}
		if err := c.Found(ctx, f, mend); err != nil {
			return err
		}
	}
	return nil
}

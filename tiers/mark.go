package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
)

// The mark of a catalog. What lies in a bucket and has no name in the catalog is garbage,
// unless another catalog names it. So every catalog has an id, and leaves an object that
// bears it in each bucket it uses, and in a bucket with the mark of another one no stray is
// ever taken away. The key ends in an id of its own: replicas that start at once leave two
// marks rather than write one twice.
const prefixMark = "catalogs/"

// marksMost is how many marks are looked at in one bucket: one is there, and each start of
// several replicas on a new bucket may leave a few more.
const marksMost = 100

// schemaRecord says what the records of the catalog can be relied on for.
type schemaRecord struct {
	// Version 2: every manifest refers to its own bytes.
	Version int `json:"version"`
}

const schemaVersion = 2

// identify reads the id of the catalog; the first replica makes it. A catalog that holds
// nothing yet will hold only what this version writes.
func (r *Registry) identify(ctx context.Context) (id string, err error) {
	err = Retry(ctx, func() error {
		records, err := r.catalog.Get(ctx, catalogIDKey)
		if err != nil {
			return err
		}
		if records[0].Revision != 0 {
			if id, err = Decode[string](records[0]); err != nil {
				return err
			}
			if _, err := ulid.ParseStrict(id); err != nil {
				return fmt.Errorf("catalog record %s: %w: %w", catalogIDKey, oci.ErrCorrupt, err)
			}
			return nil
		}
		id = r.NewID()
		change := Change{If: []Condition{Unchanged(records[0])}, Put: []Put{{Key: catalogIDKey, Value: Encode(id)}}}
		held, err := r.catalog.List(ctx, Query{Prefix: "tier/", Limit: 1, KeysOnly: true})
		if err != nil {
			return err
		}
		if len(held) == 0 {
			change.If = append(change.If, None("tier/"))
			change.Put = append(change.Put, Put{Key: schemaKey, Value: Encode(schemaRecord{Version: schemaVersion})})
		}
		_, err = r.catalog.Commit(ctx, change)
		return err
	})
	return id, err
}

// mark leaves the mark of this catalog in a bucket.
func (r *Registry) mark(ctx context.Context, bucket Bucket) error {
	prefix := prefixMark + r.id + "/"
	marks, err := bucket.List(ctx, prefix, "", 1)
	if err != nil || len(marks) > 0 {
		return err
	}
	return bucket.Put(ctx, prefix+r.NewID(), strings.NewReader(""), 0)
}

// errForeign says that another catalog uses a bucket too.
var errForeign = errors.New("the bucket is another catalog's too")

// alone says whether the bucket is this catalog's alone: then the error is nil, else it says
// what speaks against it, errForeign the mark of another.
func (r *Registry) alone(ctx context.Context, bucket Bucket) error {
	marks, err := bucket.List(ctx, prefixMark, "", marksMost)
	if err != nil {
		return err
	}
	own := false
	for _, m := range marks {
		id, _, _ := strings.Cut(strings.TrimPrefix(m.Key, prefixMark), "/")
		if id != r.id {
			return fmt.Errorf("%w: it bears the mark %s, this catalog is %s: give each a bucket of its own, or delete the mark if that catalog is no more", errForeign, m.Key, r.id)
		}
		own = true
	}
	if !own {
		return fmt.Errorf("the bucket lacks the mark of this catalog under %s%s/: a start of the registry writes it; until then nobody knows whose objects these are", prefixMark, r.id)
	}
	if len(marks) == marksMost {
		return fmt.Errorf("the bucket bears %d marks under %s, more are not looked at: delete all but one of this catalog's", marksMost, prefixMark)
	}
	return nil
}

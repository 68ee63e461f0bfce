package tiers

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
)

// Limits of one Change, those of an etcd server with its default settings.
const (
	MaxOps    = 128         // conditions, and writes, in one change
	MaxChange = 3 << 20 / 2 // bytes of one change; etcd's --max-request-bytes
	MaxPage   = 10_000      // records that one List returns at the most
)

// Catalog keeps small records under keys, ordered by bytes.
//
// Get and List are linearizable: they see every change that was acknowledged before they
// were called, through whatever replica. A Commit is atomic and durable once it returns
// nil. All methods may be called concurrently, stop when their context ends, and wrap
// oci.ErrUnavailable where the store did not answer; a Commit that fails so may
// nevertheless have been applied.
type Catalog interface {
	// Get reads the records of keys, in their order; Revision is 0 where there is none.
	// Up to MaxOps keys are read in one step, at one revision.
	Get(ctx context.Context, keys ...string) ([]Record, error)

	// List reads the records that q asks for, in the order of their keys. A page may be read
	// in several steps: of what changes meanwhile it may show a part.
	List(ctx context.Context, q Query) ([]Record, error)

	// Commit applies c if all its conditions hold, and otherwise changes nothing and
	// returns a *ConflictError. It returns the revision that the written records got.
	Commit(ctx context.Context, c Change) (revision int64, err error)
}

// Record is one record of the catalog.
type Record struct {
	Key      string
	Value    []byte
	Revision int64 // of the last change, ever growing over the whole catalog; 0: no record
	Created  int64 // the revision that created it
}

// Query asks for a page of records.
type Query struct {
	Prefix     string
	After      string // a key; the page begins behind it, in the order asked. Empty: at the beginning
	Limit      int    // 1 to MaxPage
	Descending bool
	KeysOnly   bool // leave the values out
}

// Change is what is written in one transaction. A key may be written once.
type Change struct {
	If     []Condition
	Put    []Put
	Delete []string
}

// Condition must hold for a change to be applied.
type Condition struct {
	Key string
	// Revision that the record must have; 0: there must be no record; negative: there
	// must be one, of whatever revision.
	Revision int64
	// Prefix asks that no record at all begins with Key or, where Revision is positive, none
	// that was written after it.
	Prefix bool
}

// Put writes one record.
type Put struct {
	Key   string
	Value []byte
	// Expire is after what time the record may vanish by itself, rounded up to the
	// catalog's own steps; 0: never.
	Expire time.Duration
}

// Absent asks for no record under key.
func Absent(key string) Condition { return Condition{Key: key} }

// Present asks for a record under key, of whatever revision.
func Present(key string) Condition { return Condition{Key: key, Revision: -1} }

// Unchanged asks that r is still what was read, absent included.
func Unchanged(r Record) Condition { return Condition{Key: r.Key, Revision: r.Revision} }

// None asks that no key begins with prefix.
func None(prefix string) Condition { return Condition{Key: prefix, Prefix: true} }

// NoneSince asks that no record whose key begins with prefix was written after a revision.
// Of those that were deleted it knows nothing.
func NoneSince(prefix string, revision int64) Condition {
	return Condition{Key: prefix, Prefix: true, Revision: revision}
}

// ConflictError says which conditions did not hold. It is an oci.ErrConflict.
type ConflictError struct{ Keys []string }

// Error names the keys.
func (e *ConflictError) Error() string { return fmt.Sprintf("%v: %v", oci.ErrConflict, e.Keys) }

// Unwrap makes errors.Is(err, oci.ErrConflict) true.
func (e *ConflictError) Unwrap() error { return oci.ErrConflict }

// Has says whether the condition on key failed.
func (e *ConflictError) Has(key string) bool {
	for _, k := range e.Keys {
		if k == key {
			return true
		}
	}
	return false
}

package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
)

// rebuildWriters is how many transactions of a rebuild are under way at once.
const rebuildWriters = 4

// rebuildBytes is how many bytes the records of one of them have, beside their keys.
const rebuildBytes = MaxChange / 2

// prefixReplica is where package promote has each server give signs of life.
const prefixReplica = "replica/"

// rebuiltRecord says that the catalog was made out of the ledger. It stays until a check has
// found nothing wrong but strays: until then no garbage is collected.
type rebuiltRecord struct {
	Writing bool      `json:"writing,omitempty"` // it is not whole yet: nobody may use it
	Entries int64     `json:"entries"`           // of the ledger
	Root    string    `json:"root"`              // of its tree
	At      time.Time `json:"at"`
}

// whole refuses a catalog that is being rebuilt.
func (r *Registry) whole(ctx context.Context) error {
	records, err := r.catalog.Get(ctx, rebuiltKey)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	state, err := Decode[rebuiltRecord](records[0])
	if err == nil && state.Writing {
		err = fmt.Errorf("%w: the catalog is being rebuilt from the ledger since %s and is not whole: wait for sluice rebuild, or run it again where it was cut off",
			oci.ErrUnavailable, state.At.Format(time.RFC3339))
	}
	return err
}

// errUnchecked refuses to take away what a catalog does not name that may lack something.
var errUnchecked = errors.New("the catalog was rebuilt from the ledger, and no check has passed since: what it does not know of would be taken for garbage; run sluice fsck first")

// checked refuses a catalog that was rebuilt and not checked since.
func (r *Registry) checked(ctx context.Context) error {
	records, err := r.catalog.Get(ctx, rebuiltKey)
	if err == nil && records[0].Revision != 0 {
		err = errUnchecked
	}
	return err
}

// passed notes that a check has looked at all there is and found nothing wrong. Strays do not
// count: they are the bytes of what a rebuild has lost, and only collections take them.
func (c *Checking) passed(ctx context.Context) error {
	if !c.report.missesNothing() || c.options.Families == nil {
		return nil
	}
	records, err := c.Get(ctx, rebuiltKey)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	_, err = c.registry.catalog.Commit(ctx, Change{If: []Condition{Unchanged(records[0])}, Delete: []string{rebuiltKey}})
	if errors.Is(err, oci.ErrConflict) { // another check was faster
		return nil
	}
	return err
}

// Rebuild makes a lost catalog anew.
//
// While it writes, the record rebuilt says so, and no registry opens. Every transaction
// compares that record: of two rebuilds the one that began last goes on. One that was cut
// off is begun anew: what it wrote is deleted first.
type Rebuild struct {
	*Registry
	state Record // rebuilt, as it was read or written last
}

// OpenRebuild opens a catalog that holds nothing, but for what a start of a server leaves and
// what a rebuild that was cut off has written. The error wraps oci.ErrConflict for one that
// holds anything else, or that somebody uses.
func OpenRebuild(ctx context.Context, config Config) (*Rebuild, error) {
	r, err := configured(ctx, config)
	if err != nil {
		return nil, err
	}
	records, err := r.catalog.Get(ctx, rebuiltKey)
	if err != nil {
		return nil, err
	}
	b := &Rebuild{Registry: r, state: records[0]}
	begun := false
	if b.state.Revision != 0 {
		state, err := Decode[rebuiltRecord](b.state)
		if err != nil {
			return nil, err
		}
		begun = state.Writing
	}
	return b, b.refuse(ctx, begun)
}

// refuse looks for what must not be there.
func (b *Rebuild) refuse(ctx context.Context, begun bool) error {
	page, err := b.catalog.List(ctx, Query{Limit: 10, KeysOnly: true})
	if err != nil {
		return err
	}
	for _, record := range page {
		started := strings.HasPrefix(record.Key, prefixReplica) || slices.Contains([]string{catalogIDKey, schemaKey, sessionKeyKey}, record.Key)
		if !begun && !started {
			return fmt.Errorf("%w: the catalog is not empty, it holds %s: a rebuild is for one that was lost; if this one is to go, take away all of its records first", oci.ErrConflict, record.Key)
		}
	}
	alive, err := b.catalog.List(ctx, Query{Prefix: prefixReplica, Limit: 1, KeysOnly: true})
	if err == nil && len(alive) > 0 {
		err = fmt.Errorf("%w: a server gives signs of life in the catalog (%s): stop all servers, and wait ten seconds", oci.ErrConflict, alive[0].Key)
	}
	return err
}

// Write writes the model into the catalog, with what others add, and opens it. entries and
// root are what the ledger is, which the model was made of.
func (b *Rebuild) Write(ctx context.Context, m *Model, also []Put, entries int64, root string, progress func(done, of int)) error {
	id, err := b.formerID(ctx)
	if err != nil {
		return err
	}
	state := rebuiltRecord{Writing: true, Entries: entries, Root: root, At: m.at}
	if err := b.note(ctx, state, nil); err != nil {
		return err
	}
	if err := b.clear(ctx); err != nil {
		return err
	}
	if err := b.write(ctx, m, progress); err != nil {
		return err
	}
	state.Writing = false
	return b.note(ctx, state, append(also,
		Put{Key: catalogIDKey, Value: Encode(id)}, Put{Key: schemaKey, Value: Encode(schemaRecord{Version: schemaVersion})}))
}

// note writes how far the rebuild is.
func (b *Rebuild) note(ctx context.Context, state rebuiltRecord, also []Put) error {
	revision, err := b.catalog.Commit(ctx, Change{If: []Condition{Unchanged(b.state)},
		Put: append([]Put{{Key: rebuiltKey, Value: Encode(state)}}, also...)})
	if err == nil {
		b.state = Record{Key: rebuiltKey, Revision: revision}
	}
	return b.overtaken(err)
}

// overtaken words the conflict with another rebuild.
func (b *Rebuild) overtaken(err error) error {
	if hasConflict(err, rebuiltKey) {
		return fmt.Errorf("another rebuild of this catalog has begun: leave it to that one: %w", err)
	}
	return err
}

// formerID is the id of the lost catalog, by the marks in the buckets: what lies there is
// this one's. The mark of a catalog that never held anything, left by the start of a server
// on the empty etcd, goes. Where the marks are of several, the id is new, and whoever knows
// better deletes the others.
func (b *Rebuild) formerID(ctx context.Context) (string, error) {
	records, err := b.catalog.Get(ctx, catalogIDKey)
	if err != nil {
		return "", err
	}
	own := ""
	if records[0].Revision != 0 {
		if own, err = Decode[string](records[0]); err != nil {
			return "", err
		}
	}
	var ids, stale []string
	for _, p := range b.places() {
		marks, err := p.bucket.List(ctx, prefixMark, "", marksMost)
		if err != nil {
			return "", err
		}
		for _, mark := range marks {
			id, _, _ := strings.Cut(strings.TrimPrefix(mark.Key, prefixMark), "/")
			if id != own && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 && own != "" {
		return own, nil
	}
	if len(ids) != 1 {
		return b.NewID(), nil
	}
	for _, p := range b.places() {
		if own == "" {
			break
		}
		marks, err := p.bucket.List(ctx, prefixMark+own+"/", "", marksMost)
		if err != nil {
			return "", err
		}
		stale = stale[:0]
		for _, mark := range marks {
			stale = append(stale, mark.Key)
		}
		for _, key := range stale {
			if err := p.bucket.Delete(ctx, key); err != nil {
				return "", err
			}
		}
	}
	return ids[0], nil
}

// clear deletes all records but that of the rebuild.
func (b *Rebuild) clear(ctx context.Context) error {
	for {
		page, err := b.catalog.List(ctx, Query{Limit: MaxOps, KeysOnly: true})
		if err != nil {
			return err
		}
		change := Change{If: []Condition{Unchanged(b.state)}}
		for _, record := range page[:min(len(page), MaxOps-1)] {
			if record.Key != rebuiltKey {
				change.Delete = append(change.Delete, record.Key)
			}
		}
		if len(change.Delete) == 0 {
			return nil
		}
		if _, err := b.catalog.Commit(ctx, change); err != nil {
			return b.overtaken(err)
		}
	}
}

// write writes the records, some transactions at once.
func (b *Rebuild) write(ctx context.Context, m *Model, progress func(done, of int)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rebuildWriters)
	keys := m.Keys()
	for done := 0; done < len(keys) && ctx.Err() == nil; {
		change := Change{If: []Condition{Unchanged(b.state)}}
		for size := 0; done < len(keys) && len(change.Put) < MaxOps-1 && (size == 0 || size+len(m.records[keys[done]]) < rebuildBytes); done++ {
			value := m.records[keys[done]]
			change.Put = append(change.Put, Put{Key: keys[done], Value: value})
			size += len(keys[done]) + len(value)
		}
		group.Go(func() error {
			_, err := b.catalog.Commit(ctx, change)
			return b.overtaken(err)
		})
		if progress != nil {
			progress(done, len(keys))
		}
	}
	return group.Wait()
}

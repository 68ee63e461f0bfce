package ledger

import (
	"context"
	"fmt"
	"io"
	"time"

	strictjson "github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// maxEvent is how many bytes an event has at the most: it came with a change of the catalog.
const maxEvent = tiers.MaxChange

// longEntry stands in the log for an event that is too long for an entry.
type longEntry struct {
	ID   string          `json:"id"`
	Type tiers.EventType `json:"type"`
	Time time.Time       `json:"time"`
	Long *longEvent      `json:"long"`
}

// longEvent is where the event itself lies: the object events/<hex>.
type longEvent struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

func (l longEvent) path() string { return pathEvents + l.Digest.Encoded() }

// shorten makes the entry that stands for a long event.
func shorten(event tiers.Event, value []byte) (entry []byte, long longEvent) {
	long = longEvent{Digest: digest.FromBytes(value), Size: int64(len(value))}
	return tiers.Encode(longEntry{ID: event.ID, Type: event.Type, Time: event.Time, Long: &long}), long
}

// longOf says whether an entry stands for a long event.
func longOf(entry []byte) (longEvent, bool) {
	var e longEntry
	if strictjson.Unmarshal(entry, &e, strictjson.RejectUnknownMembers(true)) != nil || e.Long == nil {
		return longEvent{}, false
	}
	if e.Long.Digest.Validate() != nil || e.Long.Digest.Algorithm() != digest.SHA256 || e.Long.Size < 0 || e.Long.Size > maxEvent {
		return longEvent{}, false
	}
	return *e.Long, true
}

// Source gives the resources of a log: a bucket, a copy of it, or a server.
type Source interface {
	// Read returns the whole content of path, as the package's documentation lists them. It
	// has at most limit bytes; more is an error. The error wraps oci.ErrObjectUnknown where
	// there is none.
	Read(ctx context.Context, path string, limit int64) ([]byte, error)
}

// EventOf gives the bytes of the event that an entry of the log holds or stands for.
func EventOf(ctx context.Context, source Source, entry []byte) ([]byte, error) {
	long, ok := longOf(entry)
	if !ok {
		return entry, nil
	}
	value, err := source.Read(ctx, long.path(), maxEvent)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", long.Digest, err)
	}
	if digest.FromBytes(value) != long.Digest {
		return nil, fmt.Errorf("%w: the object %s is not the event that the entry names", oci.ErrCorrupt, long.path())
	}
	return value, nil
}

// bucketSource reads the log in its bucket.
type bucketSource struct{ objects tiers.Objects }

// Read reads an object whole.
func (b bucketSource) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, err := b.objects.Open(ctx, prefixObjects+path, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", path, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("ledger: %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("ledger: %s: %w: more than %d bytes", path, oci.ErrCorrupt, limit)
	}
	return data, nil
}

// readTile reads a tile. A partial tile that is not there any more is the beginning of the
// full one.
func readTile(ctx context.Context, source Source, t Tile) ([]byte, error) {
	limit := int64(t.Width * hashSize)
	if t.Level == levelEntries {
		limit = int64(t.Width * (2 + maxEntry))
	}
	data, err := source.Read(ctx, t.Path(), limit)
	if err == nil || t.Width == tileWidth || !isUnknown(err) {
		return data, err
	}
	full, fullErr := readTile(ctx, source, t.Full())
	if fullErr != nil {
		return nil, err
	}
	return cutTile(t, full)
}

// cutTile gives the beginning of a full tile.
func cutTile(t Tile, full []byte) ([]byte, error) {
	if t.Level != levelEntries {
		if len(full) != tileWidth*hashSize {
			return nil, fmt.Errorf("%w: tile %s has %d bytes", oci.ErrCorrupt, t.Full().Path(), len(full))
		}
		return full[:t.Width*hashSize], nil
	}
	entries, err := splitEntries(full)
	if err != nil || len(entries) != tileWidth {
		return nil, fmt.Errorf("%w: tile %s holds %d entries", oci.ErrCorrupt, t.Full().Path(), len(entries))
	}
	n := 0
	for _, entry := range entries[:t.Width] {
		n += 2 + len(entry)
	}
	return full[:n], nil
}

// readHashes reads a tile of hashes.
func readHashes(ctx context.Context, source Source, t Tile) ([]byte, error) {
	data, err := readTile(ctx, source, t)
	if err == nil && len(data) != t.Width*hashSize {
		err = fmt.Errorf("%w: tile %s has %d bytes, not %d", oci.ErrCorrupt, t.Path(), len(data), t.Width*hashSize)
	}
	return data, err
}

// readEntries reads a tile of entries.
func readEntries(ctx context.Context, source Source, t Tile) ([][]byte, error) {
	data, err := readTile(ctx, source, t)
	if err != nil {
		return nil, err
	}
	entries, err := splitEntries(data)
	if err == nil && len(entries) != t.Width {
		err = fmt.Errorf("%w: tile %s holds %d entries, not %d", oci.ErrCorrupt, t.Path(), len(entries), t.Width)
	}
	return entries, err
}

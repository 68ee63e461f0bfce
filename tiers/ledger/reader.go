package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"
	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// MaxEntries is how many entries one call of Entries returns at the most.
const MaxEntries = 1000

// ErrEntryUnknown says that there is no entry of an index, or none that is sealed yet.
var ErrEntryUnknown = errors.New("the ledger has no such entry")

// Entry is an entry of the log.
type Entry struct {
	Index int64
	// Value is what the log holds; its RFC 6962 hash is the leaf.
	Value []byte
	// Event is the event, as it was recorded: Value, but for a long one.
	Event []byte
}

// State says how far the ledger has come.
type State struct {
	Checkpoint
	Signed   []byte // the checkpoint; empty before the first
	Assigned int64  // entries that have their index, sealed or not
}

// State reads how far the ledger has come.
func (l *Ledger) State(ctx context.Context) (State, error) {
	h, err := l.head(ctx)
	if err != nil {
		return State{}, err
	}
	c, err := h.sealed()
	return State{Checkpoint: c, Signed: []byte(h.Sealed.Note), Assigned: h.Assigned}, err
}

// Lag is for how long the oldest event has been waiting for its index; 0 where none waits.
func (l *Ledger) Lag(ctx context.Context) (time.Duration, error) {
	events, err := l.catalog.List(ctx, tiers.Query{Prefix: prefixEvent, Limit: 1, KeysOnly: true})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	id, err := ulid.Parse(strings.TrimPrefix(events[0].Key, prefixEvent))
	if err != nil {
		return 0, fmt.Errorf("catalog record %s: %w: %w", events[0].Key, oci.ErrCorrupt, err)
	}
	return max(0, l.registry.Now().Sub(ulid.Time(id.Time()))), nil
}

// Key is the public key of the log as tlog clients take it.
func (l *Ledger) Key() string {
	key, _ := VerifierKey(l.signer.name, l.signer.public) // New has made it before
	return key
}

// Origin is the name of the log.
func (l *Ledger) Origin() string { return l.signer.name }

// Read implements Source over the bucket and, for the newest checkpoint, the catalog. It
// keeps full tiles of hashes in memory.
func (l *Ledger) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if path == pathCheckpoint {
		state, err := l.State(ctx)
		if err == nil && len(state.Signed) == 0 {
			err = fmt.Errorf("%w: the ledger has no checkpoint yet", oci.ErrObjectUnknown)
		}
		return state.Signed, err
	}
	t, ok := ParseTile(path)
	if !ok || t.Level == levelEntries || t.Width != tileWidth {
		return l.source.Read(ctx, path, limit)
	}
	if data, ok := l.tiles.Get(t); ok {
		return data, nil
	}
	data, err := l.source.Read(ctx, path, limit)
	if err == nil && len(data) == tileWidth*hashSize {
		l.tiles.Add(t, data)
	}
	return data, err
}

// Tile reads a tile as it is served. The error wraps oci.ErrObjectUnknown where there is
// none.
func (l *Ledger) Tile(ctx context.Context, t Tile) ([]byte, error) { return readTile(ctx, l, t) }

// LongEvent reads an event that is an object of its own, by its SHA-256 in hex. The error
// wraps oci.ErrObjectUnknown where there is none.
func (l *Ledger) LongEvent(ctx context.Context, hex string) ([]byte, error) {
	if digest.SHA256.Validate(hex) != nil {
		return nil, fmt.Errorf("%w: %q is no SHA-256 in hex", oci.ErrObjectUnknown, hex)
	}
	return l.source.Read(ctx, pathEvents+hex, maxEvent)
}

// Entries reads at most n sealed entries from an index on, 1 to MaxEntries. Fewer than n:
// there are no more, or a few of them are as much as one call returns. What lies in the
// bucket is checked against the checkpoint.
func (l *Ledger) Entries(ctx context.Context, from int64, n int) ([]Entry, error) {
	state, err := l.State(ctx)
	if err != nil {
		return nil, err
	}
	return ReadEntries(ctx, l, state.Checkpoint, from, n)
}

// Index finds the indexes of the events that ended promotions, as far as they are sealed.
func (l *Ledger) Index(ctx context.Context, promotions ...string) (map[string]int64, error) {
	keys := []string{keyHead}
	for _, id := range promotions {
		keys = append(keys, prefixPromotion+id)
	}
	records, err := l.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	h, err := openHead(records[0])
	if err != nil {
		return nil, err
	}
	indexes := map[string]int64{}
	for i, r := range records[1:] {
		if r.Revision == 0 {
			continue
		}
		index, err := strconv.ParseInt(string(r.Value), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("catalog record %s: %w: %q is no index", r.Key, oci.ErrCorrupt, r.Value)
		}
		if index < h.Sealed.Size {
			indexes[promotions[i]] = index
		}
	}
	return indexes, nil
}

// Prove reads an entry and proves that it is in the newest checkpoint: C2SP tlog-proof,
// with the checkpoint in it. The error wraps ErrEntryUnknown where it is not sealed.
func (l *Ledger) Prove(ctx context.Context, index int64) (Entry, string, error) {
	state, err := l.State(ctx)
	if err != nil {
		return Entry{}, "", err
	}
	if index < 0 || index >= state.Size {
		return Entry{}, "", fmt.Errorf("%w: %d; %d are sealed", ErrEntryUnknown, index, state.Size)
	}
	entries, err := ReadEntries(ctx, l, state.Checkpoint, index, 1)
	if err != nil {
		return Entry{}, "", err
	}
	proof, err := tlog.ProveRecord(state.Size, index, hashReader(ctx, l, state.Checkpoint))
	if err != nil {
		return Entry{}, "", fmt.Errorf("ledger: prove entry %d: %w", index, inconsistent(err))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "c2sp.org/tlog-proof@v1\nindex %d\n", index)
	for _, h := range proof {
		fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h[:]))
	}
	fmt.Fprintf(&b, "\n%s", state.Signed)
	return entries[0], b.String(), nil
}

// answerBytes is after how many bytes of events ReadEntries returns what it has.
const answerBytes = 4 << 20

// ReadEntries is Entries over any source, in which c is a checkpoint that is to be trusted.
func ReadEntries(ctx context.Context, source Source, c Checkpoint, from int64, n int) ([]Entry, error) {
	return entriesWithin(ctx, source, c, from, n, answerBytes)
}

// entriesWithin is ReadEntries of which the events have about so many bytes together at the
// most: the last one may pass the limit.
func entriesWithin(ctx context.Context, source Source, c Checkpoint, from int64, n, limit int) ([]Entry, error) {
	if from < 0 {
		return nil, fmt.Errorf("%w: entries begin at 0, not at %d", oci.ErrRequestInvalid, from)
	}
	end := min(c.Size, from+int64(min(max(n, 1), MaxEntries)))
	hashes := hashReader(ctx, source, c)
	var found []Entry
	for size := 0; from < end && size < limit; {
		values, err := provenEntries(ctx, source, hashes, c.Size, from, end)
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			event, err := EventOf(ctx, source, value)
			if err != nil {
				return nil, fmt.Errorf("ledger: entry %d: %w", from, err)
			}
			found = append(found, Entry{Index: from, Value: value, Event: event})
			from, size = from+1, size+len(event)
			if size >= limit {
				break
			}
		}
	}
	return found, nil
}

// provenEntries reads the entries of one tile from an index on, and compares them with the
// tree.
func provenEntries(ctx context.Context, source Source, hashes tlog.HashReader, size, from, end int64) ([][]byte, error) {
	tile := Tile{levelEntries, from / tileWidth, tileWidth}
	if last := lastTile(size, levelEntries); tile.N == last.N {
		tile = last
	}
	entries, err := readEntries(ctx, source, tile)
	if err != nil {
		return nil, err
	}
	first := tile.N * tileWidth
	end = min(end, first+int64(tile.Width))
	var indexes []int64
	for i := from; i < end; i++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, i))
	}
	leaves, err := hashes.ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("ledger: hashes of the entries from %d on: %w", from, inconsistent(err))
	}
	entries = entries[from-first : end-first]
	for i, entry := range entries {
		if tlog.RecordHash(entry) != leaves[i] {
			return nil, fmt.Errorf("%w: entry %d of the ledger in the bucket is not what was sealed", oci.ErrCorrupt, from+int64(i))
		}
	}
	return entries, nil
}

// inconsistent makes what package tlog says of tiles that contradict each other corruption.
// Errors of the store stay what they are.
func inconsistent(err error) error {
	for _, known := range []error{oci.ErrUnavailable, oci.ErrObjectUnknown, oci.ErrCorrupt, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", oci.ErrCorrupt, err)
}

// tileReader reads tiles for package tlog, which checks them.
type tileReader struct {
	ctx    context.Context // of the one call that it is for: the interface has no place for it
	source Source
	kept   map[tlog.Tile][]byte
}

// hashReader gives hashes of the tree of c, each proved to be in it.
func hashReader(ctx context.Context, source Source, c Checkpoint) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, &tileReader{ctx: ctx, source: source, kept: map[tlog.Tile][]byte{}})
}

// Height is that of tiles in this layout.
func (r *tileReader) Height() int { return tileHeight }

// ReadTiles reads tiles of hashes.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, t := range tiles {
		if kept, ok := r.kept[t]; ok {
			data[i] = kept
			continue
		}
		var err error
		if data[i], err = readHashes(r.ctx, r.source, Tile{t.L, t.N, t.W}); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// SaveTiles keeps tiles that were found to be right, for the next entries.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	if len(r.kept) > keptTiles {
		clear(r.kept)
	}
	for i, t := range tiles {
		r.kept[t] = slices.Clone(data[i])
	}
}

package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// The records of the ledger in the catalog.
//
//	ledger/head                   headRecord
//	ledger/sealer                 who seals: claimRecord
//	ledger/batch/<first index>    entries that have their indexes and are not sealed yet
//	ledger/promotion/<id>         the index of the event that ended a promotion
const (
	keyHead         = "ledger/head"
	keyClaim        = "ledger/sealer"
	prefixBatch     = "ledger/batch/"
	prefixPromotion = "ledger/promotion/"
	// prefixEvent is where package tiers records events.
	prefixEvent = "event/"
)

// prefixObjects stands before the keys of all objects of the ledger.
const prefixObjects = "ledger/"

// Shape of a tile (C2SP tlog-tiles).
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight // hashes, or entries
	hashSize   = 32
	maxEntry   = 1<<16 - 1 // bytes of one
	maxBundle  = tileWidth * (2 + maxEntry)
	maxLevel   = 7 // a tile of level 7 spans 2^64 entries
)

// Paths of resources, as they are served, and below prefixObjects in the bucket.
const (
	pathCheckpoint  = "checkpoint" // served, never stored: it would be written again and again
	pathCheckpoints = "checkpoints/"
	pathEvents      = "events/"
	pathEntries     = "tile/entries/"
)

func batchKey(first int64) string { return fmt.Sprintf("%s%020d", prefixBatch, first) }

// checkpointPath is where the checkpoint of a size lies: the paths are in the order of the
// sizes, and a folder holds some hundred.
func checkpointPath(size int64) string {
	digits := fmt.Sprintf("%020d", size)
	return pathCheckpoints + digits[:15] + "/" + digits
}

// Tile names 1 to 256 consecutive hashes of one level of the tree, or as many entries.
type Tile struct {
	Level int   // 0 to 7; -1: entries
	N     int64 // its place in the level
	Width int   // 256: full
}

// levelEntries is the Level of a tile of entries.
const levelEntries = -1

// Path is where the tile is served, and lies.
func (t Tile) Path() string {
	level := strconv.Itoa(t.Level)
	if t.Level == levelEntries {
		level = "entries"
	}
	path := fmt.Sprintf("%03d", t.N%1000)
	for n := t.N / 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/", n%1000) + path
	}
	path = "tile/" + level + "/" + path
	if t.Width < tileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return path
}

// Entries says whether it is one of entries, not of hashes.
func (t Tile) Entries() bool { return t.Level == levelEntries }

// Full is the full tile in the same place.
func (t Tile) Full() Tile { return Tile{Level: t.Level, N: t.N, Width: tileWidth} }

// ParseTile reads the path of a tile. There is one path for a tile.
func ParseTile(path string) (t Tile, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || len(path) > 64 {
		return Tile{}, false
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Tile{}, false
	}
	t.Level = levelEntries
	if level != "entries" {
		if t.Level, ok = number(level, 1); !ok || t.Level > maxLevel {
			return Tile{}, false
		}
	}
	t.Width = tileWidth
	if whole, width, partial := strings.Cut(rest, ".p/"); partial {
		if t.Width, ok = number(width, 3); !ok || t.Width < 1 || t.Width >= tileWidth {
			return Tile{}, false
		}
		rest = whole
	}
	parts := strings.Split(rest, "/")
	if len(parts) > 6 { // 10^18 tiles
		return Tile{}, false
	}
	for _, part := range parts {
		n, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 16)
		if err != nil {
			return Tile{}, false
		}
		t.N = t.N*1000 + int64(n)
	}
	return t, t.Path() == path // which also holds zeros and the x to their places
}

// number reads a decimal number of 1 to digits digits.
func number(text string, digits int) (int, bool) {
	if len(text) < 1 || len(text) > digits {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == text
}

package ledger

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/oci"
)

// tree is the right edge of a log, which is all that it takes to go on with it: of each
// level the hashes of the tile that is not full, and its entries.
type tree struct {
	size   int64
	edge   [][]tlog.Hash // by level; of each at most 255
	bundle []byte        // the entries of the tile that is not full
}

// piece is a tile with its bytes.
type piece struct {
	tile Tile
	data []byte
}

// add appends an entry of at most maxEntry bytes and returns the tiles that it fills.
func (t *tree) add(entry []byte) []piece {
	t.bundle = appendEntry(t.bundle, entry)
	full := t.addHash(tlog.RecordHash(entry))
	if len(full) > 0 {
		full = append(full, piece{Tile{levelEntries, full[0].tile.N, tileWidth}, t.bundle})
		t.bundle = nil
	}
	return full
}

// addHash appends the hash of an entry and returns the tiles of hashes that it fills, from
// level 0 up.
func (t *tree) addHash(h tlog.Hash) (full []piece) {
	t.size++
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, nil)
		}
		t.edge[level] = append(t.edge[level], h)
		if len(t.edge[level]) < tileWidth {
			return full
		}
		n := t.size>>(tileHeight*(level+1)) - 1
		full = append(full, piece{Tile{level, n, tileWidth}, joinHashes(t.edge[level])})
		h = foldHashes(t.edge[level])
		t.edge[level] = nil
	}
}

// partials are the tiles that are not full and have changed since the tree had the size
// before.
func (t *tree) partials(before int64) []piece {
	var pieces []piece
	for level, hashes := range t.edge {
		shift := tileHeight * level
		if len(hashes) > 0 && t.size>>shift != before>>shift {
			pieces = append(pieces, piece{lastTile(t.size, level), joinHashes(hashes)})
		}
	}
	if len(t.bundle) > 0 && t.size != before {
		pieces = append(pieces, piece{lastTile(t.size, levelEntries), t.bundle})
	}
	return pieces
}

// lastTile names the last tile of a level of a tree of the given size. Its width is 0 where
// the last tile that holds anything is full.
func lastTile(size int64, level int) Tile {
	count := size >> (tileHeight * max(level, 0))
	return Tile{level, count / tileWidth, int(count % tileWidth)}
}

// root is the hash of the whole tree (RFC 6962, section 2.1).
func (t *tree) root() tlog.Hash {
	var root *tlog.Hash
	for _, hashes := range t.edge {
		// The hashes of a tile that is not full are those of perfect trees, the smallest
		// at the right.
		for rest, n := len(hashes), 1; rest > 0; n *= 2 {
			if rest&n == 0 {
				continue
			}
			h := foldHashes(hashes[rest-n : rest])
			if root != nil {
				h = tlog.NodeHash(h, *root)
			}
			root, rest = &h, rest-n
		}
	}
	if root == nil {
		return emptyRoot()
	}
	return *root
}

// emptyRoot is the root of a log without entries.
func emptyRoot() tlog.Hash {
	root, _ := tlog.TreeHash(0, nil) // it reads nothing
	return root
}

// foldHashes is the hash of the tree over a power of two of hashes.
func foldHashes(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(foldHashes(hashes[:half]), foldHashes(hashes[half:]))
}

func joinHashes(hashes []tlog.Hash) []byte {
	data := make([]byte, 0, len(hashes)*hashSize)
	for _, h := range hashes {
		data = append(data, h[:]...)
	}
	return data
}

// splitHashes reads the bytes of a tile of hashes.
func splitHashes(data []byte) ([]tlog.Hash, error) {
	if len(data)%hashSize != 0 || len(data) > tileWidth*hashSize {
		return nil, fmt.Errorf("%w: a tile of %d bytes, which are no 1 to %d hashes", oci.ErrCorrupt, len(data), tileWidth)
	}
	hashes := make([]tlog.Hash, len(data)/hashSize)
	for i := range hashes {
		copy(hashes[i][:], data[i*hashSize:])
	}
	return hashes, nil
}

// appendEntry appends an entry to a bundle of them.
func appendEntry(bundle, entry []byte) []byte {
	bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
	return append(bundle, entry...)
}

// splitEntries reads a bundle. The entries share its memory.
func splitEntries(bundle []byte) ([][]byte, error) {
	var entries [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return entries, fmt.Errorf("%w: a bundle that ends within its entry %d", oci.ErrCorrupt, len(entries))
		}
		n := 2 + int(binary.BigEndian.Uint16(bundle))
		entries, bundle = append(entries, bundle[2:n:n]), bundle[n:]
	}
	return entries, nil
}

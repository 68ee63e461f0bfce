package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// stored keeps hashes as package tlog numbers them.
type stored []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		hashes[i] = s[index]
	}
	return hashes, nil
}

// A tree that grows in steps has the roots and the tiles that package tlog gives it.
func TestTree(t *testing.T) {
	t.Parallel()
	const size = 70_000 // tiles of three levels
	var reference stored
	grown, tiles := &tree{}, map[Tile][]byte{}
	if grown.root() != emptyRoot() {
		t.Errorf("an empty tree has the root %s", grown.root())
	}
	random := rand.New(rand.NewPCG(1, 2))
	for before := int64(0); grown.size < size; before = grown.size {
		for range min(size-grown.size, random.Int64N(700)+1) {
			entry := fmt.Appendf(nil, "entry %d", grown.size)
			hashes, err := tlog.StoredHashes(grown.size, entry, reference)
			if err != nil {
				t.Fatal(err)
			}
			reference = append(reference, hashes...)
			for _, p := range grown.add(entry) {
				tiles[p.tile] = p.data
			}
		}
		for _, p := range grown.partials(before) {
			tiles[p.tile] = p.data
		}
		checkTree(t, grown, before, reference, tiles)
	}
}

// checkTree compares what a tree has become since it had the size before.
func checkTree(t *testing.T, grown *tree, before int64, reference stored, tiles map[Tile][]byte) {
	t.Helper()
	root, err := tlog.TreeHash(grown.size, reference)
	if err != nil || root != grown.root() {
		t.Fatalf("at size %d the root is %s, want %s, %v", grown.size, grown.root(), root, err)
	}
	for _, want := range tlog.NewTiles(tileHeight, before, grown.size) {
		data, err := tlog.ReadTileData(want, reference)
		if err != nil {
			t.Fatal(err)
		}
		tile := Tile{want.L, want.N, want.W}
		if !bytes.Equal(tiles[tile], data) {
			t.Fatalf("at size %d tile %s is wrong, or not there", grown.size, tile.Path())
		}
		if want.L > 0 {
			continue
		}
		tile.Level = levelEntries
		entries, err := splitEntries(tiles[tile])
		if err != nil || len(entries) != want.W {
			t.Fatalf("at size %d tile %s holds %d entries, %v", grown.size, tile.Path(), len(entries), err)
		}
		for i, entry := range entries {
			if want := fmt.Sprintf("entry %d", tile.N*tileWidth+int64(i)); string(entry) != want {
				t.Fatalf("at size %d tile %s has %q in the place of %q", grown.size, tile.Path(), entry, want)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]Tile{ // of C2SP tlog-tiles
		"tile/0/000":                 {0, 0, 256},
		"tile/0/x001/x234/067":       {0, 1234067, 256},
		"tile/3/x001/000.p/1":        {3, 1000, 1},
		"tile/entries/273.p/112":     {levelEntries, 273, 112},
		"tile/entries/x001/x234/067": {levelEntries, 1234067, 256},
		"tile/7/x999/x999/x999/999":  {7, 999_999_999_999, 256},
		"tile/0/x001/x000/000.p/255": {0, 1_000_000, 255},
		"tile/entries/x010/x000/000": {levelEntries, 10_000_000, 256},
		"tile/entries/x010/x020/000": {levelEntries, 10_020_000, 256},
		"tile/entries/x010/x020/030": {levelEntries, 10_020_030, 256},
		"tile/entries/x010/020.p/30": {levelEntries, 10_020, 30},
		"tile/entries/x100/x020/003": {levelEntries, 100_020_003, 256},
		"tile/entries/x100/x020/300": {levelEntries, 100_020_300, 256},
		"tile/entries/x100/x000/000": {levelEntries, 100_000_000, 256},
		"tile/1/x067.p/1":            {},
		"tile/8/000":                 {},
		"tile/-1/000":                {},
		"tile/00/000":                {},
		"tile/0/1":                   {},
		"tile/0/0001":                {},
		"tile/0/x000/001":            {},
		"tile/0/001/002":             {},
		"tile/0/x01/002":             {},
		"tile/0/000.p/0":             {},
		"tile/0/000.p/256":           {},
		"tile/0/000.p/01":            {},
		"tile/0/000.p/1/":            {},
		"tile/0/000/":                {},
		"tile/0/+01":                 {},
		"tile//000":                  {},
		"tile/data/000":              {},
		"tile/0":                     {},
		"tile/8/0/000":               {},
		"checkpoint":                 {},
		"tile/0/../0/000":            {},
		"tile/entries/000.p/1.p/1":   {},
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999": {},
	} {
		got, ok := ParseTile(path)
		if ok != (want.Width > 0) || ok && got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, ok, want)
		}
		if ok && got.Path() != path {
			t.Errorf("%s is written %s", path, got.Path())
		}
	}
	if got := checkpointPath(1_234_567); got != "checkpoints/000000000000012/00000000000001234567" {
		t.Errorf("a checkpoint lies at %s", got)
	}
}

func FuzzTile(f *testing.F) {
	f.Add("tile/0/x001/x234/067.p/3")
	f.Add("tile/entries/000")
	f.Fuzz(func(t *testing.T, path string) {
		if tile, ok := ParseTile(path); ok && (tile.Path() != path || tile.N < 0 || tile.Width < 1 || tile.Width > tileWidth || tile.Level > maxLevel) {
			t.Errorf("%q is %+v", path, tile)
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, []byte("one")), nil))
	f.Add([]byte{0, 3, 'a'})
	f.Fuzz(func(t *testing.T, bundle []byte) {
		entries, err := splitEntries(bundle)
		var again []byte
		for _, e := range entries {
			again = appendEntry(again, e)
		}
		if !bytes.HasPrefix(bundle, again) || err == nil && len(again) != len(bundle) {
			t.Errorf("%x is read as %x, %v", bundle, again, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("a.example/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— a.example/log AAAA\n"))
	f.Fuzz(func(t *testing.T, signed []byte) {
		c, err := readCheckpoint(signed)
		if err == nil && !bytes.HasPrefix(signed, []byte(c.text()[:len(c.text())-1])) {
			t.Errorf("%q is read as %+v", signed, c)
		}
	})
}

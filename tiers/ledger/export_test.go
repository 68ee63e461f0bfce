package ledger

import (
	"context"
	"crypto"
	"slices"
	"testing/fstest"

	"golang.org/x/mod/sumdb/note"
)

// Barge is Seal of a replica that waits for nobody.
func (l *Ledger) Barge(ctx context.Context) (more bool, err error) {
	s := &sealer{Ledger: l, barge: true}
	return s.look(ctx)
}

// Make makes a copy of a bucket whose ledger holds entries, with checkpoints of the sizes
// given, the last of them that of all.
func Make(origin string, private crypto.Signer, entries [][]byte, sizes ...int64) (fstest.MapFS, error) {
	copied, t := fstest.MapFS{}, &tree{}
	put := func(path string, data []byte) { copied["ledger/"+path] = &fstest.MapFile{Data: slices.Clone(data)} }
	s, err := newSigner(origin, private)
	if err != nil {
		return nil, err
	}
	for i := range len(entries) + 1 {
		if slices.Contains(sizes, t.size) {
			signed, err := note.Sign(&note.Note{Text: Checkpoint{Origin: origin, Size: t.size, Root: t.root()}.text()}, s)
			if err != nil {
				return nil, err
			}
			put(checkpointPath(t.size), signed)
			for _, p := range t.partials(0) {
				put(p.tile.Path(), p.data)
			}
		}
		if i == len(entries) {
			break
		}
		for _, p := range t.add(entries[i]) {
			put(p.tile.Path(), p.data)
		}
	}
	for _, p := range t.partials(0) {
		put(p.tile.Path(), p.data)
	}
	return copied, nil
}

// CheckpointPath is where the checkpoint of a size lies in a copy of a bucket.
func CheckpointPath(size int64) string { return prefixObjects + checkpointPath(size) }

// Split and Join take a bundle of entries apart and put it together.
func Split(bundle []byte) ([][]byte, error) { return splitEntries(bundle) }

// Join is the inverse of Split.
func Join(entries [][]byte) (bundle []byte) {
	for _, e := range entries {
		bundle = appendEntry(bundle, e)
	}
	return bundle
}

package ledger

import (
	"context"
	"crypto"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// checkpoints reads the newest checkpoint, and those before it that there are. It says
// whether there is any to go by.
func (v *verification) checkpoints(ctx context.Context) (bool, error) {
	lister, ok := v.source.(Lister)
	if !ok {
		return v.served(ctx)
	}
	paths, err := lister.Checkpoints(ctx)
	if err != nil {
		return false, err
	}
	for _, path := range paths {
		if err := v.stored(ctx, path); err != nil {
			return false, err
		}
	}
	if len(paths) == 0 {
		v.find(Missing, -1, pathCheckpoints, "there is no checkpoint: nothing says what the log held")
	}
	for _, m := range v.marks {
		if m.Size > v.newest.Size || v.newest.Origin == "" {
			v.newest, v.report.Signed = m.Checkpoint, m.signed
		}
	}
	v.report.Checkpoint = v.newest
	v.marks = slices.DeleteFunc(v.marks, func(m mark) bool {
		other := m.Origin != v.newest.Origin
		if other {
			v.find(OtherLog, -1, checkpointPath(m.Size), "the checkpoint of size %d is of the log %s, the newest of %s", m.Size, m.Origin, v.newest.Origin)
		}
		return other
	})
	return len(v.marks) > 0, nil
}

// Newest finds the newest checkpoint that one of keys has signed. The error wraps
// ErrSignature where none is.
func Newest(ctx context.Context, source Source, keys ...crypto.PublicKey) (Checkpoint, error) {
	v := &verification{source: source, options: VerifyOptions{Keys: keys}}
	ok, err := v.checkpoints(ctx)
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s", ErrSignature, v.report.Findings[0].Message)
	}
	return v.newest, err
}

// served reads the checkpoint of a source that serves the newest.
func (v *verification) served(ctx context.Context) (bool, error) {
	signed, err := v.source.Read(ctx, pathCheckpoint, MaxCheckpoint)
	if err != nil {
		return false, err
	}
	c, err := OpenCheckpoint(signed, v.options.Keys...)
	if err != nil {
		v.find(Signature, -1, pathCheckpoint, "%v", err)
		return false, nil
	}
	v.report.Checkpoints++
	v.newest, v.report.Checkpoint, v.report.Signed = c, c, signed
	v.marks = append(v.marks, mark{Checkpoint: c})
	return true, nil
}

// stored reads one of many checkpoints.
func (v *verification) stored(ctx context.Context, path string) error {
	signed, err := v.source.Read(ctx, path, MaxCheckpoint)
	if isLost(err) {
		v.find(Missing, -1, path, "a checkpoint cannot be read: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	c, err := OpenCheckpoint(signed, v.options.Keys...)
	if err != nil {
		v.find(Signature, -1, path, "%v", err)
		return nil
	}
	if checkpointPath(c.Size) != path {
		v.find(Misplaced, -1, path, "in the place of another checkpoint lies that of size %d", c.Size)
		return nil
	}
	v.report.Checkpoints++
	v.marks = append(v.marks, mark{Checkpoint: c, signed: signed})
	return nil
}

// keptCheckpoint takes up the checkpoint that was kept elsewhere.
func (v *verification) keptCheckpoint() error {
	if v.options.Kept == nil {
		return nil
	}
	c, err := OpenCheckpoint(v.options.Kept, v.options.Keys...)
	if err != nil {
		return fmt.Errorf("the checkpoint that was kept elsewhere: %w", err)
	}
	v.report.Kept = &Kept{Size: c.Size}
	switch {
	case c.Origin != v.newest.Origin:
		v.find(OtherLog, -1, "", "the checkpoint that was kept elsewhere is of the log %s, this is %s", c.Origin, v.newest.Origin)
	case c.Size > v.newest.Size:
		v.find(Rollback, -1, "", "the log was set back: a checkpoint of size %d was kept elsewhere, here it ends at %d: the entries from %d on are gone", c.Size, v.newest.Size, v.newest.Size)
	default:
		v.marks = append(v.marks, mark{Checkpoint: c, kept: true})
	}
	return nil
}

// trustedTile is a tile that was compared with the level above it.
type trustedTile struct {
	n      int64
	read   bool
	hashes []tlog.Hash // nil: not what was sealed, or not there
}

// rightEdge reads the tiles that are not full, and compares them with the root.
func (v *verification) rightEdge(ctx context.Context) error {
	t := &tree{size: v.newest.Size}
	for level := 0; t.size>>(tileHeight*level) > 0; level++ {
		var hashes []tlog.Hash
		if tile := lastTile(t.size, level); tile.Width > 0 {
			var err error
			if hashes, err = v.read(ctx, tile); err != nil {
				return err
			}
		}
		t.edge = append(t.edge, hashes)
	}
	v.edge, v.levels = t.edge, make([]trustedTile, len(t.edge))
	v.proven = t.root() == v.newest.Root
	return nil
}

// blameEdge says what is wrong with tiles that are not full and do not lead to the root:
// where the entries do, the tiles are to be compared with those that follow from them.
func (v *verification) blameEdge() {
	if v.proven {
		return
	}
	if v.tree.root() != v.newest.Root {
		v.find(BadTile, -1, "", "the last tiles of hashes do not lead to the root that was signed at size %d either", v.newest.Size)
		return
	}
	for level, hashes := range v.edge {
		tile := lastTile(v.newest.Size, level)
		if hashes != nil && !slices.Equal(hashes, v.tree.edge[level]) {
			v.find(BadTile, -1, tile.Path(), "its hashes are not those that were sealed")
		}
	}
}

// read reads the hashes of a tile. What is not there is found, and nil.
func (v *verification) read(ctx context.Context, t Tile) ([]tlog.Hash, error) {
	data, err := readHashes(ctx, v.source, t)
	if isLost(err) {
		v.find(Missing, -1, t.Path(), "hashes cannot be read: %v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v.report.Tiles++
	return splitHashes(data)
}

// trusted reads the hashes of a tile and compares them with what the level above says. It is
// nil where they are others, where nothing is known that they could be compared with, and
// where they are not there.
func (v *verification) trusted(ctx context.Context, t Tile) ([]tlog.Hash, error) {
	if t.Width < tileWidth {
		if !v.proven {
			return nil, nil
		}
		return v.edge[t.Level], nil
	}
	if last := &v.levels[t.Level]; last.read && last.n == t.N {
		return last.hashes, nil
	}
	parent := Tile{t.Level + 1, t.N / tileWidth, tileWidth}
	if last := lastTile(v.newest.Size, parent.Level); last.N == parent.N {
		parent = last
	}
	above, err := v.trusted(ctx, parent)
	if err != nil {
		return nil, err
	}
	hashes, err := v.read(ctx, t)
	if err != nil {
		return nil, err
	}
	switch {
	case above == nil:
		hashes = nil
	case hashes != nil && foldHashes(hashes) != above[t.N%tileWidth]:
		v.find(BadTile, -1, t.Path(), "its hashes are not those that were sealed")
		hashes = nil
	}
	v.levels[t.Level] = trustedTile{n: t.N, read: true, hashes: hashes}
	return hashes, nil
}

// above is the hash of a full tile as the level above has it; nil where that is not known.
func (v *verification) above(t Tile) *tlog.Hash {
	if t.Width < tileWidth {
		return nil
	}
	level, n := t.Level+1, t.N/tileWidth
	hashes := v.levels[level].hashes
	if last := lastTile(v.newest.Size, level); last.N == n {
		if !v.proven {
			return nil
		}
		hashes = v.edge[level]
	}
	if hashes == nil {
		return nil
	}
	return &hashes[t.N%tileWidth]
}

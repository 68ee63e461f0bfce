package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Limits of one checkpoint.
const (
	batchesMost   = 100 // sealed at once: the transaction that seals them deletes each
	batchesAtOnce = 4   // in memory, each of a mebibyte at the most
	putsAtOnce    = 8
)

// errBehind says that the bucket holds what the catalog has never signed.
var errBehind = fmt.Errorf("%w: the bucket holds a later checkpoint of the ledger than the catalog: the catalog was set back to an older state, and going on would give the same indexes to other events", oci.ErrCorrupt)

// write puts the tiles in the bucket that the batches behind the sealed size lead to, and
// says to what size. Their bytes follow from the batches, so whoever writes them, as often
// as it takes, writes the same.
func (s *sealer) write(ctx context.Context, h *opened) (size int64, err error) {
	t, err := s.edge(ctx, h)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(putsAtOnce)
	put := func(pieces []piece) {
		for _, p := range pieces {
			group.Go(func() error { return s.put(ctx, p.tile.Path(), p.data) })
		}
	}
	err = s.batches(ctx, h, t.size, func(entries [][]byte) {
		for _, entry := range entries {
			put(t.add(entry))
		}
	})
	if err == nil {
		put(t.partials(h.Sealed.Size))
	}
	s.tree = t
	return t.size, errors.Join(group.Wait(), err)
}

func (s *sealer) put(ctx context.Context, path string, data []byte) error {
	if err := s.bucket.Put(ctx, prefixObjects+path, bytes.NewReader(data), int64(len(data))); err != nil {
		return fmt.Errorf("ledger: write %s: %w", path, err)
	}
	return nil
}

// batches calls each for the batches from the index from on, in their order.
func (s *sealer) batches(ctx context.Context, h *opened, from int64, each func(entries [][]byte)) error {
	q := tiers.Query{Prefix: prefixBatch, Limit: batchesAtOnce}
	for read := 0; from < h.Assigned && read < batchesMost; read += batchesAtOnce {
		records, err := s.catalog.List(ctx, q)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		for _, r := range records {
			first, err := batchFirst(r.Key)
			if err != nil {
				return err
			}
			if first != from {
				if now, err := s.head(ctx); err != nil || now.revision != h.revision {
					return errors.Join(errOvertaken, err) // it has sealed, and deleted, what was to be read
				}
				return fmt.Errorf("catalog record %s: %w: the batch from %d on is missing", r.Key, oci.ErrCorrupt, from)
			}
			entries, err := splitEntries(r.Value)
			if err != nil {
				return fmt.Errorf("catalog record %s: %w", r.Key, err)
			}
			each(entries)
			from, q.After = from+int64(len(entries)), r.Key
		}
		if len(records) < q.Limit {
			break
		}
	}
	return nil
}

// edge is the tree as it is sealed: that of the last write, or read from the bucket and
// checked against the checkpoint. Nothing is put on top of what is not what was signed.
func (s *sealer) edge(ctx context.Context, h *opened) (*tree, error) {
	if s.tree != nil && s.tree.size == h.Sealed.Size {
		return s.tree, nil
	}
	s.tree = nil
	checkpoint, err := h.sealed()
	if err != nil {
		return nil, err
	}
	if err := s.ahead(ctx, h); err != nil {
		return nil, err
	}
	t := &tree{size: checkpoint.Size}
	for level := 0; t.size>>(tileHeight*level) > 0; level++ {
		t.edge = append(t.edge, nil)
		tile := lastTile(t.size, level)
		if tile.Width == 0 {
			continue
		}
		data, err := readHashes(ctx, s.source, tile)
		if err != nil {
			return nil, err
		}
		if t.edge[level], err = splitHashes(data); err != nil {
			return nil, err
		}
	}
	if t.root() != checkpoint.Root {
		return nil, fmt.Errorf("%w: the last tiles of the ledger in the bucket are not what was sealed at size %d: nothing is sealed on top of them", oci.ErrCorrupt, t.size)
	}
	return t, s.edgeEntries(ctx, t)
}

// edgeEntries reads the entries of the tile that is not full.
func (s *sealer) edgeEntries(ctx context.Context, t *tree) error {
	tile := lastTile(t.size, levelEntries)
	if tile.Width == 0 {
		return nil
	}
	entries, err := readEntries(ctx, s.source, tile)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != t.edge[0][i] {
			return fmt.Errorf("%w: entry %d of the ledger in the bucket is not what was sealed: nothing is sealed on top of it", oci.ErrCorrupt, tile.N*tileWidth+int64(i))
		}
		t.bundle = appendEntry(t.bundle, entry)
	}
	return nil
}

// ahead finds a checkpoint in the bucket that is later than all that the catalog has signed.
// There is none, however a sealer crashed: what is put in the bucket stands in the head
// before.
func (s *sealer) ahead(ctx context.Context, h *opened) error {
	known := h.Sealed.Size
	if h.Next != nil {
		known = h.Next.Size
	}
	after := prefixObjects + checkpointPath(known)
	if known == 0 && h.Sealed.Note == "" && h.Next == nil {
		after = ""
	}
	later, err := s.bucket.List(ctx, prefixObjects+pathCheckpoints, after, 1)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if len(later) == 0 {
		return nil
	}
	if now, err := s.head(ctx); err != nil || now.revision != h.revision {
		return errors.Join(errOvertaken, err)
	}
	return fmt.Errorf("%w (%s)", errBehind, later[0].Key)
}

// sign makes the checkpoint of a size, which must be written, the next.
func (s *sealer) sign(ctx context.Context, h *opened, size int64) error {
	checkpoint := Checkpoint{Origin: h.Origin, Size: size, Root: s.tree.root()}
	signed, err := note.Sign(&note.Note{Text: checkpoint.text()}, s.signer)
	if err != nil {
		return fmt.Errorf("ledger: sign the checkpoint of size %d: %w", size, err)
	}
	next := h.headRecord
	next.Next = &signedCheckpoint{Size: size, Note: string(signed)}
	next.Open = append(s.tidy(ctx, h), size)
	return s.commit(ctx, h, next, tiers.Change{})
}

// publish puts the next checkpoint in the bucket, byte for byte as the head has it, and
// seals what it covers.
func (s *sealer) publish(ctx context.Context, h *opened) error {
	if err := s.put(ctx, checkpointPath(h.Next.Size), []byte(h.Next.Note)); err != nil {
		return err
	}
	batches, err := s.catalog.List(ctx, tiers.Query{Prefix: prefixBatch, Limit: batchesMost + 1, KeysOnly: true})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	var change tiers.Change
	for _, r := range batches {
		if first, err := batchFirst(r.Key); err != nil {
			return err
		} else if first < h.Next.Size {
			change.Delete = append(change.Delete, r.Key)
		}
	}
	next := h.headRecord
	next.Sealed, next.Next = *h.Next, nil
	return s.commit(ctx, h, next, change)
}

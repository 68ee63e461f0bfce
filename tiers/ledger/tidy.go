package ledger

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

// openMost bounds how many sizes the head remembers whose partial tiles may be in the
// bucket. Only a bucket in which nothing can be deleted leaves so many.
const openMost = 1024

// tidy deletes the partial tiles whose full tile is sealed, and all but the last checkpoint
// in it, and returns the sizes that stay open. Nobody needs what goes: it begins the full
// tile. The transaction that signs the next checkpoint takes note; a crash before it has all
// of it deleted once more.
func (s *sealer) tidy(ctx context.Context, h *opened) (open []int64) {
	gone, open := s.spent(h)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(putsAtOnce)
	for _, path := range gone {
		group.Go(func() error { return s.bucket.Delete(groupCtx, prefixObjects+path) })
	}
	if err := group.Wait(); err != nil {
		s.log.WarnContext(ctx, "partial tiles of the ledger stay until the next checkpoint", "error", err)
		return slices.Clone(h.Open[max(0, len(h.Open)-openMost):])
	}
	return open
}

// spent lists the objects that a full tile has made needless, and the sizes that stay open.
func (s *sealer) spent(h *opened) (gone []string, open []int64) {
	size := h.Sealed.Size
	for i, before := range h.Open {
		if before/tileWidth == size/tileWidth {
			open = append(open, before)
			continue
		}
		for _, level := range []int{levelEntries, 0} {
			if tile := lastTile(before, level); tile.Width > 0 {
				gone = append(gone, tile.Path())
			}
		}
		// A checkpoint of 256 entries is the last of the first 256.
		if i+1 < len(h.Open) && (h.Open[i+1]-1)/tileWidth == (before-1)/tileWidth {
			gone = append(gone, checkpointPath(before))
		}
	}
	if len(h.Open) > 0 {
		gone = append(gone, fullSince(h.Open[0], size)...)
	}
	return gone, open
}

// fullSince lists the partial tiles of the upper levels whose tile is full at size and was
// not at before: every width of them may have been written.
func fullSince(before, size int64) (paths []string) {
	for level := 1; size>>(tileHeight*(level+1)) > 0; level++ {
		shift := tileHeight * (level + 1)
		for n := before >> shift; n < size>>shift; n++ {
			for width := 1; width < tileWidth; width++ {
				paths = append(paths, Tile{level, n, width}.Path())
			}
		}
	}
	return paths
}

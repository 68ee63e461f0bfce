package ledger

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	strictjson "github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Kind says what is wrong with a log.
type Kind string

// What Verify finds.
const (
	Changed   Kind = "changed"   // an entry is another than was sealed
	Dropped   Kind = "dropped"   // an entry that was sealed is not there
	Added     Kind = "added"     // an entry is there that was not sealed at its place
	Reordered Kind = "reordered" // an entry stands at another's place
	Repeated  Kind = "repeated"  // an event has two entries
	Malformed Kind = "malformed" // an entry is no event
	BadTile   Kind = "tile"      // hashes are others than were sealed
	Missing   Kind = "missing"   // a resource is not there, or cannot be read
	Signature Kind = "signature" // a checkpoint is not signed by a key that is trusted
	Misplaced Kind = "misplaced" // a checkpoint lies in the place of another
	BadRoot   Kind = "root"      // the log does not lead to a checkpoint that was signed
	Rollback  Kind = "rollback"  // the log ends before a checkpoint that was kept elsewhere
	Fork      Kind = "fork"      // two histories were signed
	OtherLog  Kind = "otherLog"  // a checkpoint is of another log
)

// Finding is something that is wrong with a log.
type Finding struct {
	Kind    Kind   `json:"kind"`
	Index   *int64 `json:"index,omitempty"` // of the entry, where it is one
	Path    string `json:"path,omitempty"`  // of the resource, where it is one
	Message string `json:"message"`
}

// maxFindings is how many findings a report holds; further ones are counted.
const maxFindings = 1000

// Report is what Verify found.
type Report struct {
	Checkpoint
	Sound  bool   `json:"sound"`
	Signed []byte `json:"-"` // the checkpoint that was gone by
	// Entries, Tiles and Checkpoints are how many were checked.
	Entries     int64 `json:"entries"`
	Tiles       int64 `json:"tiles"`
	Checkpoints int64 `json:"checkpoints"`
	// HashesOnly says that the entries were not looked at.
	HashesOnly bool       `json:"hashesOnly,omitempty"`
	First      *time.Time `json:"first,omitempty"` // time of the first entry
	Last       *time.Time `json:"last,omitempty"`
	Kept       *Kept      `json:"kept,omitempty"`
	Findings   []Finding  `json:"findings"`
	Unlisted   int        `json:"unlisted,omitempty"` // findings beyond the first thousand
}

// Kept says how the log stands to a checkpoint that was kept elsewhere.
type Kept struct {
	Size       int64 `json:"size"`
	Consistent bool  `json:"consistent"`
}

// VerifyOptions say what to check a log against.
type VerifyOptions struct {
	// Keys sign for the log; at least one.
	Keys []crypto.PublicKey
	// Kept is a signed checkpoint that was kept elsewhere; nil for none.
	Kept []byte
	// HashesOnly leaves the entries out: for who may not read them.
	HashesOnly bool
	// Each is called for each entry that is as it was sealed, in their order; nil for nobody.
	// An error of it ends the verification.
	Each func(Entry) error
	// Progress is called now and then; nil for nobody.
	Progress func(done, of int64)
}

// Lister is what a Source may be as well: it knows all checkpoints that there are.
type Lister interface {
	// Checkpoints lists the paths of all checkpoints, in any order.
	Checkpoints(ctx context.Context) ([]string, error)
}

// Verify computes a log anew, from its entries up, and compares it with everything that was
// signed. It returns an error only where it cannot do so: the source does not answer, or
// nothing says what is to be checked. What is wrong with the log is in the report.
//
// The root that was signed proves the tiles of the right edge, and they the full tiles
// below them, level by level. So it is known of each entry what it was, and of each
// wrong one whether it was changed, dropped or put elsewhere. Where the tiles were made to
// fit changed entries, the older checkpoints tell between which two the change lies.
func Verify(ctx context.Context, source Source, o VerifyOptions) (Report, error) {
	if len(o.Keys) == 0 {
		return Report{}, errors.New("ledger: a public key of the ledger is needed to verify it")
	}
	v := &verification{source: source, options: o, report: Report{Findings: []Finding{}, HashesOnly: o.HashesOnly}}
	err := v.run(ctx)
	v.report.Sound = err == nil && len(v.report.Findings) == 0
	return v.report, err
}

// verification is one run of Verify.
type verification struct {
	source  Source
	options VerifyOptions
	report  Report

	newest Checkpoint
	marks  []mark        // sizes at which the root must be a certain one, ascending
	edge   [][]tlog.Hash // the tiles that are not full, by level, as they are stored
	proven bool          // they are what was sealed
	levels []trustedTile // by level
	tree   *tree         // what was sealed, up to the tile that is looked at
	unsure bool          // it holds hashes of which nothing says that they were sealed
	good   int64         // the last mark whose root was right
	bad    bool          // a mark was not: the ones behind it say nothing new
	ids    recent
}

// mark is a checkpoint that the log has to pass through.
type mark struct {
	Checkpoint
	signed []byte
	kept   bool
}

func (v *verification) find(kind Kind, index int64, path, format string, args ...any) {
	f := Finding{Kind: kind, Path: path, Message: fmt.Sprintf(format, args...)}
	if index >= 0 {
		f.Index = &index
	}
	if len(v.report.Findings) == maxFindings {
		v.report.Unlisted++
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}

func (v *verification) run(ctx context.Context) error {
	ok, err := v.checkpoints(ctx)
	if err != nil || !ok {
		return err
	}
	if err := v.keptCheckpoint(); err != nil {
		return err
	}
	slices.SortStableFunc(v.marks, func(a, b mark) int { return cmp.Compare(a.Size, b.Size) })
	if err := v.rightEdge(ctx); err != nil {
		return err
	}
	v.tree = &tree{}
	v.passMarks()
	for n := int64(0); n*tileWidth < v.newest.Size; n++ {
		if err := v.tile(ctx, n); err != nil {
			return err
		}
		if v.options.Progress != nil {
			v.options.Progress(v.tree.size, v.newest.Size)
		}
	}
	v.blameEdge()
	return nil
}

// tile checks the entries and the hashes of a tile of level 0.
func (v *verification) tile(ctx context.Context, n int64) error {
	t := Tile{0, n, int(min(tileWidth, v.newest.Size-n*tileWidth))}
	sealed, err := v.trusted(ctx, t)
	if err != nil {
		return err
	}
	var entries [][]byte
	if !v.options.HashesOnly {
		if entries, err = v.entries(ctx, Tile{levelEntries, n, t.Width}); err != nil {
			return err
		}
	}
	found := make([]tlog.Hash, len(entries))
	for i, entry := range entries {
		found[i] = tlog.RecordHash(entry)
	}
	if sealed == nil {
		sealed = v.vouched(t, found)
	}
	if sealed != nil && entries != nil && !slices.Equal(sealed, found) {
		v.compare(n*tileWidth, sealed, found)
	}
	v.grow(sealed, found, t.Width)
	return v.events(ctx, n*tileWidth, sealed, entries, found)
}

// vouched is for hashes of level 0 that are not what was sealed: the entries themselves may
// be what the level above says.
func (v *verification) vouched(t Tile, found []tlog.Hash) []tlog.Hash {
	above := v.above(t)
	if above != nil && len(found) == tileWidth && foldHashes(found) == *above {
		return found
	}
	return nil
}

// grow goes on with the tree from what was sealed, where that is known, else from what was
// found, and compares it with the checkpoints that it passes.
func (v *verification) grow(sealed, found []tlog.Hash, width int) {
	hashes := sealed
	if hashes == nil {
		hashes, v.unsure = found, true
	}
	for i := range width {
		var h tlog.Hash // what is missing is known already: the sizes stay right
		if i < len(hashes) {
			h = hashes[i]
		}
		v.tree.addHash(h)
		v.passMarks()
	}
}

// passMarks compares the tree with the checkpoints of its size. Where all of it is what was
// sealed and yet another root was signed, there are two histories; else the entries are not
// those that were sealed.
func (v *verification) passMarks() {
	for len(v.marks) > 0 && v.marks[0].Size == v.tree.size {
		m := v.marks[0]
		v.marks = v.marks[1:]
		root := v.tree.root()
		if m.kept {
			v.report.Kept.Consistent = m.Root == root
		}
		switch {
		case m.Root == root:
			v.good = m.Size
		case !v.unsure && m.kept:
			v.find(Fork, -1, "", "two histories were signed: the checkpoint of size %d that was kept elsewhere has the root %s, here it is %s", m.Size, m.Root, root)
		case !v.unsure:
			v.find(Fork, -1, checkpointPath(m.Size), "two histories were signed: the checkpoint of size %d has the root %s, the newest leads to %s", m.Size, m.Root, root)
		case !v.bad:
			v.bad = true
			v.find(BadRoot, -1, "", "the entries do not lead to the root that was signed at size %d: some from %d to %d were changed, dropped or put elsewhere", m.Size, v.good, m.Size-1)
		}
	}
}

// entries reads a tile of entries. What is not there is found, and nothing.
func (v *verification) entries(ctx context.Context, t Tile) ([][]byte, error) {
	data, err := readTile(ctx, v.source, t)
	if isLost(err) {
		v.find(Missing, -1, t.Path(), "the entries from %d to %d cannot be read: %v", t.N*tileWidth, t.N*tileWidth+int64(t.Width)-1, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := splitEntries(data)
	if err != nil {
		v.find(Missing, -1, t.Path(), "%v", err)
	}
	if most := t.Width + tileWidth; len(entries) > most {
		v.find(Added, -1, t.Path(), "it holds %d entries, %d were sealed; the first %d are looked at", len(entries), t.Width, most)
		entries = entries[:most]
	}
	return entries, nil
}

// isLost says whether an error is one of what is stored, not of the store.
func isLost(err error) bool {
	return errors.Is(err, oci.ErrObjectUnknown) || errors.Is(err, oci.ErrCorrupt)
}

// events checks that entries are events, each once, and hands them on.
func (v *verification) events(ctx context.Context, first int64, sealed []tlog.Hash, entries [][]byte, found []tlog.Hash) error {
	for i, value := range entries {
		index := first + int64(i)
		if i >= len(sealed) || sealed[i] != found[i] {
			continue
		}
		v.report.Entries++
		data, err := EventOf(ctx, v.source, value)
		if isLost(err) {
			v.find(Missing, index, "", "the event of entry %d cannot be read: %v", index, err)
			continue
		}
		if err != nil {
			return err
		}
		var event tiers.Event
		if err := strictjson.Unmarshal(data, &event); err != nil || event.ID == "" {
			v.find(Malformed, index, "", "entry %d is no event", index)
			continue
		}
		if before, ok := v.ids.add(event.ID, index); ok {
			v.find(Repeated, index, "", "entry %d is the event %s again, which is entry %d", index, event.ID, before)
		}
		if v.report.First == nil {
			v.report.First = &event.Time
		}
		v.report.Last = &event.Time
		if v.options.Each != nil {
			if err := v.options.Each(Entry{Index: index, Value: value, Event: data}); err != nil {
				return err
			}
		}
	}
	return nil
}

// recent knows the ids of the last entries. A crash that had an event sealed twice would
// leave its entries near each other.
type recent struct {
	index map[string]int64
	ring  []string // the last ids, at next the oldest
	next  int
}

const recentMost = 1 << 16

func (r *recent) add(id string, index int64) (before int64, repeated bool) {
	if r.index == nil {
		r.index, r.ring = map[string]int64{}, make([]string, recentMost)
	}
	if before, ok := r.index[id]; ok {
		return before, true
	}
	delete(r.index, r.ring[r.next])
	r.ring[r.next], r.index[id] = id, index
	r.next = (r.next + 1) % recentMost
	return 0, false
}

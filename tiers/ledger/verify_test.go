package ledger_test

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// copied is a copy of a bucket that somebody has got at.
type copied struct {
	*testing.T
	files   fstest.MapFS
	entries [][]byte
	key     crypto.Signer
	kept    []byte // a checkpoint that was kept elsewhere
}

const copiedSize = 600

// newCopied has 600 entries in two full tiles and one of 88.
func newCopied(t *testing.T, key crypto.Signer) *copied {
	t.Helper()
	c := &copied{T: t, key: key}
	for i := range copiedSize {
		c.entries = append(c.entries, tiers.Encode(tiers.Event{ID: fmt.Sprintf("event-%03d", i), Type: tiers.EventTagged, Tag: strings.Repeat("x", i%7)}))
	}
	c.make(copiedSizes()...)
	return c
}

func copiedSizes() []int64 { return []int64{100, 256, 400, 599, copiedSize} }

func (c *copied) make(sizes ...int64) {
	c.Helper()
	var err error
	if c.files, err = ledger.Make(origin, c.key, c.entries, sizes...); err != nil {
		c.Fatal(err)
	}
}

// edit changes a file.
func (c *copied) edit(path string, change func([]byte) []byte) {
	c.Helper()
	file := c.files["ledger/"+path]
	if file == nil {
		c.Fatalf("there is no %s", path)
	}
	c.files["ledger/"+path] = &fstest.MapFile{Data: change(slices.Clone(file.Data))}
}

// bundle changes the entries of a tile.
func (c *copied) bundle(path string, change func([][]byte) [][]byte) {
	c.Helper()
	c.edit("tile/entries/"+path, func(data []byte) []byte {
		entries, err := ledger.Split(data)
		if err != nil {
			c.Fatal(err)
		}
		return ledger.Join(change(slices.Clone(entries)))
	})
}

func flipByte(data []byte) []byte {
	data[len(data)/3] ^= 4
	return data
}

func other(i int) []byte {
	return tiers.Encode(tiers.Event{ID: fmt.Sprint("forged-", i), Type: tiers.EventTagged})
}

// tampering is what somebody does to a copy, and what is to be found of it: kind and entry,
// or kind and path.
type tampering struct {
	do   func(*copied)
	want []string
}

func tamperings() map[string]tampering {
	tile := func(n string) string { return "tile/entries/" + n }
	return map[string]tampering{
		"nothing": {func(*copied) {}, nil},

		"an entry changed": {func(c *copied) {
			c.bundle("001", func(e [][]byte) [][]byte { e[44] = other(1); return e })
		}, []string{"changed 300"}},
		"a byte of an entry flipped": {func(c *copied) { c.edit(tile("000"), flipByte) }, []string{"changed 85"}},
		"an entry of the last tile changed": {func(c *copied) {
			c.bundle("002.p/88", func(e [][]byte) [][]byte { e[87] = other(1); return e })
		}, []string{"changed 599"}},
		"an entry dropped": {func(c *copied) {
			c.bundle("000", func(e [][]byte) [][]byte { return slices.Delete(e, 10, 11) })
		}, []string{"dropped 10"}},
		"the last entry dropped": {func(c *copied) {
			c.bundle("002.p/88", func(e [][]byte) [][]byte { return e[:87] })
		}, []string{"dropped 599"}},
		"two entries swapped": {func(c *copied) {
			c.bundle("001", func(e [][]byte) [][]byte { e[3], e[9] = e[9], e[3]; return e })
		}, []string{"reordered 259", "reordered 265"}},
		"an entry moved": {func(c *copied) {
			c.bundle("001", func(e [][]byte) [][]byte { return slices.Concat(e[:3], e[5:6], e[3:5], e[6:]) })
		}, []string{"reordered 261"}},
		"an entry put in": {func(c *copied) {
			c.bundle("001", func(e [][]byte) [][]byte { return slices.Insert(e, 3, other(1)) })
		}, []string{"added 259"}},
		"an entry overwritten by another": {func(c *copied) {
			c.bundle("001", func(e [][]byte) [][]byte { e[9] = e[3]; return e })
		}, []string{"changed 265"}},
		"a bundle cut off": {func(c *copied) {
			c.edit(tile("000"), func(data []byte) []byte { return data[:len(data)-1] })
		}, []string{"missing " + tile("000"), "dropped 255"}},
		"a bundle deleted": {func(c *copied) { delete(c.files, "ledger/"+tile("000")) }, []string{"missing " + tile("000")}},

		"hashes changed":                       {func(c *copied) { c.edit("tile/0/001", flipByte) }, []string{"tile tile/0/001"}},
		"hashes of the last tile changed":      {func(c *copied) { c.edit("tile/0/002.p/88", flipByte) }, []string{"tile tile/0/002.p/88"}},
		"hashes of the level above changed":    {func(c *copied) { c.edit("tile/1/000.p/2", flipByte) }, []string{"tile tile/1/000.p/2"}},
		"hashes deleted":                       {func(c *copied) { delete(c.files, "ledger/tile/0/000") }, []string{"missing tile/0/000"}},
		"hashes of the last tile deleted":      {func(c *copied) { delete(c.files, "ledger/tile/0/002.p/88") }, []string{"missing tile/0/002.p/88"}},
		"an entry and its hashes made to fit":  {fitTile, []string{"tile tile/0/000", "root 0-99"}},
		"an entry and all hashes made to fit":  {fitAll(300), []string{"root 256-399", "tile "}},
		"the last entry and all made to fit":   {fitAll(599), []string{"root 599-599", "tile "}},
		"the newest checkpoint signed by none": {func(c *copied) { c.edit(strip(599), flipByte); c.edit(strip(600), unsign) }, []string{"signature " + strip(599), "signature " + strip(600)}},
		"all checkpoints deleted": {func(c *copied) {
			for _, size := range copiedSizes() {
				delete(c.files, ledger.CheckpointPath(size))
			}
			c.files["ledger/checkpoints"] = &fstest.MapFile{Mode: fs.ModeDir}
		}, []string{"missing checkpoints/"}},
		"a checkpoint in another's place": {func(c *copied) {
			c.files[ledger.CheckpointPath(600)] = c.files[ledger.CheckpointPath(400)]
		}, []string{"misplaced " + strip(600)}},
		"a checkpoint of another log": {func(c *copied) {
			files, err := ledger.Make("other.example.com/ledger", c.key, c.entries, 256)
			if err != nil {
				c.Fatal(err)
			}
			c.files[ledger.CheckpointPath(256)] = files[ledger.CheckpointPath(256)]
		}, []string{"otherLog " + strip(256)}},
		"two histories signed": {func(c *copied) {
			c.files[ledger.CheckpointPath(400)] = c.history(399, 400).files[ledger.CheckpointPath(400)]
		}, []string{"fork " + strip(400)}},

		"what was kept is of this log": {func(c *copied) { c.kept = c.at(256) }, nil},
		"set back": {func(c *copied) {
			c.kept = c.at(600)
			c.entries = c.entries[:400]
			c.make(100, 256, 400)
		}, []string{"rollback"}},
		"set back and gone on":                 {func(c *copied) { c.kept = c.at(599); c.files = c.history(500, 600).files }, []string{"fork"}},
		"another history than was kept":        {func(c *copied) { c.kept = c.history(10, 256).at(256) }, []string{"fork"}},
		"what was kept is of another log":      {func(c *copied) { c.kept = c.otherLog() }, []string{"otherLog"}},
		"an entry changed that was kept":       {func(c *copied) { c.kept = c.at(400); fitAll(300)(c) }, []string{"root 256-399", "tile "}},
		"a changed entry, and a fork was kept": {func(c *copied) { c.kept = c.history(10, 256).at(256); c.edit(tile("001"), flipByte) }, []string{"fork", "changed"}},
	}
}

func strip(size int64) string { return strings.TrimPrefix(ledger.CheckpointPath(size), "ledger/") }

func unsign(data []byte) []byte { return append(data[:len(data)-10], "AAAAAAAAA\n"...) }

// at is the checkpoint of a size.
func (c *copied) at(size int64) []byte {
	c.Helper()
	file := c.files[ledger.CheckpointPath(size)]
	if file == nil {
		c.Fatalf("there is no checkpoint of size %d", size)
	}
	return file.Data
}

// history is another log of the same key, in which entries from an index on are others.
func (c *copied) history(from int, sizes ...int64) *copied {
	c.Helper()
	fork := &copied{T: c.T, key: c.key, entries: slices.Clone(c.entries)}
	for i := from; i < len(fork.entries); i++ {
		fork.entries[i] = other(i)
	}
	fork.make(sizes...)
	return fork
}

func (c *copied) otherLog() []byte {
	c.Helper()
	files, err := ledger.Make("other.example.com/ledger", c.key, c.entries, 256)
	if err != nil {
		c.Fatal(err)
	}
	return files[ledger.CheckpointPath(256)].Data
}

// fitTile changes an entry and makes the hashes of its tile fit.
func fitTile(c *copied) {
	changed := c.history(50, 600) // 50 on; of it only the first tile is taken
	for _, path := range []string{"ledger/tile/0/000", "ledger/tile/entries/000"} {
		c.files[path] = changed.files[path]
	}
}

// fitAll changes an entry and makes everything fit but the checkpoints, for which it takes
// the key.
func fitAll(index int) func(*copied) {
	return func(c *copied) {
		entries := slices.Clone(c.entries)
		entries[index] = other(index)
		files, err := ledger.Make(origin, c.key, entries)
		if err != nil {
			c.Fatal(err)
		}
		maps.Copy(c.files, files)
	}
}

// Whatever somebody does to a copy of the bucket is found, and named for what it is.
func TestTampering(t *testing.T) {
	t.Parallel()
	key := newSigner(t)
	for name, tt := range tamperings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopied(t, key)
			tt.do(c)
			source, err := ledger.Dir(c.files)
			if err != nil {
				t.Fatal(err)
			}
			report, err := ledger.Verify(t.Context(), source, ledger.VerifyOptions{Keys: []crypto.PublicKey{key.Public()}, Kept: c.kept})
			if err != nil {
				t.Fatal(err)
			}
			checkFindings(t, report, tt.want)
		})
	}
}

func checkFindings(t *testing.T, report ledger.Report, want []string) {
	t.Helper()
	var got []string
	for _, f := range report.Findings {
		got = append(got, finding(f))
	}
	slices.Sort(got)
	slices.Sort(want)
	same := slices.EqualFunc(got, want, func(got, want string) bool {
		// "changed" alone stands for any entry.
		return got == want || !strings.Contains(want, " ") && strings.HasPrefix(got, want+" ")
	})
	if !same || report.Sound != (len(want) == 0) {
		t.Errorf("sound %v, found %q, want %q", report.Sound, got, want)
		for _, f := range report.Findings {
			t.Log(f.Kind, f.Message)
		}
	}
	if report.Sound && report.Entries != report.Size {
		t.Errorf("%d entries of %d were checked", report.Entries, report.Size)
	}
}

// finding is the kind of a finding, with the entry or the path, or the range of a root.
func finding(f ledger.Finding) string {
	switch {
	case f.Index != nil:
		return fmt.Sprintf("%s %d", f.Kind, *f.Index)
	case f.Kind == ledger.BadRoot:
		var size, from, to int
		at := strings.Index(f.Message, "size ")
		if _, err := fmt.Sscanf(f.Message[at:], "size %d: some from %d to %d", &size, &from, &to); err != nil {
			return f.Message
		}
		return fmt.Sprintf("%s %d-%d", f.Kind, from, to)
	case f.Kind == ledger.Fork && f.Path == "" || f.Kind == ledger.Rollback || f.Kind == ledger.OtherLog && f.Path == "":
		return string(f.Kind)
	}
	return string(f.Kind) + " " + f.Path
}

// What is sealed and yet wrong: an event twice, an entry that is no event, a long event
// whose object is another.
func TestSealedWrong(t *testing.T) {
	t.Parallel()
	key := newSigner(t)
	c := newCopied(t, key)
	c.entries = append(c.entries[:20], c.entries[7], []byte("{"))
	c.make(22)
	source, err := ledger.Dir(c.files)
	if err != nil {
		t.Fatal(err)
	}
	var seen int
	report, err := ledger.Verify(t.Context(), source, ledger.VerifyOptions{Keys: []crypto.PublicKey{key.Public()}, Each: func(ledger.Entry) error {
		seen++
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	checkFindings(t, report, []string{"malformed 21", "repeated 20"})
	if seen != 21 {
		t.Errorf("%d entries were handed on, want 21", seen)
	}
}

// A plain copy of the bucket of a registry verifies without it, and a changed long event is
// found.
func TestCopyOfBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(300)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Body: make([]byte, 100_000)})
	w.seal(w.main)
	w.fill(300)
	w.seal(w.main)
	dir := w.copyTo(t.TempDir())
	verify := func() ledger.Report {
		t.Helper()
		source, err := ledger.Dir(os.DirFS(dir))
		w.must(err)
		report, err := ledger.Verify(t.Context(), source, ledger.VerifyOptions{Keys: w.keys()})
		w.must(err)
		return report
	}
	report := verify()
	checkFindings(t, report, nil)
	if report.Size != 601 || report.Checkpoints != 2 {
		t.Errorf("%+v", report)
	}
	long, err := filepath.Glob(filepath.Join(dir, "ledger/events/*"))
	w.must(err)
	w.must(os.WriteFile(long[0], []byte("{}"), 0o600))
	checkFindings(t, verify(), []string{"missing 300"})
	dir = filepath.Join(dir, "ledger") // the folder alone will do
	checkFindings(t, verify(), []string{"missing 300"})
}

// copyTo copies the bucket into a folder, a file for each object.
func (w *world) copyTo(dir string) string {
	w.Helper()
	for _, path := range w.objects() {
		data, err := w.main.Read(w.Context(), path, 16<<20)
		w.must(err)
		name := filepath.Join(dir, "ledger", path)
		w.must(errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)))
	}
	return dir
}

// What cannot be verified is an error, not a report.
func TestCannotVerify(t *testing.T) {
	t.Parallel()
	key := newSigner(t)
	c := newCopied(t, key)
	source, err := ledger.Dir(c.files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Verify(t.Context(), source, ledger.VerifyOptions{}); err == nil {
		t.Error("verified without a key")
	}
	_, err = ledger.Verify(t.Context(), source, ledger.VerifyOptions{Keys: []crypto.PublicKey{key.Public()}, Kept: []byte("no checkpoint")})
	if err == nil {
		t.Error("verified against no checkpoint")
	}
	if _, err := ledger.Dir(fstest.MapFS{"blobs/x": &fstest.MapFile{}}); err == nil {
		t.Error("a folder without a ledger is one")
	}
	stranger := newSigner(t)
	report, err := ledger.Verify(t.Context(), source, ledger.VerifyOptions{Keys: []crypto.PublicKey{stranger.Public()}})
	if err != nil || report.Sound || len(report.Findings) != len(copiedSizes()) {
		t.Errorf("with another key: %+v, %v", report, err)
	}
}

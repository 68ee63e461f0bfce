package check

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// sealing is the head of the ledger.
type sealing struct {
	Origin   string `json:"origin"`
	Store    string `json:"store"`
	Assigned int64  `json:"assigned"`
	Sealed   struct {
		Size int64  `json:"size"`
		Note string `json:"note"`
	} `json:"sealed"`
	Next *struct{} `json:"next"`
}

// tree are the hashes of a Merkle log, as they are computed from its entries.
type tree []tlog.Hash

// ReadHashes gives hashes by their places in the storage order of tlog.
func (t tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(t)) {
			return nil, fmt.Errorf("hash %d of %d", index, len(t))
		}
		hashes[i] = t[index]
	}
	return hashes, nil
}

// ledger checks that every event that there ever was is in the log, once, byte for byte and
// in the order in which the catalog took them, and that the tiles and all checkpoints are
// those of such a log (L).
func (s *state) ledger() {
	head, err := decode[sealing](s.catalog.ledger["head"])
	if err != nil {
		s.violation("L: the head of the ledger: %v", err)
		return
	}
	for key := range s.catalog.ledger {
		if strings.HasPrefix(key, "batch/") {
			s.violation("L: %s is left though nothing is under way", key)
		}
	}
	if head.Next != nil || head.Assigned != head.Sealed.Size {
		s.violation("L: %d entries have their index and %d are sealed though nothing is under way", head.Assigned, head.Sealed.Size)
	}
	l := &log{state: s, head: head}
	if l.entries() {
		l.follow()
		l.tiles()
		l.checkpoints()
	}
}

// log is the ledger in its bucket.
type log struct {
	*state
	head   sealing
	values [][]byte
	tree   tree
}

func (l *log) read(path string) ([]byte, error) {
	return l.object(l.buckets[l.head.Store], "ledger/"+path)
}

func (l *log) there(path string) bool {
	_, ok := l.objects[l.head.Store]["ledger/"+path]
	return ok
}

// entries reads them all.
func (l *log) entries() bool {
	for _, t := range tlog.NewTiles(8, 0, l.head.Sealed.Size) {
		if t.L != 0 {
			continue
		}
		t.L = -1
		data, err := l.read(place(t))
		for n := 0; err == nil && n < t.W; n++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				err = fmt.Errorf("it ends in entry %d", n)
				break
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			l.values, data = append(l.values, data[2:end]), data[end:]
		}
		if err != nil || len(data) > 0 {
			l.violation("L: entries %s: %v, %d bytes left", place(t), err, len(data))
			return false
		}
	}
	for i, value := range l.values {
		hashes, err := tlog.StoredHashes(int64(i), value, l.tree)
		if err != nil {
			l.violation("L: entry %d: %v", i, err)
			return false
		}
		l.tree = append(l.tree, hashes...)
	}
	return true
}

// place is where a tile lies.
func place(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", t.H))
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// follow compares the entries with the events that were seen to be recorded.
func (l *log) follow() {
	events, err := l.events.all()
	if err != nil {
		l.violation("L: the events cannot be followed: %v", err)
		return
	}
	if len(events) != len(l.values) {
		l.violation("L: %d events were recorded, %d entries are sealed", len(events), len(l.values))
	}
	sealed := map[string]int{}
	for i, value := range l.values {
		e, err := decode[struct {
			ID   string
			Long *struct{ Digest string }
		}](value)
		if err != nil {
			l.violation("L: entry %d: %v", i, err)
			continue
		}
		if before, twice := sealed[e.ID]; twice {
			l.violation("L: entry %d is event %s again, which is entry %d", i, e.ID, before)
			continue
		}
		sealed[e.ID] = i
		if e.Long == nil {
			l.same(i, value, events, e.ID)
			continue
		}
		value, err := l.read("events/" + strings.TrimPrefix(e.Long.Digest, "sha256:"))
		if err != nil {
			l.violation("L: the event %s of entry %d: %v", e.ID, i, err)
			continue
		}
		l.same(i, value, events, e.ID)
	}
	for _, e := range events {
		if _, ok := sealed[e.id]; !ok {
			l.violation("L: event %s was recorded and is not in the log", e.id)
		}
	}
}

func (l *log) same(i int, value []byte, events []recorded, id string) {
	place := slices.IndexFunc(events[min(i, len(events)):], func(e recorded) bool { return e.id == id })
	switch {
	case place == 0:
		if events[i].sum != sha256.Sum256(value) {
			l.violation("L: entry %d is not what event %s was", i, id)
		}
	case slices.ContainsFunc(events, func(e recorded) bool { return e.id == id }):
		l.violation("L: entry %d is event %s, which the catalog did not take %d-th", i, id, i)
	default:
		l.violation("L: entry %d is event %s, which was never recorded", i, id)
	}
}

// tiles compares the hashes in the bucket with those of the entries.
func (l *log) tiles() {
	for _, t := range tlog.NewTiles(8, 0, l.head.Sealed.Size) {
		want, err := tlog.ReadTileData(t, l.tree)
		if err != nil {
			l.violation("L: %s: %v", place(t), err)
			continue
		}
		got, err := l.read(place(t))
		if err != nil || string(got) != string(want) {
			l.violation("L: the hashes %s are not those of the entries (%v)", place(t), err)
		}
	}
}

// checkpoints checks the newest, and all that are in the bucket.
func (l *log) checkpoints() {
	size := l.checkpoint("the head", []byte(l.head.Sealed.Note))
	if size != l.head.Sealed.Size {
		l.violation("L: the head says that %d entries are sealed, its checkpoint %d", l.head.Sealed.Size, size)
	}
	for key := range l.objects[l.head.Store] {
		path, ok := strings.CutPrefix(key, "ledger/checkpoints/")
		if !ok {
			continue
		}
		signed, err := l.object(l.buckets[l.head.Store], key)
		if err != nil {
			l.violation("L: %s: %v", key, err)
			continue
		}
		if size := l.checkpoint(key, signed); !strings.HasSuffix(path, fmt.Sprintf("/%020d", size)) {
			l.violation("L: %s is the checkpoint of size %d", key, size)
		}
	}
	if path := fmt.Sprintf("%020d", size); !l.there("checkpoints/" + path[:15] + "/" + path) {
		l.violation("L: the newest checkpoint, of size %d, is not in the bucket", size)
	}
}

// checkpoint checks one, and returns its size.
func (l *log) checkpoint(where string, signed []byte) int64 {
	n, err := note.Open(signed, note.VerifierList(ecdsaVerifier{l.head.Origin, l.config.Ledger}))
	if err != nil {
		l.violation("L: the checkpoint of %s: %v", where, err)
		return -1
	}
	var size int64
	var root tlog.Hash
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 3 || lines[0] != l.head.Origin {
		l.violation("L: the checkpoint of %s says %q", where, n.Text)
		return -1
	}
	if _, err = fmt.Sscan(lines[1], &size); err == nil {
		root, err = tlog.ParseHash(lines[2])
	}
	if err != nil || size > int64(len(l.values)) {
		l.violation("L: the checkpoint of %s is of size %d (%v), and there are %d entries", where, size, err, len(l.values))
		return size
	}
	if want, err := tlog.TreeHash(size, l.tree); err != nil || want != root {
		l.violation("L: the checkpoint of %s, of size %d, is of another log: a fork (%v)", where, size, err)
	}
	return size
}

// ecdsaVerifier checks signatures as clients of transparency logs do.
type ecdsaVerifier struct {
	name string
	key  *ecdsa.PublicKey
}

// Name is that of the log.
func (v ecdsaVerifier) Name() string { return v.name }

// KeyHash is the beginning of the hash of the key.
func (v ecdsaVerifier) KeyHash() uint32 {
	der, err := x509.MarshalPKIXPublicKey(v.key)
	if err != nil {
		return 0 // of no key
	}
	sum := sha256.Sum256(der)
	return binary.BigEndian.Uint32(sum[:])
}

// Verify says whether the key has signed msg.
func (v ecdsaVerifier) Verify(msg, sig []byte) bool {
	sum := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(v.key, sum[:], sig)
}

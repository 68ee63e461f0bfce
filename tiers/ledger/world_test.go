package ledger_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

const (
	origin    = "registry.example.com/ledger"
	tileWidth = 256
)

// world is a registry on real stores whose ledger several replicas seal.
type world struct {
	*testing.T
	config tiers.Config
	hooks  *hooks // of what all replicas do
	signer crypto.Signer
	main   *replica
}

// replica is one process of the registry.
type replica struct {
	*tiers.Registry
	*ledger.Ledger
	hooks *hooks
}

func newSigner(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldWithout(t)
	w.main = w.replica()
	return w
}

// newWorldWithout has no ledger yet.
func newWorldWithout(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, hooks: &hooks{}, signer: newSigner(t)}
	w.config = tiers.Config{Catalog: stores.Catalog(t), Log: quiet(), Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(t)}}}
	w.hooks.over(&w.config)
	return w
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// replica starts another process. It has hooks of its own, before those of all.
func (w *world) replica() *replica {
	w.Helper()
	r, err := w.registry()
	w.must(err)
	w.must(w.open(w.Context(), r))
	return r
}

// registry is a process that has not opened the ledger yet.
func (w *world) registry() (*replica, error) {
	r := &replica{hooks: &hooks{}}
	config := w.config
	config.Tiers = slices.Clone(config.Tiers)
	r.hooks.over(&config)
	var err error
	r.Registry, err = tiers.New(w.Context(), config)
	return r, err
}

// open opens the ledger of a replica, as it does when it starts.
func (w *world) open(ctx context.Context, r *replica) (err error) {
	r.Ledger, err = ledger.New(ctx, ledger.Config{Registry: r.Registry, Signer: w.signer, Origin: origin, Log: quiet(), Interval: 10 * time.Millisecond})
	return err
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// record records n events, each in a transaction of its own.
func (w *world) record(n int) {
	w.Helper()
	for i := range n {
		w.commit(tiers.Event{Type: tiers.EventTagged, Actor: "alice", Tier: "dev", Repository: "acme/app", Tag: fmt.Sprint("t", i)})
	}
}

// commit records events in one transaction.
func (w *world) commit(events ...tiers.Event) {
	w.Helper()
	var change tiers.Change
	for _, e := range events {
		change.Put = append(change.Put, w.main.EventPut(e))
	}
	_, err := w.config.Catalog.Commit(context.WithoutCancel(w.Context()), change)
	w.must(err)
}

// fill records n events in as few transactions as it takes.
func (w *world) fill(n int) {
	w.Helper()
	for ; n > 0; n -= tiers.MaxOps {
		events := make([]tiers.Event, min(n, tiers.MaxOps))
		for i := range events {
			events[i] = tiers.Event{Type: tiers.EventTagged, Actor: "alice", Tier: "dev", Repository: "acme/app", Tag: fmt.Sprint(i)}
		}
		w.commit(events...)
	}
}

// seal seals until nothing is left. Another replica's claim may have to be waited for.
func (w *world) seal(r *replica) {
	w.Helper()
	for begin := time.Now(); ; {
		_, err := r.Seal(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if len(w.waiting()) == 0 {
			state := w.state()
			if state.Size == state.Assigned && len(state.Signed) > 0 {
				return
			}
		}
		if time.Since(begin) > time.Minute {
			w.Fatal("the ledger is not sealed")
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) state() ledger.State {
	w.Helper()
	state, err := w.main.State(w.Context())
	w.must(err)
	return state
}

// waiting lists the events that have no index.
func (w *world) waiting() []tiers.Record { return w.list("event/") }

func (w *world) list(prefix string) []tiers.Record {
	w.Helper()
	var all []tiers.Record
	for q := (tiers.Query{Prefix: prefix, Limit: tiers.MaxPage}); ; {
		page, err := w.config.Catalog.List(w.Context(), q)
		w.must(err)
		if all = append(all, page...); len(page) < q.Limit {
			return all
		}
		q.After = page[len(page)-1].Key
	}
}

// objects lists the keys of the ledger's objects, without the prefix of all.
func (w *world) objects() []string {
	w.Helper()
	var keys []string
	for after := ""; ; {
		page, err := w.config.Tiers[0].Bucket.List(w.Context(), "ledger/", after, tiers.MaxObjects)
		w.must(err)
		for _, o := range page {
			after = o.Key
			keys = append(keys, strings.TrimPrefix(o.Key, "ledger/"))
		}
		if len(page) < tiers.MaxObjects {
			return keys
		}
	}
}

// audit checks what must hold of a ledger, whatever happened to those who sealed it, and
// whose events were recorded by the hooks: everything that is recorded is in it once, byte
// for byte, in the order of the catalog; the tiles and the checkpoint are those of a tree
// that was made by package tlog alone; nobody was ever shown another history.
func (w *world) audit() {
	w.Helper()
	want := w.hooks.recorded()
	state := w.state()
	if state.Size != int64(len(want)) {
		w.Fatalf("%d entries of %d events", state.Size, len(want))
	}
	reference := &reference{}
	for from := int64(0); from < state.Size; {
		entries, err := w.main.Entries(w.Context(), from, 1000)
		w.must(err)
		for _, e := range entries {
			if e.Index != from || string(e.Event) != string(want[from]) {
				w.Fatalf("entry %d is %s, want %s", e.Index, e.Event, want[from])
			}
			reference.add(w.T, e.Value)
			from++
		}
	}
	c, err := ledger.OpenCheckpoint(state.Signed, w.signer.Public())
	w.must(err)
	if c.Size != state.Size || c.Root != reference.root(w.T, c.Size) || c.Origin != origin {
		w.Fatalf("the checkpoint is %+v", c)
	}
	for _, signed := range w.hooks.signed() {
		c, err := ledger.OpenCheckpoint([]byte(signed), w.signer.Public())
		w.must(err)
		if c.Size > state.Size || c.Root != reference.root(w.T, c.Size) {
			w.Fatalf("the checkpoint of size %d is of another history", c.Size)
		}
	}
	if twice := w.hooks.rewritten(); len(twice) > 0 {
		w.Fatalf("objects were written again with other bytes: %v", twice)
	}
	w.verify(state)
}

// reference is a log in memory, as package tlog makes it.
type reference struct {
	size   int64
	hashes []tlog.Hash
}

func (r *reference) add(t *testing.T, value []byte) {
	t.Helper()
	hashes, err := tlog.StoredHashes(r.size, value, r)
	if err != nil {
		t.Fatal(err)
	}
	r.hashes = append(r.hashes, hashes...)
	r.size++
}

func (r *reference) root(t *testing.T, size int64) tlog.Hash {
	t.Helper()
	root, err := tlog.TreeHash(size, r)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// ReadHashes implements tlog.HashReader.
func (r *reference) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(r.hashes)) {
			return nil, fmt.Errorf("%w: hash %d", oci.ErrObjectUnknown, index)
		}
		hashes[i] = r.hashes[index]
	}
	return hashes, nil
}

func (w *world) keys() []crypto.PublicKey { return []crypto.PublicKey{w.signer.Public()} }

// flip changes a byte of an object.
func (w *world) flip(path string) {
	w.Helper()
	w.replace(path, func(data []byte) []byte {
		data[len(data)/2] ^= 1
		return data
	})
}

// replace gives an object other bytes, as somebody with the bucket's credentials can.
func (w *world) replace(path string, edit func([]byte) []byte) {
	w.Helper()
	bucket := w.config.Tiers[0].Bucket.(*hookedBucket).Bucket
	r, err := bucket.Open(w.Context(), "ledger/"+path, 0, -1)
	w.must(err)
	data, err := io.ReadAll(r)
	w.must(errors.Join(err, r.Close()))
	data = edit(data)
	w.must(bucket.Put(w.Context(), "ledger/"+path, bytes.NewReader(data), int64(len(data))))
}

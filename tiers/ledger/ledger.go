package ledger

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/sumdb/note"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// EventKeyChanged is the event of a ledger that is signed with another key from here on:
// Actor says by whose doing, Cause is the new key as VerifierKey gives it.
const EventKeyChanged tiers.EventType = "ledger.key"

// DefaultInterval is how often a replica looks for events to seal. A look that finds none is two
// reads of the catalog.
const DefaultInterval = 500 * time.Millisecond

// keptTiles is how many full tiles of hashes, of 8 KiB, are kept in memory.
const keptTiles = 256

// Config makes a Ledger.
type Config struct {
	Registry *tiers.Registry
	// Tier is whose bucket holds the ledger; empty: the last. Once there is a ledger it
	// stays where it is.
	Tier string
	// Signer signs the checkpoints: Ed25519 or ECDSA.
	Signer crypto.Signer
	// Origin names the log of a registry that has none yet, registry.example.com/ledger. It
	// stays for ever, whatever the registry is called later.
	Origin string
	Log    *slog.Logger
	// Interval is how often a replica looks for events to seal; 0: DefaultInterval.
	Interval time.Duration
}

// Ledger is the log of a registry. All methods may be called concurrently.
type Ledger struct {
	registry *tiers.Registry
	catalog  tiers.Catalog
	bucket   tiers.Bucket
	source   Source
	signer   *signer
	log      *slog.Logger
	interval time.Duration
	owner    string // this replica
	tiles    *lru.Cache[Tile, []byte]

	following *following
}

// headRecord is the record of the ledger: how far it has come. Every transaction of a sealer
// compares it.
type headRecord struct {
	Origin string `json:"origin"`
	Store  string `json:"store"` // the identity of the bucket
	// Assigned is how many entries have their index.
	Assigned int64 `json:"assigned"`
	// Sealed is the newest checkpoint. Everything that it covers is in the bucket, itself too.
	Sealed signedCheckpoint `json:"sealed"`
	// Next is a checkpoint that is signed and not known to be in the bucket.
	Next *signedCheckpoint `json:"next,omitempty"`
	// Open are the sizes of the checkpoints whose partial tiles may be in the bucket.
	Open []int64 `json:"open,omitempty"`
}

// signedCheckpoint is a checkpoint that was signed.
type signedCheckpoint struct {
	Size int64  `json:"size"`
	Note string `json:"note"` // empty: there is none yet
}

// New checks the configuration and opens the ledger, or begins it. It refuses a bucket with
// a log that the catalog does not know.
func New(ctx context.Context, config Config) (*Ledger, error) {
	if config.Registry == nil || config.Log == nil || config.Signer == nil {
		return nil, errors.New("ledger: a registry, a signer and a logger are needed")
	}
	tier, err := tierOf(config)
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[Tile, []byte](keptTiles)
	if err != nil {
		return nil, err
	}
	following, err := newFollowing()
	if err != nil {
		return nil, err
	}
	l := &Ledger{
		following: following,
		registry:  config.Registry, catalog: config.Registry.Catalog(), bucket: tier.Bucket, source: bucketSource{tier.Bucket},
		log: config.Log, interval: config.Interval, owner: config.Registry.NewID(), tiles: cache,
	}
	if l.interval <= 0 {
		l.interval = DefaultInterval
	}
	h, err := l.open(ctx, config, tier.Store())
	if err != nil {
		return nil, err
	}
	if h.Store != tier.Store() {
		return nil, fmt.Errorf("ledger: it lies in another bucket than that of tier %s: name the tier whose bucket holds it", tier.Name)
	}
	if l.signer, err = newSigner(h.Origin, config.Signer); err != nil {
		return nil, err
	}
	if err := l.tellKey(ctx, h); err != nil {
		return nil, fmt.Errorf("ledger: record that its key changed: %w", err)
	}
	return l, nil
}

func tierOf(config Config) (*tiers.Tier, error) {
	if config.Tier == "" {
		all := config.Registry.Tiers()
		return all[len(all)-1], nil
	}
	t, err := config.Registry.Tier(config.Tier)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return t, nil
}

// open reads the head, or makes the first.
func (l *Ledger) open(ctx context.Context, config Config, store string) (opened, error) {
	h, err := l.head(ctx)
	if err != nil || h.revision != 0 {
		return h, err
	}
	if _, err := newSigner(config.Origin, config.Signer); err != nil {
		return h, err
	}
	found, err := l.bucket.List(ctx, prefixObjects, "", 1)
	if err != nil {
		return h, fmt.Errorf("ledger: %w", err)
	}
	if len(found) > 0 {
		if h, err = l.head(ctx); err != nil || h.revision != 0 { // another replica was faster
			return h, err
		}
		return h, fmt.Errorf("%w: ledger: the bucket holds a ledger (%s) that the catalog knows nothing of: the catalog is not the one that it belongs to, or was lost", oci.ErrConflict, found[0].Key)
	}
	h.headRecord = headRecord{Origin: config.Origin, Store: store}
	_, err = l.catalog.Commit(ctx, tiers.Change{If: []tiers.Condition{tiers.Absent(keyHead)}, Put: []tiers.Put{{Key: keyHead, Value: tiers.Encode(h.headRecord)}}})
	if err != nil && !errors.Is(err, oci.ErrConflict) { // another replica was faster
		return h, fmt.Errorf("ledger: begin: %w", err)
	}
	return l.head(ctx)
}

// tellKey records that the ledger has another key than its newest checkpoint was signed
// with. The event is sealed with the new one.
func (l *Ledger) tellKey(ctx context.Context, h opened) error {
	if h.Sealed.Note == "" || h.Next != nil {
		return nil
	}
	if _, err := note.Open([]byte(h.Sealed.Note), note.VerifierList(l.signer)); err == nil {
		return nil
	}
	key, err := VerifierKey(h.Origin, l.signer.public)
	if err != nil {
		return err
	}
	event := l.registry.EventPut(tiers.Event{Type: EventKeyChanged, Actor: "configuration", Cause: key})
	_, err = l.catalog.Commit(ctx, tiers.Change{If: []tiers.Condition{{Key: keyHead, Revision: h.revision}}, Put: []tiers.Put{event}})
	if errors.Is(err, oci.ErrConflict) { // it goes on already
		return nil
	}
	return err
}

// opened is a head as it was read.
type opened struct {
	headRecord
	revision int64 // 0: there is none
}

// sealed is the newest checkpoint.
func (h opened) sealed() (Checkpoint, error) {
	if h.Sealed.Note == "" {
		return Checkpoint{Origin: h.Origin, Root: emptyRoot()}, nil
	}
	c, err := readCheckpoint([]byte(h.Sealed.Note))
	if err != nil || c.Size != h.Sealed.Size {
		return c, fmt.Errorf("catalog record %s: %w: its checkpoint is not of size %d", keyHead, oci.ErrCorrupt, h.Sealed.Size)
	}
	return c, nil
}

func (l *Ledger) head(ctx context.Context) (opened, error) {
	records, err := l.catalog.Get(ctx, keyHead)
	if err != nil {
		return opened{}, fmt.Errorf("ledger: %w", err)
	}
	return openHead(records[0])
}

func openHead(r tiers.Record) (opened, error) {
	if r.Revision == 0 {
		return opened{}, nil
	}
	head, err := tiers.Decode[headRecord](r)
	return opened{head, r.Revision}, err
}

func isUnknown(err error) bool { return errors.Is(err, oci.ErrObjectUnknown) }

// batchFirst is the first index of a batch.
func batchFirst(key string) (int64, error) {
	var first int64
	digits := strings.TrimPrefix(key, prefixBatch)
	if _, err := fmt.Sscanf(digits, "%d", &first); err != nil || batchKey(first) != key {
		return 0, fmt.Errorf("catalog record %s: %w: no key of a batch", key, oci.ErrCorrupt)
	}
	return first, nil
}

package tiers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
)

// Limits of what one upload may ask of this process.
const (
	bufferSize = 16 << 20 // bytes of one part of an upload whose length is unknown
	maxTries   = 8        // of a change that others keep overtaking
)

// Tier is one level of the registry. Its fields are set once, by New.
type Tier struct {
	Name string
	From string // the tier that artifacts rise from; empty for one that is pushed to
	Push bool   // clients may write
	// MovingTags are patterns (path.Match) of the tags that a promotion may move; above
	// a pushed tier all others stay where they are.
	MovingTags []string
	// FollowEvidence has evidence that comes to the tier below, for an artifact that stands
	// here, rise by itself: the artifact is promoted again.
	FollowEvidence bool
	// Redirect sends clients that pull a blob to the store, which they must be able to
	// reach. Who may pull is asked before; whoever has the address has the blob.
	Redirect bool
	Limits   Limits // of a tier that is pushed to
	// Retention is what goes by itself from a tier that is pushed to.
	Retention Retention
	Bucket    Bucket

	store     string // the identity of the bucket
	uploading *uploading
	quotas    []*quota // the widest first
}

// Store is the identity of the tier's bucket; tiers with the same store share bytes.
func (t *Tier) Store() string { return t.store }

// Moves says whether a promotion may move tag.
func (t *Tier) Moves(tag string) bool { return matches(t.MovingTags, tag) }

// Config makes a Registry.
type Config struct {
	Catalog Catalog
	Tiers   []Tier // from the bottom up
	Log     *slog.Logger
	Now     func() time.Time // time.Now where nil
	// Buffers bounds the memory of uploads of unknown length: so many of 16 MiB each at
	// once, further ones wait. 0: 12.
	Buffers int
	// Collection says how long what nothing needs stays.
	Collection CollectConfig
}

// Registry is a set of tiers over one catalog.
type Registry struct {
	catalog Catalog
	tiers   []*Tier
	log     *slog.Logger
	now     func() time.Time
	buffers *buffers
	// announcers by store
	announcers map[string]*announcer
	sessionKey []byte // authenticates the ids of upload sessions
	bodies     bodies
	pages      *pages
	// quarantined is what must not be pulled.
	quarantined *quarantined
	largest     int64 // bytes that one request to a store may hold
	collection  CollectConfig
	id          string // of the catalog
	window      int    // how many objects a search for strays remembers at once
}

// New checks the configuration and asks every bucket who it is.
func New(ctx context.Context, config Config) (*Registry, error) {
	if config.Catalog == nil || config.Log == nil {
		return nil, errors.New("tiers: a catalog and a logger are needed")
	}
	if len(config.Tiers) == 0 {
		return nil, errors.New("tiers: at least one tier is needed")
	}
	r := &Registry{catalog: config.Catalog, log: config.Log, now: config.Now, announcers: map[string]*announcer{}, largest: singlePut, window: strayWindow}
	if r.now == nil {
		r.now = time.Now
	}
	if config.Buffers <= 0 {
		config.Buffers = 12
	}
	r.buffers = newBuffers(config.Buffers)
	var err error
	redirects := slices.ContainsFunc(config.Tiers, func(t Tier) bool { return t.Redirect })
	if r.collection, err = config.Collection.withDefaults(redirects); err != nil {
		return nil, err
	}
	for _, t := range config.Tiers {
		if err := r.add(ctx, t); err != nil {
			return nil, err
		}
	}
	if err := r.claim(ctx); err != nil {
		return nil, err
	}
	if r.bodies, err = newBodies(); err != nil {
		return nil, err
	}
	if r.pages, err = newPages(); err != nil {
		return nil, err
	}
	if r.quarantined, err = newQuarantined(); err != nil {
		return nil, err
	}
	if _, err = r.Quarantined(ctx); err != nil {
		return nil, fmt.Errorf("tiers: %w", err)
	}
	if r.sessionKey, err = r.sharedSecret(ctx); err != nil {
		return nil, fmt.Errorf("tiers: the key of upload sessions: %w", err)
	}
	return r, nil
}

func (r *Registry) add(ctx context.Context, t Tier) error {
	if err := oci.CheckName(t.Name); err != nil || strings.Contains(t.Name, "/") {
		return fmt.Errorf("tier %q: the name must be one component of a repository name", t.Name)
	}
	if r.find(t.Name) != nil {
		return fmt.Errorf("tier %q stands twice", t.Name)
	}
	if t.Push == (t.From != "") {
		return fmt.Errorf("tier %q: either clients push to it or it has a tier that it rises from", t.Name)
	}
	if t.From != "" && r.find(t.From) == nil {
		return fmt.Errorf("tier %q: from names %q, which must stand before it", t.Name, t.From)
	}
	for _, pattern := range t.MovingTags {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("tier %q: movingTags: %q: %w", t.Name, pattern, err)
		}
	}
	if err := t.setLimits(); err != nil {
		return err
	}
	if err := t.setRetention(); err != nil {
		return err
	}
	if t.Bucket == nil {
		return fmt.Errorf("tier %q: a bucket is needed", t.Name)
	}
	store, err := identity(ctx, t.Bucket)
	if err != nil {
		return fmt.Errorf("tier %q: identity of its bucket: %w", t.Name, err)
	}
	t.store = store
	if r.announcers[store] == nil {
		r.announcers[store] = newAnnouncer(r, store)
	}
	if err := r.forgetUsage(ctx, &t); err != nil {
		return fmt.Errorf("tier %q: records of former quotas: %w", t.Name, err)
	}
	r.tiers = append(r.tiers, &t)
	return nil
}

// claim marks the buckets as this catalog's.
func (r *Registry) claim(ctx context.Context) (err error) {
	if r.id, err = r.identify(ctx); err != nil {
		return fmt.Errorf("tiers: the id of the catalog: %w", err)
	}
	for _, p := range r.places() {
		if err := r.mark(ctx, p.bucket); err != nil {
			return fmt.Errorf("tier %q: mark its bucket: %w", p.tiers[0].Name, err)
		}
	}
	return nil
}

// identity asks a bucket who it is, twice: all records of the store hang on the answer, and
// nothing else tells one identity from another that a store gave with a wrong byte. Whoever
// believed it would record blobs where no other process looks for them.
func identity(ctx context.Context, b Bucket) (string, error) {
	first, err := b.Identity(ctx)
	if err != nil {
		return "", err
	}
	second, err := b.Identity(ctx)
	if err == nil && first != second {
		err = fmt.Errorf("%w: asked twice it is %s and %s", oci.ErrUnavailable, first, second)
	}
	return first, err
}

// Tiers lists the tiers from the bottom up.
func (r *Registry) Tiers() []*Tier { return slices.Clone(r.tiers) }

// Catalog is the catalog that the registry stands on, for those who keep records of
// their own in the same transactions.
func (r *Registry) Catalog() Catalog { return r.catalog }

// Tier finds a tier; the error wraps oci.ErrTierUnknown and names those there are.
func (r *Registry) Tier(name string) (*Tier, error) {
	if t := r.find(name); t != nil {
		return t, nil
	}
	names := make([]string, len(r.tiers))
	for i, t := range r.tiers {
		names[i] = t.Name
	}
	return nil, fmt.Errorf("%w: %q; the tiers are %s, and a name begins with one: %s/acme/app",
		oci.ErrTierUnknown, name, strings.Join(names, ", "), names[0])
}

func (r *Registry) find(name string) *Tier {
	for _, t := range r.tiers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Repository opens a repository of a tier for actor. It need not exist: reading it then
// finds nothing, and the first push makes it.
func (r *Registry) Repository(tier, name, actor string) (*Repository, error) {
	t, err := r.Tier(tier)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("%w: the repository is missing behind the tier: %s/acme/app", oci.ErrNameInvalid, tier)
	}
	if err := oci.CheckName(tier + "/" + name); err != nil {
		return nil, err
	}
	return &Repository{registry: r, Tier: t, Name: name, Actor: actor}, nil
}

// Repositories lists at most n names of repositories in tier, after last, in byte order.
// next is what to ask for as last to go on; empty at the end.
func (r *Registry) Repositories(ctx context.Context, tier, last string, n int) (names []string, next string, err error) {
	if _, err := r.Tier(tier); err != nil {
		return nil, "", err
	}
	return r.listNames(ctx, repoPrefix(tier), last, n)
}

// listNames lists what stands behind prefix in the keys.
func (r *Registry) listNames(ctx context.Context, prefix, last string, n int) (names []string, next string, err error) {
	records, next, err := r.page(ctx, Query{Prefix: prefix, KeysOnly: true}, last, n)
	if err != nil {
		return nil, "", err
	}
	names = make([]string, len(records))
	for i, record := range records {
		names[i] = strings.TrimPrefix(record.Key, prefix)
	}
	return names, next, nil
}

// page reads n records of what q asks behind last, one more to know whether there are more.
func (r *Registry) page(ctx context.Context, q Query, last string, n int) (records []Record, next string, err error) {
	n = min(max(n, 1), MaxPage-1)
	q.Limit = n + 1
	if last != "" {
		q.After = q.Prefix + last
	}
	records, err = r.catalog.List(ctx, q)
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", q.Prefix, err)
	}
	if len(records) > n {
		records = records[:n]
		next = strings.TrimPrefix(records[n-1].Key, q.Prefix)
	}
	return records, next, nil
}

// NewID returns a new ULID: unique, unguessable in its 80 random bits, ordered by time.
func (r *Registry) NewID() string {
	return ulid.MustNew(ulid.Timestamp(r.now()), rand.Reader).String()
}

// Now is the time by the registry's clock, in UTC.
func (r *Registry) Now() time.Time { return r.now().UTC() }

// Forget drops what is kept in memory to answer sooner: of a server that has nothing to do.
func (r *Registry) Forget() {
	r.pages.clear()
	r.bodies.clear()
	r.quarantined.held.clear()
}

// EventPut completes e and returns the write that records it.
func (r *Registry) EventPut(e Event) Put {
	e.ID, e.Time = r.NewID(), r.Now()
	return Put{Key: prefixEvent + e.ID, Value: Encode(e)}
}

// eventPuts is EventPut for the events of one change: their keys stand in the order given.
func (r *Registry) eventPuts(events []Event) []Put {
	entropy, now := ulid.Monotonic(rand.Reader, 0), r.Now()
	puts := make([]Put, len(events))
	for i, e := range events {
		e.ID, e.Time = ulid.MustNew(ulid.Timestamp(now), entropy).String(), now
		puts[i] = Put{Key: prefixEvent + e.ID, Value: Encode(e)}
	}
	return puts
}

// Events lists the events that are not sealed yet, by the order of their keys, for
// auditors and tests.
func (r *Registry) Events(ctx context.Context, last string, n int) (events []Event, next string, err error) {
	records, next, err := r.page(ctx, Query{Prefix: prefixEvent}, last, n)
	if err != nil {
		return nil, "", err
	}
	events = make([]Event, len(records))
	for i, record := range records {
		if events[i], err = Decode[Event](record); err != nil {
			return nil, "", err
		}
	}
	return events, next, nil
}

// Retry calls change until it does not end in a conflict, a bounded number of times with
// a growing random pause between.
func Retry(ctx context.Context, change func() error) error {
	pause := 2 * time.Millisecond
	for try := 1; ; try++ {
		err := change()
		if !errors.Is(err, oci.ErrConflict) || try == maxTries {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// wait waits for about so long, half of it at the least: those who wait for the same do not
// come back together.
func wait(ctx context.Context, pause time.Duration) error {
	jitter, err := rand.Int(rand.Reader, big.NewInt(int64(pause)))
	if err != nil {
		return err
	}
	select {
	case <-time.After(pause/2 + time.Duration(jitter.Int64())):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

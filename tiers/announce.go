package tiers

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"
)

// Keys that are announced ahead of their use.
const (
	// announceMost is how many one transaction announces at the most.
	announceMost = 32
	// announceBurst is within what time the next batch is twice as large as the last one:
	// a push now and then announces one key, a busy registry many at once.
	announceBurst = time.Second
	// announceAge is how long a key may wait for its use, at the most.
	announceAge = time.Minute
)

// announcer hands out object keys of one store whose intents are in the catalog already:
// before the first byte of any object something in the catalog names its key, and a
// transaction for each small object would cost as much as storing it.
//
// Whoever takes a key either records its object in a transaction that compares and deletes
// the intent, or withdraws it. A crash leaves intents without objects, which garbage
// collection finds.
type announcer struct {
	registry *Registry
	store    string
	age      time.Duration       // how long a key may wait for its use: far shorter than an intent may stand
	turn     *semaphore.Weighted // of one: who has it may touch what follows
	unused   []announced         // oldest first
	size     int                 // of the next batch
	filled   time.Time           // when the last batch came
	failed   time.Time           // when the last one did not come, and why
	failure  error
}

type announced struct {
	key string
	at  time.Time
}

func newAnnouncer(r *Registry, store string) *announcer {
	return &announcer{registry: r, store: store, age: min(announceAge, r.collection.Intent/10), turn: semaphore.NewWeighted(1)}
}

// take returns a key that nobody has used. Callers that find none wait for one batch
// together.
func (a *announcer) take(ctx context.Context) (string, error) {
	asked := time.Now()
	if err := a.turn.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer a.turn.Release(1)
	if a.failed.After(asked) { // for those who waited as well: not one after the other
		return "", a.failure
	}
	now := a.registry.Now()
	var stale []string
	for len(a.unused) > 0 && now.Sub(a.unused[0].at) > a.age {
		stale = append(stale, intentKey(a.store, a.unused[0].key))
		a.unused = a.unused[1:]
	}
	if len(a.unused) == 0 {
		if err := a.fill(context.WithoutCancel(ctx), now, stale); err != nil { // it is for others too
			a.failed, a.failure = time.Now(), fmt.Errorf("announce an object: %w", err)
			return "", a.failure
		}
	}
	key := a.unused[0].key
	a.unused = a.unused[1:]
	return key, nil
}

// fill announces the next batch and takes back what became too old.
func (a *announcer) fill(ctx context.Context, now time.Time, stale []string) error {
	if a.size = min(2*a.size, announceMost); a.size == 0 || now.Sub(a.filled) > announceBurst {
		a.size = 1
	}
	change := Change{Delete: stale}
	intent := Encode(intentRecord{For: "push", StartedAt: now})
	batch := make([]announced, a.size)
	for i := range batch {
		batch[i] = announced{key: "blobs/" + a.registry.NewID(), at: now}
		change.Put = append(change.Put, Put{Key: intentKey(a.store, batch[i].key), Value: intent})
	}
	if _, err := a.registry.catalog.Commit(ctx, change); err != nil {
		return err
	}
	a.unused, a.filled = batch, now
	return nil
}

// release takes back the intents of all keys that were not used.
func (a *announcer) release(ctx context.Context) error {
	if err := a.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer a.turn.Release(1)
	if len(a.unused) == 0 {
		return nil
	}
	var change Change
	for _, u := range a.unused {
		change.Delete = append(change.Delete, intentKey(a.store, u.key))
	}
	if _, err := a.registry.catalog.Commit(ctx, change); err != nil {
		return fmt.Errorf("take back announced keys: %w", err)
	}
	a.unused = nil
	return nil
}

// Release takes back what this process has announced and not used. A server that stops
// calls it when its last request has ended; one that crashes leaves it to garbage
// collection.
func (r *Registry) Release(ctx context.Context) error {
	for _, a := range r.announcers {
		if err := a.release(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Announce makes a key for the bytes of d that nobody has used before and writes the
// intent that names it and says what it is for.
func (r *Registry) Announce(ctx context.Context, t *Tier, d digest.Digest, purpose, actor string) (object string, err error) {
	object = objectKey(d, r.NewID())
	intent := intentRecord{For: purpose, By: actor, StartedAt: r.Now()}
	_, err = r.catalog.Commit(ctx, Change{Put: []Put{{Key: intentKey(t.store, object), Value: Encode(intent)}}})
	if err != nil {
		return "", fmt.Errorf("announce %s: %w", object, err)
	}
	return object, nil
}

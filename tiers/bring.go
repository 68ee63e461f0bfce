package tiers

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/oci"
)

// Bounds of what is announced, and recorded, in one transaction; and of what is tried again
// where a store does not answer.
const (
	bringBatch = 32
	bringBytes = 1 << 30 // one content may have more
	bringTries = 4
	bringPause = 100 * time.Millisecond // before the second; before each other twice the last
)

// How says how bytes came into a store.
type How int

// The ways for bytes into a store.
const (
	Linked   How = iota // they were there
	Copied              // the store copied them by itself
	Streamed            // they went through this process, hashed on the way
)

// Brought is content that was brought.
type Brought struct {
	How  How
	Key  string // in the store it came to
	Size int64
}

// Bringing says where contents are brought from and to, and what for.
type Bringing struct {
	From, To *Tier
	Purpose  string // in the intents of the objects, with Actor
	Actor    string
	AtOnce   int // how many are copied at once, and of small ones four times as many; 0: one
	// Fence has to hold whenever something is announced or recorded: whoever has lost the
	// right to bring something begins no more of it.
	Fence []Condition
}

// Bring is BringAll of one digest.
func (r *Registry) Bring(ctx context.Context, from, to *Tier, d digest.Digest, purpose, actor string) (Brought, error) {
	var brought Brought
	err := r.BringAll(ctx, Bringing{From: from, To: to, Purpose: purpose, Actor: actor}, []digest.Digest{d},
		func(_ digest.Digest, b Brought) { brought = b })
	return brought, err
}

// BringAll makes the bytes of digests, which the store of From has, present in the store of
// To, where the caller has pinned them: what is there stays, for the pins. The bytes are
// proven before they are recorded: by the store's own SHA-256 of the whole object where it
// gives one, by reading them back otherwise. done is told of each, one after the other.
//
// The objects of a batch are announced in one transaction and recorded in another: two for
// each would cost more than small contents themselves. Where a store does not answer, what
// is missing is tried again, under other keys, a few times.
func (r *Registry) BringAll(ctx context.Context, b Bringing, digests []digest.Digest, done func(digest.Digest, Brought)) error {
	for batch := range slices.Chunk(digests, bringBatch) {
		if err := r.bringBatch(ctx, b, batch, done); err != nil {
			return fmt.Errorf("bring from %s to %s: %w", b.From.Name, b.To.Name, err)
		}
	}
	return nil
}

func (r *Registry) bringBatch(ctx context.Context, b Bringing, batch []digest.Digest, done func(digest.Digest, Brought)) error {
	pause := bringPause
	for try := 1; len(batch) > 0; {
		before := len(batch)
		err := retryBehind(ctx, b.Fence, func() (err error) {
			batch, err = r.bring(ctx, b, batch, done)
			return err
		})
		if len(batch) < before {
			try, pause = 1, bringPause // it goes on
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, oci.ErrUnavailable) || try == bringTries {
			return err
		}
		r.log.WarnContext(ctx, "contents are brought once more", "purpose", b.Purpose, "error", err)
		if err := wait(ctx, pause); err != nil {
			return err
		}
		try, pause = try+1, 2*pause
	}
	return nil
}

// coming is content on its way.
type coming struct {
	*Staged
	record Record // of the blob above, as it was read: there is none
	source blobRecord
	how    How
	proven bool // the bytes are there, and are what they should be
	err    error
}

// bring brings the first contents of a batch, and returns those that are left.
func (r *Registry) bring(ctx context.Context, b Bringing, digests []digest.Digest, done func(digest.Digest, Brought)) (left []digest.Digest, err error) {
	batch, left, err := r.missing(ctx, b, digests, done)
	if err != nil || len(batch) == 0 {
		return left, err
	}
	if err := r.announceAll(ctx, b, batch); err != nil {
		return slices.Concat(digestsOf(batch), left), err
	}
	failure := r.transferAll(ctx, b, batch)
	proven := slices.DeleteFunc(slices.Clone(batch), func(c *coming) bool { return !c.proven })
	err = r.recordAll(ctx, b, proven)
	if errors.Is(err, oci.ErrConflict) && !lost(err, b.Fence) {
		err = r.recordEach(ctx, b, proven) // somebody else brought some of them meanwhile
	} else {
		for _, c := range proven {
			c.err = err
		}
	}
	var missed []digest.Digest
	var idle []string
	for _, c := range batch {
		if c.proven && c.err == nil {
			done(c.Digest, c.brought())
			continue
		}
		missed = append(missed, c.Digest)
		if c.err == nil {
			idle = append(idle, intentKey(b.To.store, c.object))
			continue
		}
		c.settle(ctx)
	}
	r.withdraw(ctx, idle)
	return slices.Concat(missed, left), errors.Join(failure, err)
}

func digestsOf(batch []*coming) []digest.Digest {
	digests := make([]digest.Digest, len(batch))
	for i, c := range batch {
		digests[i] = c.Digest
	}
	return digests
}

func (c *coming) brought() Brought { return Brought{How: c.how, Key: c.object, Size: c.Size} }

// missing takes those of digests that are not there above, as far as bringBytes goes, and
// tells of those that are.
func (r *Registry) missing(ctx context.Context, b Bringing, digests []digest.Digest, done func(digest.Digest, Brought)) (batch []*coming, left []digest.Digest, err error) {
	keys := make([]string, 0, 2*len(digests))
	for _, d := range digests {
		keys = append(keys, blobKey(b.To.store, d), blobKey(b.From.store, d))
	}
	records, err := r.catalog.Get(ctx, keys...)
	if err != nil {
		return nil, digests, err
	}
	var size int64
	for i, d := range digests {
		above, below := records[2*i], records[2*i+1]
		if above.Revision != 0 {
			blob, err := Decode[blobRecord](above)
			if err != nil {
				return nil, digests, err
			}
			done(d, Brought{How: Linked, Key: blob.Key, Size: blob.Size})
			continue
		}
		if below.Revision == 0 {
			return nil, digests, fmt.Errorf("%w: %s", oci.ErrBlobUnknown, d)
		}
		blob, err := Decode[blobRecord](below)
		if err != nil {
			return nil, digests, err
		}
		if size += blob.Size; len(batch) > 0 && size > bringBytes {
			return batch, digests[i:], nil
		}
		batch = append(batch, &coming{record: above, source: blob, Staged: &Staged{Digest: d, Size: blob.Size, registry: r, tier: b.To}})
	}
	return batch, nil, nil
}

// announceAll makes keys that nobody has used before and writes the intents that name them.
func (r *Registry) announceAll(ctx context.Context, b Bringing, batch []*coming) error {
	change := Change{If: slices.Clone(b.Fence)}
	intent := Encode(intentRecord{For: b.Purpose, By: b.Actor, StartedAt: r.Now()})
	for _, c := range batch {
		c.object = objectKey(c.Digest, r.NewID())
		change.Put = append(change.Put, Put{Key: intentKey(b.To.store, c.object), Value: intent})
	}
	if _, err := r.catalog.Commit(ctx, change); err != nil {
		return fmt.Errorf("announce objects: %w", err)
	}
	return nil
}

// smallContent is up to how many bytes a content takes a store longer to answer than to copy.
const smallContent = 1 << 20

// share is how much of what is done at once a content takes up.
func (c *coming) share() int64 {
	if c.Size <= smallContent {
		return 1
	}
	return 4
}

// transferAll brings the bytes, some at once. Once something fails nothing more is begun, and
// that has no error; what is under way ends by itself, for it may be good.
func (r *Registry) transferAll(ctx context.Context, b Bringing, batch []*coming) error {
	var group errgroup.Group
	turns := semaphore.NewWeighted(4 * int64(max(b.AtOnce, 1)))
	var failed atomic.Bool
	for _, c := range batch {
		if err := turns.Acquire(ctx, c.share()); err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			defer turns.Release(c.share())
			if failed.Load() {
				return nil
			}
			c.err = r.guarded(ctx, func() (err error) {
				c.how, err = c.transfer(ctx, b.From)
				c.proven = err == nil
				return err
			})
			failed.CompareAndSwap(false, c.err != nil)
			return c.err
		})
	}
	return group.Wait()
}

// guarded turns a panic into an error: in a goroutine of its own it would end the process.
func (r *Registry) guarded(ctx context.Context, work func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			r.log.ErrorContext(ctx, "panic while contents were brought", "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: an internal error stopped it", oci.ErrUndecidable)
		}
	}()
	return work()
}

// settle ends what came to nothing. An object that the store may make yet stays with its
// intent, for garbage collection; others go.
func (c *coming) settle(ctx context.Context) {
	if ctx.Err() == nil && !errors.Is(c.err, oci.ErrUndecidable) {
		c.Settle(ctx, c.err)
	}
}

// withdraw takes back the intents of objects that were not begun: no store knows of them.
// Those that stay, for an error, are left for garbage collection.
func (r *Registry) withdraw(ctx context.Context, intents []string) {
	if len(intents) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if _, err := r.catalog.Commit(ctx, Change{Delete: intents}); err != nil {
		r.log.WarnContext(ctx, "announced objects are left for garbage collection", "objects", len(intents), "error", err)
	}
}

// recordAll makes all that was brought known in one transaction.
func (r *Registry) recordAll(ctx context.Context, b Bringing, batch []*coming) error {
	if len(batch) == 0 {
		return nil
	}
	change := Change{If: slices.Clone(b.Fence)}
	for _, c := range batch {
		intent := intentKey(b.To.store, c.object)
		change.If = append(change.If, Unchanged(c.record), Present(intent))
		change.Put = append(change.Put, Put{Key: c.record.Key, Value: Encode(blobRecord{Key: c.object, Size: c.Size, RenewedAt: r.Now()})})
		change.Delete = append(change.Delete, intent)
	}
	_, err := r.catalog.Commit(ctx, change)
	return err
}

// recordEach is recordAll one by one. The error is the last of them.
func (r *Registry) recordEach(ctx context.Context, b Bringing, batch []*coming) (err error) {
	for _, c := range batch {
		if c.err = r.recordAll(ctx, b, []*coming{c}); c.err != nil {
			err = c.err
		}
	}
	return err
}

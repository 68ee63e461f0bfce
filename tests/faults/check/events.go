package check

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// sealedWithin is how long events may wait to be sealed once nothing is under way.
const sealedWithin = time.Minute

// recorded is an event that was seen to be recorded.
type recorded struct {
	id       string
	revision int64
	sum      [sha256.Size]byte
}

// events follows what is recorded from the first revision of the catalog on: a sealer takes
// an event away, and with it what the catalog could say of it later.
type events struct {
	mu   sync.Mutex
	seen []recorded
	err  error
	upTo int64 // the revision up to which all was seen
}

// watchPause is how long it takes to ask again where a member has ended a watch.
const watchPause = 100 * time.Millisecond

// watch follows until ctx ends. A member that has no leader ends a watch, or one that dies:
// then it goes on behind what it has seen.
func (e *events) watch(ctx context.Context, client *clientv3.Client) {
	for ctx.Err() == nil {
		e.follow(ctx, client)
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
		}
	}
}

// follow watches until the watch ends.
func (e *events) follow(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	e.mu.Lock()
	from := e.upTo + 1
	e.mu.Unlock()
	for resp := range client.Watch(ctx, root+"event/", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFilterDelete(), clientv3.WithProgressNotify()) {
		e.take(resp)
	}
}

func (e *events) take(resp clientv3.WatchResponse) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if resp.CompactRevision > e.upTo+1 { // what is compacted can be followed no more
		e.err = resp.Err()
	}
	if resp.Err() != nil {
		return
	}
	for _, ev := range resp.Events {
		id := strings.TrimPrefix(string(ev.Kv.Key), root+"event/")
		if !ev.IsCreate() {
			e.err = errors.New("event " + id + " was written again")
		}
		e.seen = append(e.seen, recorded{id, ev.Kv.CreateRevision, sha256.Sum256(ev.Kv.Value)})
		e.upTo = ev.Kv.ModRevision
	}
	if resp.IsProgressNotify() { // the revision beside events may be ahead of what was sent
		e.upTo = max(e.upTo, resp.Header.Revision)
	}
}

// all lists them in the order in which the catalog took them.
func (e *events) all() ([]recorded, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.SortFunc(e.seen, func(a, b recorded) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.id, b.id))
	})
	return slices.Clone(e.seen), e.err
}

// sealed waits until no event waits, and all that were recorded were seen.
func (c *Checker) sealed(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < sealedWithin; {
		left, revision := int64(0), int64(0)
		for _, prefix := range []string{"event/", "ledger/batch/"} {
			resp, err := c.etcd.Get(ctx, root+prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
			if err != nil {
				return err
			}
			left, revision = left+resp.Count, resp.Header.Revision
		}
		if left == 0 && c.saw(ctx, revision) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil // Check says what is left
}

// saw asks how far the watch has come.
func (c *Checker) saw(ctx context.Context, revision int64) bool {
	if err := c.etcd.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		return false
	}
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	return c.events.err != nil || c.events.upTo >= revision
}

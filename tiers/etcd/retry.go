package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/oci"
)

// How long operations take, and how they are tried again where a member of the cluster or
// its leader is gone.
const (
	opTimeout = 5 * time.Second // one operation with all its tries

	// The first try of a read, so that a member that hangs leaves time for another. Each
	// further one may take twice as long: it may be the cluster that is slow.
	tryTimeout = 800 * time.Millisecond

	// Pauses between tries, of which each takes a random part: first, and at the most.
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// tryRead reads until an answer comes or the time of an operation is over.
func (c *Catalog) tryRead(ctx context.Context, op string, read func(context.Context) error) error {
	limit := tryTimeout
	return c.try(ctx, op, transient, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		limit *= 2
		return read(ctx)
	})
}

// tryWrite writes, and tries again only what no server has begun: a member that knows no
// leader says so before it looks at a request.
func (c *Catalog) tryWrite(ctx context.Context, op string, write func(context.Context) error) error {
	return c.try(ctx, op, func(err error) bool { return errors.Is(err, rpctypes.ErrNoLeader) }, write)
}

// try calls do until it succeeds, or fails in a way that again says no to, or the time of
// an operation is over. A member without a leader refuses at once: while the others have
// one, the next try finds one of those.
func (c *Catalog) try(ctx context.Context, op string, again func(error) bool, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), opTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !again(err) {
			return translate(op, err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return translate(op, err)
		}
	}
}

// transient says whether another try, perhaps at another member, may succeed.
func transient(err error) bool {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code() == codes.Unavailable
	}
	// A deadline is that of the try, by either end's clock: the operation's was looked at.
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
}

// translate makes etcd's errors the registry's. Whatever is not known to be the caller's
// fault is the store's: the operation may or may not have been applied.
func translate(op string, err error) error {
	switch {
	case err == nil, errors.Is(err, oci.ErrConflict):
		return err
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("etcd %s: %w", op, err)
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrDuplicateKey), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("etcd %s: %w: %w", op, oci.ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrNoSpace): // the write with which it ran full was applied all the same
		return fmt.Errorf("etcd %s: %w: %w: etcd has used up its quota and refuses writes: compact and defragment it or raise --quota-backend-bytes, then etcdctl alarm disarm", op, oci.ErrUnavailable, err)
	default:
		return fmt.Errorf("etcd %s: %w: %w", op, oci.ErrUnavailable, err)
	}
}

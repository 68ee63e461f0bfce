package etcd

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// condition renders a condition as a comparison, and as the read that tells afterwards
// whether it was the one that failed.
func (c *Catalog) condition(cond tiers.Condition) (clientv3.Cmp, clientv3.Op) {
	key := c.prefix + cond.Key
	read := clientv3.OpGet(key, clientv3.WithKeysOnly())
	switch {
	case cond.Prefix && cond.Revision > 0:
		return clientv3.Compare(clientv3.ModRevision(key), "<", cond.Revision+1).WithPrefix(),
			clientv3.OpGet(key, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithMinModRev(cond.Revision+1), clientv3.WithLimit(1))
	case cond.Prefix:
		// A comparison over a range holds when it holds for every key in it, so "was
		// never created" over all that exist means that none does.
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0).WithPrefix(),
			clientv3.OpGet(key, clientv3.WithPrefix(), clientv3.WithCountOnly())
	case cond.Revision < 0:
		return clientv3.Compare(clientv3.CreateRevision(key), ">", 0), read
	default:
		return clientv3.Compare(clientv3.ModRevision(key), "=", cond.Revision), read
	}
}

// holds says whether the condition held at the revision of the failed transaction.
func holds(cond tiers.Condition, count int64, kvs []*mvccpb.KeyValue) bool {
	switch {
	case cond.Prefix && cond.Revision > 0:
		return len(kvs) == 0
	case cond.Prefix:
		return count == 0
	case cond.Revision < 0:
		return len(kvs) > 0
	case len(kvs) == 0:
		return cond.Revision == 0
	default:
		return kvs[0].ModRevision == cond.Revision
	}
}

// lease returns a lease under which a record lives at least for d, and at most for twice
// as long.
func (c *Catalog) lease(ctx context.Context, d time.Duration) (clientv3.LeaseID, error) {
	if id, ok := c.held(d); ok {
		return id, nil
	}
	if err := c.granting.Acquire(ctx, 1); err != nil {
		return 0, err
	}
	defer c.granting.Release(1)
	if id, ok := c.held(d); ok {
		return id, nil
	}
	now := time.Now()
	resp, err := c.client.Grant(ctx, int64(2*d/time.Second)+1)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leases[d] = lease{id: resp.ID, until: now.Add(d)}
	return resp.ID, nil
}

// held is the lease that new records of that life may still be given.
func (c *Catalog) held(d time.Duration) (clientv3.LeaseID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.leases[d]
	return l.id, ok && time.Now().Before(l.until)
}

func (c *Catalog) forgetLeases() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.leases)
}

// operationBytes is more than what the encoding of one condition or write adds to its key
// and value. A condition's key is sent twice: to be compared, and to be read on a conflict.
const operationBytes = 64

// checkLimits refuses what the server would: an answer of the transport to a request that
// is too large cannot be told from a server that does not answer.
func (c *Catalog) checkLimits(change tiers.Change) error {
	ops := max(len(change.If), len(change.Put)+len(change.Delete))
	if ops > tiers.MaxOps {
		return fmt.Errorf("etcd commit: %w: a change of %d operations, at most %d fit a transaction", oci.ErrTooLarge, ops, tiers.MaxOps)
	}
	size := 0
	for _, cond := range change.If {
		size += 2 * (operationBytes + len(c.prefix) + len(cond.Key))
	}
	for _, put := range change.Put {
		size += operationBytes + len(c.prefix) + len(put.Key) + len(put.Value)
	}
	for _, key := range change.Delete {
		size += operationBytes + len(c.prefix) + len(key)
	}
	if size > tiers.MaxChange {
		return fmt.Errorf("etcd commit: %w: a change of %d bytes, at most %d fit a transaction", oci.ErrTooLarge, size, tiers.MaxChange)
	}
	return nil
}

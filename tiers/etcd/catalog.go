package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"sluice.dev/sluice/tiers"
)

// DefaultPrefix stands before every key of a catalog in etcd that names no other.
const DefaultPrefix = "sluice/v1/"

// Of connections. A member that comes back must be found within seconds, so the pauses
// between tries to connect stay short; the library's own grow to two minutes.
const (
	dialTimeout  = 5 * time.Second
	redialFirst  = 100 * time.Millisecond
	redialLast   = 2 * time.Second
	aliveEvery   = 10 * time.Second // the least that gRPC allows
	aliveTimeout = 3 * time.Second
)

// Config names an etcd cluster.
type Config struct {
	Endpoints []string    // https://host:2379, http://…, unix:///path; at least one
	TLS       *tls.Config // nil: as the endpoints say, with the system's roots
	Username  string      // empty: none
	Password  string
	Prefix    string // of every key; empty: "sluice/v1/"
}

// Catalog is a tiers.Catalog on etcd.
type Catalog struct {
	client  *clientv3.Client
	prefix  string
	batches batches
	fences  fences

	// One lease serves all records that expire in about the same time: a lease for each
	// would cost a second transaction.
	granting *semaphore.Weighted // of one: who asks for a new lease asks for all who wait
	mu       sync.Mutex
	leases   map[time.Duration]lease
}

type lease struct {
	id    clientv3.LeaseID
	until time.Time // records may be given this lease until then
}

var _ tiers.Catalog = (*Catalog)(nil)

// New connects to the cluster. It does not wait until a server answers; Ping does.
func New(config Config) (*Catalog, error) {
	if len(config.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints")
	}
	attempts := uint(1) // what is tried again is tried here, see retry.go
	if config.Username != "" {
		attempts = 2 // but for a token that ran out, which the library replaces
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: config.Endpoints, TLS: config.TLS, Username: config.Username, Password: config.Password,
		DialTimeout: dialTimeout, DialKeepAliveTime: aliveEvery, DialKeepAliveTimeout: aliveTimeout,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: redialLast},
			MinConnectTimeout: dialTimeout,
		})},
		MaxUnaryRetries: attempts, MaxCallSendMsgSize: 4 << 20, MaxCallRecvMsgSize: 256 << 20,
		Logger: zap.NewNop(), // every error is returned
	})
	if err != nil {
		return nil, fmt.Errorf("etcd %v: %w", config.Endpoints, err)
	}
	if config.Prefix == "" {
		config.Prefix = DefaultPrefix
	}
	c := &Catalog{client: client, prefix: config.Prefix, granting: semaphore.NewWeighted(1), leases: map[time.Duration]lease{}}
	c.batches.read = c.read
	return c, nil
}

// Close ends the connection.
func (c *Catalog) Close() error { return c.client.Close() }

// Ping does one linearizable read.
func (c *Catalog) Ping(ctx context.Context) error {
	_, err := c.Get(ctx, "ping")
	return err
}

// Get reads records in steps of tiers.MaxOps keys.
func (c *Catalog) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	records := make([]tiers.Record, 0, len(keys))
	for len(keys) > 0 {
		n := min(len(keys), tiers.MaxOps)
		step, err := c.batches.get(ctx, keys[:n])
		if err != nil {
			return nil, err
		}
		records, keys = append(records, step...), keys[n:]
	}
	return records, nil
}

// read reads up to tiers.MaxOps keys at one revision.
func (c *Catalog) read(ctx context.Context, keys []string) (records []tiers.Record, err error) {
	err = c.tryRead(ctx, "get", func(ctx context.Context) error {
		records, err = c.readOnce(ctx, keys)
		return err
	})
	return records, err
}

func (c *Catalog) readOnce(ctx context.Context, keys []string) ([]tiers.Record, error) {
	records := make([]tiers.Record, len(keys))
	if len(keys) == 1 { // a plain read is cheaper than a transaction of one
		resp, err := c.client.Get(ctx, c.prefix+keys[0])
		if err != nil {
			return nil, err
		}
		records[0] = tiers.Record{Key: keys[0]}
		for _, kv := range resp.Kvs {
			records[0] = c.record(kv.Key, kv.Value, kv.ModRevision, kv.CreateRevision)
		}
		return records, nil
	}
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		ops[i] = clientv3.OpGet(c.prefix + key)
	}
	resp, err := c.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, err
	}
	for i, r := range resp.Responses {
		records[i] = tiers.Record{Key: keys[i]}
		for _, kv := range r.GetResponseRange().Kvs {
			records[i] = c.record(kv.Key, kv.Value, kv.ModRevision, kv.CreateRevision)
		}
	}
	return records, nil
}

func (c *Catalog) record(key, value []byte, mod, created int64) tiers.Record {
	return tiers.Record{Key: strings.TrimPrefix(string(key), c.prefix), Value: value, Revision: mod, Created: created}
}

// Commit applies the change in one transaction.
func (c *Catalog) Commit(ctx context.Context, change tiers.Change) (int64, error) {
	if err := c.checkLimits(change); err != nil {
		return 0, err
	}
	var revision int64
	err := c.tryWrite(ctx, "commit", func(ctx context.Context) (err error) {
		revision, err = c.commit(ctx, change)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			// The lease ended before its time by this process's clock, which stands still
			// while a machine sleeps. The server refused the whole change: again, with a new one.
			c.forgetLeases()
			revision, err = c.commit(ctx, change)
		}
		return err
	})
	return revision, err
}

// commit does one try of a change. Its errors are those of the library, but for a conflict.
func (c *Catalog) commit(ctx context.Context, change tiers.Change) (int64, error) {
	var cmps []clientv3.Cmp
	var reads []clientv3.Op // on conflict: what the conditions looked at
	for _, cond := range change.If {
		cmp, read := c.condition(cond)
		cmps, reads = append(cmps, cmp), append(reads, read)
	}
	var ops []clientv3.Op
	for _, put := range change.Put {
		var opts []clientv3.OpOption
		if put.Expire > 0 {
			id, err := c.lease(ctx, put.Expire)
			if err != nil {
				return 0, err
			}
			opts = append(opts, clientv3.WithLease(id))
		}
		ops = append(ops, clientv3.OpPut(c.prefix+put.Key, string(put.Value), opts...))
	}
	for _, key := range change.Delete {
		ops = append(ops, clientv3.OpDelete(c.prefix+key))
	}
	resp, err := c.client.Txn(ctx).If(cmps...).Then(ops...).Else(reads...).Commit()
	if err != nil {
		return 0, err
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	conflict := &tiers.ConflictError{}
	for i, r := range resp.Responses {
		if found := r.GetResponseRange(); !holds(change.If[i], found.Count, found.Kvs) {
			conflict.Keys = append(conflict.Keys, change.If[i].Key)
		}
	}
	return 0, conflict
}

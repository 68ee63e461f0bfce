package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// closeTimeout bounds Close. A server that has not ended by then is left to the end of
// the process; both have written what they acknowledged.
const closeTimeout = 15 * time.Second

// Config says where the servers keep their data.
type Config struct {
	Dir string       // data directory, made if missing
	Log *slog.Logger // nil: nothing is logged
	// NoSync acknowledges what is not on disk yet. For measuring what syncing costs; a
	// power cut then loses what was acknowledged.
	NoSync bool
}

// Servers are the two running servers.
type Servers struct {
	etcd    *etcdServer
	gateway *gateway
	lock    *dirLock
	done    chan error
	quit    chan struct{} // closed when Close begins
	watched sync.WaitGroup
	once    sync.Once
	closed  error
}

// Start starts both servers at once and returns when they answer, or with what went wrong
// and nothing left running. That ctx ends while they start stops them; later it does not.
func Start(ctx context.Context, cfg Config) (*Servers, error) {
	if cfg.Dir == "" {
		return nil, errors.New("embedded stores: no data directory named")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded stores: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded stores: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded stores: %w", err)
	}
	s := &Servers{lock: lock, done: make(chan error, 2), quit: make(chan struct{})}
	var etcdErr, gatewayErr error
	var wg sync.WaitGroup
	wg.Go(func() { s.etcd, etcdErr = startEtcd(ctx, cfg) })
	wg.Go(func() { s.gateway, gatewayErr = startGateway(ctx, cfg) })
	wg.Wait()
	if err := errors.Join(etcdErr, gatewayErr); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded stores: %w", err), s.Close())
	}
	s.watched.Go(func() { s.watch("etcd", s.etcd.died) })
	s.watched.Go(func() { s.watch("S3 server", s.gateway.died) })
	return s, nil
}

// watch reports a server that ends before it was asked to.
func (s *Servers) watch(name string, died <-chan error) {
	select {
	case <-s.quit:
	case err := <-died:
		select {
		case <-s.quit:
		default:
			s.done <- fmt.Errorf("embedded %s stopped: %w", name, err)
		}
	}
}

// EtcdEndpoints are the endpoints for an etcd client; it needs no credentials.
func (s *Servers) EtcdEndpoints() []string { return []string{s.etcd.endpoint} }

// S3 says how to reach the S3 server, as the account that may do anything.
func (s *Servers) S3() (endpoint, accessKey, secretKey, region string) {
	return s.gateway.endpoint, s.gateway.credentials.AccessKey, s.gateway.credentials.SecretKey, s3Region
}

// Done gives the error of a server that stopped by itself, after which the process had
// better end, and is closed by Close.
func (s *Servers) Done() <-chan error { return s.done }

// Close stops both servers, within 15 s, and frees the data directory. Clients should be
// closed before. Calling it again changes nothing.
func (s *Servers) Close() error {
	s.once.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Servers) close() error {
	close(s.quit)
	stopped := make(chan error, 2)
	go func() { stopped <- s.etcd.close() }()
	go func() { stopped <- s.gateway.close() }()
	timeout := time.After(closeTimeout)
	var failed []error
	for range 2 {
		select {
		case err := <-stopped:
			failed = append(failed, err)
		case <-timeout:
			// The lock stays: a server that still runs must not share its directory.
			return fmt.Errorf("embedded stores did not stop within %v", closeTimeout)
		}
	}
	s.watched.Wait()
	close(s.done)
	return errors.Join(append(failed, s.lock.release())...)
}

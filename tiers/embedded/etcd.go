package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const (
	// etcdQuota is how large etcd's database may grow, in bytes; etcd advises no more.
	etcdQuota = 8 << 30

	// The clock of elections. etcd's defaults are for members that a network separates;
	// one member alone elects itself, and a shorter election is a shorter start.
	etcdTick     = 50  // ms
	etcdElection = 500 // ms

	// socketPathMax is the longest path of a socket that systems agree on.
	socketPathMax = 100
)

// etcdServer is a running etcd.
type etcdServer struct {
	server   *embed.Etcd
	endpoint string
	sockets  string // directory to be removed at the end; empty: none
	quiet    *atomic.Bool
	died     chan error
}

func startEtcd(ctx context.Context, cfg Config) (_ *etcdServer, err error) {
	s := &etcdServer{quiet: new(atomic.Bool), died: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start etcd: %w", err), s.close())
		}
	}()
	sockets, err := s.socketDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	client, peer := filepath.Join(sockets, "etcd.sock"), filepath.Join(sockets, "peer.sock")
	s.endpoint = "unix://" + client
	core := &logCore{log: cfg.Log, closed: s.quiet}
	s.server, err = embed.StartEtcd(etcdConfig(cfg, client, peer, zap.New(core)))
	if err != nil {
		return nil, err
	}
	// The directory is closed to others already; the mode says it once more.
	if err := errors.Join(os.Chmod(client, 0o600), os.Chmod(peer, 0o600)); err != nil {
		return nil, err
	}
	select {
	case <-s.server.Server.ReadyNotify():
	case err := <-s.server.Err():
		return nil, err
	case <-s.server.Server.StopNotify():
		return nil, errors.New("stopped before it was ready")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	go s.watch()
	return s, nil
}

func etcdConfig(cfg Config, client, peer string, log *zap.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name = "sluice"
	c.Dir = filepath.Join(cfg.Dir, "etcd")
	clients := []url.URL{{Scheme: "unix", Path: client}}
	c.ListenClientUrls, c.AdvertiseClientUrls = clients, clients
	// There are no peers, and nobody may pretend to be one. etcd listens for them at the
	// host of the URL only; with the path there it would take a socket open to all.
	c.ListenPeerUrls = []url.URL{{Scheme: "unix", Host: peer}}
	c.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: "none"}}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = etcdTick, etcdElection
	c.QuotaBackendBytes = etcdQuota
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	c.UnsafeNoFsync = cfg.NoSync
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return c
}

// socketDir makes a directory for the sockets that only the owner may enter: in the data
// directory, or where its path is too long for a socket, in a temporary one.
func (s *etcdServer) socketDir(dir string) (string, error) {
	run := filepath.Join(dir, "run")
	if len(run) <= socketPathMax-len("/etcd.sock") {
		if err := os.MkdirAll(run, 0o700); err != nil {
			return "", err
		}
		return run, os.Chmod(run, 0o700)
	}
	var err error
	s.sockets, err = os.MkdirTemp("", "sluice-") // mode 0700
	return s.sockets, err
}

// watch waits for the end of etcd, asked for or not.
func (s *etcdServer) watch() {
	select {
	case err, ok := <-s.server.Err():
		if ok && err != nil {
			s.died <- err
			return
		}
	case <-s.server.Server.StopNotify():
	}
	s.died <- errors.New("no reason given")
}

func (s *etcdServer) close() error {
	if s == nil {
		return nil
	}
	if s.server != nil {
		s.quiet.Store(true)
		s.server.Close()
	}
	if s.sockets != "" {
		return os.RemoveAll(s.sockets)
	}
	return nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/tests/stores"
)

// Member is one of the members of etcd.
type Member struct {
	client string // http://host:port
	binary string
	args   []string
	log    string

	mu      sync.Mutex
	process *process // nil: dead
}

// startEtcd starts the members. It does without fsync: processes are killed, not machines.
func (c *Cluster) startEtcd(o stores.Owner) error {
	ports := stores.FreePorts(o, 2*Members)
	var peers []string
	for i := range Members {
		peers = append(peers, fmt.Sprintf("m%d=http://%s", i, ports[Members+i]))
	}
	for i := range Members {
		client, peer := "http://"+ports[i], "http://"+ports[Members+i]
		m := &Member{client: client, binary: stores.Binary(o, "server"), log: filepath.Join(c.log, fmt.Sprintf("etcd-%d", i)), args: []string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(c.Dir, fmt.Sprintf("etcd-%d", i)),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new",
			"--log-level", "error", "--unsafe-no-fsync",
			// Elections are frequent here; the default waits a second for each.
			"--heartbeat-interval", "100", "--election-timeout", "1000"}}
		c.Members = append(c.Members, m)
		o.Cleanup(m.Kill)
		m.Start()
	}
	deadline := time.Now().Add(readyTimeout)
	for _, m := range c.Members {
		for !healthy(m.client) {
			if time.Now().After(deadline) {
				return fmt.Errorf("etcd %s is not ready:\n%s", m.client, tail(m.log, 4<<10))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// Start starts a dead member on the data that it had; of one that lives it changes nothing.
func (m *Member) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil && m.process.lives() {
		return
	}
	p, err := startProcess(m.binary, m.args, nil, m.log, true, nil)
	if err == nil {
		m.process = p
	}
}

// Kill ends the member as a crash would.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.process.kill()
		m.process = nil
	}
}

// Leader finds the member that leads.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), DialTimeout: 2 * time.Second})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for _, m := range c.Members {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		status, err := client.Status(ctx, m.client)
		cancel()
		if err == nil && status.Leader == status.Header.MemberId {
			return m, nil
		}
	}
	return nil, errors.New("no member of etcd leads")
}

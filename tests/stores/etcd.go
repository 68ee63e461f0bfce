package stores

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// StartEtcd starts one etcd server and returns its endpoint and what kills it before the
// test ends.
func StartEtcd(tb testing.TB) (endpoints []string, stop func()) {
	tb.Helper()
	endpoints, members := StartEtcdCluster(tb, 1)
	return endpoints, members[0].Kill
}

// StartEtcdCluster starts n etcd servers that are one cluster. It does without fsync: the
// tests kill processes, not machines.
func StartEtcdCluster(tb testing.TB, n int) (endpoints []string, members []*Process) {
	tb.Helper()
	var err error
	for range startAttempts {
		if endpoints, members, err = startEtcd(tb, n); err == nil {
			return endpoints, members
		}
	}
	tb.Fatal(err)
	return nil, nil
}

func startEtcd(tb testing.TB, n int) ([]string, []*Process, error) {
	tb.Helper()
	ports := freePorts(tb, 2*n)
	clients, peers := ports[:n], ports[n:]
	var cluster []string
	for i, peer := range peers {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", i, peer))
	}
	type result struct {
		i   int
		p   *Process
		err error
	}
	dir := tb.TempDir()
	results := make(chan result, n) // all at once: the first is ready only with the others
	for i := range n {
		client, peer := "http://"+clients[i], "http://"+peers[i]
		go func() {
			p, err := start(tb, "server", nil, func() bool { return healthy(client) },
				"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)),
				"--listen-client-urls", client, "--advertise-client-urls", client,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
				"--log-level", "warn", "--unsafe-no-fsync")
			results <- result{i, p, err}
		}()
	}
	endpoints, members := make([]string, n), make([]*Process, n)
	var failed error
	for range n {
		r := <-results
		endpoints[r.i], members[r.i] = "http://"+clients[r.i], r.p
		if r.err != nil {
			failed = r.err
		}
	}
	if failed != nil {
		for _, p := range members {
			if p != nil {
				p.Kill()
			}
		}
		return nil, nil, failed
	}
	return endpoints, members, nil
}

func healthy(endpoint string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(endpoint + "/health")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return err == nil && strings.Contains(string(body), `"true"`)
}

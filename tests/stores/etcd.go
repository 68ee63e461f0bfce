package stores

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// StartEtcd starts one etcd server and returns its endpoint and what kills it before the
// test ends.
func StartEtcd(o Owner) (endpoints []string, stop func()) {
	o.Helper()
	endpoints, members := StartEtcdCluster(o, 1)
	return endpoints, members[0].Kill
}

// StartDurableEtcd is StartEtcd with the fsync of every write that a deployment has: what
// is measured must pay for it.
func StartDurableEtcd(o Owner) (endpoints []string, stop func()) {
	o.Helper()
	endpoints, members := startCluster(o, 1)
	return endpoints, members[0].Kill
}

// StartEtcdCluster starts n etcd servers that are one cluster, with further flags if need
// be. It does without fsync: the tests kill processes, not machines.
func StartEtcdCluster(o Owner, n int, flags ...string) (endpoints []string, members []*Process) {
	o.Helper()
	return startCluster(o, n, append([]string{"--unsafe-no-fsync"}, flags...)...)
}

func startCluster(o Owner, n int, flags ...string) (endpoints []string, members []*Process) {
	o.Helper()
	var err error
	for range startAttempts {
		if endpoints, members, err = startEtcd(o, n, flags); err == nil {
			return endpoints, members
		}
	}
	o.Fatal(err)
	return nil, nil
}

func startEtcd(o Owner, n int, flags []string) ([]string, []*Process, error) {
	o.Helper()
	ports := FreePorts(o, 2*n)
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
	dir := o.TempDir()
	results := make(chan result, n) // all at once: the first is ready only with the others
	for i := range n {
		client, peer := "http://"+clients[i], "http://"+peers[i]
		go func() {
			p, err := Start(o, "server", nil, func() bool { return healthy(client) }, append([]string{
				"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)),
				"--listen-client-urls", client, "--advertise-client-urls", client,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
				"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
				"--log-level", "warn"}, flags...)...)
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

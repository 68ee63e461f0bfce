package cluster

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/tests/faults/s3proxy"
	"sluice.dev/sluice/tests/stores"
)

// How many there are of each.
const (
	Members  = 3
	Replicas = 3
)

// readyTimeout is how long the cluster may take to be ready when it starts, on a machine
// that does other things as well.
const readyTimeout = 2 * time.Minute

// Config says what cluster to run.
type Config struct {
	Seed   int64
	Binary string // of sluice, built with the tag faults
	// Streamed gives the tier release an S3 endpoint of its own, so that promotions to it
	// go through the replica; otherwise the server copies.
	Streamed bool
	// Extra is added to the configuration of the registry, and Dev to that of its lowest tier.
	Extra, Dev string
	// Faults is the plan of the failpoints for the life-th life of a replica; nil: none.
	Faults func(replica, life int) string
	// Failed is told of what no fault excuses: a panic, a data race, an end by itself.
	Failed func(what string)
}

// Cluster is a running one.
type Cluster struct {
	Members  []*Member
	Replicas []*Replica
	Proxies  []*s3proxy.Proxy // in front of S3; all tiers but release use the first, which uses the last
	Store    Store
	Keys     Keys
	Dir      string

	config Config
	log    string // folder of what the processes print
}

// Store is the S3 server itself, past the proxies.
type Store struct {
	Endpoint, Access, Secret string
	Buckets                  map[string]string // by tier
}

// Start starts everything and returns when it is ready. It ends with its owner.
func Start(o stores.Owner, config Config) *Cluster {
	o.Helper()
	c := &Cluster{config: config, Dir: o.TempDir(), Store: Store{Buckets: map[string]string{"dev": "lower", "stable": "lower", "release": "upper"}}}
	c.log = filepath.Join(c.Dir, "log")
	if err := os.MkdirAll(c.log, 0o700); err != nil {
		o.Fatal(err)
	}
	c.Store.Endpoint, c.Store.Access, c.Store.Secret = stores.StartS3(o)
	n := 1
	if config.Streamed {
		n = 2
	}
	for i := range n {
		proxy, err := s3proxy.Start(c.Store.Endpoint, config.Seed+int64(i))
		if err != nil {
			o.Fatal(err)
		}
		o.Cleanup(func() { proxy.Close() })
		c.Proxies = append(c.Proxies, proxy)
	}
	if err := c.startEtcd(o); err != nil {
		o.Fatal(err)
	}
	if err := c.configure(); err != nil {
		o.Fatal(err)
	}
	ports := stores.FreePorts(o, Replicas)
	for i := range Replicas {
		r, err := c.newReplica(i, ports[i])
		if err != nil {
			o.Fatal(err)
		}
		o.Cleanup(r.close)
		c.Replicas = append(c.Replicas, r)
		go r.supervise()
	}
	if err := c.WaitReady(readyTimeout); err != nil {
		o.Fatal(err)
	}
	return c
}

// Endpoints are those of the members, past the proxies.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.Members {
		all = append(all, m.client)
	}
	return all
}

// Heal ends every fault that comes from outside the replicas.
func (c *Cluster) Heal() {
	for _, p := range c.Proxies {
		p.SetRules(s3proxy.Rules{})
	}
	for _, m := range c.Members {
		m.Start()
	}
	for _, r := range c.Replicas {
		for _, link := range r.Links {
			link.Heal()
		}
		r.Resume()
	}
}

// WaitReady waits until every replica says that it and its stores are well.
func (c *Cluster) WaitReady(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, r := range c.Replicas {
		for !stores.Answers(r.URL + "/readyz") {
			if time.Now().After(deadline) {
				return fmt.Errorf("replica %d is not ready after %v:\n%s", r.number, patience, r.Log())
			}
			r.Resume() // it may have frozen just when all was healed
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// Stop ends the replicas in order and says what did not end well.
func (c *Cluster) Stop() error {
	for _, r := range c.Replicas {
		if err := r.stop(); err != nil {
			return err
		}
	}
	return nil
}

// healthy says whether a member of etcd has a leader and answers.
func healthy(endpoint string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(endpoint + "/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// tail is the end of a file, without the requests that were served.
func tail(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	buf := make([]byte, min(size, info.Size()))
	n, err := f.ReadAt(buf, info.Size()-int64(len(buf)))
	if err != nil {
		return err.Error()
	}
	var kept []string
	for line := range strings.Lines(string(buf[:n])) {
		if !strings.Contains(line, " msg=request ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sluice.dev/sluice/tests/stores"
)

const region = "us-east-1"

// The buckets, all on one S3 server.
const (
	bucketDev     = "bench-dev" // of the tiers dev and stable
	bucketRelease = "bench-release"
	bucketPeer    = "bench-peer"
	bucketRaw     = "bench-raw"
	bucketRawCopy = "bench-raw-copy"
)

func buckets() []string {
	return []string{bucketDev, bucketRelease, bucketPeer, bucketRaw, bucketRawCopy}
}

// server is a registry that was started for the benchmark.
type server struct {
	registry
	usage
}

// servers are all processes that take part.
type servers struct {
	owner                    *owner
	binary                   string // of sluice
	dir                      string // of its configuration
	etcd                     []string
	endpoint, access, secret string // of the S3 server
	store                    rawStore

	sluice   server
	replica  server // of sluice; started when first asked for
	redirect server // a replica that redirects pulls; only where asked for
	peer     server // distribution; only where asked for
}

// start starts the stores and the registries.
func start(ctx context.Context, o *owner, peer, redirect bool) (*servers, error) {
	s := &servers{owner: o, dir: o.TempDir()}
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	s.etcd, _ = stores.StartDurableEtcd(o)
	s.endpoint, s.access, s.secret = stores.StartS3(o)
	var err error
	if s.store, err = newRawStore(s.endpoint, s.access, s.secret); err != nil {
		return nil, err
	}
	for _, bucket := range []string{bucketPeer, bucketRaw, bucketRawCopy} {
		if err := s.store.makeBucket(ctx, bucket); err != nil {
			return nil, err
		}
	}
	if err := s.writeFiles(); err != nil {
		return nil, err
	}
	if s.sluice, err = s.startSluice("sluice.yaml"); err != nil {
		return nil, err
	}
	if redirect {
		if s.redirect, err = s.startSluice("redirect.yaml"); err != nil {
			return nil, err
		}
	}
	if peer {
		s.peer, err = s.startPeer()
	}
	return s, err
}

// build makes the binary as make build does.
func (s *servers) build(ctx context.Context) error {
	root, err := stores.ModuleRoot()
	if err != nil {
		return err
	}
	s.binary = filepath.Join(s.dir, "sluice")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", s.binary, "./cmd/sluice")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return nil
}

// startSluice starts a replica; all of them share the stores and the keys.
func (s *servers) startSluice(config string) (server, error) {
	address := stores.FreePorts(s.owner, 1)[0]
	url := "http://" + address
	p, err := stores.Start(s.owner, s.binary, nil, func() bool { return stores.Answers(url + "/readyz") },
		"serve", "--config", filepath.Join(s.dir, config), "--listen", address)
	if err != nil {
		return server{}, err
	}
	return server{registry{url, "dev/bench/app", newClient()}, usage(p.PID())}, nil
}

// startReplica starts a second sluice unless there is one.
func (s *servers) startReplica() (err error) {
	if s.replica.usage == 0 {
		s.replica, err = s.startSluice("sluice.yaml")
	}
	return err
}

// startPeer starts the reference registry on the same S3 server. It writes no access log.
func (s *servers) startPeer() (server, error) {
	address := stores.FreePorts(s.owner, 1)[0]
	url := "http://" + address
	config := filepath.Join(s.dir, "registry.yaml")
	err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  s3: {accesskey: %q, secretkey: %q, region: %s, regionendpoint: %q, bucket: %s, forcepathstyle: true, secure: false}
  delete: {enabled: true}
  redirect: {disable: true}
  cache: {blobdescriptor: inmemory}
http: {addr: %q, secret: bench}
`, s.access, s.secret, region, s.endpoint, bucketPeer, address), 0o600)
	if err != nil {
		return server{}, err
	}
	p, err := stores.Start(s.owner, "registry", []string{"OTEL_TRACES_EXPORTER=none"}, func() bool { return stores.Answers(url + "/v2/") }, "serve", config)
	if err != nil {
		return server{}, err
	}
	return server{registry{url, "bench/app", newClient()}, usage(p.PID())}, nil
}

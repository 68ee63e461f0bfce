package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/s3"
)

// stores are the catalog and the buckets, wherever they are: only the endpoints differ
// between embedded servers and others.
type stores struct {
	servers *embedded.Servers // nil where all stores are elsewhere
	catalog *etcd.Catalog
	buckets []*s3.Store // of the tiers, in their order
}

// openStores starts what the configuration does not name, connects to all of it, and makes
// the buckets that are missing. On an error nothing stays open.
func openStores(ctx context.Context, cfg *Config, log *slog.Logger) (*stores, error) {
	s := &stores{}
	if err := s.open(ctx, cfg, log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *stores) open(ctx context.Context, cfg *Config, log *slog.Logger) (err error) {
	if cfg.embedsEtcd() || cfg.embedsS3() {
		if s.servers, err = embedded.Start(ctx, embedded.Config{Dir: cfg.Data, Log: log}); err != nil {
			return err
		}
	}
	conf, err := s.etcdConfig(cfg.Etcd)
	if err != nil {
		return err
	}
	if s.catalog, err = etcd.New(conf); err != nil {
		return err
	}
	for _, t := range cfg.Tiers {
		conf, err := s.s3Config(t.S3)
		if err != nil {
			return fmt.Errorf("tier %s: %w", t.Name, err)
		}
		bucket, err := s3.New(conf)
		if err != nil {
			return fmt.Errorf("tier %s: %w", t.Name, err)
		}
		s.buckets = append(s.buckets, bucket)
	}
	if err := s.catalog.Ping(ctx); err != nil {
		return fmt.Errorf("etcd %v does not answer: %w", conf.Endpoints, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, bucket := range s.buckets {
		group.Go(func() error {
			if err := bucket.EnsureBucket(ctx); err != nil {
				return fmt.Errorf("tier %s: %w", cfg.Tiers[i].Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// etcdConfig is the configured cluster, or the embedded one.
func (s *stores) etcdConfig(c EtcdConfig) (etcd.Config, error) {
	conf := etcd.Config{Endpoints: c.Endpoints, Username: c.Username, Prefix: c.Prefix}
	if len(c.Endpoints) == 0 {
		conf.Endpoints = s.servers.EtcdEndpoints()
		return conf, nil
	}
	if c.PasswordFile != "" {
		password, err := readSecret(c.PasswordFile)
		if err != nil {
			return conf, fmt.Errorf("etcd.passwordFile: %w", err)
		}
		conf.Password = string(password)
	}
	if c.CA == "" && c.Cert == "" {
		return conf, nil
	}
	conf.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		roots, err := readRoots(c.CA)
		if err != nil {
			return conf, fmt.Errorf("etcd.ca: %w", err)
		}
		conf.TLS.RootCAs = roots
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return conf, fmt.Errorf("etcd.cert, etcd.key: %w", err)
		}
		conf.TLS.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// s3Config is the configured bucket, or one of the embedded server.
func (s *stores) s3Config(c S3Config) (s3.Config, error) {
	conf := s3.Config{Endpoint: c.Endpoint, Bucket: c.Bucket, Region: c.Region}
	if c.Endpoint == "" {
		conf.Endpoint, conf.AccessKey, conf.SecretKey, conf.Region = s.servers.S3()
		return conf, nil
	}
	access, err := readSecret(c.AccessKeyFile)
	if err != nil {
		return conf, fmt.Errorf("s3.accessKeyFile: %w", err)
	}
	secret, err := readSecret(c.SecretKeyFile)
	if err != nil {
		return conf, fmt.Errorf("s3.secretKeyFile: %w", err)
	}
	conf.AccessKey, conf.SecretKey = string(access), string(secret)
	return conf, nil
}

// tiers are the tiers of the registry over these stores.
func (s *stores) tiers(cfg *Config) []tiers.Tier {
	all := make([]tiers.Tier, len(cfg.Tiers))
	for i, t := range cfg.Tiers {
		// The check of the configuration has found every size and age well written.
		limits, _ := t.Limits.limits()
		retention, _ := t.retention()
		all[i] = tiers.Tier{Name: t.Name, From: t.From, Push: t.Push, MovingTags: t.MovingTags, FollowEvidence: t.FollowEvidence,
			Limits: limits, Retention: retention, Redirect: t.Redirect, Bucket: s.buckets[i]}
	}
	return all
}

// Ready asks every store.
func (s *stores) Ready(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.catalog.Ping(ctx) })
	for _, bucket := range s.buckets {
		group.Go(func() error { return bucket.Ping(ctx) })
	}
	return group.Wait()
}

// failed gives the error of an embedded server that stopped by itself; without embedded
// servers it never does.
func (s *stores) failed() <-chan error {
	if s.servers == nil {
		return nil
	}
	return s.servers.Done()
}

// rest closes connections that are idle.
func (s *stores) rest() {
	for _, bucket := range s.buckets {
		bucket.Rest()
	}
}

// Close ends the connections, then the embedded servers.
func (s *stores) Close() error {
	var problems []error
	if s.catalog != nil {
		problems = append(problems, s.catalog.Close())
	}
	for _, bucket := range s.buckets {
		problems = append(problems, bucket.Close())
	}
	if s.servers != nil {
		problems = append(problems, s.servers.Close())
	}
	return errors.Join(problems...)
}

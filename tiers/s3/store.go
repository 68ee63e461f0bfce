package s3

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	// maxAttempts is how often a request is sent at the most. Only requests whose body
	// can be sent again are repeated, so a streamed body goes once.
	maxAttempts = 3

	// maxCopy is the largest object that one CopyObject may copy, and maxPut the largest
	// that one PUT may hold (Amazon S3, "Upload and copy limits").
	maxCopy = 5 << 30
	maxPut  = 5 << 30

	defaultRegion = "us-east-1"
)

// Config says where a bucket is and who may use it.
type Config struct {
	Endpoint  string // URL of the server, http or https, without a path
	Bucket    string // name of the bucket
	Region    string // empty: us-east-1
	AccessKey string
	SecretKey string
}

// Store is one bucket. Its methods may be called concurrently.
type Store struct {
	core     *minio.Core
	direct   *direct // nil where reads take the ordinary way
	conns    *http.Transport
	bucket   string
	region   string
	endpoint string // scheme and host
	access   string
	secret   string

	patience                 patience
	asking, sending, reading *turns // requests that are under way

	// Objects larger than copyLimit are copied in parts of copyPart bytes. Tests lower
	// them; no test copies 5 GiB.
	copyLimit int64
	copyPart  int64
}

var _ tiers.Bucket = (*Store)(nil)

// New makes a store of a bucket. It does not talk to the server: EnsureBucket and Ping do.
func New(cfg Config) (*Store, error) { return newStore(cfg, usualPatience()) }

func newStore(cfg Config, p patience) (*Store, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("s3 endpoint: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" ||
		u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("s3 endpoint %q: want http://host[:port] or https://host[:port]", u.Redacted())
	}
	switch {
	case cfg.Bucket == "":
		return nil, fmt.Errorf("s3 endpoint %s: no bucket named", cfg.Endpoint)
	case cfg.AccessKey == "" || cfg.SecretKey == "":
		return nil, fmt.Errorf("s3 bucket %s: access key and secret key are both needed", cfg.Bucket)
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	conns := transport(p)
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure:     u.Scheme == "https",
		Transport:  conns,
		Region:     cfg.Region,
		MaxRetries: maxAttempts,
	})
	if err != nil {
		return nil, fmt.Errorf("s3 endpoint %s: %w", cfg.Endpoint, err)
	}
	return &Store{
		core: core, direct: newDirect(u, p), conns: conns, bucket: cfg.Bucket, region: cfg.Region,
		endpoint: u.Scheme + "://" + strings.ToLower(u.Host),
		access:   cfg.AccessKey, secret: cfg.SecretKey,
		patience: p, asking: newTurns(mostAsking), sending: newTurns(mostSending), reading: newTurns(mostReading),
		copyLimit: maxCopy, copyPart: 1 << 30,
	}, nil
}

// transport keeps as many connections as the registry has parallel transfers: the default
// keeps so few that a busy server would dial for every other request. Large buffers save
// system calls, and bodies must arrive as they are stored, so nothing is decompressed.
func transport(p patience) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           p.dial(&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}),
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: p.work, // each request has a limit of its own, which is no longer
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
	}
}

// Rest closes the connections that no request uses; the next one makes its own again.
func (s *Store) Rest() {
	s.conns.CloseIdleConnections()
	if s.direct != nil {
		s.direct.drain()
	}
}

// Close closes the connections that no request uses; those that one uses close with it. A
// server that is about to stop does not wait for them then.
func (s *Store) Close() error {
	s.conns.CloseIdleConnections()
	if s.direct != nil {
		s.direct.close()
	}
	return nil
}

// String names the bucket for logs and errors; it holds no secret.
func (s *Store) String() string { return s.endpoint + "/" + s.bucket }

// Ping asks whether the bucket is there and may be used.
func (s *Store) Ping(ctx context.Context) error {
	ok, err := s.bucketExists(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("bucket %s: there is none: %w", s, oci.ErrUnavailable)
	}
	return nil
}

func (s *Store) bucketExists(ctx context.Context) (ok bool, err error) {
	err = s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) (err error) {
		ok, err = s.core.BucketExists(ctx, s.bucket)
		return err
	})
	return ok, s.failed(ctx, "ask for bucket", s.bucket, err)
}

// EnsureBucket makes the bucket if there is none. That somebody else made it meanwhile is
// no error as long as it may be used.
func (s *Store) EnsureBucket(ctx context.Context) error {
	ok, err := s.bucketExists(ctx)
	if ok || err != nil {
		return err
	}
	err = s.ask(ctx, s.asking, s.patience.ask, func(ctx context.Context) error {
		return s.core.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: s.region})
	})
	switch minio.ToErrorResponse(err).Code {
	case minio.BucketAlreadyOwnedByYou, minio.BucketAlreadyExists:
		return s.Ping(ctx)
	}
	return s.failed(ctx, "make bucket", s.bucket, err)
}

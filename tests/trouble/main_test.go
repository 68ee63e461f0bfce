// Package trouble_test shows what clients of a registry see while its stores are in trouble,
// and that it heals by itself: real etcd members and a real S3 server, each a process, with
// faults injected by killing them or by a proxy between the registry and S3.
package trouble_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/s3"
)

const (
	typeImage = "application/vnd.oci.image.manifest.v1+json"
	blobType  = "application/octet-stream"
	// heals is within what time everything has to be as before. It is far more than it takes.
	heals = time.Minute
)

// site is a registry with the stores that it stands on.
type site struct {
	*testing.T
	etcd     []string          // endpoints
	members  []*stores.Process // of etcd
	objects  *stores.Process   // the S3 server
	s3       *proxy            // before it
	catalog  *etcd.Catalog
	registry *tiers.Registry
	engine   *promote.Engine
	ci       crypto.Signer
	url      string
	log      *lines
}

// newSite starts etcd members with the given flags, an S3 server with a proxy before it, and
// a registry of three tiers over them.
func newSite(t *testing.T, members int, flags ...string) *site {
	t.Helper()
	s := &site{T: t, log: &lines{}}
	s.etcd, s.members = stores.StartEtcdCluster(t, members, flags...)
	endpoint, objects := stores.StartS3Process(t)
	access, secret := stores.S3Credentials()
	s.objects, s.s3 = objects, newProxy(t, endpoint)
	var err error
	if s.catalog, err = etcd.New(etcd.Config{Endpoints: s.etcd}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.catalog.Close() })
	log := slog.New(slog.NewTextHandler(s.log, nil))
	config := tiers.Config{Catalog: s.catalog, Log: log}
	ready := []func(context.Context) error{s.catalog.Ping}
	for _, tier := range []tiers.Tier{{Name: "dev", Push: true}, {Name: "stable", From: "dev"}, {Name: "release", From: "stable"}} {
		bucket, err := s3.New(s3.Config{Endpoint: s.s3.url, Bucket: tier.Name, AccessKey: access, SecretKey: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bucket.Close() })
		if err := bucket.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		tier.Bucket = bucket
		config.Tiers = append(config.Tiers, tier)
		ready = append(ready, bucket.Ping)
	}
	if s.registry, err = tiers.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	s.gate(log)
	s.serve(log, ready)
	return s
}

// gate makes the engine, with a policy for stable that asks for a signature of s.ci.
func (s *site) gate(log *slog.Logger) {
	s.Helper()
	signers := map[string]crypto.Signer{}
	for _, tier := range []string{"stable", "release"} {
		signers[tier] = s.key()
	}
	var err error
	if s.engine, err = promote.New(promote.Config{Registry: s.registry, Signers: signers, URL: "https://registry.example.com", Log: log}); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.engine.Run(ctx) })
	s.Cleanup(func() {
		cancel()
		s.engine.Close()
		running.Wait()
	})
	s.ci = s.key()
	pem, err := attest.MarshalPublicKey(s.ci.Public())
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.engine.SetPolicy(s.Context(), "admin", "dev-to-stable", policyDocument(string(pem)), ""); err != nil {
		s.Fatal(err)
	}
}

const provenanceType = "https://slsa.dev/provenance/v1"

func policyDocument(pem string) []byte {
	return fmt.Appendf(nil, `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: ci, key: {pem: %q}}
  require:
    - {name: built-by-ci, predicateTypes: [%q], from: {authorities: [ci]}}
`, pem, provenanceType)
}

func (s *site) key() crypto.Signer {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	return key
}

func (s *site) serve(log *slog.Logger, ready []func(context.Context) error) {
	s.Helper()
	srv, err := server.New(server.Config{Registry: s.registry, Engine: s.engine, Log: log, Ready: func(ctx context.Context) error {
		for _, ask := range ready {
			if err := ask(ctx); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		s.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(srv.Handler())
	ts.Config = srv.HTTPServer("")
	ts.Start()
	s.Cleanup(ts.Close)
	s.url = ts.URL
}

// lines keeps what the registry logs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of the request, or of reading the body
	took   time.Duration
}

func (r reply) String() string {
	return fmt.Sprintf("%d in %v, %d bytes, Retry-After %q, %v %.300s", r.status, r.took.Round(time.Millisecond), len(r.body), r.header.Get("Retry-After"), r.err, r.body)
}

// unavailable says that the answer is the one for a store that does not answer.
func (r reply) unavailable() bool {
	return r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != "" && (len(r.body) == 0 || strings.Contains(string(r.body), `"UNAVAILABLE"`))
}

// do sends a request and waits for all of the answer.
func (s *site) do(method, path string, body []byte, headers ...string) reply {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, r)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{err: err, took: time.Since(began)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, data, err, time.Since(began)}
}

// want sends a request that has to be answered with a status.
func (s *site) want(status int, method, path string, body []byte, headers ...string) reply {
	s.Helper()
	got := s.do(method, path, body, headers...)
	if got.status != status || got.err != nil {
		s.Fatalf("%s %s: %v; want %d", method, path, got, status)
	}
	return got
}

// wantUnavailable sends a request that cannot be answered now.
func (s *site) wantUnavailable(method, path string, body []byte, headers ...string) reply {
	s.Helper()
	got := s.do(method, path, body, headers...)
	if !got.unavailable() {
		s.Errorf("%s %s: %v; want 503 UNAVAILABLE with Retry-After", method, path, got)
	}
	return got
}

// healed sends a request until it is answered with a status.
func (s *site) healed(status int, method, path string, body []byte, headers ...string) {
	s.Helper()
	began := time.Now()
	for {
		got := s.do(method, path, body, headers...)
		if got.status == status && got.err == nil {
			s.Logf("%s %s: healed after %v", method, path, time.Since(began).Round(time.Millisecond))
			return
		}
		if !got.unavailable() {
			s.Fatalf("%s %s: %v; want %d, or 503 until then", method, path, got, status)
		}
		if time.Since(began) > heals {
			s.Fatalf("%s %s: %v; want %d by now", method, path, got, status)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// pushBlob uploads a blob in one request.
func (s *site) pushBlob(repo string, content []byte) digest.Digest {
	s.Helper()
	d := digest.FromBytes(content)
	s.want(201, "POST", uploadPath(repo, content), content, "Content-Type", blobType)
	return d
}

func uploadPath(repo string, content []byte) string {
	return "/v2/" + repo + "/blobs/uploads/?digest=" + digest.FromBytes(content).String()
}

func blobPath(repo string, content []byte) string {
	return "/v2/" + repo + "/blobs/" + digest.FromBytes(content).String()
}

// image is a manifest of one layer, whose configuration is {}.
func image(layer []byte) []byte {
	descriptor := func(content []byte) map[string]any {
		return map[string]any{"mediaType": blobType, "digest": digest.FromBytes(content), "size": len(content)}
	}
	body, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeImage, "config": descriptor([]byte("{}")), "layers": []any{descriptor(layer)}}) // plain data
	return body
}

// pushImage uploads an image with its blobs.
func (s *site) pushImage(repo, tag string, layer []byte) digest.Digest {
	s.Helper()
	s.pushBlob(repo, []byte("{}"))
	s.pushBlob(repo, layer)
	s.want(201, "PUT", "/v2/"+repo+"/manifests/"+tag, image(layer), "Content-Type", typeImage)
	return digest.FromBytes(image(layer))
}

// random makes n bytes that are like no others.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	return data
}

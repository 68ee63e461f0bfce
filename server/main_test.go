package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/s3"
)

// stores are the real etcd and S3 server behind all tests of the package.
type stores struct {
	servers *embedded.Servers
	number  atomic.Int64
}

// shared is set once, by TestMain.
var shared stores

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sluice-server-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared.servers, err = embedded.Start(context.Background(), embedded.Config{Dir: dir, NoSync: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.servers.Close()
	return m.Run()
}

// logBuffer is written by the server while a test reads it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// fixture is a server over an empty catalog of its own.
type fixture struct {
	*testing.T
	server *Server
	url    string
	user   string // name:password for requests; empty: none
	host   string // Host of requests; empty: the address
	logs   *logBuffer
	// filled is a registry over the same stores to whose tiers anyone may push: what
	// promotion would have put there.
	filled *tiers.Registry
}

func registryOver(t testing.TB, prefix string, push bool, limits ...tiers.Limits) *tiers.Registry {
	t.Helper()
	catalog, err := etcd.New(etcd.Config{Endpoints: shared.servers.EtcdEndpoints(), Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { catalog.Close() })
	endpoint, access, secret, region := shared.servers.S3()
	bucket := func(name string) tiers.Bucket {
		store, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: name, Region: region, AccessKey: access, SecretKey: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		if err := store.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store
	}
	list := []tiers.Tier{
		{Name: "dev", Push: true, Bucket: bucket("dev")},
		{Name: "stable", From: "dev", Bucket: bucket("stable")},
		{Name: "release", From: "stable", Bucket: bucket("release")},
	}
	if len(limits) > 0 {
		list[0].Limits = limits[0]
	}
	if push {
		for i := range list {
			list[i].Push, list[i].From = true, ""
		}
	}
	r, err := tiers.New(t.Context(), tiers.Config{Catalog: catalog, Tiers: list, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newFixture makes a server of the configuration that change leaves; limits are those of
// the tier dev.
func newFixture(t *testing.T, change func(*Config), limits ...tiers.Limits) *fixture {
	t.Helper()
	prefix := fmt.Sprintf("test%d/", shared.number.Add(1))
	f := &fixture{T: t, filled: registryOver(t, prefix, true), logs: &logBuffer{}}
	config := Config{Registry: registryOver(t, prefix, false, limits...), Log: slog.New(slog.NewTextHandler(f.logs, nil))}
	if change != nil {
		change(&config)
	}
	var err error
	if f.server, err = New(config); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(f.server.Handler())
	ts.Config = f.server.HTTPServer("")
	ts.Config.Handler = f.server.Handler()
	ts.Start()
	t.Cleanup(ts.Close)
	f.url = ts.URL
	return f
}

// reply is a response with its body read.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of reading the body
}

// code is the code of the only error in the envelope.
func (a reply) code() string {
	var e envelope
	if json.Unmarshal(a.body, &e) != nil || len(e.Errors) != 1 {
		return ""
	}
	return e.Errors[0].Code
}

// do sends a request that must be answered.
func (f *fixture) do(method, path string, body io.Reader, headers ...string) reply {
	f.Helper()
	got := f.try(method, path, body, headers...)
	if got.status == 0 {
		f.Fatalf("%s %s: %v", method, path, got.err)
	}
	return got
}

// try sends a request; status is 0 where no answer came.
func (f *fixture) try(method, path string, body io.Reader, headers ...string) reply {
	f.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = f.url + path
	}
	r, err := http.NewRequestWithContext(f.Context(), method, target, body)
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	if f.host != "" {
		r.Host = f.host
	}
	if name, password, ok := strings.Cut(f.user, ":"); ok {
		r.SetBasicAuth(name, password)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, data, err}
}

// want checks status and code, code "" for none.
func (f *fixture) want(a reply, status int, code string) reply {
	f.Helper()
	if a.status != status || a.code() != code {
		f.Fatalf("got %d %q, want %d %q\n%s", a.status, a.code(), status, code, a.body)
	}
	return a
}

// push uploads a blob in one request.
func (f *fixture) push(repo, content string) digest.Digest {
	f.Helper()
	d := digest.FromString(content)
	f.want(f.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), strings.NewReader(content)), 201, "")
	return d
}

const (
	typeImage = "application/vnd.oci.image.manifest.v1+json"
	typeIndex = "application/vnd.oci.image.index.v1+json"
)

// image is a manifest of one layer; extra is put into the document, ",key:value".
func image(layer, extra string) string {
	descriptor := func(content string) string {
		return fmt.Sprintf(`{"mediaType":"application/octet-stream","digest":"%s","size":%d}`, digest.FromString(content), len(content))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]%s}`, typeImage, descriptor("{}"), descriptor(layer), extra)
}

// pushImage uploads an image with its blobs.
func (f *fixture) pushImage(repo, tag, layer, extra string) digest.Digest {
	f.Helper()
	f.push(repo, "{}")
	f.push(repo, layer)
	body := image(layer, extra)
	f.want(f.do("PUT", "/v2/"+repo+"/manifests/"+tag, strings.NewReader(body), "Content-Type", typeImage), 201, "")
	return digest.FromString(body)
}

// promoted puts an image into any tier, as a promotion would.
func (f *fixture) promoted(tier, name, tag, layer string) digest.Digest {
	f.Helper()
	repo, err := f.filled.Repository(tier, name, "promotion")
	if err != nil {
		f.Fatal(err)
	}
	for _, content := range []string{"{}", layer} {
		u, err := repo.StartUpload(f.Context())
		if err == nil {
			err = u.Finish(f.Context(), strings.NewReader(content), -1, int64(len(content)), digest.FromString(content))
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	pushed, err := repo.PutManifest(f.Context(), tag, "", typeImage, []byte(image(layer, "")))
	if err != nil {
		f.Fatal(err)
	}
	return pushed.Digest
}

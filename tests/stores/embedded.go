package stores

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/s3"
)

// process holds the embedded servers of a test binary. There is one S3 gateway in a
// process, so all its tests share them, each with a catalog and buckets of its own.
var process struct {
	once    sync.Once
	servers *embedded.Servers
	dir     string
	err     error
	number  atomic.Int64
}

// Main runs the tests of a package and then stops the servers that they have started.
//
//	func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if process.servers != nil {
		if err := process.servers.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the embedded servers:", err)
			code = max(code, 1)
		}
	}
	if process.dir != "" {
		os.RemoveAll(process.dir)
	}
	return code
}

// Embedded returns the real etcd and S3 server of this process. The test's package must
// have Main for its TestMain.
func Embedded(tb testing.TB) *embedded.Servers {
	tb.Helper()
	process.once.Do(func() {
		if process.dir, process.err = os.MkdirTemp("", "sluice-stores-"); process.err == nil {
			process.servers, process.err = embedded.Start(context.Background(), embedded.Config{Dir: process.dir, NoSync: true})
		}
	})
	if process.err != nil {
		tb.Fatalf("start the embedded stores: %v", process.err)
	}
	return process.servers
}

// Catalog returns an empty catalog on the embedded etcd.
func Catalog(tb testing.TB) *etcd.Catalog {
	tb.Helper()
	servers := Embedded(tb)
	catalog, err := etcd.New(etcd.Config{Endpoints: servers.EtcdEndpoints(), Prefix: fmt.Sprintf("test-%d/", process.number.Add(1))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { catalog.Close() })
	return catalog
}

// Bucket returns an empty bucket on the embedded S3 server.
func Bucket(tb testing.TB) *s3.Store {
	tb.Helper()
	endpoint, access, secret, region := Embedded(tb).S3()
	store, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: fmt.Sprintf("test-%d", process.number.Add(1)),
		Region: region, AccessKey: access, SecretKey: secret})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() }) // the server waits for idle connections when it stops
	if err := store.EnsureBucket(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return store
}

// Registry returns an empty registry with the tiers dev, stable and release, in buckets of
// their own. edit, where not nil, changes the configuration before it is used.
func Registry(tb testing.TB, edit func(*tiers.Config)) *tiers.Registry {
	tb.Helper()
	config := tiers.Config{
		Catalog: Catalog(tb),
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tiers: []tiers.Tier{
			{Name: "dev", Push: true, Bucket: Bucket(tb)},
			{Name: "stable", From: "dev", Bucket: Bucket(tb), MovingTags: []string{"latest"}},
			{Name: "release", From: "stable", Bucket: Bucket(tb)},
		},
	}
	if edit != nil {
		edit(&config)
	}
	registry, err := tiers.New(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	return registry
}

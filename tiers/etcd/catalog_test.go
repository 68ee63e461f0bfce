package etcd_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
	"sluice.dev/sluice/tiers/tierstest"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

func TestCatalog(t *testing.T) {
	tierstest.TestCatalog(t, func(t *testing.T) tiers.Catalog { return stores.Catalog(t) })
}

// Two catalogs on one server see nothing of each other.
func TestPrefixes(t *testing.T) {
	a, b := stores.Catalog(t), stores.Catalog(t)
	if _, err := a.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "k"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Commit(t.Context(), tiers.Change{If: []tiers.Condition{tiers.None(""), tiers.Absent("k")}}); err != nil {
		t.Errorf("the other catalog is not empty: %v", err)
	}
	if page, err := b.List(t.Context(), tiers.Query{Limit: 10}); err != nil || len(page) != 0 {
		t.Errorf("the other catalog lists %v, %v", page, err)
	}
	if page, err := a.List(t.Context(), tiers.Query{Limit: 10}); err != nil || len(page) != 1 {
		t.Errorf("its own: %v, %v", page, err)
	}
}

// A lease that the server has ended before its time is replaced.
func TestLeaseLost(t *testing.T) {
	c := stores.Catalog(t)
	put := tiers.Change{Put: []tiers.Put{{Key: "k", Expire: time.Hour}}}
	if _, err := c.Commit(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: stores.Embedded(t).EtcdEndpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	leases, err := client.Leases(t.Context())
	if err != nil || len(leases.Leases) == 0 {
		t.Fatalf("%d leases, %v", len(leases.Leases), err)
	}
	for _, l := range leases.Leases {
		if _, err := client.Revoke(t.Context(), l.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Commit(t.Context(), put); err != nil {
		t.Fatalf("after the lease was lost: %v", err)
	}
	if records, err := c.Get(t.Context(), "k"); err != nil || records[0].Revision == 0 {
		t.Errorf("%v, %v", records, err)
	}
}

// A server that is not there is unavailable, soon; whose context ended gets that.
func TestUnavailable(t *testing.T) {
	if _, err := etcd.New(etcd.Config{}); err == nil {
		t.Error("no endpoints are enough")
	}
	c, err := etcd.New(etcd.Config{Endpoints: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for name, call := range map[string]func() error{
		"ping":   func() error { return c.Ping(ctx) },
		"get":    func() error { _, err := c.Get(ctx, "a", "b"); return err },
		"list":   func() error { _, err := c.List(ctx, tiers.Query{Limit: 1}); return err },
		"commit": func() error { _, err := c.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "a"}}}); return err },
		"expire": func() error {
			_, err := c.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "a", Expire: time.Minute}}})
			return err
		},
	} {
		if err := call(); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUnavailable)
		}
	}
}

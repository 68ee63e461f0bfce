package stores_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/s3"
	"sluice.dev/sluice/tiers/tierstest"
)

func openBucket(t *testing.T, endpoint, access, secret string) *s3.Store {
	t.Helper()
	store, err := s3.New(s3.Config{
		Endpoint: endpoint, Bucket: "test-" + strings.ToLower(ulid.Make().String()),
		AccessKey: access, SecretKey: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestBucket(t *testing.T) {
	endpoint, access, secret := stores.StartS3(t)
	tierstest.TestBucket(t, func(t *testing.T) tiers.Bucket {
		return openBucket(t, endpoint, access, secret)
	})
}

// A server that is gone is unavailable, and soon.
func TestServerGone(t *testing.T) {
	endpoint, server := stores.StartS3Process(t)
	store := openBucket(t, endpoint, "sluice-tests", "sluice-tests-secret")
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for name, call := range map[string]func() error{
		"ping": func() error { return store.Ping(ctx) },
		"put":  func() error { return store.Put(ctx, "k", strings.NewReader("x"), 1) },
		"open": func() error { _, err := store.Open(ctx, "k", 0, -1); return err },
		"stat": func() error { _, err := store.Stat(ctx, "k"); return err },
	} {
		if err := call(); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUnavailable)
		}
	}
}

func TestEtcd(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			endpoints, members := stores.StartEtcdCluster(t, n)
			if len(endpoints) != n || len(members) != n {
				t.Fatalf("%d endpoints and %d members, want %d", len(endpoints), len(members), n)
			}
			for i, endpoint := range endpoints {
				resp, err := http.Get(endpoint + "/version")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				members[i].Kill()
				if resp, err := http.Get(endpoint + "/version"); err == nil {
					resp.Body.Close()
					t.Errorf("member %d answers after it was killed", i)
				}
			}
		})
	}
}

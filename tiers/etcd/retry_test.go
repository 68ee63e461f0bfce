package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/etcd"
)

// member starts a server that answers every request as answer does, and counts them.
func member(t *testing.T, answer func(context.Context) error) (endpoint string, asked *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = &atomic.Int64{}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		asked.Add(1)
		return answer(stream.Context())
	}))
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String(), asked
}

// leaderless answers as a member that knows no leader: at once who asks for one, and others
// never.
func leaderless(ctx context.Context) error {
	if md, _ := metadata.FromIncomingContext(ctx); len(md[rpctypes.MetadataRequireLeaderKey]) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return rpctypes.ErrGRPCNoLeader
}

func over(t *testing.T, endpoints ...string) *etcd.Catalog {
	t.Helper()
	c, err := etcd.New(etcd.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A member that was cut off from the others is asked as often as they are, and nothing that
// is asked of it fails: it says that it knows no leader, and another is asked.
func TestMemberCutOff(t *testing.T) {
	t.Parallel()
	good, _ := stores.StartEtcd(t)
	bad, asked := member(t, leaderless)
	c := over(t, append(good, bad)...)
	for i := range 50 {
		key := fmt.Sprint(i)
		if _, err := c.Commit(t.Context(), tiers.Change{If: []tiers.Condition{tiers.Absent(key)}, Put: []tiers.Put{{Key: key, Expire: time.Duration(i+1) * time.Minute}}}); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		if records, err := c.Get(t.Context(), key, "other"); err != nil || records[0].Revision == 0 {
			t.Fatalf("get %d: %v, %v", i, records, err)
		}
		if page, err := c.List(t.Context(), tiers.Query{Limit: 100}); err != nil || len(page) != i+1 {
			t.Fatalf("list %d: %d, %v", i, len(page), err)
		}
	}
	if asked.Load() == 0 {
		t.Error("the member that was cut off was never asked")
	}
}

// A member that does not answer costs reads some time and does not fail them; a write that it
// was sent may have been applied, and so is not sent again.
func TestMemberHangs(t *testing.T) {
	t.Parallel()
	good, _ := stores.StartEtcd(t)
	bad, asked := member(t, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	c := over(t, append(good, bad)...)
	for range 6 { // the members take turns
		if _, err := c.Get(t.Context(), "k"); err != nil {
			t.Errorf("get: %v", err)
		}
	}
	if asked.Load() == 0 {
		t.Error("the member that hangs was never asked")
	}
	alone := over(t, bad)
	asked.Store(0)
	if _, err := alone.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "k"}}}); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("commit: %v, want %v", err, oci.ErrUnavailable)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the write was sent %d times", n)
	}
}

// Where nobody answers no caller waits long, however many there are, and what is sent stays
// within bounds.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	endpoint, asked := member(t, leaderless)
	c := over(t, endpoint)
	const callers = 60
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = c.Get(t.Context(), fmt.Sprint(i))
			case 1:
				_, err = c.List(t.Context(), tiers.Query{Limit: 1})
			default:
				_, err = c.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "k", Expire: time.Minute}}})
			}
			if !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("%v, want %v", err, oci.ErrUnavailable)
			}
		})
	}
	group.Wait()
	// Pauses grow to half a second, of which at least half is waited.
	if n := asked.Load(); n > callers*30 {
		t.Errorf("%d requests for %d callers", n, callers)
	}
}

// A member that is gone is looked for every few seconds, however long it was gone.
func TestLooksForMembers(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(tried)
				return
			}
			conn.Close()
			tried <- struct{}{}
		}
	}()
	t.Cleanup(func() { listener.Close() })
	c := over(t, "http://"+listener.Addr().String())
	_, _ = c.Get(t.Context(), "k") // wakes the client
	// gRPC's own pauses would be 1, 1.6, 2.6, 4, 6, 10, 16, 26, 42 s: nine in a minute.
	deadline := time.After(time.Minute)
	for n := range 12 {
		select {
		case <-tried:
		case <-deadline:
			t.Fatalf("looked for the member %d times in a minute", n)
		}
	}
}

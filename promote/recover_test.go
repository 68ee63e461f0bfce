package promote_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What others work on costs a replica nothing but a listing, however much it is: it must not
// come late with its own signs of life.
func TestOthersCostNothing(t *testing.T) {
	g := newGate(t, nil)
	const many = 1500
	var change tiers.Change
	for i := range many {
		id := fmt.Sprint("other", i)
		change.Put = append(change.Put, tiers.Put{Key: "promotion-open/" + id, Value: []byte("another")})
		if len(change.Put) == 100 {
			_, err := g.registry.Catalog().Commit(t.Context(), change)
			g.must(err)
			change = tiers.Change{}
		}
	}
	_, err := g.registry.Catalog().Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "replica/another"}}})
	g.must(err)
	own, h := g.process(false)
	var reads atomic.Int64
	h.onRead(func(_ context.Context, key string, object bool) {
		if !object && strings.HasPrefix(key, "promotion") {
			reads.Add(1)
		}
	})
	own.look()
	if n := reads.Load(); n > 0 {
		t.Errorf("%d records of other replicas' promotions were read", n)
	}
	g.silence() // now they are nobody's
	own.look()
	if reads.Load() == 0 {
		t.Error("what is nobody's was not looked at")
	}
}

// Of very many promotions that somebody has left, a replica takes as many as it can soon
// carry out: others take the rest.
func TestTakenInParts(t *testing.T) {
	g := newGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	const many = 90
	dead, _ := g.process(false)
	dead.engine.Close()
	for i := range many {
		_, _, err := dead.engine.Start(t.Context(), "manager", request("1.0", "stable", fmt.Sprint("t", i)))
		g.must(err)
	}
	open := func(owner string) (owners []string) {
		records, err := g.registry.Catalog().List(t.Context(), tiers.Query{Prefix: "promotion-open/", Limit: 1000})
		g.must(err)
		for _, r := range records {
			if owner == "" || string(r.Value) == owner {
				owners = append(owners, string(r.Value))
			}
		}
		return owners
	}
	former := open("")[0]
	own, h := g.process(false)
	hold := &holder{holds: func(string) bool { return true }, opened: make(chan struct{})}
	h.set(hold.write)
	running := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { running <- own.engine.Run(ctx) }()
	for range 6000 {
		if many-len(open(former)) >= 64 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	own.look()
	if n := many - len(open(former)); n < 64 || n > 80 {
		t.Errorf("%d of %d were taken by one replica", n, many)
	}
	close(hold.opened)
	for i := range many {
		p := own.promoteOK(request("1.0", "stable", fmt.Sprint("t", i)))
		if p.State != promote.Succeeded {
			t.Error(p.State)
		}
	}
	cancel()
	g.must(<-running)
	g.noTraces()
}

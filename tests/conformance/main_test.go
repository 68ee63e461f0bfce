package conformance_test

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

// registry is a server on loopback over stores of its own.
type registry struct {
	addr  string
	tiers *tiers.Registry
	// filled is over the same stores, and anyone may push to all of its tiers: what
	// promotion would have put there.
	filled *tiers.Registry
	reads  *catalogReads
	bytes  []*bucketWrites // by tier
}

// catalogReads counts what requests ask of the catalog.
type catalogReads struct {
	tiers.Catalog
	listed atomic.Int64 // records that lists returned
}

// List counts.
func (c *catalogReads) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	records, err := c.Catalog.List(ctx, q)
	c.listed.Add(int64(len(records)))
	return records, err
}

// bucketWrites remembers what may lie in a bucket.
type bucketWrites struct {
	tiers.Bucket
	mu   sync.Mutex
	keys map[string]bool // of objects and of multipart uploads
}

func (b *bucketWrites) note(key string, there bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys == nil {
		b.keys = map[string]bool{}
	}
	b.keys[key] = there
}

// Put may have stored the object though it failed.
func (b *bucketWrites) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	b.note(key, true)
	return b.Bucket.Put(ctx, key, r, size)
}

// Delete takes an object away.
func (b *bucketWrites) Delete(ctx context.Context, key string) error {
	err := b.Bucket.Delete(ctx, key)
	if err == nil {
		b.note(key, false)
	}
	return err
}

// Begin opens an upload, which lies under its id.
func (b *bucketWrites) Begin(ctx context.Context, key string) (string, error) {
	id, err := b.Bucket.Begin(ctx, key)
	b.note(id, err == nil)
	return id, err
}

// Complete makes an object of an upload.
func (b *bucketWrites) Complete(ctx context.Context, key, id string, parts []tiers.Part) error {
	b.note(key, true)
	err := b.Bucket.Complete(ctx, key, id, parts)
	b.note(id, err != nil)
	return err
}

// Abort drops an upload.
func (b *bucketWrites) Abort(ctx context.Context, key, id string) error {
	err := b.Bucket.Abort(ctx, key, id)
	b.note(id, err != nil)
	return err
}

// left lists what may lie in the bucket.
func (b *bucketWrites) left() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var left []string
	for key, there := range b.keys {
		if there {
			left = append(left, key)
		}
	}
	return left
}

// newRegistry starts a server that lives as long as tb; change, where not nil, edits its
// configuration, and limits are those of dev.
func newRegistry(tb testing.TB, change func(*server.Config), limits ...tiers.Limits) *registry {
	tb.Helper()
	r := &registry{reads: &catalogReads{}}
	var stored tiers.Config
	r.tiers = stores.Registry(tb, func(c *tiers.Config) {
		stored = *c
		r.reads.Catalog = c.Catalog
		c.Catalog = r.reads
		c.Tiers = slices.Clone(c.Tiers)
		for _, l := range limits {
			c.Tiers[0].Limits = l
		}
		for i := range c.Tiers {
			r.bytes = append(r.bytes, &bucketWrites{Bucket: c.Tiers[i].Bucket})
			c.Tiers[i].Bucket = r.bytes[i]
		}
	})
	for i := range stored.Tiers {
		stored.Tiers[i].Push, stored.Tiers[i].From = true, ""
	}
	var err error
	if r.filled, err = tiers.New(tb.Context(), stored); err != nil {
		tb.Fatal(err)
	}
	config := server.Config{Registry: r.tiers, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
	}
	s, err := server.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = s.HTTPServer("")
	ts.Start()
	tb.Cleanup(ts.Close)
	r.addr = strings.TrimPrefix(ts.URL, "http://")
	return r
}

// newAuth knows the users alice and bob, who have a repository each and share one, and
// reader, who may pull from all that alice may not write to.
func newAuth(tb testing.TB) *server.Auth {
	tb.Helper()
	path := tb.TempDir() + "/users"
	var lines strings.Builder
	for _, user := range []string{"alice", "bob", "reader"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password(user)), bcrypt.MinCost)
		if err != nil {
			tb.Fatal(err)
		}
		lines.WriteString(user + ":" + string(hash) + "\n")
	}
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	own := []server.Action{server.ActionPull, server.ActionPush, server.ActionDelete}
	auth, err := server.NewAuth(server.AuthConfig{Htpasswd: path, Grants: []server.Grant{
		{Users: []string{"alice"}, Tiers: []string{"dev"}, Repositories: []string{"alice/**"}, Actions: own},
		{Users: []string{"bob"}, Tiers: []string{"dev"}, Repositories: []string{"bob/**"}, Actions: own},
		{Users: []string{"alice", "bob"}, Tiers: []string{"dev"}, Repositories: []string{"shared/**"}, Actions: own},
		{Users: []string{"reader"}, Actions: []server.Action{server.ActionPull}},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return auth
}

func withUsers(tb testing.TB) func(*server.Config) {
	return func(c *server.Config) { c.Auth = newAuth(tb) }
}

func password(user string) string { return user + "-secret" }

// Limits of the registry that has small ones.
const (
	smallBlob    = 1000 // bytes
	shortTimeout = 1500 * time.Millisecond
)

// suite is what the rows run against.
type suite struct {
	*testing.T
	open    client // anyone may do anything
	authed  *registry
	limited client // blobs up to smallBlob, bodies that may pause for shortTimeout
	fixed   client // nothing is ever deleted
	slow    []*slowHeaders

	row   int
	cases map[int]int
}

func newSuite(t *testing.T) *suite {
	s := &suite{T: t, cases: map[int]int{}}
	s.open.registry = newRegistry(t, nil)
	s.authed = newRegistry(t, withUsers(t))
	s.limited.registry = newRegistry(t, func(c *server.Config) { c.BodyTimeout = shortTimeout }, tiers.Limits{BlobSize: smallBlob})
	s.fixed.registry = newRegistry(t, nil, tiers.Limits{NoDelete: true})
	return s
}

// as is a client of the registry with users.
func (s *suite) as(user string) client { return client{registry: s.authed, user: user} }

// test runs one case of the current row.
func (s *suite) test(name string, run func(t *testing.T)) {
	s.Helper()
	s.cases[s.row]++
	s.Run(name, run)
}

// exchanges runs a table, each line a case.
func (s *suite) exchanges(c client, table []exchange) {
	s.Helper()
	for _, e := range table {
		s.test(e.name, func(t *testing.T) { c.want(t, e) })
	}
}

// leastCases is how many instances a class of input must have.
const leastCases = 5

// TestCases goes through the rows, each a class of input with the answer owed.
func TestCases(t *testing.T) {
	s := newSuite(t)
	s.slow = startSlowHeaders(t, s.open)
	rows := []struct {
		about string
		run   func(*suite)
	}{
		1: {"names", rowNames}, 2: {"tags", rowTags}, 3: {"digests", rowDigests},
		4: {"content unlike its digest", rowWrongContent}, 5: {"large manifests", rowLargeManifests}, 6: {"JSON", rowJSON},
		7: {"shapes", rowShapes}, 8: {"depth and width", rowIndexes}, 9: {"missing content", rowMissing}, 10: {"unusual content", rowUnusual},
		11: {"pages", rowPages},
		12: {"ranges of chunks", rowChunks}, 13: {"sessions of others", rowSessions}, 14: {"replays", rowReplays}, 15: {"limits", rowLimits},
		16: {"slow clients", rowSlow}, 17: {"vanishing clients", rowVanishing},
		18: {"mounts", rowMounts}, 19: {"promoted tiers", rowPromotedTiers}, 20: {"day one", rowDayOne}, 21: {"what stays", rowFixed},
	}
	for number, row := range rows {
		if row.run == nil {
			continue
		}
		t.Run(row.about, func(t *testing.T) {
			part := *s
			part.T, part.row = t, number
			row.run(&part)
			t.Logf("row %d, %s: %d cases", number, row.about, s.cases[number])
			if s.cases[number] < leastCases {
				t.Errorf("row %d has %d cases, want at least %d", number, s.cases[number], leastCases)
			}
		})
	}
}

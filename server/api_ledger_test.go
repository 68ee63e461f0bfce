package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/s3"
)

// withLedger gives a server a ledger in a bucket of its own: those of the tiers are shared
// by all tests.
func withLedger(t *testing.T, more ...func(*Config)) func(*Config) {
	return func(c *Config) {
		t.Helper()
		endpoint, access, secret, region := shared.servers.S3()
		bucket, err := s3.New(s3.Config{Endpoint: endpoint, Bucket: fmt.Sprintf("ledger-%d", shared.number.Add(1)), Region: region, AccessKey: access, SecretKey: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bucket.Close() })
		if err := bucket.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		audit, err := tiers.New(t.Context(), tiers.Config{Catalog: c.Registry.Catalog(), Log: slog.New(slog.DiscardHandler),
			Tiers: []tiers.Tier{{Name: "audit", Push: true, Bucket: bucket}}})
		if err != nil {
			t.Fatal(err)
		}
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.Ledger, err = ledger.New(t.Context(), ledger.Config{Registry: audit, Signer: private, Origin: "registry.example.com/ledger", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c.Webhooks, err = events.New(events.Config{Registry: audit, Ledger: c.Ledger, Source: "https://registry.example.com", Log: slog.New(slog.DiscardHandler),
			Webhooks: []events.Webhook{{Name: "hook", URL: deaf(t) + "/in?token=hidden", Secrets: [][]byte{make([]byte, 32)}, Filter: events.Filter{Types: []string{"*"}}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range more {
			change(c)
		}
	}
}

// seal seals all that is recorded.
func (a *apiFixture) seal() {
	a.Helper()
	if _, err := a.server.config.Ledger.Seal(a.Context()); err != nil {
		a.Fatal(err)
	}
}

// checkpoint is the newest, opened with the key that the API gives, as a client of logs does.
func (a *apiFixture) checkpoint() ledger.Checkpoint {
	a.Helper()
	told := get[ledgerView](a, "/api/v1/ledger")
	v, err := note.NewVerifier(told.Key)
	if err != nil {
		a.Fatal(err)
	}
	got := a.want(a.call("GET", "/ledger/checkpoint", ""), 200, "")
	if _, err := note.Open(got.body, note.VerifierList(v)); err != nil {
		a.Fatal(err)
	}
	if string(got.body) != told.Signed || got.header.Get("Content-Type") != "text/plain; charset=utf-8" || got.header.Get("Cache-Control") != "no-cache" {
		a.Errorf("%v: %s", got.header, got.body)
	}
	return told.Checkpoint
}

// remote reads tiles over HTTP for package tlog, which checks them.
type remote struct{ *apiFixture }

func (remote) Height() int { return 8 }

func (r remote) ReadTiles(asked []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, t := range asked {
		got := r.call("GET", "/ledger/"+ledger.Tile{Level: t.L, N: t.N, Width: t.W}.Path(), "")
		if got.status != 200 {
			return nil, fmt.Errorf("%s: %d %s", t.Path(), got.status, got.body)
		}
		if keep := got.header.Get("Cache-Control"); !strings.Contains(keep, "public") || !strings.Contains(keep, "immutable") {
			r.Errorf("a tile may be kept as %q says", keep)
		}
		data = append(data, got.body)
	}
	return data, nil
}

func (remote) SaveTiles([]tlog.Tile, [][]byte) {}

// TestLedger follows the log as any client of logs does, and as an auditor.
func TestLedger(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.want(a.call("GET", "/ledger/checkpoint", ""), 404, "NOT_FOUND")
	if told := get[ledgerView](a, "/api/v1/ledger"); told.Size != 0 || told.Signed != "" || told.Origin != "registry.example.com/ledger" {
		t.Errorf("before anything is sealed: %+v", told)
	}
	a.provenance("acme/app", a.pushImage("dev/acme/app", "1.0", "layer", ""))
	location := a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 201, "").header.Get("Location")
	p := get[recordedPromotion](a, location)
	if p.LedgerIndex != nil || p.LedgerProof != nil {
		t.Errorf("not sealed, and yet %v", p.LedgerIndex)
	}
	a.seal()
	c := a.checkpoint()

	hashes := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, remote{a})
	leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, c.Size-1)})
	if err != nil {
		t.Fatal(err)
	}
	bundle := a.want(a.call("GET", fmt.Sprintf("/ledger/tile/entries/000.p/%d", c.Size), ""), 200, "")
	last := bundle.body[len(bundle.body)-len(p.entry(a)):]
	if tlog.RecordHash(last) != leaf[0] || !strings.Contains(bundle.header.Get("Cache-Control"), "private") {
		t.Errorf("the last entry is %q, to be kept as %q says", last, bundle.header.Get("Cache-Control"))
	}
	p.proves(a, c)
	listed := get[struct{ Promotions []promote.Promotion }](a, "/api/v1/promotions").Promotions
	if len(listed) != 1 || listed[0].LedgerIndex == nil || *listed[0].LedgerIndex != c.Size-1 {
		t.Errorf("listed is %+v", listed)
	}
	a.entries(c)
}

// entry is the entry of a promotion, read anew.
func (p recordedPromotion) entry(a *apiFixture) string {
	a.Helper()
	now := get[recordedPromotion](a, "/api/v1/promotions/"+p.ID)
	if now.LedgerProof == nil {
		a.Fatalf("sealed, and yet %+v", now)
	}
	return now.LedgerProof.Entry
}

// proves checks the proof of a promotion against a checkpoint.
func (p recordedPromotion) proves(a *apiFixture, c ledger.Checkpoint) {
	a.Helper()
	now := get[recordedPromotion](a, "/api/v1/promotions/"+p.ID)
	head, signed, _ := strings.Cut(now.LedgerProof.Proof, "\n\n")
	lines := strings.Split(head, "\n")
	if want := fmt.Sprintf("index %d", *now.LedgerIndex); lines[1] != want || !strings.HasPrefix(signed, c.Origin) {
		a.Fatalf("the proof is %q, want %s", now.LedgerProof.Proof, want)
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			a.Fatal(err)
		}
		proof = append(proof, h)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, *now.LedgerIndex, tlog.RecordHash([]byte(now.LedgerProof.Entry))); err != nil {
		a.Error(err)
	}
	var event tiers.Event
	if err := json.Unmarshal([]byte(now.LedgerProof.Entry), &event); err != nil || event.Cause != p.ID || event.Type != tiers.EventPromoted {
		a.Errorf("the entry is %s, %v", now.LedgerProof.Entry, err)
	}
}

// entries reads the log in pages of all sizes.
func (a *apiFixture) entries(c ledger.Checkpoint) {
	a.Helper()
	type page struct {
		Entries []struct {
			Index int64
			Event tiers.Event
		}
		Next string
	}
	var seen int64
	for query := "?n=3"; ; {
		got := get[page](a, "/api/v1/ledger/entries"+query)
		for _, e := range got.Entries {
			if e.Index != seen || e.Event.ID == "" {
				a.Fatalf("entry %d is %+v", seen, e)
			}
			seen++
		}
		if got.Next == "" {
			break
		}
		query = "?n=3&last=" + got.Next
	}
	if seen != c.Size {
		a.Errorf("%d entries of %d were listed", seen, c.Size)
	}
	if got := get[page](a, fmt.Sprintf("/api/v1/ledger/entries?from=%d", c.Size-1)); len(got.Entries) != 1 || got.Next != "" || got.Entries[0].Event.Type != tiers.EventPromoted {
		a.Errorf("the last entry is %+v", got)
	}
	if got := get[page](a, fmt.Sprintf("/api/v1/ledger/entries?from=%d", c.Size)); len(got.Entries) != 0 || got.Next != "" {
		a.Errorf("behind the last entry is %+v", got)
	}
	for _, query := range []string{"from=-1", "from=x", "last=x", "n=0", "to=3"} {
		a.want(a.call("GET", "/api/v1/ledger/entries?"+query, ""), 400, "REQUEST_INVALID")
	}
	for _, path := range []string{"", "/tile", "/tile/0", "/tile/0/001", "/tile/0/000.p/0", "/tile/8/000", "/tile/0/../0/000", "/events/x", "/events/" + strings.Repeat("0", 64), "/nothing"} {
		a.want(a.call("GET", "/ledger"+path, ""), 404, "NOT_FOUND")
	}
	a.want(a.call("POST", "/ledger/checkpoint", ""), 405, "UNSUPPORTED")
}

// TestLedgerAccess: hashes are for everybody, entries for who may do everything.
func TestLedgerAccess(t *testing.T) {
	a := newAPI(t, withLedger(t, withUsers(t,
		Grant{Users: []string{"root"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"half"}, Tiers: []string{"dev"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"acme"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"reader"}, Actions: []Action{ActionPull, ActionPush, ActionDelete, ActionPromote, ActionApprove, ActionPolicy}},
	)))
	a.seal()
	open := []string{"/ledger/checkpoint", "/ledger/tile/0/000.p/2", "/api/v1/ledger"}
	closed := []string{"/ledger/tile/entries/000.p/2", "/api/v1/ledger/entries"}
	for user, may := range map[string]bool{"": false, "reader": false, "half": false, "acme": false, "root": true} {
		if a.user = ""; user != "" {
			a.user = user + ":" + user
		}
		for _, path := range open {
			a.want(a.call("GET", path, ""), 200, "")
		}
		for _, path := range append(closed, "/ledger/events/"+strings.Repeat("0", 64)) {
			got := a.call("GET", path, "")
			switch {
			case may && strings.Contains(path, "events"):
				a.want(got, 404, "NOT_FOUND")
			case may:
				a.want(got, 200, "")
			case user == "":
				a.want(got, 401, "UNAUTHORIZED")
			default:
				a.want(got, 403, "DENIED")
			}
		}
	}
}

// TestLedgerMetrics: who scrapes sees how far the ledger has come.
func TestLedgerMetrics(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	got := a.want(a.call("GET", "/metrics", ""), 200, "")
	for _, line := range []string{"sluice_ledger_entries 2\n", "sluice_ledger_lag_seconds 0\n"} {
		if !strings.Contains(string(got.body), line) {
			t.Errorf("%q is not in:\n%s", line, got.body)
		}
	}
}

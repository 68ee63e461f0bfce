package promote_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// lost is a registry whose ledger is sealed, and whose catalog gets lost.
type lost struct {
	*gate
	ledger *ledger.Ledger
	key    crypto.Signer
}

func newLost(t *testing.T) *lost {
	t.Helper()
	l := &lost{gate: newGate(t, nil)}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l.key = key
	l.ledger = l.open(l.registry)
	return l
}

func (l *lost) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lost) open(r *tiers.Registry) *ledger.Ledger {
	l.Helper()
	log, err := ledger.New(l.Context(), ledger.Config{Registry: r, Signer: l.key, Origin: "registry.example.com/ledger",
		Log: slog.New(slog.DiscardHandler), Interval: time.Millisecond})
	l.must(err)
	return log
}

func (l *lost) seal(log *ledger.Ledger) ledger.State {
	l.Helper()
	for range 1000 {
		if _, err := log.Seal(l.Context()); err != nil {
			l.Fatal(err)
		}
		state, err := log.State(l.Context())
		l.must(err)
		lag, err := log.Lag(l.Context())
		l.must(err)
		if lag == 0 && state.Size == state.Assigned && state.Size > 0 {
			return state
		}
		time.Sleep(time.Millisecond)
	}
	l.Fatal("the ledger is not sealed")
	return ledger.State{}
}

// fill does all that leaves events.
func (l *lost) fill() {
	l.Helper()
	ctx, dev := l.Context(), l.repo("dev")
	image := l.platforms("1.0")
	l.provenance(image)
	l.promoteOK(request("1.0", "stable", "1.0", "latest"))
	l.provenance(image) // rises with the next
	l.promoteOK(request("1.0", "stable"))
	l.promoteOK(request("1.0", "release"))
	bad := l.image("bad", "bad", nil)
	if p, _, err := l.engine.Promote(ctx, "manager", request("bad", "stable")); err != nil || p.State != promote.Failed {
		l.Fatalf("%s, %v; want it to fail", p.State, err)
	}
	next := l.image("next", "next", nil)
	l.must(dev.Tag(ctx, next, "moved"))
	l.must(dev.Tag(ctx, bad, "moved"))
	l.must(dev.DeleteTag(ctx, "next"))
	l.image(oci.FallbackTag(next.Digest)+".sig", "signature", nil)
	note := l.image("", "note", &bad)
	l.must(dev.DeleteManifest(ctx, note.Digest))
	gone := l.image("gone", "gone", nil)
	l.must(dev.DeleteManifest(ctx, gone.Digest))
	l.image("back", "gone", nil) // the same again
	l.image("about", "about", &next)
	loose := l.blob([]byte("loose"), ocispec.MediaTypeImageLayer)
	other, err := l.registry.Repository("dev", "acme/other", "dev@example.com")
	l.must(err)
	if ok, err := other.Mount(ctx, dev, loose.Digest); err != nil || !ok {
		l.Fatal(ok, err)
	}
	l.must(dev.DeleteBlob(ctx, loose.Digest))
	l.setPolicy("dev-to-stable", "dev", "stable", "  repositories: [\"acme/**\"]")
	for _, d := range []digest.Digest{bad.Digest, gone.Digest} {
		_, _, err := l.registry.Quarantine(ctx, "admin", d, "ticket 4711", time.Time{})
		l.must(err)
	}
	_, err = l.registry.LiftQuarantine(ctx, "admin", gone.Digest, "a false alarm")
	l.must(err)
	fallen := l.image("fallen", "fallen", nil)
	signed := l.provenance(fallen)
	l.promoteOK(request("fallen", "stable"))
	for _, r := range []promote.RevocationRequest{
		{Kind: promote.RevokedAttestation, Value: signed.Digest.String(), Reason: "ticket 4711"},
		{Kind: promote.RevokedBuilder, Value: "https://nobody.example.com", Reason: "a mistake"},
	} {
		revoked, _, err := l.engine.Revoke(ctx, "admin", r)
		l.must(err)
		if r.Kind == promote.RevokedBuilder {
			_, err = l.engine.LiftRevocation(ctx, "admin", revoked.ID, "it was one")
			l.must(err)
		}
	}
	_, err = l.engine.Redecide(ctx, func(promote.Redeciding) {})
	l.must(err)
	l.tidied()
	for _, r := range *l.processes {
		l.must(r.Release(ctx))
	}
}

// elsewhere is the configuration with an empty catalog.
func (l *lost) elsewhere() tiers.Config {
	config := l.config
	config.Catalog, config.Tiers = stores.Catalog(l.T), slices.Clone(l.config.Tiers)
	return config
}

func (l *lost) rebuild(ctx context.Context, config tiers.Config) (promote.Rebuilt, error) {
	return promote.Rebuild(ctx, config, ledger.VerifyOptions{Keys: []crypto.PublicKey{l.key.Public()}}, nil)
}

// facts are the records of a catalog that come back, without what no event can know.
func (l *lost) facts(catalog tiers.Catalog) map[string]string {
	l.Helper()
	all := map[string]string{}
	for after := ""; ; {
		page, err := catalog.List(context.Background(), tiers.Query{After: after, Limit: tiers.MaxPage})
		l.must(err)
		for _, r := range page {
			after = r.Key
			kind, ok := tiers.KindOf(r.Key)
			if !ok {
				l.Errorf("no kind of record has the key %s", r.Key)
			}
			if kind.Restored != tiers.Dropped {
				all[r.Key] = known(kind, r.Value)
			}
		}
		if len(page) < tiers.MaxPage {
			return all
		}
	}
}

func known(kind tiers.RecordKind, value []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return string(value)
	}
	unknown := []string{"renewedAt"}
	switch kind.Family {
	case "standing/":
		unknown = []string{"generation", "seen", "stated", "since"}
	case "ledger/head":
		unknown = []string{"open"}
	}
	for _, name := range unknown {
		delete(fields, name)
	}
	if strings.HasSuffix(kind.Family, "/tagged/") {
		return ""
	}
	text, _ := json.Marshal(fields) // it was JSON
	return string(text)
}

func (l *lost) same(live, made map[string]string) {
	l.Helper()
	for _, key := range slices.Sorted(maps.Keys(live)) {
		if got, ok := made[key]; !ok {
			l.Errorf("it lacks %s: %s", key, live[key])
		} else if got != live[key] {
			l.Errorf("%s is\n%s, was\n%s", key, got, live[key])
		}
	}
	for key := range made {
		if _, ok := live[key]; !ok {
			l.Errorf("it has %s besides: %s", key, made[key])
		}
	}
}

// A catalog that was lost is made anew, record for record, and the registry goes on with it.
func TestRebuild(t *testing.T) {
	l := newLost(t)
	l.fill()
	state := l.seal(l.ledger)
	before := l.facts(l.config.Catalog)
	config := l.elsewhere()
	done, err := l.rebuild(t.Context(), config)
	if err != nil || !done.Ledger.Sound || len(done.Problems) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	l.same(before, l.facts(config.Catalog))

	r, err := tiers.New(t.Context(), config)
	l.must(err)
	for _, ref := range [][2]string{{"dev", "1.0"}, {"stable", "latest"}, {"release", "1.0"}} {
		repo, err := r.Repository(ref[0], repository, "")
		l.must(err)
		want, err := l.repo(ref[0]).Resolve(t.Context(), ref[1])
		l.must(err)
		if got, err := repo.Resolve(t.Context(), ref[1]); err != nil || got.Digest != want.Digest {
			t.Errorf("%v is %s, %v", ref, got.Digest, err)
		}
		if attached, err := repo.Predecessors(t.Context(), want); err != nil || len(attached) == 0 {
			t.Errorf("on %v hangs %v, %v", ref, attached, err)
		}
	}
	// The ledger goes on, and both parts are one log.
	next := &lost{gate: &gate{T: t, config: config, registry: r, signers: l.signers, ci: l.ci, ciPEM: l.ciPEM, processes: &[]*tiers.Registry{r}}, key: l.key}
	next.engine = next.start(true)
	next.ledger = next.open(r)
	again, made, err := next.engine.Promote(t.Context(), "manager", request("1.0", "release"))
	if err != nil || made || again.State != promote.Succeeded {
		t.Errorf("what was promoted is asked for again: %s, made anew %t, %v", again.State, made, err)
	}
	next.image("later", "later", nil)
	after := next.seal(next.ledger)
	if after.Size <= state.Size {
		t.Errorf("the ledger has %d entries, and had %d", after.Size, state.Size)
	}
	report, err := ledger.Verify(t.Context(), ledger.Bucket(config.Tiers[2].Bucket), ledger.VerifyOptions{Keys: []crypto.PublicKey{l.key.Public()}, Kept: state.Signed})
	if err != nil || !report.Sound || report.Size != after.Size {
		t.Errorf("the ledger: %+v, %v", report, err)
	}
	next.guarded(r)
}

// guarded sees that no garbage is collected before a check has passed, which compares the
// catalog with the ledger too.
func (l *lost) guarded(r *tiers.Registry) {
	l.Helper()
	if _, err := r.Collect(l.Context(), tiers.CollectOptions{}, nil); err == nil || !strings.Contains(err.Error(), "sluice fsck") {
		l.Errorf("garbage is collected unchecked: %v", err)
	}
	if found := l.check(); !found.Sound() {
		l.Errorf("what was rebuilt is compared with the ledger: %+v", found.Findings)
	}
	if _, err := r.Collect(l.Context(), tiers.CollectOptions{}, nil); err == nil {
		l.Error("the comparison with the ledger alone passes for a check")
	}
	// What was lost has left its bytes. They are no obstacle, all else is.
	l.must(l.config.Tiers[0].Bucket.Put(l.Context(), "blobs/"+r.NewID(), strings.NewReader("lost"), 4))
	l.plant("odd/x", "{}")
	check := func(want map[string]int64) {
		l.Helper()
		var o tiers.CheckOptions
		ledger.AddCheck(&o)
		if found, err := l.engine.Check(l.Context(), o, nil); err != nil || !maps.Equal(found.Found, want) {
			l.Errorf("a check of what was rebuilt finds %+v, %v; want %v", found.Findings, err, want)
		}
	}
	check(map[string]int64{tiers.KindStrayObject: 1, tiers.KindRecordUnknown: 1})
	if _, err := r.Collect(l.Context(), tiers.CollectOptions{}, nil); err == nil {
		l.Error("garbage is collected though a check has found something wrong")
	}
	_, err := r.Catalog().Commit(l.Context(), tiers.Change{Delete: []string{"odd/x"}})
	l.must(err)
	check(map[string]int64{tiers.KindStrayObject: 1})
	if _, err := r.Collect(l.Context(), tiers.CollectOptions{}, nil); err != nil {
		l.Errorf("garbage is not collected after a check: %v", err)
	}
}

func (l *lost) check() tiers.Checked {
	l.Helper()
	ctx, cancel := context.WithCancel(l.Context())
	sealing := make(chan error, 1)
	go func() { sealing <- l.ledger.Run(ctx) }()
	found, err := l.engine.CheckLedger(l.Context(), l.ledger, nil)
	cancel()
	l.must(errors.Join(err, <-sealing))
	return found
}

// What becomes of each kind of record is decided.
func TestRecordKinds(t *testing.T) {
	for _, family := range promote.Families() {
		key := family
		if strings.HasSuffix(family, "/") {
			key += "x"
		}
		if kind, ok := tiers.KindOf(key); !ok || kind.Family != family || kind.Restored == "" {
			t.Errorf("tiers.RecordKinds does not say what becomes of %s", family)
		}
	}
}

// An event that this version does not know is not passed over.
func TestReplayUnknown(t *testing.T) {
	l := newLost(t)
	_, err := l.config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{l.registry.EventPut(tiers.Event{Type: "tomorrow.came", Actor: "x"})}})
	l.must(err)
	l.seal(l.ledger)
	if _, err := l.rebuild(t.Context(), l.elsewhere()); err == nil || !strings.Contains(err.Error(), "tomorrow.came") {
		t.Errorf("it is passed over: %v", err)
	}
	if found := l.check(); found.Found[promote.KindLedgerUnreadable] != 1 {
		t.Errorf("a check finds %+v", found.Findings)
	}
}

// A rebuild that is cut off at a transaction leaves a catalog that no server opens, and is
// begun again.
func TestRebuildCutOff(t *testing.T) {
	l := newLost(t)
	l.image("1.0", "one", nil)
	l.must(l.registry.Release(t.Context()))
	l.seal(l.ledger)
	before := l.facts(l.config.Catalog)
	for n := 1; n <= 4; n++ {
		config := l.elsewhere()
		whole := config.Catalog
		config.Catalog = &breaking{Catalog: whole, left: n - 1}
		if _, err := l.rebuild(t.Context(), config); err == nil {
			if n <= 3 {
				t.Fatalf("it has fewer than %d transactions", n)
			}
			break
		}
		config.Catalog = whole
		if n > 1 {
			if _, err := tiers.New(t.Context(), config); !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(err.Error(), "sluice rebuild") {
				t.Errorf("after %d transactions a registry opens: %v", n-1, err)
			}
			// Something that the next one does not write.
			_, err := whole.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "tier/dev/tag/acme/app:stale", Value: []byte("{}")}}})
			l.must(err)
		}
		if _, err := l.rebuild(t.Context(), config); err != nil {
			t.Fatalf("after %d transactions: %v", n-1, err)
		}
		l.same(before, l.facts(whole))
	}
}

// breaking is a catalog that takes so many changes and then no more.
type breaking struct {
	tiers.Catalog
	left int
}

// Commit fails once its changes are used up.
func (b *breaking) Commit(ctx context.Context, c tiers.Change) (int64, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("%w: cut off", oci.ErrUnavailable)
	}
	b.left--
	return b.Catalog.Commit(ctx, c)
}

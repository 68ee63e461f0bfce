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
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// What is not to be written to, or not to be believed, is refused, and stays as it is.
func TestRebuildRefuses(t *testing.T) {
	l := newLost(t)
	image := l.image("1.0", "one", nil)
	l.must(l.registry.Release(t.Context()))
	l.seal(l.ledger)
	if _, err := l.rebuild(t.Context(), l.config); !errors.Is(err, oci.ErrConflict) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("the catalog in use: %v", err)
	}
	config := l.elsewhere()
	_, err := config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "replica/alive"}}})
	l.must(err)
	if _, err := l.rebuild(t.Context(), config); !errors.Is(err, oci.ErrConflict) || !strings.Contains(err.Error(), "signs of life") {
		t.Errorf("a server is alive: %v", err)
	}
	config = l.elsewhere()
	_, other, err := ed25519.GenerateKey(rand.Reader)
	l.must(err)
	done, err := promote.Rebuild(t.Context(), config, ledger.VerifyOptions{Keys: []crypto.PublicKey{other.Public()}}, nil)
	if err != nil || done.Ledger.Sound || len(l.facts(config.Catalog)) > 0 {
		t.Errorf("another key has signed the ledger: sound %t, %v, and it writes %v", done.Ledger.Sound, err, l.facts(config.Catalog))
	}
	// A start of a server on the empty catalog is no obstacle, and its mark goes.
	r, err := tiers.New(t.Context(), config)
	l.must(err)
	if _, err := ledger.New(t.Context(), ledger.Config{Registry: r, Signer: l.key, Origin: "registry.example.com/ledger", Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, oci.ErrConflict) {
		t.Errorf("a ledger that the catalog does not know: %v", err)
	}
	if _, err := l.rebuild(t.Context(), config); err != nil {
		t.Errorf("behind the start of a server: %v", err)
	}
	l.same(l.facts(l.config.Catalog), l.facts(config.Catalog))
	marks, err := config.Tiers[0].Bucket.List(t.Context(), "catalogs/", "", 10)
	if err != nil || len(marks) != 1 {
		t.Errorf("marks %v, %v", marks, err)
	}
	// A manifest that is lost is told, and is there.
	l.must(l.remove("dev", image.Digest))
	config = l.elsewhere()
	if done, err := l.rebuild(t.Context(), config); err != nil || len(done.Problems) != 1 || !strings.Contains(done.Problems[0], image.Digest.String()) {
		t.Errorf("a manifest is gone: %v, %v", done.Problems, err)
	}
	// So is an entry of the ledger.
	l.must(config.Tiers[2].Bucket.Delete(t.Context(), "ledger/tile/entries/000.p/"+fmt.Sprint(l.seal(l.ledger).Size)))
	config = l.elsewhere()
	done, err = l.rebuild(t.Context(), config)
	if err != nil || done.Ledger.Sound || len(l.facts(config.Catalog)) > 0 {
		t.Errorf("entries are gone: sound %t, %v", done.Ledger.Sound, err)
	}
}

// Bytes that are not what their digest says make no records.
func TestRebuildCorrupt(t *testing.T) {
	l := newLost(t)
	image := l.image("1.0", "one", nil)
	l.seal(l.ledger)
	l.must(l.remove("dev", image.Digest))
	bad := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"mediaType":"a/b","digest":"` + image.Digest.String() + `","size":1},"layers":[]}`
	bad += strings.Repeat(" ", int(image.Size)-len(bad))
	l.must(l.config.Tiers[0].Bucket.Put(t.Context(), l.object("dev", image.Digest), strings.NewReader(bad), image.Size))
	if done, err := l.rebuild(t.Context(), l.elsewhere()); err != nil || len(done.Problems) != 1 {
		t.Errorf("it takes them: %v, %v", done.Problems, err)
	}
}

// A blob that nothing needs comes back while its object is there, and not any more once that
// was collected, of which there is no event.
func TestRebuildLapsed(t *testing.T) {
	l := newLost(t)
	blob := l.blob([]byte("loose"), ocispec.MediaTypeImageLayer)
	l.must(l.repo("dev").DeleteBlob(t.Context(), blob.Digest))
	l.must(l.registry.Release(t.Context()))
	l.seal(l.ledger)
	config := l.elsewhere()
	_, err := l.rebuild(t.Context(), config)
	l.must(err)
	l.same(l.facts(l.config.Catalog), l.facts(config.Catalog))
	l.must(l.remove("dev", blob.Digest))
	config = l.elsewhere()
	_, err = l.rebuild(t.Context(), config)
	l.must(err)
	for key := range l.facts(config.Catalog) {
		if strings.Contains(key, blob.Digest.String()) {
			t.Errorf("%s comes back, and its object is gone", key)
		}
	}
}

// Of two rebuilds at once the one that began last goes on, and the other writes nothing more.
func TestRebuildOvertaken(t *testing.T) {
	l := newLost(t)
	l.image("1.0", "one", nil)
	l.must(l.registry.Release(t.Context()))
	l.seal(l.ledger)
	config := l.elsewhere()
	whole := config.Catalog
	var second error
	config.Catalog = &passing{Catalog: whole, at: 2, pass: func() {
		other := config
		other.Catalog = whole
		_, second = l.rebuild(t.Context(), other)
	}}
	_, err := l.rebuild(t.Context(), config)
	if second != nil || !errors.Is(err, oci.ErrConflict) || !strings.Contains(err.Error(), "another rebuild") {
		t.Errorf("the first ends with %v, the second with %v", err, second)
	}
	if n := config.Catalog.(*passing).taken; n != 1 {
		t.Errorf("the first writes %d times, once before it is overtaken", n)
	}
	l.same(l.facts(l.config.Catalog), l.facts(whole))
}

// passing is a catalog in which something else happens before its change number at.
type passing struct {
	tiers.Catalog
	at, n, taken int
	pass         func()
}

// Commit counts changes, and those that were applied.
func (p *passing) Commit(ctx context.Context, c tiers.Change) (int64, error) {
	if p.n++; p.n == p.at {
		p.pass()
	}
	revision, err := p.Catalog.Commit(ctx, c)
	if err == nil {
		p.taken++
	}
	return revision, err
}

// Nothing goes on behind a log that is not sound.
func TestHead(t *testing.T) {
	for _, report := range []ledger.Report{{}, {Sound: true, HashesOnly: true}} {
		if _, err := ledger.Head(report, "store"); err == nil {
			t.Errorf("sealing would go on behind %+v", report)
		}
	}
}

// What a check repairs is in the ledger, and comes back as it was repaired.
func TestRebuildRepaired(t *testing.T) {
	l := newLost(t)
	image := l.image("1.0", "one", nil)
	catalog := l.config.Catalog
	key := "tier/dev/tag/acme/app:1.0"
	records, err := catalog.Get(t.Context(), key)
	l.must(err)
	wrong := strings.Replace(string(records[0].Value), `"size":`, `"size":1`, 1)
	_, err = catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(wrong)}},
		Delete: []string{"tier/dev/repo/acme/app", "tier/dev/link/acme/app@" + l.layer(image)}})
	l.must(err)
	var o tiers.CheckOptions
	ledger.AddCheck(&o)
	o.Repair, o.Actor = true, "auditor"
	found, err := l.engine.Check(t.Context(), o, nil)
	if err != nil || found.Repaired < 3 || !found.Sound() {
		t.Fatalf("%d repaired, %+v, %v", found.Repaired, found.Findings, err)
	}
	l.must(l.registry.Release(t.Context()))
	l.seal(l.ledger)
	config := l.elsewhere()
	_, err = l.rebuild(t.Context(), config)
	l.must(err)
	l.same(l.facts(catalog), l.facts(config.Catalog))
}

// layer is the digest of the layer of an image in dev.
func (l *lost) layer(image ocispec.Descriptor) string {
	l.Helper()
	rc, err := l.repo("dev").Fetch(l.Context(), image)
	l.must(err)
	defer rc.Close()
	var m ocispec.Manifest
	l.must(json.NewDecoder(rc).Decode(&m))
	return m.Layers[0].Digest.String()
}

// remove deletes the object of a digest.
func (l *lost) remove(tier string, d digest.Digest) error {
	l.Helper()
	t, err := l.registry.Tier(tier)
	l.must(err)
	return t.Bucket.Delete(l.Context(), l.object(tier, d))
}

// object is the key under which the bytes of a digest lie.
func (l *lost) object(tier string, d digest.Digest) string {
	l.Helper()
	t, err := l.registry.Tier(tier)
	l.must(err)
	records, err := l.config.Catalog.Get(l.Context(), "store/"+t.Store()+"/blob/"+d.String())
	l.must(err)
	var blob struct{ Key string }
	l.must(json.Unmarshal(records[0].Value, &blob))
	return blob.Key
}

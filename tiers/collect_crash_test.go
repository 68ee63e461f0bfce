package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

// scatterFew leaves one of everything that a collection takes away, and returns what must
// stay.
func scatterFew(w *world) *litter {
	w.t.Helper()
	l := &litter{world: w}
	tagged, blob := l.pushed(l.dev, "v1", 1, nil, "")
	l.keep("tagged", l.dev, tagged, blob)
	l.keep("in an index", l.dev, l.manifest(l.dev, "multi", index(tagged)))
	deleted, _ := l.pushed(l.dev, "old", 101, nil, "")
	if err := l.dev.DeleteManifest(l.t.Context(), deleted.Digest); err != nil {
		l.t.Fatal(err)
	}
	if ok, err := l.repo("dev", "acme/other").Mount(l.t.Context(), l.dev, blob.Digest); !ok || err != nil {
		l.t.Fatal(ok, err)
	}
	l.begun(bytesOf(102, 10), chunks(2, 5))
	l.release()
	l.faults.arm(2, false) // intent, object
	if _, err := l.dev.PutManifest(l.t.Context(), "v2", "", "", image(blob, nil, "application/x.broken")); err == nil {
		l.t.Fatal("the push was not cut off")
	}
	l.faults.disarm()
	orphan := digest.FromString("never pushed").String()
	_, err := l.catalog.Commit(l.t.Context(), tiers.Change{Put: []tiers.Put{
		{Key: "store/" + l.dev.Tier.Store() + "/ref/" + blob.Digest.String() + "/dev/acme/app@" + orphan},
		{Key: "tier/dev/pushing/acme/app@" + orphan, Value: []byte(`{"startedAt":"2020-01-01T00:00:00Z"}`)}}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.stray("blobs/" + l.NewID())
	l.strayParts()
	return l
}

// Whatever write of a collection fails, either way, and however it goes on: what is needed
// stays, and the next collections take the rest.
func TestCollectFaults(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied %v", applied), func(t *testing.T) {
			t.Parallel()
			for n, hit := 0, "first"; hit != ""; n++ {
				if n > 100 {
					t.Fatal("a collection never ends without a fault")
				}
				w := newWorld(t, nil)
				l := scatterFew(w)
				w.pass(lapsed)
				w.faults.arm(n, applied)
				failed := ""
				for range 2 {
					c, err := w.Collect(t.Context(), tiers.CollectOptions{}, nil)
					failed += fmt.Sprint(err, c.Problems)
					w.pass(drained)
				}
				hit = w.faults.disarm()
				if !applied && hit != "" && !strings.Contains(failed, "injected") {
					t.Errorf("%d: the fault in %s was not reported", n, hit)
				}
				w.audit(false)
				l.wantStay(fmt.Sprint(n, ", behind a fault in ", hit))
				w.rest()
				w.wantOnlyBlobs()
				l.wantStay(fmt.Sprint(n, ", at rest"))
				if t.Failed() {
					t.Fatalf("%d: the fault was in %s", n, hit)
				}
			}
		})
	}
}

// A collection that stops anywhere, its context ended, says so.
func TestCollectStops(t *testing.T) {
	t.Parallel()
	for n, more := 1, true; more; n++ {
		w := newWorld(t, nil)
		l := scatterFew(w)
		w.pass(lapsed)
		ctx, cancel := context.WithCancel(t.Context())
		i := 0
		w.catalog.onCommit(func(tiers.Change) {
			if i++; i == n {
				cancel()
			}
		})
		_, err := w.Collect(ctx, tiers.CollectOptions{}, nil)
		w.catalog.onCommit(nil)
		if more = i >= n; more && err == nil {
			t.Errorf("%d: it stopped and says nothing", n)
		}
		cancel()
		w.audit(false)
		w.rest()
		w.wantOnlyBlobs()
		l.wantStay("at rest")
	}
}

// Two collections at once take everything once.
func TestCollectAtOnce(t *testing.T) {
	t.Parallel()
	var l *litter
	collect := func(w *world) error {
		_, err := w.Collect(w.t.Context(), tiers.CollectOptions{}, nil)
		return err
	}
	both := func(w *world) error {
		err := collect(w)
		w.pass(drained)
		return errors.Join(err, collect(w))
	}
	eachInterleaving(t, func(w *world) { l = scatterFew(w); w.pass(lapsed) }, both, both, func(w *world) {
		l.wantStay("collected twice at once")
	})
}

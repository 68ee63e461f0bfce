package ledger_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// A collection leaves the ledger alone, whatever its age, and what it takes away is sealed like
// all else; a check finds nothing wrong with the ledger's records and objects, before events
// are sealed and after, and what it mends is sealed too.
func TestUpkeep(t *testing.T) {
	t.Parallel()
	w := newWorldWithout(t)
	at := time.Now()
	w.config.Now = func() time.Time { return at }
	w.main = w.replica()
	w.fill(tileWidth + 10)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Body: make([]byte, 100_000)}) // an object of its own
	w.seal(w.main)
	repository, err := w.main.Repository("dev", "acme/app", "alice")
	w.must(err)
	w.must(repository.PushBlob(t.Context(), strings.NewReader("x"), 1, digest.FromString("x")))
	before := w.objects()

	at = at.Add(100 * time.Hour) // the promise has passed, and every object is old enough to be a stray
	w.sound()
	collected, err := w.main.Collect(t.Context(), tiers.CollectOptions{Actor: "gc"}, nil)
	w.must(err)
	if len(collected.Problems) > 0 {
		t.Errorf("the collection had problems: %+v", collected.Problems)
	}
	if after := w.objects(); !slices.Equal(before, after) {
		t.Errorf("of the ledger there were %q, now there are %q", before, after)
	}
	w.sound()
	w.mend()
	w.seal(w.main)
	w.sound()
	told := w.told()
	if !told["blob.deleted gc"] || !told["check.repaired fsck"] {
		t.Errorf("sealed are %v", told)
	}
	w.audit()
}

// sound checks the registry and finds nothing.
func (w *world) sound() {
	w.Helper()
	o := tiers.CheckOptions{ReadData: true}
	ledger.AddCheck(&o)
	checked, err := w.main.Check(w.Context(), o, nil)
	w.must(err)
	for _, f := range checked.Findings {
		w.Errorf("%s %s %s: %s", f.Kind, f.Key, f.Digest, f.Message)
	}
}

// mend lets a check mend something.
func (w *world) mend() {
	w.Helper()
	dangling := "tier/dev/tagged/acme/app@" + digest.FromString("none").String() + "/1.0"
	_, err := w.config.Catalog.Commit(w.Context(), tiers.Change{Put: []tiers.Put{{Key: dangling}}})
	w.must(err)
	checked, err := w.main.Check(w.Context(), tiers.CheckOptions{Repair: true, Actor: "fsck"}, nil)
	w.must(err)
	if checked.Repaired != 1 {
		w.Errorf("it mended %+v", checked)
	}
}

// told are the types of all entries, with who did it.
func (w *world) told() map[string]bool {
	w.Helper()
	told := map[string]bool{}
	for from, size := int64(0), w.state().Size; from < size; {
		entries, err := w.main.Entries(w.Context(), from, 1000)
		w.must(err)
		for _, entry := range entries {
			var e tiers.Event
			w.must(json.Unmarshal(entry.Event, &e))
			told[string(e.Type)+" "+e.Actor] = true
			from++
		}
	}
	return told
}

// A check tells of a head that cannot be read, and of a claim.
func TestCheckRecords(t *testing.T) {
	t.Parallel()
	w := newWorldWithout(t)
	w.main = w.replica()
	w.fill(3)
	w.seal(w.main)
	w.sound()
	for key, values := range map[string][]string{"ledger/head": {"{", `{"assigned":1,"sealed":{"size":3}}`}, "ledger/sealer": {"{"}} {
		for _, value := range values {
			records, err := w.config.Catalog.Get(t.Context(), key)
			w.must(err)
			_, err = w.config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(value)}}})
			w.must(err)
			var o tiers.CheckOptions
			ledger.AddCheck(&o)
			checked, err := w.main.Check(t.Context(), o, nil)
			w.must(err)
			if len(checked.Findings) != 1 || checked.Findings[0].Kind != tiers.KindRecordInvalid || checked.Findings[0].Key != key {
				t.Errorf("%s is %s: found %+v", key, value, checked.Findings)
			}
			before := tiers.Change{Put: []tiers.Put{{Key: key, Value: records[0].Value}}}
			if records[0].Revision == 0 { // nobody claims the sealing just now
				before = tiers.Change{Delete: []string{key}}
			}
			_, err = w.config.Catalog.Commit(t.Context(), before)
			w.must(err)
		}
	}
}

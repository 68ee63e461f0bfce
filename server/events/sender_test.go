package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
)

// Every event comes, signed, in order, as a CloudEvent whose data is what the ledger has.
func TestDeliver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/<app>", 3)
	r := w.replica(w.webhook())
	w.record("acme/app", 2)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Tier: "stable", Policy: "p", Digest: digestOf("a")})
	w.commit(tiers.Event{Type: tiers.EventManifestDeleted, Actor: "ci", Tier: "dev", Repository: "acme/app", Digest: digestOf("b"), Body: make([]byte, 100_000)})
	w.got(7)
	w.eventually("nothing is left", func() bool { return *w.status(r).Behind == 0 })
	status := w.status(r)
	if status.State != events.Active || *status.Cursor != 7 || status.Delivered.Index != 6 || status.Answer.Status != 204 || status.Answer.Error != "" ||
		strings.Contains(status.URL, "hidden") || status.Failures != 0 || status.Problem != "" {
		t.Errorf("the webhook is %s", text(t, status))
	}
	if a := r.Attempts()[0]; a.Webhook != "hook" || a.Taken != 7 || a.Failed != 0 {
		t.Errorf("attempts are %+v", a)
	}
	w.receiver.mu.Lock()
	defer w.receiver.mu.Unlock()
	ids := map[string]bool{}
	for i, subject := range []string{"dev/acme/<app>:1.0", "dev/acme/<app>:1.0", "dev/acme/<app>:1.0", "dev/acme/app:1.0", "dev/acme/app:1.0", "stable", "dev/acme/app@" + digestOf("b").String()} {
		m := w.receiver.taken[i]
		data, _ := m.event["data"].(map[string]any)
		if m.event["specversion"] != "1.0" || m.event["source"] != source || m.event["subject"] != subject || m.event["datacontenttype"] != "application/json" ||
			m.event["type"] != "dev.sluice."+data["type"].(string) || m.event["time"] != data["time"] || ids[m.id] {
			t.Errorf("message %d is %s", i, m.body)
		}
		ids[m.id] = true
	}
}

func digestOf(digit string) digest.Digest {
	return digest.Digest("sha256:" + strings.Repeat(digit, 64))
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A webhook gets what it asks for, passes over the rest, and begins where it is told to.
func TestFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.receiver.gaps = true
	w.record("acme/app", 2)
	hook := w.webhook()
	hook.FromBeginning, hook.Types, hook.Tiers, hook.Repositories = false, []string{"tag.*"}, []string{"dev"}, []string{"acme/**"}
	r := w.replica(hook)
	w.eventually("it has begun", func() bool { return w.status(r).Cursor != nil })
	w.record("other/app", 2)
	w.record("acme/team/app", 1)
	w.commit(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Tier: "dev", Policy: "p"})
	w.commit(tiers.Event{Type: tiers.EventTagged, Actor: "ci", Tier: "stable", Repository: "acme/app", Tag: "1.0"})
	w.record("acme/app", 1)
	w.record("other/app", 1)
	w.eventually("all is looked at", func() bool { return *w.status(r).Cursor == 9 })
	if got := w.receiver.indexes(); !slices.Equal(got, []int64{4, 7}) {
		t.Errorf("delivered were %v", got)
	}
}

// Whatever a receiver does but take an event, the event is sent again, and no other before.
func TestReceiverFails(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	for name, fails := range map[string]struct {
		answer func(m message, w http.ResponseWriter, q *http.Request) int
		status int
		says   string
	}{
		"an error":  {always(500), 500, "it answered 500"},
		"not found": {always(404), 404, "it answered 404"},
		"a redirect": {func(_ message, w http.ResponseWriter, _ *http.Request) int {
			w.Header().Set("Location", elsewhere.URL)
			return 307
		}, 307, "redirects are not followed"},
		"too many": {func(_ message, w http.ResponseWriter, _ *http.Request) int {
			w.Header().Set("Retry-After", "86400")
			return 429
		}, 429, "it answered 429"},
		"not modified":   {always(304), 304, "it answered 304"},
		"it hangs":       {func(_ message, _ http.ResponseWriter, q *http.Request) int { <-q.Context().Done(); return 0 }, 0, "it did not answer within 100ms"},
		"it hangs up":    {func(message, http.ResponseWriter, *http.Request) int { panic(http.ErrAbortHandler) }, 0, "EOF"},
		"endless answer": {func(_ message, w http.ResponseWriter, q *http.Request) int { endless(w, q); return 0 }, 500, "it answered 500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hook := w.webhook()
			hook.FailAfter, hook.Timeout = 300*time.Millisecond, 100*time.Millisecond
			w.record("acme/app", 2)
			w.receiver.set(func(m message, rw http.ResponseWriter, q *http.Request) int {
				if m.index == 0 {
					return 200
				}
				return fails.answer(m, rw, q)
			})
			r := w.replica(hook)
			w.eventually("it has failed more than once", func() bool { return w.status(r).Failures > 1 })
			status := w.inState(r, events.Failing)
			if *status.Cursor != 1 || *status.Behind != 1 || status.FailingSince == nil || status.NextTry == nil || status.Delivered.Index != 0 ||
				status.Answer.Index != 1 || status.Answer.Status != fails.status || !strings.Contains(status.Answer.Error, fails.says) || strings.Contains(status.Answer.Error, "hidden") {
				t.Errorf("it is %s", text(t, status))
			}
			before := w.receiver.attempts()
			w.eventually("it is tried again", func() bool { return w.receiver.attempts() > before+1 })
			w.record("acme/app", 1)
			w.receiver.set(nil)
			w.got(3)
			w.inState(r, events.Active)
		})
	}
}

// endless answers with an error that has no end.
func endless(w http.ResponseWriter, q *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	for q.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}

// Behind each failure the pause is longer, and what the receiver asks for counts.
func TestBackOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 1)
	hook := w.webhook()
	hook.MaxPause = time.Hour
	w.receiver.set(func(m message, rw http.ResponseWriter, _ *http.Request) int {
		if w.receiver.attempts() == 3 {
			rw.Header().Set("Retry-After", "1800")
		}
		return 503
	})
	r := w.replica(hook)
	least := []time.Duration{500 * time.Millisecond, time.Second, 1800 * time.Second}
	most := []time.Duration{time.Second, 2 * time.Second, 1801 * time.Second}
	for i := range least {
		var status events.Status
		w.eventually("it was tried", func() bool { status = w.status(r); return status.Failures > i })
		if status.Failures != i+1 { // the machine was slow; later ones are looked at all the same
			continue
		}
		// The pause begins when the answer has come, and the attempt before.
		if wait := status.NextTry.Sub(status.Answer.At) - time.Duration(status.Answer.Millis)*time.Millisecond; wait < least[i] || wait > most[i]+time.Minute {
			t.Errorf("behind failure %d it waits for %s, want %s to %s", i+1, wait, least[i], most[i])
		}
	}
	if n := w.receiver.attempts(); n != 3 {
		t.Errorf("it was tried %d times", n)
	}
}

// A receiver that wants nothing more gets nothing more, until another is configured, which
// goes on where the former stood, or it is replayed.
func TestGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.receiver.set(func(m message, _ http.ResponseWriter, _ *http.Request) int {
		if m.index == 1 {
			return 410
		}
		return 200
	})
	w.record("acme/app", 4)
	r := w.replica(w.webhook())
	if status := w.inState(r, events.Disabled); *status.Cursor != 1 || status.Answer.Status != 410 || status.NextTry != nil {
		t.Errorf("it is %s", text(t, status))
	}
	former := w.owner()
	r.stop()
	w.receiver.set(nil)
	before := w.receiver.attempts()
	same := w.replica(w.webhook())
	w.record("acme/app", 1)
	w.eventually("the other replica has the webhook", func() bool { return w.owner() != former })
	renewed := w.revision("delivering/hook")
	w.eventually("it goes on with its life", func() bool { return w.revision("delivering/hook") != renewed })
	w.inState(same, events.Disabled)
	if n := w.receiver.attempts(); n != before {
		t.Errorf("it was sent %d messages more", n-before)
	}
	same.stop()

	other := w.webhook()
	other.URL = w.receiver.url + "/other"
	again := w.replica(other)
	w.got(5)
	w.inState(again, events.Active)

	w.receiver.set(always(410))
	w.record("acme/app", 1)
	w.inState(again, events.Disabled)
	w.receiver.set(nil)
	if _, err := again.Replay(t.Context(), "admin", "hook", 5); err != nil {
		t.Fatal(err)
	}
	w.got(6)
}

// owner is who delivers, as the record of the webhook has it.
func (w *world) owner() string {
	w.Helper()
	return w.read("webhook/hook")["owner"].(string)
}

// revision is that of a record.
func (w *world) revision(key string) int64 {
	w.Helper()
	records, err := w.config.Catalog.Get(context.Background(), key)
	w.must(err)
	return records[0].Revision
}

// read reads a record.
func (w *world) read(key string) (value map[string]any) {
	w.Helper()
	records, err := w.config.Catalog.Get(context.Background(), key)
	w.must(err)
	if records[0].Revision != 0 {
		w.must(json.Unmarshal(records[0].Value, &value))
	}
	return value
}

// Replicas deliver one at a time, and one that stops leaves its place to another at once: in
// the end all was taken, in order.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var at, most atomic.Int64
	w.receiver.set(func(message, http.ResponseWriter, *http.Request) int {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		return 200
	})
	replicas := []*replica{w.replica(w.webhook()), w.replica(w.webhook()), w.replica(w.webhook())}
	for i, r := range replicas {
		w.record("acme/app", 20)
		w.got(int64(i*20 + 10))
		if i < 2 {
			r.stop()
		}
	}
	w.got(60)
	if most.Load() > 1 {
		t.Errorf("%d messages came at once", most.Load())
	}
}

// A replica that stands still while it writes its cursor has its place taken by another. When
// it wakes its write is refused, and it sends nothing more.
func TestFormerOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 3)
	one := w.replica(w.webhook())
	w.got(3)
	stands, wakes, refused := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	wake := sync.OnceFunc(func() { close(wakes) })
	w.Cleanup(wake)
	var once sync.Once
	one.line.set(func(c tiers.Change, apply func() error) error { // the whole process stands still, from one write on
		first := false
		if writes(c, "webhook/hook") {
			once.Do(func() { first = true; close(stands) })
		}
		select {
		case <-stands:
			<-wakes
		default: // it goes on with its life until then
		}
		err := apply()
		if first {
			refused <- err
		}
		return err
	})
	w.record("acme/app", 1)
	w.happens("it stands still", stands) // entry 3 was taken, and the cursor is not written
	two := w.replica(w.webhook())
	w.record("acme/app", 6)
	w.got(10)
	w.eventually("the other has done with all", func() bool { return *w.status(two).Cursor == 10 })
	owner := w.owner()
	wake()
	var conflict *tiers.ConflictError
	if err := <-refused; !errors.As(err, &conflict) || !conflict.Has("webhook/hook") {
		t.Errorf("the former owner's write ends with %v", err)
	}
	w.record("acme/app", 5)
	w.got(15)
	w.eventually("all is done with", func() bool { return *w.status(two).Cursor == 15 })
	if now := w.owner(); now != owner {
		t.Errorf("%s delivered, and now %s does", owner, now)
	}
}

// A replica that stood still before it sent an event sends nothing when it wakes: another has
// its place by then.
func TestWakesBeforeSending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 3)
	hook := w.webhook()
	hook.MaxPause = 4 * time.Second
	one := w.replica(hook)
	w.got(3)
	w.receiver.set(always(500))
	w.record("acme/app", 1)
	w.eventually("it waits for a while", func() bool {
		next := w.status(one).NextTry
		return next != nil && time.Until(*next) > time.Second
	})
	wakes := make(chan struct{})
	wake := sync.OnceFunc(func() { close(wakes) })
	w.Cleanup(wake)
	one.line.set(func(_ tiers.Change, apply func() error) error { <-wakes; return apply() })
	open := one.clock.shut()
	w.Cleanup(open)
	w.happens("it asks for the time", one.clock.asked) // whether it is time to send entry 3 again
	w.receiver.set(nil)
	two := w.replica(hook)
	w.got(4)
	w.eventually("the other has done with it", func() bool { return *w.status(two).Cursor == 4 })
	before := w.receiver.attempts()
	open()
	time.Sleep(200 * time.Millisecond) // for what must not happen
	wake()
	one.stop()
	if n := w.receiver.attempts(); n != before {
		t.Errorf("it has sent %d messages", n-before)
	}
}

// A replica that looks leaves the place to the one that has it and lives.
func TestOwnerStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.expire = 10 * time.Second
	w.record("acme/app", 1)
	w.replica(w.webhook())
	w.got(1)
	owner := w.owner()
	other := w.replica(w.webhook())
	w.eventually("the other has looked", func() bool {
		if now := w.owner(); now != owner {
			t.Fatalf("%s delivered, and now %s does", owner, now)
		}
		return other.line.looks.Load() > 1
	})
	w.record("acme/app", 1)
	w.got(2)
	if now := w.owner(); now != owner {
		t.Errorf("%s delivered, and now %s does", owner, now)
	}
}

// A replica that is cut off from the catalog stops by itself before anybody has its place.
func TestCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 2)
	one := w.replica(w.webhook())
	w.got(2)
	one.line.set(func(tiers.Change, func() error) error { return oci.ErrUnavailable })
	w.record("acme/app", 2)
	two := w.replica(w.webhook())
	w.got(4)
	w.eventually("the other has done with all", func() bool { return *w.status(two).Cursor == 4 })
	one.line.set(nil)
	w.record("acme/app", 20)
	w.got(24)
}

// A write of the cursor whose outcome nobody learns loses nothing.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.replica(w.webhook())
	var writesSeen atomic.Int64
	r.line.set(func(c tiers.Change, apply func() error) error {
		if !writes(c, "webhook/hook") {
			return apply()
		}
		switch writesSeen.Add(1) % 4 {
		case 1: // lost
			return oci.ErrUnavailable
		case 3: // applied, and not known to be
			if err := apply(); err != nil {
				return err
			}
			return oci.ErrUnavailable
		}
		return apply()
	})
	w.record("acme/app", 8)
	w.got(8)
}

// From an index on everything is delivered again, and a further index leaves out what is between.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 5)
	r, other := w.replica(w.webhook()), w.replica(w.webhook())
	w.got(5)
	w.eventually("all is done with", func() bool { return *w.status(r).Cursor == 5 })
	for _, from := range []int64{-1, 6} {
		if _, err := other.Replay(t.Context(), "admin", "hook", from); err == nil || !strings.Contains(err.Error(), "0 to 5") {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if _, err := other.Replay(t.Context(), "admin", "nobody", 0); err == nil {
		t.Error("a webhook that there is not was replayed")
	}
	before := w.receiver.attempts()
	status, err := other.Replay(t.Context(), "admin", "hook", 2)
	if err != nil || *status.Cursor != 2 || *status.Behind != 3 {
		t.Errorf("it is %s, %v", text(t, status), err)
	}
	w.eventually("it was sent again", func() bool { return w.receiver.attempts() == before+3 && *w.status(r).Cursor == 5 })
	w.receiver.mu.Lock()
	ids := map[int64]string{}
	for _, m := range w.receiver.taken {
		if id := ids[m.index]; id != "" && id != m.id {
			t.Errorf("entry %d has the ids %s and %s", m.index, id, m.id)
		}
		ids[m.index] = m.id
	}
	w.receiver.gaps = true
	w.receiver.mu.Unlock()

	w.receiver.set(func(m message, _ http.ResponseWriter, _ *http.Request) int {
		if m.index == 5 { // an entry that the receiver will never take
			return 500
		}
		return 200
	})
	w.record("acme/app", 2)
	w.inState(r, events.Retrying)
	if _, err := other.Replay(t.Context(), "admin", "hook", 6); err != nil {
		t.Fatal(err)
	}
	w.eventually("the next is taken", func() bool { return slices.Equal(w.receiver.indexes(), []int64{0, 1, 2, 3, 4, 6}) })
}

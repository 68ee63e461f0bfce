package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// sse is one server-sent event, as WHATWG HTML reads it ("Interpreting an event stream").
type sse struct {
	id, event, data string
	comment         bool
}

// listener reads a stream.
type listener struct {
	*apiFixture
	resp  *http.Response
	lines *bufio.Reader
	stop  context.CancelFunc
	last  string // id
}

// listen opens a stream.
func (a *apiFixture) listen(query string, headers ...string) *listener {
	a.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/api/v1/events"+query, nil)
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	// The validator of the other tests reads answers whole, and this one has no end.
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		a.Fatalf("%s: %d %v", query, resp.StatusCode, resp.Header)
	}
	return &listener{a, resp, bufio.NewReader(resp.Body), cancel, ""}
}

// block reads one block; ok is false at the end of the stream.
func (l *listener) block() (e sse, ok bool) {
	for {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			return e, false
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return e, true
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			e.comment = true
		case "id":
			e.id, l.last = value, value
		case "event":
			e.event = value
		case "data":
			e.data = value
		}
	}
}

// next reads the next event, over everything else.
func (l *listener) next() sse {
	l.Helper()
	for {
		e, ok := l.block()
		if !ok {
			l.Fatal("the stream ends")
		}
		if e.data == "" {
			continue
		}
		if len(e.data) > 64<<10 { // to look at large ones takes long, and tells nothing more
			return e
		}
		if err := l.spec.CheckSchema("CloudEvent", []byte(e.data)); err != nil {
			l.Errorf("event %s is not as described: %v\n%.1000s", e.id, err, e.data)
		}
		return e
	}
}

// happen records an event and seals it.
func (a *apiFixture) happen(e tiers.Event) {
	a.Helper()
	registry := a.server.registry
	if _, err := registry.Catalog().Commit(a.Context(), tiers.Change{Put: []tiers.Put{registry.EventPut(e)}}); err != nil {
		a.Fatal(err)
	}
	a.seal()
}

func tagSet(repository string) tiers.Event {
	return tiers.Event{Type: tiers.EventTagged, Actor: "alice", Tier: "dev", Repository: repository, Tag: "1.0"}
}

// A stream gives what comes, each event with its index; who comes back with the last id gets
// exactly what follows, whether it is sealed before or meanwhile.
func TestEvents(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal() // two policies
	l := a.listen("")
	if first, _ := l.block(); first.id != "1" || first.data != "" {
		t.Errorf("it begins with %+v", first)
	}
	a.happen(tagSet("acme/<app>"))
	got := l.next()
	var event struct {
		SpecVersion, ID, Source, Type, Subject, DataContentType string
		Data                                                    json.RawMessage
	}
	if err := json.Unmarshal([]byte(got.data), &event); err != nil {
		t.Fatal(err)
	}
	entries, err := a.server.ledger.Entries(t.Context(), 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got.id != "2" || got.event != "tag.set" || event.ID != "2" || event.SpecVersion != "1.0" || event.Source != "registry.example.com/ledger" ||
		event.Type != "dev.sluice.tag.set" || event.Subject != "dev/acme/<app>:1.0" || string(event.Data) != string(entries[0].Event) {
		t.Errorf("it is %+v, %+v", got, event)
	}
	l.stop()

	sealing := make(chan struct{})
	go func() { // and many come while it comes back
		defer close(sealing)
		for range 30 {
			registry := a.server.registry
			_, err := registry.Catalog().Commit(context.WithoutCancel(t.Context()), tiers.Change{Put: []tiers.Put{registry.EventPut(tagSet("acme/app")), registry.EventPut(tagSet("acme/app"))}})
			if err == nil {
				_, err = a.server.config.Ledger.Seal(context.WithoutCancel(t.Context()))
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	seen := 2
	for seen < 62 {
		l := a.listen("?from=0", "Last-Event-ID", strconv.Itoa(seen))
		for range min(7, 62-seen) {
			if seen++; l.next().id != strconv.Itoa(seen) {
				t.Fatalf("behind %d comes %s", seen-1, l.last)
			}
		}
		l.stop()
	}
	<-sealing
	for query, first := range map[string]string{"?from=0": "0", "?last=-1": "0", "?last=5": "6", "?from=9&last=5": "6", "?from=62": "62"} {
		if got := a.listen(query).next().id; got != first {
			t.Errorf("%s begins with %s", query, got)
		}
	}
}

// A stream passes over what was not asked for, and says how far it is.
func TestEventsFilter(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.server.streams.heartbeat = 20 * time.Millisecond
	l := a.listen("?from=0&repository=acme/**&repository=other&type=tag.*&type=manifest.*&tier=dev")
	for _, repository := range []string{"none/app", "acme/team/app", "none/app", "other", "none/app"} {
		a.happen(tagSet(repository))
	}
	if one, two := l.next(), l.next(); one.id != "3" || two.id != "5" {
		t.Errorf("it gives %+v and %+v", one, two)
	}
	for {
		e, ok := l.block()
		if !ok || e.data != "" {
			t.Fatalf("it goes on with %+v", e)
		}
		if e.id == "6" && e.comment {
			break
		}
	}
	if e, ok := l.block(); !ok || !e.comment || e.id != "" {
		t.Errorf("then it beats with %+v", e)
	}
}

func TestEventsRefused(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	for query, want := range map[string]string{
		"?from=3": "has 2 entries", "?from=-1": "no index", "?from=x": "no index", "?last=-2": "no index", "?last=2": "of another ledger", "?n=1": "unknown", "?type=[": "types[0]",
		"?from=0&from=1": "stands 2 times", "?repository=/x": "repositories[0]", "?last=9223372036854775807": "no index", "?a;b": "are separated by",
	} {
		if got := a.want(a.call("GET", "/api/v1/events"+query, ""), 400, "REQUEST_INVALID"); !strings.Contains(string(got.body), want) {
			t.Errorf("%s: %s", query, got.body)
		}
	}
	a.want(a.call("GET", "/api/v1/events?tier=nowhere", ""), 404, "NAME_UNKNOWN")
	a.want(a.call("GET", "/api/v1/events", "", "Last-Event-ID", "x"), 400, "REQUEST_INVALID")
	a.want(a.call("POST", "/api/v1/events", ""), 405, "UNSUPPORTED")
	if got := a.call("HEAD", "/api/v1/events", ""); got.status != 200 || got.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %v", got.status, got.header)
	}
}

// So many streams and no more; one that ends makes room.
func TestEventsBound(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	var open []*listener
	for range maxStreams {
		open = append(open, a.listen(""))
	}
	if got := a.want(a.call("GET", "/api/v1/events", ""), 429, "TOOMANYREQUESTS"); got.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	open[0].stop()
	a.eventually("there is room", func() bool {
		free := a.server.streams.open.TryAcquire(1)
		if free {
			a.server.streams.open.Release(1)
		}
		return free
	})
}

func (a *apiFixture) eventually(what string, ok func() bool) {
	a.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	a.Fatalf("a minute has passed, and it is not so that %s", what)
}

// closed waits until no stream is open any more.
func (a *apiFixture) closed() {
	a.Helper()
	a.eventually("no stream is open", func() bool {
		all := a.server.streams.open.TryAcquire(maxStreams)
		if all {
			a.server.streams.open.Release(maxStreams)
		}
		return all
	})
}

// Streams end, whole, when the server is told to stop, and none begins then; they end after
// their time; and when the client goes nothing stays.
func TestEventsEnd(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	gone := a.listen("")
	gone.stop()
	a.closed()
	a.server.streams.life = 50 * time.Millisecond
	if e, ok := drained(a.listen("")); !ok {
		t.Errorf("it does not end by itself, at %+v", e)
	}
	a.server.streams.life = time.Hour
	l := a.listen("")
	if _, ok := l.block(); !ok {
		t.Fatal("it has no beginning")
	}
	server := a.server.HTTPServer("")
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := drained(l); !ok {
		t.Error("it does not end with the server")
	}
	a.closed()
	if got := a.want(a.call("GET", "/api/v1/events", ""), 503, "UNAVAILABLE"); got.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// drained reads to the end of a stream, and says whether it came as it should: the last chunk
// was sent.
func drained(l *listener) (last sse, ok bool) {
	for {
		e, more := l.block()
		if !more {
			_, err := l.lines.ReadByte()
			return last, err != nil && err.Error() == "EOF"
		}
		last = e
	}
}

// A client that takes nothing holds up nobody, and is cut off; what it did not take it finds
// when it comes back.
func TestEventsSlowReader(t *testing.T) {
	a := newAPI(t, withLedger(t, func(c *Config) { c.BodyTimeout = 300 * time.Millisecond }))
	a.seal()
	slow := a.listen("")
	const n = 60
	for range n { // more than the buffers of a connection hold
		a.happen(tiers.Event{Type: tiers.EventPolicySet, Actor: "admin", Tier: "dev", Policy: "p", Body: make([]byte, 300_000)})
	}
	other := a.listen("?from=2")
	for i := range n {
		if got := other.next().id; got != strconv.Itoa(i+2) {
			t.Fatalf("the other gets %s", got)
		}
	}
	other.stop()
	a.closed() // the slow one was cut off
	seen := 0
	for {
		e, ok := slow.block()
		if !ok {
			break
		}
		if e.data != "" {
			seen++
		}
	}
	if seen >= n {
		t.Errorf("it was sent all %d", seen)
	}
	again := a.listen("", "Last-Event-ID", strconv.Itoa(seen+1))
	for i := seen + 2; i < n+2; i++ {
		if got := again.next().id; got != strconv.Itoa(i) {
			t.Fatalf("behind %d comes %s", i-1, got)
		}
	}
}

// flakyLog does not answer for a while.
type flakyLog struct {
	auditLog
	fails chan error
}

func (f *flakyLog) Next(ctx context.Context, from int64) ([]ledger.Entry, error) {
	select {
	case err := <-f.fails:
		return nil, err
	default:
		return f.auditLog.Next(ctx, from)
	}
}

// A stream outlives stores that do not answer, and is cut where the log is not what was sealed.
func TestEventsTrouble(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	log := &flakyLog{a.server.ledger, make(chan error, 2)}
	a.server.ledger = log
	a.server.streams.heartbeat = 20 * time.Millisecond
	log.fails <- fmt.Errorf("%w: injected", oci.ErrUnavailable)
	l := a.listen("")
	a.happen(tagSet("acme/app"))
	if got := l.next().id; got != "2" {
		t.Errorf("it goes on with %s", got)
	}
	log.fails <- fmt.Errorf("%w: injected", oci.ErrCorrupt)
	if _, ok := drained(l); ok {
		t.Error("it ends as if nothing were wrong")
	}
	a.closed()
}

// Events tell of every repository: who may not read the ledger may not read them.
func TestEventsAccess(t *testing.T) {
	a := newAPI(t, withLedger(t, withUsers(t,
		Grant{Users: []string{"root"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{"acme"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionAdmin, ActionPull}},
	)))
	for user, status := range map[string]int{"": 401, "acme": 403, "root": 200} {
		if a.user = ""; user != "" {
			a.user = user + ":" + user
		}
		for _, path := range []string{"/api/v1/events", "/api/v1/webhooks"} {
			if got := a.call("HEAD", path, ""); got.status != status {
				t.Errorf("%s as %q: %d, want %d", path, user, got.status, status)
			}
		}
		if got := a.call("POST", "/api/v1/webhooks/hook/replay", `{"from":0}`, "Content-Type", "application/json"); got.status != status {
			t.Errorf("replay as %q: %d %s, want %d", user, got.status, got.body, status)
		}
	}
}

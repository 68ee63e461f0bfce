package events_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

const source = "https://registry.example.com"

// secret is of 32 bytes.
var secret = []byte("thirty-two bytes of a secret key")

// world is a registry on real stores, whose ledger is sealed, and what listens to it.
type world struct {
	*testing.T
	config   tiers.Config
	registry *tiers.Registry
	ledger   *ledger.Ledger
	receiver *receiver
	expire   time.Duration // of the holds of replicas
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, expire: 4 * time.Second}
	w.config = tiers.Config{Catalog: stores.Catalog(t), Log: slog.New(slog.DiscardHandler),
		Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(t)}}}
	var err error
	w.registry, err = tiers.New(t.Context(), w.config)
	w.must(err)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	w.must(err)
	w.ledger, err = ledger.New(t.Context(), ledger.Config{Registry: w.registry, Signer: private, Origin: "registry.example.com/ledger",
		Log: w.config.Log, Interval: 10 * time.Millisecond})
	w.must(err)
	w.background(func(ctx context.Context) { _ = w.ledger.Run(ctx) })
	w.receiver = newReceiver(w)
	return w
}

// background runs work until the test, or whoever calls stop before, ends it.
func (w *world) background(work func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { work(ctx) })
	stop = func() { cancel(); running.Wait() }
	w.Cleanup(stop)
	return stop
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// eventually waits, for as long as a machine may take.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.Fatalf("a minute has passed, and it is not so that %s; received are %v", what, w.receiver.indexes())
}

// happens waits for what comes over a channel.
func (w *world) happens(what string, c <-chan struct{}) {
	w.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		w.Fatalf("a minute has passed, and it is not so that %s", what)
	}
}

// record records n events of a repository, each in a transaction of its own, and waits until
// they are sealed.
func (w *world) record(repository string, n int) {
	w.Helper()
	for range n {
		w.commit(tiers.Event{Type: tiers.EventTagged, Actor: "alice", Tier: "dev", Repository: repository, Tag: "1.0"})
	}
}

func (w *world) commit(e tiers.Event) {
	w.Helper()
	before := w.size()
	_, err := w.config.Catalog.Commit(w.Context(), tiers.Change{Put: []tiers.Put{w.registry.EventPut(e)}})
	w.must(err)
	for deadline := time.Now().Add(time.Minute); w.size() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("it is not sealed")
		}
	}
}

func (w *world) size() int64 {
	w.Helper()
	state, err := w.ledger.State(w.Context())
	w.must(err)
	return state.Size
}

// webhook delivers to the receiver, without much patience.
func (w *world) webhook() events.Webhook {
	return events.Webhook{Name: "hook", URL: w.receiver.url + "/in?token=hidden", Secrets: [][]byte{secret},
		FromBeginning: true, Timeout: 2 * time.Second, MaxPause: 30 * time.Millisecond, FailAfter: time.Hour}
}

// replica is a process that delivers.
type replica struct {
	*events.Sender
	line  *line
	clock *clock
	stop  func()
}

// replica starts a process that delivers to hooks, with a line of its own to the catalog.
func (w *world) replica(hooks ...events.Webhook) *replica {
	w.Helper()
	r := &replica{line: &line{Catalog: w.config.Catalog}, clock: &clock{}}
	config := w.config
	config.Catalog, config.Now = r.line, r.clock.now
	registry, err := tiers.New(w.Context(), config)
	w.must(err)
	r.Sender, err = events.New(events.Config{Registry: registry, Ledger: w.ledger, Webhooks: hooks, Source: source, Agent: "sluice/test",
		Log: w.config.Log, Expire: w.expire})
	w.must(err)
	r.stop = w.background(func(ctx context.Context) { _ = r.Run(ctx) })
	return r
}

// status is that of the only webhook.
func (w *world) status(r *replica) events.Status {
	w.Helper()
	all, err := r.Status(w.Context())
	w.must(err)
	return all[0]
}

// inState waits for a state.
func (w *world) inState(r *replica, state events.State) events.Status {
	w.Helper()
	var status events.Status
	w.eventually("the webhook is "+string(state), func() bool { status = w.status(r); return status.State == state })
	return status
}

// clock is a replica's. It stands still, and who asks it with it, while its gate is closed.
type clock struct {
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	asked chan struct{} // gets one for each who stands still
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	gate, asked := c.gate, c.asked
	c.mu.Unlock()
	if gate != nil {
		asked <- struct{}{}
		<-gate
	}
	return time.Now()
}

// shut has it stand still until open is called.
func (c *clock) shut() (open func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gate := make(chan struct{})
	c.gate, c.asked = gate, make(chan struct{}, 100)
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gate = nil
		close(gate)
	})
}

// line is a replica's way to the catalog.
type line struct {
	tiers.Catalog
	looks  atomic.Int64 // at who delivers
	mu     sync.Mutex
	commit func(c tiers.Change, apply func() error) error // nil: apply
}

func (l *line) set(commit func(c tiers.Change, apply func() error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commit = commit
}

// Get counts the looks.
func (l *line) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	records, err := l.Catalog.Get(ctx, keys...)
	if slices.Contains(keys, "delivering/hook") {
		l.looks.Add(1)
	}
	return records, err
}

// Commit goes over the line.
func (l *line) Commit(ctx context.Context, c tiers.Change) (revision int64, err error) {
	l.mu.Lock()
	commit := l.commit
	l.mu.Unlock()
	apply := func() error { // what is on its way arrives, whatever becomes of who sent it
		revision, err = l.Catalog.Commit(context.WithoutCancel(ctx), c)
		return err
	}
	if commit == nil {
		return revision, apply()
	}
	err = commit(c, apply)
	return revision, err
}

// writes says whether a change writes a key.
func writes(c tiers.Change, key string) bool {
	return slices.ContainsFunc(c.Put, func(p tiers.Put) bool { return p.Key == key })
}

// message is what a receiver got.
type message struct {
	id    string
	index int64
	body  []byte
	event map[string]any
}

// receiver takes webhooks, and checks of each message what is owed whatever happens: the
// signature, by the algorithm of Standard Webhooks, and the order.
type receiver struct {
	*world
	url string

	mu     sync.Mutex
	answer func(m message, w http.ResponseWriter, r *http.Request) (status int) // nil: 204
	gaps   bool                                                                 // not all is asked for
	taken  []message                                                            // answered with 2xx, repeated ones too
	tries  int
}

func newReceiver(w *world) *receiver {
	r := &receiver{world: w}
	server := httptest.NewServer(r)
	r.url = server.URL
	w.Cleanup(server.Close)
	return r
}

func (r *receiver) set(answer func(m message, w http.ResponseWriter, q *http.Request) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// always answers every message alike.
func always(status int) func(message, http.ResponseWriter, *http.Request) int {
	return func(message, http.ResponseWriter, *http.Request) int { return status }
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // cut off
	}
	m := message{id: q.Header.Get("webhook-id"), body: body}
	if problem := r.verify(q, body); problem != "" {
		r.Errorf("message %s: %s", m.id, problem)
	}
	if err := json.Unmarshal(body, &m.event); err != nil {
		r.Errorf("message %s: %v", m.id, err)
	}
	if m.index, err = strconv.ParseInt(fmt.Sprint(m.event["id"]), 10, 64); err != nil {
		r.Errorf("message %s: id %v", m.id, m.event["id"])
	}
	r.mu.Lock()
	r.tries++
	r.inOrder(m)
	answer := r.answer
	r.mu.Unlock()
	status := http.StatusNoContent
	if answer != nil {
		status = answer(m, w, q)
	}
	if status >= 200 && status <= 299 {
		r.mu.Lock()
		r.taken = append(r.taken, m)
		r.mu.Unlock()
	}
	if status > 0 {
		w.WriteHeader(status)
	}
}

// verify checks a message as Standard Webhooks tells receivers to ("Verifying signatures").
func (r *receiver) verify(q *http.Request, body []byte) string {
	id, timestamp := q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age > 5*time.Minute || age < -5*time.Minute {
		return fmt.Sprintf("timestamp %q", timestamp)
	}
	if id == "" || strings.Contains(id, ".") {
		return "no id without full stops"
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for one := range strings.SplitSeq(q.Header.Get("webhook-signature"), " ") {
		if version, got, _ := strings.Cut(one, ","); version == "v1" && hmac.Equal([]byte(got), []byte(want)) {
			return ""
		}
	}
	return "no signature is right of " + q.Header.Get("webhook-signature")
}

// inOrder: what comes was taken before, or follows what was, with nothing owed between.
func (r *receiver) inOrder(m message) {
	next := int64(0)
	for _, t := range r.taken {
		next = max(next, t.index+1)
	}
	if m.index <= next || r.gaps {
		return
	}
	r.Errorf("entry %d comes, and %d was not taken", m.index, next)
}

// indexes are those of what was taken, each once, as they came first.
func (r *receiver) indexes() (all []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.taken {
		if !slices.Contains(all, m.index) {
			all = append(all, m.index)
		}
	}
	return all
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// got waits until all entries up to n were taken, and holds them against the ledger.
func (w *world) got(n int64) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d entries were taken", n), func() bool { return int64(len(w.receiver.indexes())) >= n })
	for i, index := range w.receiver.indexes() {
		if int64(i) != index {
			w.Fatalf("taken are %v", w.receiver.indexes())
		}
	}
	entries, err := w.ledger.Entries(w.Context(), 0, 1000)
	w.must(err)
	w.receiver.mu.Lock()
	defer w.receiver.mu.Unlock()
	for _, m := range w.receiver.taken {
		if !bytes.Contains(m.body, append([]byte(`"data":`), entries[m.index].Event...)) {
			w.Errorf("entry %d is %s, delivered was %s", m.index, entries[m.index].Event, m.body)
		}
	}
}

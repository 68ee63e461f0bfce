package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tests/stores"
)

const hookSecret = "thirty-two bytes of a secret key"

// inbox is a receiver of a webhook. It knows the secret, and of the sender nothing else.
type inbox struct {
	*testing.T
	mu    sync.Mutex
	down  bool
	order []int64          // ids, each as it was first taken
	data  map[int64]string // what the event was
	again int              // messages that it had before
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever sent it was killed
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		b.Errorf("the signature of %s is %s", body, r.Header.Get("webhook-signature"))
	}
	var event struct {
		ID   string
		Data json.RawMessage
	}
	if err := json.Unmarshal(body, &event); err != nil {
		b.Error(err)
	}
	id, err := strconv.ParseInt(event.ID, 10, 64)
	if err != nil {
		b.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if _, had := b.data[id]; had {
		b.again++
		return
	}
	b.order, b.data[id] = append(b.order, id), string(event.Data)
}

func (b *inbox) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *inbox) taken() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.order)
}

// TestEventsOut has replicas killed one after the other, and the receiver away for a while,
// while things happen: the receiver and a client that listens get everything once or more, in
// order, and what they get is what the ledger holds.
func TestEventsOut(t *testing.T) {
	etcd, _ := stores.StartEtcd(t)
	endpoint, access, secret := stores.StartS3(t)
	config, dir := external(t, etcd, endpoint, access, secret)
	in := &inbox{T: t, data: map[int64]string{}}
	receiver := httptest.NewServer(in)
	t.Cleanup(receiver.Close)
	hooked(t, config, receiver.URL)
	f := &fleet{T: t}
	for range 3 {
		f.servers = append(f.servers, serve(t, dir, "--config", config))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ears := &listening{}
	var heard sync.WaitGroup
	heard.Go(func() { ears.listen(ctx, f) })

	happened := int64(0)
	happens := func(n int) {
		for range n {
			body := fmt.Sprintf("blob %d", happened)
			f.alive().want(201, "POST", "/v2/dev/acme/app/blobs/uploads/?digest="+digest.FromString(body).String(), []byte(body))
			happened++
		}
	}
	happens(20)
	for _, victim := range []int{0, 1} {
		in.waits(int(happened) / 2)
		ears.kill(f, victim)
		happens(10)
		in.set(victim == 0)
		happens(10)
		in.set(false)
	}
	size := f.sealed(happened)
	in.waits(int(size))
	ears.waits(t, size)
	cancel()
	heard.Wait()

	var listed struct {
		Entries []struct{ Event json.RawMessage }
	}
	if err := json.Unmarshal(f.alive().want(200, "GET", "/api/v1/ledger/entries?n=1000", nil).body, &listed); err != nil {
		t.Fatal(err)
	}
	for i, id := range in.taken() {
		if id != int64(i) || in.data[id] != string(listed.Entries[i].Event) {
			t.Fatalf("message %d is %d, %s; the ledger has %s", i, id, in.data[id], listed.Entries[i].Event)
		}
	}
	t.Logf("MATRIX events out, two of three replicas killed: %d delivered in order, %d of them again", size, in.again)
}

// hooked adds a webhook to a configuration.
func hooked(t *testing.T, config, url string) {
	t.Helper()
	file, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(file, "webhooks: [{name: inbox, url: %q, secretFile: hook, from: beginning, maxPause: 200ms}]\n", url)
	}
	if err == nil {
		err = file.Close()
	}
	if err == nil {
		text := "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookSecret))
		err = os.WriteFile(filepath.Join(filepath.Dir(config), "hook"), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waits waits until so many were taken.
func (b *inbox) waits(n int) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); len(b.taken()) < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("of %d messages %d have come: %v", n, len(b.taken()), b.taken())
		}
	}
}

// alive is a replica that was not killed.
func (f *fleet) alive() *server {
	for {
		if s := f.next(); s.cmd != nil {
			return s
		}
	}
}

// sealed waits until all that happened is sealed, and returns how many entries there are: those
// of blobs, and of the policies.
func (f *fleet) sealed(happened int64) (size int64) {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var ledger struct{ Size, Assigned int64 }
		if err := json.Unmarshal(f.alive().want(200, "GET", "/api/v1/ledger", nil).body, &ledger); err != nil {
			f.Fatal(err)
		}
		if ledger.Size >= happened+2 {
			return ledger.Size
		}
		if time.Now().After(deadline) {
			f.Fatalf("%d of %d entries are sealed", ledger.Size, happened+2)
		}
	}
}

// listening is a client of server-sent events, which goes on at another replica where one is
// gone.
type listening struct {
	mu   sync.Mutex // of the fleet too: which replica is killed
	last int64
	bad  string
}

// kill kills a replica.
func (l *listening) kill(f *fleet, victim int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.servers[victim].kill()
}

func (l *listening) listen(ctx context.Context, f *fleet) {
	l.last = -1
	for ctx.Err() == nil {
		l.mu.Lock()
		url, last := f.alive().url, l.last
		l.mu.Unlock()
		if err := l.read(ctx, url, last); err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func (l *listening) read(ctx context.Context, url string, last int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/events", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Last-Event-ID", strconv.FormatInt(last, 10))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	var id int64
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			if id, err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
		if bytes.HasPrefix(lines.Bytes(), []byte("data: ")) {
			l.mu.Lock()
			if id != l.last+1 {
				l.bad = fmt.Sprintf("%d comes behind %d", id, l.last)
			}
			l.last = id
			l.mu.Unlock()
		}
	}
	return lines.Err()
}

// waits waits until all of size entries were heard, each once.
func (l *listening) waits(t *testing.T, size int64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		last, bad := l.last, l.bad
		l.mu.Unlock()
		if bad != "" || time.Now().After(deadline) {
			t.Fatalf("heard is %d of %d %s", last+1, size, bad)
		}
		if last+1 == size {
			return
		}
	}
}

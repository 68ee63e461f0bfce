package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/tests/faults/history"
)

const (
	requestTimeout = 8 * time.Second
	answerLimit    = 64 << 20
	tries          = 5 // of what a client repeats until it knows
	triesPause     = 150 * time.Millisecond
)

// Client is one client, who does one thing after the other.
type Client struct {
	number  int
	user    string
	urls    []string
	journal *Journal
	rand    *rand.Rand
	http    *http.Client
	setting Setting
}

// Setting is what clients know of the registry that they work on.
type Setting struct {
	URLs []string // of the replicas
	Keys Signer
	// Promise is how long bytes stay that somebody was told of.
	Promise time.Duration
	// Spoils says whether the store may send wrong bytes at the moment.
	Spoils func() bool
}

// NewClient makes the client with a number; the same seed and number choose the same.
func NewClient(seed int64, number int, user string, setting Setting, journal *Journal) *Client {
	return &Client{number: number, user: user, urls: setting.URLs, journal: journal, setting: setting,
		rand: rand.New(rand.NewPCG(uint64(seed), uint64(number))),
		http: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 20 * time.Second, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		}}}
}

// Close ends the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// reply is what came of a request.
type reply struct {
	status int // 0: nothing came, or not all of it
	header http.Header
	body   []byte
	err    error
	url    string
}

// uncertain says that nobody knows whether the request was carried out, and that asking
// again may help.
func (r reply) uncertain() bool {
	return r.status == 0 || r.status >= 500 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout
}

// code is the first code of the error envelope.
func (r reply) code() string {
	var envelope struct{ Errors []struct{ Code string } }
	if json.Unmarshal(r.body, &envelope) != nil || len(envelope.Errors) == 0 {
		return ""
	}
	return envelope.Errors[0].Code
}

func (r reply) String() string {
	if r.err != nil {
		return r.err.Error()
	}
	return http.StatusText(r.status) + " " + strings.TrimSpace(string(r.body[:min(len(r.body), 500)]))
}

// request is what is asked.
type request struct {
	method, path string
	header       map[string]string
	body         []byte
	stream       bool // without a length
	user         string
}

// impatient is one of how many requests whose client goes away before the answer can come.
const impatient = 150

// do sends a request to some replica.
func (c *Client) do(ctx context.Context, q request) reply {
	if c.rand.IntN(impatient) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.rand.IntN(30))*time.Millisecond)
		defer cancel()
	}
	url := c.urls[c.rand.IntN(len(c.urls))] + q.path
	if strings.HasPrefix(q.path, "http") {
		url = q.path
	}
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
		if q.stream {
			body = struct{ io.Reader }{body}
		}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, url, body)
	if err != nil {
		return reply{err: err, url: url}
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	user := q.user
	if user == "" {
		user = c.user
	}
	req.SetBasicAuth(user, user)
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{err: err, url: url}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil { // it was cut: as if it had not come
		return reply{err: err, url: url}
	}
	r := reply{status: resp.StatusCode, header: resp.Header, body: data, url: url}
	c.look(q, r)
	return r
}

// look notes answers that are allowed and odd.
func (c *Client) look(q request, r reply) {
	switch {
	case r.status == http.StatusInternalServerError && bytes.Contains(r.body, []byte("internal error")):
		c.journal.Odd("500 of an error that has no row in the table: " + q.method)
	case r.status == http.StatusInternalServerError:
		c.journal.Odd("500: " + q.method)
	case r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") == "":
		c.journal.Violation("503 without Retry-After: %s %s", q.method, r.url)
	case r.status == http.StatusConflict:
		c.journal.Odd("409: " + q.method)
	}
}

// again repeats a request until its outcome is known.
func (c *Client) again(ctx context.Context, q request) reply {
	var r reply
	for try := range tries {
		if r = c.do(ctx, q); !r.uncertain() || ctx.Err() != nil {
			return r
		}
		c.pause(ctx, try)
	}
	return r
}

func (c *Client) pause(ctx context.Context, try int) {
	select {
	case <-time.After(triesPause << try / 2):
	case <-ctx.Done():
	}
}

// outcome is how a request that changes something ended.
func (r reply) outcome() history.Outcome {
	switch {
	case r.uncertain():
		return history.Unknown
	case r.status/100 == 2:
		return history.Done
	}
	return history.Refused
}

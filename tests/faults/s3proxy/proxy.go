package s3proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// answerLimit bounds the answers that are kept to be looked at: of writes, which are short.
const answerLimit = 1 << 20

// Proxy stands in front of one S3 server.
type Proxy struct {
	backend  *url.URL
	listener net.Listener
	server   *http.Server
	client   *http.Transport
	served   chan struct{} // closed when the server has ended

	mu       sync.Mutex
	rules    Rules
	rand     *rand.Rand
	counts   map[Fault]int64
	requests int64
	written  written
}

// Start starts a proxy on a loopback address in front of the server at backend, without
// faults until SetRules.
func Start(backend string, seed int64) (*Proxy, error) {
	u, err := url.Parse(backend)
	if err != nil {
		return nil, fmt.Errorf("s3 proxy: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("s3 proxy: %w", err)
	}
	p := &Proxy{backend: u, listener: listener, served: make(chan struct{}), counts: map[Fault]int64{},
		rand: rand.New(rand.NewPCG(uint64(seed), 3)), written: newWritten(),
		client: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, IdleConnTimeout: time.Minute, DisableCompression: true}}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener) // always an error, at Close
	}()
	return p, nil
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Close ends the proxy and every request that is under way.
func (p *Proxy) Close() error {
	err := p.server.Close()
	<-p.served
	p.client.CloseIdleConnections()
	return err
}

// SetRules has the requests from now on meet these faults.
func (p *Proxy) SetRules(rules Rules) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = rules
}

// Counts says how often each fault has happened.
func (p *Proxy) Counts() map[Fault]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Requests says how many requests came.
func (p *Proxy) Requests() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// draw decides what happens to a request, and how much of it: a fraction of its body or of
// the longest wait.
func (p *Proxy) draw(r *http.Request, op Operation) (f Fault, share float64, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	roll, share := p.rand.Float64(), p.rand.Float64()
	if p.rules.Match != nil && !p.rules.Match(r) {
		return "", 0, 0
	}
	if wait = p.rules.SlowFor; wait == 0 {
		wait = time.Second
	}
	for _, f := range Faults() {
		if !f.can(op) {
			continue
		}
		if roll -= p.rules.Rates[f]; roll < 0 {
			return f, share, time.Duration(share * float64(wait))
		}
	}
	return "", 0, 0
}

func (p *Proxy) count(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[f]++
}

// ServeHTTP passes a request on and does to it, or to its answer, what the rules want.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := operation(r)
	fault, share, wait := p.draw(r, op)
	switch fault {
	case Slow:
		p.count(Slow)
		sleep(r.Context(), wait)
	case SlowDown:
		p.fail(w, r, SlowDown, http.StatusServiceUnavailable, "SlowDown")
		return
	case InternalError:
		p.fail(w, r, InternalError, http.StatusInternalServerError, "InternalError")
		return
	case OKError:
		p.fail(w, r, OKError, http.StatusOK, "InternalError")
		return
	case ResetBefore:
		p.count(ResetBefore)
		reset(w)
		return
	}
	resp, err := p.forward(r)
	if err != nil {
		reset(w) // as if the server were not there
		return
	}
	defer resp.Body.Close()
	if op == Get {
		p.read(w, resp, fault, share)
		return
	}
	p.answer(w, r, resp, op, fault, wait)
}

// forward sends the request to the server as it came.
func (p *Proxy) forward(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.Scheme, u.Host = p.backend.Scheme, p.backend.Host
	out := &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: r.Header.Clone(), ContentLength: r.ContentLength,
		TransferEncoding: r.TransferEncoding, Body: r.Body, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if r.ContentLength == 0 {
		out.Body = nil
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header["User-Agent"] = nil // or the client adds one
	}
	return p.client.RoundTrip(out.WithContext(r.Context()))
}

// answer passes on the answer to anything but a read, which is short.
func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, resp *http.Response, op Operation, fault Fault, wait time.Duration) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		reset(w)
		return
	}
	applied := resp.StatusCode/100 == 2 && !bytes.Contains(body, []byte("<Error>"))
	if applied {
		p.wrote(r, op, resp.Header.Get("ETag"), body, fault == "" || fault == Slow)
	}
	if !applied && fault != Slow {
		fault = "" // a failure that the server has by itself
	}
	switch fault {
	case ResetAfter:
		p.count(ResetAfter)
		reset(w)
		return
	case LostReply:
		p.count(LostReply)
		sleep(r.Context(), wait)
		reset(w)
		return
	case FailedAfter:
		p.fail(w, r, FailedAfter, http.StatusInternalServerError, "InternalError")
		return
	case OKErrorApplied:
		p.fail(w, r, OKErrorApplied, http.StatusOK, "InternalError")
		return
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body) // a client that is gone has nothing to be told
}

// read passes on the answer to a read.
func (p *Proxy) read(w http.ResponseWriter, resp *http.Response, fault Fault, share float64) {
	maps.Copy(w.Header(), resp.Header)
	length := resp.ContentLength
	if resp.StatusCode/100 != 2 || length <= 0 {
		fault = "" // nothing that could be spoilt
	}
	some := int64(share * float64(length)) // less than all of it
	body := io.Reader(resp.Body)
	switch fault {
	case Truncated:
		p.count(Truncated)
		w.Header().Set("Content-Length", strconv.FormatInt(some, 10))
		body = io.LimitReader(body, some)
	case ShortRead:
		p.count(ShortRead)
		body = io.LimitReader(body, some)
	case WrongBytes:
		p.count(WrongBytes)
		body = &spoilt{r: body, at: some, with: byte(1 + int(share*1e6)%255)}
	}
	w.WriteHeader(resp.StatusCode)
	_, err := io.Copy(w, body)
	if fault == ShortRead || err != nil {
		_ = http.NewResponseController(w).Flush() // what was written so far arrives
		panic(http.ErrAbortHandler)
	}
}

// spoilt changes one byte of r.
type spoilt struct {
	r    io.Reader
	at   int64
	with byte
}

// Read reads on.
func (s *spoilt) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.at >= 0 && s.at < int64(n) {
		p[s.at] ^= s.with
	}
	s.at -= int64(n)
	return n, err
}

// fail answers with an error of S3. What the client still sends is taken first, so that it
// reads the answer.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, f Fault, status int, code string) {
	p.count(f)
	_, _ = io.Copy(io.Discard, r.Body) // the answer is the same
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>by the fault proxy</Message></Error>`, code)
}

// reset ends the connection of a request with a RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // best effort: a FIN will do
	}
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

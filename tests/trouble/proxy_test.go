package trouble_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// fault answers a request in the place of the S3 server; false: it is passed on. The server
// itself can be asked with next.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// proxy stands before the S3 server. Requests are passed on as they are signed.
type proxy struct {
	url string

	mu    sync.Mutex
	fault fault
	seen  map[string]int // requests by method
}

func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{seen: map[string]int{}}
	next := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.seen[r.Method]++
		fault := p.fault
		p.mu.Unlock()
		if fault == nil || !fault(w, r, next) {
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { p.inject(nil) }) // what hangs ends first
	p.url = server.URL
	return p
}

// inject has faults from now on; nil: none.
func (p *proxy) inject(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// count forgets how many requests came, and says how many they were.
func (p *proxy) count() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.seen {
		n += k
	}
	clear(p.seen)
	return n
}

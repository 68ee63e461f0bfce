package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Reads one after the other take one connection, and what is sent on is what is stored,
// in pieces and by reading as well.
func TestDirectReuse(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	var conns peers
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		conns.add(r.RemoteAddr)
		serving(content)(w, r)
	})
	for i := range 5 {
		rc, err := store.Open(t.Context(), "k", int64(i), int64(len(content)-2*i))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := io.CopyN(&got, rc, 10); err != nil {
			t.Fatal(err)
		}
		for got.Len() < len(content)-2*i {
			if _, err := rc.(tiers.Transferrer).TransferTo(&got, 70_000); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := rc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("behind the end: %d, %v", n, err)
		}
		rc.Close()
		if !bytes.Equal(got.Bytes(), content[i:len(content)-i]) {
			t.Fatalf("read %d: other bytes", i)
		}
	}
	if n := len(conns.seen); n != 1 {
		t.Errorf("%d connections for reads one after the other", n)
	}
}

// peers are the addresses that requests came from.
type peers struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (p *peers) add(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[addr] = true
}

// A body that is cut is an error, never the end.
func TestDirectCut(t *testing.T) {
	store := against(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99999/100000\r\nContent-Length: 100000\r\n\r\n")
		_, _ = buf.Write(make([]byte, 70_000))
		buf.Flush()
	})
	for name, read := range map[string]func(io.ReadCloser) error{
		"read": func(rc io.ReadCloser) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{rc}); return err },
		"transfer": func(rc io.ReadCloser) error {
			_, err := rc.(tiers.Transferrer).TransferTo(&bytes.Buffer{}, 100_000)
			return err
		},
	} {
		rc, err := store.Open(t.Context(), "k", 0, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(rc); !errors.Is(err, oci.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		rc.Close()
	}
}

// An object that is shorter than was asked for is an error at once, however it is read.
func TestDirectShortObject(t *testing.T) {
	store := against(t, ranged("bytes 0-2/3", "abc"))
	for name, read := range map[string]func(io.ReadCloser) (int64, error){
		"read":     func(rc io.ReadCloser) (int64, error) { return io.Copy(io.Discard, struct{ io.Reader }{rc}) },
		"transfer": func(rc io.ReadCloser) (int64, error) { return rc.(tiers.Transferrer).TransferTo(&bytes.Buffer{}, 10) },
	} {
		rc, err := store.Open(t.Context(), "k", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := read(rc); n != 3 || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		rc.Close()
	}
}

// Who does not take the bytes is told apart from a store that does not give them.
func TestDirectTaker(t *testing.T) {
	content := bytes.Repeat([]byte("abcdefgh"), 1<<20)
	store := against(t, serving(content))
	conn, taker := connected(t)
	taker.Close() // with nothing read
	rc, err := store.Open(t.Context(), "k", 0, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	for err == nil {
		_, err = rc.(tiers.Transferrer).TransferTo(conn, 1<<20)
	}
	if taken := (tiers.TakerError{}); !errors.As(err, &taken) || errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("%v is not the taker's", err)
	}
}

// connected are both ends of a TCP connection.
func connected(t *testing.T) (conn, peer net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if conn, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if peer, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return conn, peer
}

// serving answers every read with content.
func serving(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// Answers that are not simply the bytes are the ordinary client's: of unknown length, in
// chunks, longer than the range, of another range, with an error.
func TestDirectFallsBack(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"chunked":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); w.(http.Flusher).Flush() },
		"whole":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "abc") },
		"error":    fail("SlowDown", 503),
		"too long": ranged("bytes 1-9/20", "123456789"),
		"other":    ranged("bytes 0-2/20", "abc"),
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			store := against(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					first(w, r)
					return
				}
				ranged("bytes 1-3/20", "bcd")(w, r)
			})
			rc, err := store.Open(t.Context(), "k", 1, 3)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			if got, err := io.ReadAll(rc); err != nil || string(got) != "bcd" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func ranged(contentRange, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.Header().Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusPartialContent)
		fmt.Fprint(w, body)
	}
}

// A connection that the server closed while it was idle costs a new one, not an error.
func TestDirectStaleConnection(t *testing.T) {
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close() // though it did not say so
		fmt.Fprint(buf, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nabc")
		buf.Flush()
	})
	for range 3 {
		rc, err := store.Open(t.Context(), "k", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || string(got) != "abc" {
			t.Errorf("%q, %v", got, err)
		}
		rc.Close()
	}
}

// The end of the context ends a read that waits, of the head or of the body.
func TestDirectCancelled(t *testing.T) {
	release := make(chan struct{})
	store := against(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dev/body" {
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.Header().Set("Content-Length", "10")
			w.WriteHeader(http.StatusPartialContent)
			w.(http.Flusher).Flush()
		}
		<-release
	})
	t.Cleanup(func() { close(release) }) // ahead of the server's own end, which waits for it
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := store.Open(ctx, "head", 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("head: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	rc, err := store.Open(ctx, "body", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := rc.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("body: %v", err)
	}
}

// Bytes go from connection to connection.
func TestDirectToConnection(t *testing.T) {
	content := bytes.Repeat([]byte("abcdefgh"), 1<<17)
	store := against(t, serving(content))
	conn, taker := connected(t)
	got := make(chan []byte, 1)
	go func() {
		data, _ := io.ReadAll(taker)
		got <- data
	}()
	rc, err := store.Open(t.Context(), "k", 0, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if n, err := rc.(tiers.Transferrer).TransferTo(conn, int64(len(content))); err != nil || n != int64(len(content)) {
		t.Fatalf("%d, %v", n, err)
	}
	conn.Close()
	if !bytes.Equal(<-got, content) {
		t.Error("other bytes arrived")
	}
}

package s3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice.dev/sluice/tiers"
)

// Of connections that reads use directly.
const (
	directIdle    = 64               // kept for the next read
	directIdleAge = 20 * time.Second // servers close idle connections; most wait a minute or more
	directExpiry  = 5 * time.Minute  // of the signature in the request
)

// errIndirect says that a read has to take the ordinary way, which also finds out why.
var errIndirect = errors.New("not to be read directly")

// direct reads objects over connections of its own, so that bytes can go from the store's
// connection to the client's within the kernel (splice(2), through net.TCPConn.ReadFrom):
// an http.Transport keeps its connections to itself. It takes only the answers that it
// wants; everything else, errors and retries, is the ordinary client's.
type direct struct {
	addr     string // host:port of the server
	dialer   net.Dialer
	patience patience
	idle     chan *directConn
	closed   atomic.Bool
}

type directConn struct {
	tcp   *net.TCPConn
	head  *bufio.Reader // holds what came with the head of an answer
	since time.Time     // when it became idle
}

// newDirect returns nil for a server that is not spoken to in the clear or not directly.
func newDirect(endpoint *url.URL, p patience) *direct {
	if endpoint.Scheme != "http" {
		return nil
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: endpoint}); proxy != nil || err != nil {
		return nil
	}
	addr := endpoint.Host
	if endpoint.Port() == "" {
		addr = net.JoinHostPort(endpoint.Hostname(), "80")
	}
	return &direct{addr: addr, patience: p, dialer: net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}, idle: make(chan *directConn, directIdle)}
}

// close closes the connections that nobody uses, and keeps none from then on.
func (d *direct) close() {
	d.closed.Store(true)
	d.drain()
}

// drain closes the connections that nobody uses.
func (d *direct) drain() {
	for {
		select {
		case c := <-d.idle:
			_ = c.tcp.Close() // nothing is under way on it
		default:
			return
		}
	}
}

// kept is a connection that the server has probably not closed yet; nil where there is none.
func (d *direct) kept() *directConn {
	for {
		select {
		case c := <-d.idle:
			if time.Since(c.since) < directIdleAge {
				return c
			}
			_ = c.tcp.Close() // nothing is under way on it
		default:
			return nil
		}
	}
}

func (d *direct) dial(ctx context.Context) (*directConn, error) {
	conn, err := d.dialer.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errIndirect, conn.Close())
	}
	return &directConn{tcp: tcp, head: bufio.NewReaderSize(tcp, 4<<10)}, nil
}

// get sends a signed request and returns the body of an answer with the wanted status and
// a length. Any other answer is errIndirect.
func (d *direct) get(ctx context.Context, req *http.Request, status int) (*directBody, http.Header, error) {
	if c := d.kept(); c != nil {
		body, header, err := d.getOver(ctx, c, req, status)
		if err == nil || errors.Is(err, errIndirect) || errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return body, header, err
		}
		// The server had closed it: a read may be sent again.
	}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	return d.getOver(ctx, c, req, status)
}

func (d *direct) getOver(ctx context.Context, c *directConn, req *http.Request, status int) (*directBody, http.Header, error) {
	b := &directBody{ctx: ctx, pool: d, conn: c}
	b.stop = context.AfterFunc(ctx, b.interrupt)
	resp, err := b.roundTrip(req)
	if err == nil && (resp.StatusCode != status || resp.ContentLength < 0 || len(resp.TransferEncoding) > 0) {
		err = fmt.Errorf("%w: status %s", errIndirect, resp.Status)
	}
	if err != nil {
		b.drop()
		return nil, nil, err
	}
	b.left, b.keep = resp.ContentLength, !resp.Close
	return b, resp.Header, nil
}

// directBody is the body of an answer; its connection goes back when all of it was read.
type directBody struct {
	ctx  context.Context // of the read; ends it wherever it waits
	pool *direct
	conn *directConn
	stop func() bool
	left int64
	keep bool // the server keeps the connection
	once sync.Once
}

func (b *directBody) interrupt() { _ = b.conn.tcp.SetDeadline(time.Unix(1, 0)) }

// wait gives the store d until its next byte.
func (b *directBody) wait(d time.Duration) {
	_ = b.conn.tcp.SetDeadline(time.Now().Add(d))
	if b.ctx.Err() != nil { // ended meanwhile: do not undo what that did
		b.interrupt()
	}
}

func (b *directBody) roundTrip(req *http.Request) (*http.Response, error) {
	b.wait(b.pool.patience.ask)
	if err := req.Write(b.conn.tcp); err != nil {
		return nil, err
	}
	return http.ReadResponse(b.conn.head, req)
}

// Read reads on; a body that ends early is io.ErrUnexpectedEOF.
func (b *directBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	b.wait(b.pool.patience.stall)
	n, err := b.conn.head.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, b.cause(err)
}

// TransferTo writes up to n bytes to w, within the kernel where w is a connection: first
// what came with the head, then from the socket.
func (b *directBody) TransferTo(w io.Writer, n int64) (int64, error) {
	n = min(n, b.left)
	b.wait(b.pool.patience.stall)
	var sent int64
	if buffered := min(int64(b.conn.head.Buffered()), n); buffered > 0 {
		k, err := io.CopyN(w, b.conn.head, buffered)
		if b.left, sent = b.left-k, k; err != nil || sent == n {
			return sent, b.cause(err)
		}
	}
	k, err := io.Copy(w, &io.LimitedReader{R: b.conn.tcp, N: n - sent})
	b.left, sent = b.left-k, sent+k
	switch {
	case err == nil && sent < n:
		err = io.ErrUnexpectedEOF
	case errors.Is(err, syscall.EPIPE) || isWrite(err):
		return sent, tiers.TakerError{Err: err}
	}
	return sent, b.cause(err)
}

// isWrite says whether an error is that of writing: of who takes the bytes, not of who
// gives them.
func isWrite(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write"
}

// cause prefers the end of the context to what it made of the connection.
func (b *directBody) cause(err error) error {
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	return err
}

// Close gives the connection back where all of the body was read, and ends it otherwise.
func (b *directBody) Close() error {
	// Bytes behind the answer would be read as the head of the next.
	if b.left > 0 || !b.keep || b.conn.head.Buffered() > 0 || !b.stop() {
		b.drop()
		return nil
	}
	b.once.Do(func() {
		_ = b.conn.tcp.SetDeadline(time.Time{})
		b.conn.since = time.Now()
		select {
		case b.pool.idle <- b.conn:
		default:
			_ = b.conn.tcp.Close() // enough are waiting
		}
		if b.pool.closed.Load() {
			b.pool.drain()
		}
	})
	return nil
}

func (b *directBody) drop() {
	b.once.Do(func() {
		b.stop()
		_ = b.conn.tcp.Close() // whatever is left on it is not wanted
	})
}

package s3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"time"

	"sluice.dev/sluice/oci"
)

// patience is how long the server may take. What is large takes as long as it takes, as long
// as it goes on.
type patience struct {
	ask   time.Duration // for an answer without much work, with all tries, or the head of one
	work  time.Duration // for a copy of up to 5 GiB, or parts that become an object
	stall time.Duration // for each read of an answer, and until some of a body is taken
	// answer is for the answer to a body once all of it is sent, and a second more for so
	// many bytes: the server may still have to bring them to its disk.
	answer time.Duration
}

const slowDisk = 10 << 20

func usualPatience() patience {
	return patience{ask: 30 * time.Second, work: 5 * time.Minute, stall: time.Minute, answer: 30 * time.Second}
}

// ask does a request without a body in its turn and within the limit.
func (s *Store) ask(ctx context.Context, turn *turns, limit time.Duration, request func(context.Context) error) error {
	if err := turn.take(ctx); err != nil {
		return err
	}
	defer turn.give()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return request(ctx)
}

// answering bounds how long the answer to a body of size bytes takes. stop ends that.
func (p patience) answering(ctx context.Context, size int64) (_ context.Context, stop func()) {
	limit := min(p.answer+time.Duration(size/slowDisk)*time.Second, p.work)
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(limit, cancel)
	timer.Stop()
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { timer.Reset(limit) }}
	return httptrace.WithClientTrace(ctx, trace), func() {
		timer.Stop()
		cancel()
	}
}

// patientConn ends where the server takes nothing of a body for too long.
type patientConn struct {
	net.Conn
	stall time.Duration
}

// Write gives the server a time for each piece.
func (c patientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (p patience) dial(dialer *net.Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return patientConn{conn, p.stall}, nil
	}
}

// watched is an answer of the ordinary client. It ends where the server sends nothing for
// too long.
type watched struct {
	ctx    context.Context // of the request
	cancel context.CancelFunc
	timer  *time.Timer // cancels as well
	stall  time.Duration
	body   io.ReadCloser
}

// watch begins a request, the head of whose answer has to come in time.
func (p patience) watch(ctx context.Context) *watched {
	w := &watched{stall: p.stall}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.timer = time.AfterFunc(p.ask, w.cancel)
	return w
}

// answered goes on with the body of the answer.
func (w *watched) answered(body io.ReadCloser) {
	w.timer.Stop()
	w.body = body
}

// Read gives the server a time for each piece.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.body.Read(p)
	if !w.timer.Stop() && err != nil && err != io.EOF {
		err = fmt.Errorf("%w: it sent nothing for %v", oci.ErrUnavailable, w.stall)
	}
	return n, err
}

// Close ends the request.
func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel()
	if w.body == nil {
		return nil
	}
	return w.body.Close()
}

// Package tcpproxy is a proxy of TCP connections that can cut them, hold them up, or let
// them starve: what networks do between a registry and its catalog.
package tcpproxy

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy passes connections on to one address.
type Proxy struct {
	target   string
	listener net.Listener
	work     sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // of what follows
	conns   map[net.Conn]bool
	latency time.Duration
	hole    bool // nothing passes
	refuse  bool // nobody may connect
	closed  bool
}

// Start starts a proxy on a loopback address in front of target, host:port.
func Start(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("tcp proxy: %w", err)
	}
	p := &Proxy{target: target, listener: listener, conns: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.set(func() { p.closed = true })
	p.Cut()
	p.work.Wait()
	return err
}

// Cut resets all connections; new ones may be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // best effort: a FIN will do
		}
		_ = conn.Close() // its copy loops end
	}
}

// SetLatency holds every piece that passes up for d.
func (p *Proxy) SetLatency(d time.Duration) { p.set(func() { p.latency = d }) }

// SetBlackHole lets nothing pass while it is on. Connections stay, and what was sent into
// them arrives when it is off again.
func (p *Proxy) SetBlackHole(on bool) { p.set(func() { p.hole = on }) }

// SetRefuse ends every new connection at once while it is on; Cut ends the others.
func (p *Proxy) SetRefuse(on bool) { p.set(func() { p.refuse = on }) }

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.set(func() { p.latency, p.hole, p.refuse = 0, false, false })
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.work.Go(func() { p.serve(conn) })
	}
}

// keep notes a connection for Cut; false: it may not be.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.refuse {
		_ = conn.Close() // nothing was sent yet
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	_ = conn.Close() // both sides are done with it
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

func (p *Proxy) serve(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.drop(client)
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.drop(server)
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		p.work.Go(func() {
			p.pass(way[1], way[0])
			ended <- struct{}{}
		})
	}
	<-ended // the other way ends with the connections
}

// pass copies until either end is gone.
func (p *Proxy) pass(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.wait() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait holds a piece up as the faults want; false: the proxy is closed.
func (p *Proxy) wait() bool {
	p.mu.Lock()
	latency := p.latency
	p.mu.Unlock()
	time.Sleep(latency)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hole && !p.closed {
		p.changed.Wait()
	}
	return !p.closed
}

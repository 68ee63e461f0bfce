package server

import (
	"net"
	"sync"
	"time"
)

// tlsNotice is how often the log tells of clients that speak TLS to a port without.
const tlsNotice = time.Minute

// tlsHandshake is the first byte that a client which speaks TLS sends (RFC 8446, 5.1). No
// method of HTTP begins with it.
const tlsHandshake = 22

// Plaintext tells in the log, once a minute, of clients that speak TLS to ln, which does
// not. They get net/http's answer, by which docker, podman and Go clients know that the
// server speaks HTTP; curl and others only say that the handshake failed, and whoever runs
// the registry would see nothing at all.
func (s *Server) Plaintext(ln net.Listener) net.Listener {
	return &plaintextListener{Listener: ln, notice: func(remote string) {
		s.log.Warn("a client spoke TLS to this port, which speaks plain HTTP: put a proxy that ends TLS before it, or tell the client to use HTTP (docker: insecure-registries; podman, skopeo: --tls-verify=false; oras: --plain-http; crane: --insecure)",
			"remote", remote)
	}}
}

type plaintextListener struct {
	net.Listener
	notice func(remote string)

	mu   sync.Mutex
	last time.Time
}

// Accept wraps TCP connections; the rest of them is as before, so the kernel still moves
// bytes by itself.
func (l *plaintextListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		return &plaintextConn{TCPConn: tcp, listener: l}, nil
	}
	return conn, err
}

func (l *plaintextListener) tell(remote net.Addr) {
	l.mu.Lock()
	due := time.Since(l.last) >= tlsNotice
	if due {
		l.last = time.Now()
	}
	l.mu.Unlock()
	if due {
		l.notice(remote.String())
	}
}

type plaintextConn struct {
	*net.TCPConn
	listener *plaintextListener
	begun    bool // read by one goroutine at a time, as net/http does
}

// Read looks at the first byte that the client sends.
func (c *plaintextConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if !c.begun && n > 0 {
		c.begun = true
		if p[0] == tlsHandshake {
			c.listener.tell(c.RemoteAddr())
		}
	}
	return n, err
}

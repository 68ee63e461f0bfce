package tcpproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"sluice.dev/sluice/tests/faults/tcpproxy"
)

// echo is a server that answers with what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *tcpproxy.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a line and waits for it to come back.
func ask(conn net.Conn, wait time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := bufio.NewReader(conn).ReadString('\n')
	return err
}

func TestProxy(t *testing.T) {
	p, err := tcpproxy.Start(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn := dial(t, p)
	if err := ask(conn, time.Minute); err != nil {
		t.Fatal(err)
	}

	p.SetLatency(50 * time.Millisecond)
	began := time.Now()
	if err := ask(conn, time.Minute); err != nil || time.Since(began) < 100*time.Millisecond {
		t.Errorf("held up twice for 50 ms: %v after %v", err, time.Since(began))
	}

	p.Heal()
	p.SetBlackHole(true)
	if err := ask(conn, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("in a black hole: %v", err)
	}
	p.Heal()
	if err := ask(conn, time.Minute); err != nil {
		t.Errorf("behind a black hole: %v", err)
	}

	p.SetRefuse(true)
	if err := ask(conn, time.Minute); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	if err := ask(dial(t, p), time.Minute); err == nil {
		t.Error("a new connection passes")
	}
	p.Cut()
	if err := ask(conn, time.Minute); err == nil {
		t.Error("a connection that was cut passes")
	}
	p.Heal()
	if err := ask(dial(t, p), time.Minute); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// Close ends what waits in a black hole.
func TestClose(t *testing.T) {
	p, err := tcpproxy.Start(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, p)
	p.SetBlackHole(true)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := ask(conn, time.Minute); err == nil {
		t.Error("a closed proxy answers")
	}
}

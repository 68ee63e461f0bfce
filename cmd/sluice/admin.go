package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// adminHeaderTimeout is how long a client of the admin address may take to ask.
const adminHeaderTimeout = 10 * time.Second

// admin is the second listener: profiles and metrics for whoever runs the server. It is
// on a loopback address only, for profiles show what the server has in memory, and never
// on the port of the registry.
type admin struct {
	listener net.Listener
	http     *http.Server
}

// openAdmin listens on the configured address; nil where none is.
func openAdmin(cfg AdminConfig) (*admin, error) {
	if cfg.Listen == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, listenError(cfg.Listen, "admin.listen", err)
	}
	// Until serve: a server without a handler would take the default mux.
	return &admin{listener: listener, http: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: adminHeaderTimeout}}, nil
}

// url is where it answers.
func (a *admin) url() string { return "http://" + a.listener.Addr().String() }

// adminHandler has a mux of its own: importing net/http/pprof also adds to the default one,
// which nothing here serves.
func adminHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page whose name was rebound to 127.0.0.1 still says its own.
		if host := hostOf(r.Host); !isLoopback(host) {
			http.Error(w, fmt.Sprintf("host %q: only loopback hosts are answered", host), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// hostOf is a Host header without its port.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return header
}

// serve answers until close.
func (a *admin) serve(metrics http.Handler) error {
	a.http.Handler = adminHandler(metrics)
	if err := a.http.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// close ends the listener and the profiles that are being made.
func (a *admin) close() error {
	err := a.http.Close()
	// Before serve the server does not know the listener yet.
	if again := a.listener.Close(); again != nil && !errors.Is(again, net.ErrClosed) {
		err = errors.Join(err, again)
	}
	return err
}

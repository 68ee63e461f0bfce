package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/runs"
)

// Limits of a connection.
const (
	readHeaderTimeout  = 10 * time.Second
	idleTimeout        = 2 * time.Minute
	maxHeaderBytes     = 64 << 10
	defaultBodyTimeout = 60 * time.Second
)

// Config makes a Server.
type Config struct {
	Registry *tiers.Registry
	// Engine decides promotions; it may be nil in tests of the registry alone.
	Engine *promote.Engine
	// Ledger is the log of all that happened; nil for none.
	Ledger *ledger.Ledger
	// Source names the registry in the events that are streamed: its URL. Empty: the ledger's
	// origin.
	Source string
	// Webhooks delivers events; nil for none.
	Webhooks *events.Sender
	// Runs carries out collections and checks; nil: there are none.
	Runs *runs.Runner
	// Auth says who may do what. Nil: everyone is anonymous and may do anything, and only
	// requests that name a loopback address are answered.
	Auth *Auth
	// Hosts names the tier that a host name stands for, release.example.com: release;
	// repositories have no tier in their names there. Without a port.
	Hosts map[string]string
	// Web answers GET and HEAD of everything that is not an API; nil for none.
	Web http.Handler
	Log *slog.Logger
	// Ready says whether the stores answer; nil: always.
	Ready func(ctx context.Context) error
	// BodyTimeout is how long a client may send nothing of a body it owes, or take
	// nothing of a blob it asked for, until it is cut off. 0: 60 s.
	BodyTimeout time.Duration
}

// Server answers the requests of one replica. It keeps no state that another replica
// would need.
type Server struct {
	config   Config
	registry *tiers.Registry
	gate     gate     // nil without an engine
	ledger   auditLog // nil for none
	streams  *streams
	webhooks webhooks // nil for none
	runs     runner   // nil without one
	metrics  *metrics
	log      *slog.Logger
	echo     *echo.Echo
	// backtests are those that run.
	backtests *semaphore.Weighted
}

// New checks the configuration and lays the routes.
func New(config Config) (*Server, error) {
	if config.Registry == nil || config.Log == nil {
		return nil, errors.New("server: a registry and a logger are needed")
	}
	hosts := make(map[string]string, len(config.Hosts))
	for host, tier := range config.Hosts {
		if _, err := config.Registry.Tier(tier); err != nil {
			return nil, fmt.Errorf("server: host %s: %w", host, err)
		}
		if config.Auth == nil {
			return nil, fmt.Errorf("server: host %s: without authentication only loopback hosts are answered", host)
		}
		hosts[strings.ToLower(host)] = tier
	}
	config.Hosts = hosts
	if config.BodyTimeout <= 0 {
		config.BodyTimeout = defaultBodyTimeout
	}
	m, err := newMetrics()
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, registry: config.Registry, metrics: m, log: config.Log, echo: echo.New(), backtests: semaphore.NewWeighted(maxBacktests), streams: newStreams()}
	if config.Engine != nil {
		s.gate = config.Engine
	}
	if config.Ledger != nil {
		s.ledger = config.Ledger
		if err := m.watchLedger(config.Ledger); err != nil {
			return nil, err
		}
		if config.Source == "" {
			s.config.Source = config.Ledger.Origin()
		}
	}
	if config.Webhooks != nil {
		s.webhooks = config.Webhooks
		if err := m.registry.Register(newWebhookMetrics(config.Webhooks)); err != nil {
			return nil, fmt.Errorf("server: metrics: %w", err)
		}
	}
	if config.Runs != nil {
		s.runs = config.Runs
		if err := m.registry.Register(newRunMetrics(config.Runs.Status)); err != nil {
			return nil, fmt.Errorf("server: metrics: %w", err)
		}
	}
	if err := m.watchQuarantines(config.Registry); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// Metrics answers with what /metrics does, for those who scrape another port.
func (s *Server) Metrics() http.Handler { return s.metrics.handler() }

// Handler answers all requests.
func (s *Server) Handler() http.Handler { return s.echo }

// HTTPServer wraps the handler with the limits that keep slow and silent clients from
// holding connections. It has no write timeout: blobs take as long as they take, and
// each has a deadline that rolls on while the client reads. Streams of events, which have no
// end, end when it is shut down.
func (s *Server) HTTPServer(addr string) *http.Server {
	server := &http.Server{
		Addr: addr, Handler: s.echo,
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // of clients that break off
	}
	server.RegisterOnShutdown(s.streams.end)
	return server
}

func (s *Server) routes() {
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(discard{})
	e.HTTPErrorHandler = s.renderError
	e.Use(s.metrics.measure, s.observe, s.recoverPanic, s.checkOrigin, s.authenticate, s.guardBody)
	e.Any("/v2", s.v2)
	e.Any("/v2/*", s.v2)
	s.api(e)
	if s.config.Web != nil {
		web := func(c echo.Context) error {
			if err := s.allowKnown(c); err != nil {
				return err
			}
			s.config.Web.ServeHTTP(c.Response(), c.Request())
			return nil
		}
		e.GET("/*", web)
		e.HEAD("/*", web)
	}
}

// discard takes what echo would log by itself: the access log and the error table say it.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// hostTier is the tier that the request's host stands for by itself.
func (s *Server) hostTier(r *http.Request) (tier string, ok bool) {
	tier, ok = s.config.Hosts[hostname(r.Host)]
	return tier, ok
}

// hostname strips the port and the brackets of an IPv6 address.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

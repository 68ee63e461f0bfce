package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers/ledger"
)

// ledgerRoot is where the log is served, as C2SP tlog-tiles says. Checkpoints and hashes are
// for everyone; entries name private repositories and are for auditors.
const ledgerRoot = "/ledger"

// Caches may keep a tile for ever; one of entries only where whoever asked keeps it for
// himself.
const (
	keepTile    = "public, max-age=31536000, immutable"
	keepEntries = "private, max-age=31536000, immutable"
)

// auditLog is the log of the registry. Its methods have the meaning that ledger.Ledger gives
// them.
type auditLog interface {
	State(ctx context.Context) (ledger.State, error)
	Tile(ctx context.Context, t ledger.Tile) ([]byte, error)
	LongEvent(ctx context.Context, hex string) ([]byte, error)
	Entries(ctx context.Context, from int64, n int) ([]ledger.Entry, error)
	Index(ctx context.Context, promotions ...string) (map[string]int64, error)
	Prove(ctx context.Context, index int64) (ledger.Entry, string, error)
	Next(ctx context.Context, from int64) ([]ledger.Entry, error)
	Key() string
}

var _ auditLog = (*ledger.Ledger)(nil)

func (s *Server) ledgerRoutes(l *layout) {
	l.lay(ledgerRoot+"/checkpoint", route{get: s.getCheckpoint})
	l.lay(ledgerRoot+"/tile/*", route{get: s.getTile})
	l.lay(ledgerRoot+"/events/:hex", route{get: s.getLongEvent})
	l.lay(apiRoot+"/ledger", route{get: s.getLedger})
	l.lay(apiRoot+"/ledger/entries", route{get: s.getEntries})
	l.lay(apiRoot+"/events", route{get: s.getEvents})
	l.echo.RouteNotFound(ledgerRoot, l.none)
	l.echo.RouteNotFound(ledgerRoot+"/*", l.none)
}

// allowAudit says whether the caller may read the entries of the log, which tell of every
// repository of every tier.
func (s *Server) allowAudit(c echo.Context) error {
	for _, t := range s.registry.Tiers() {
		if err := s.allow(c, ActionAdmin, t.Name, ""); err != nil {
			return err
		}
	}
	return nil
}

// getCheckpoint serves the newest checkpoint.
func (s *Server) getCheckpoint(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	state, err := s.ledger.State(c.Request().Context())
	if err != nil {
		return err
	}
	if len(state.Signed) == 0 {
		return noneInLedger("checkpoint yet")
	}
	c.Response().Header().Set("Cache-Control", "no-cache")
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", state.Signed)
}

// getTile serves a tile of hashes, or of entries to auditors.
func (s *Server) getTile(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	path := "tile/" + c.Param("*")
	t, ok := ledger.ParseTile(path)
	keep := keepTile
	if ok && t.Entries() {
		if err := s.allowAudit(c); err != nil {
			return err
		}
		keep = keepEntries
	}
	if !ok {
		return noneInLedger(path)
	}
	data, err := s.ledger.Tile(c.Request().Context(), t)
	return sendStored(c, path, keep, data, err)
}

// getLongEvent serves an event that is too long for an entry to auditors.
func (s *Server) getLongEvent(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	if err := s.allowAudit(c); err != nil {
		return err
	}
	data, err := s.ledger.LongEvent(c.Request().Context(), c.Param("hex"))
	return sendStored(c, "event "+c.Param("hex"), keepEntries, data, err)
}

func sendStored(c echo.Context, what, keep string, data []byte, err error) error {
	if errors.Is(err, oci.ErrObjectUnknown) {
		return noneInLedger(what)
	}
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", keep)
	return c.Blob(http.StatusOK, octetStream, data)
}

func noneInLedger(what string) error {
	return fmt.Errorf("%w: the ledger has no %s", errRouteUnknown, what)
}

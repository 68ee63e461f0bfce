package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers/runs"
)

// revoker takes evidence back. Its methods have the meaning that promote.Engine gives them.
type revoker interface {
	Revoke(ctx context.Context, actor string, request promote.RevocationRequest) (r promote.Revocation, created bool, err error)
	Revoking(ctx context.Context, actor string, request promote.RevocationRequest, last string) (page []promote.Redecided, at promote.Redecision, next string, err error)
	LiftRevocation(ctx context.Context, actor, id, reason string) (promote.Revocation, error)
	Revocation(ctx context.Context, id string) (promote.Revocation, error)
	Revocations(ctx context.Context, last string, n int) (page []promote.Revocation, next string, err error)
	Redecided(ctx context.Context, id, last string, n int) (page []promote.Redecided, next string, err error)
}

// RevocationView is a revocation that was added or lifted, with the run that decides anew what
// rested on it.
type RevocationView struct {
	promote.Revocation
	// Run carries that out; nil where it will begin by itself in a moment.
	Run *runs.Run `json:"run,omitempty"`
}

// RevokingView is a page of what a revocation would change.
type RevokingView struct {
	Artifacts []promote.Redecided `json:"artifacts"`
	// Redecision counts the artifacts of this page.
	Redecision promote.Redecision `json:"redecision"`
	Next       string             `json:"next,omitempty"`
}

// postRevocation takes evidence back, for who may set the policies of all tiers: what counts
// no more is theirs to say. From the answer on it counts nowhere; what rested on it is decided
// anew in the background. With dryRun nothing is written, and a page of what would change is
// the answer.
func (s *Server) postRevocation(c echo.Context) error {
	if err := s.allowAll(c, ActionPolicy); err != nil {
		return err
	}
	values, err := readValues(c, "dryRun", "last")
	if err = errors.Join(err, checkCursor(values["last"])); err != nil {
		return err
	}
	dry := false
	if text := values["dryRun"]; text != "" {
		if dry, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%w: dryRun is %q, want true or false", oci.ErrRequestInvalid, text)
		}
	}
	var request promote.RevocationRequest
	if err := readJSON(c, &request); err != nil {
		return err
	}
	if dry {
		return s.dryRevocation(c, request, values["last"])
	}
	if values["last"] != "" {
		return fmt.Errorf("%w: last goes with dryRun=true", oci.ErrRequestInvalid)
	}
	r, created, err := s.gate.Revoke(c.Request().Context(), principal(c), request)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.Response().Header().Set("Location", apiRoot+"/revocations/"+r.ID)
	return respond(c, status, s.redeciding(c, r))
}

func (s *Server) dryRevocation(c echo.Context, request promote.RevocationRequest, last string) error {
	if !s.backtests.TryAcquire(1) {
		return fmt.Errorf("%w: %d backtests run already", oci.ErrTooManyRequests, maxBacktests)
	}
	defer s.backtests.Release(1)
	page, at, next, err := s.gate.Revoking(c.Request().Context(), principal(c), request, last)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, RevokingView{page, at, next})
}

// redeciding begins the run that decides anew, or finds the one that goes on: that does this
// too. Where it cannot be begun the schedule does it.
func (s *Server) redeciding(c echo.Context, r promote.Revocation) RevocationView {
	v := RevocationView{Revocation: r}
	if s.runs == nil || r.Redecision.State != promote.RedecisionPending {
		return v
	}
	ctx := c.Request().Context()
	run, err := s.runs.Start(ctx, runs.Redecision, principal(c), RedecisionOptions{})
	var busy *runs.BusyError
	switch {
	case err == nil:
		v.Run = &run
	case errors.As(err, &busy):
		v.Run = &busy.Run
	default:
		s.log.WarnContext(ctx, "what was revoked is not decided anew yet", "id", requestID(c), "revocation", r.ID, "error", err)
	}
	return v
}

// getRevocations lists what is, or was, revoked.
func (s *Server) getRevocations(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowAll(c, ActionPolicy); err != nil {
		return err
	}
	page, next, err := s.gate.Revocations(c.Request().Context(), q.last, q.n)
	if err != nil {
		return err
	}
	return respondPage(c, "revocations", page, next)
}

func (s *Server) getRevocation(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	if err := s.allowAll(c, ActionPolicy); err != nil {
		return err
	}
	r, err := s.gate.Revocation(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, r)
}

// getRevoked lists the artifacts of which a revocation, or its end, changed what the policy of
// their tier says.
func (s *Server) getRevoked(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowAll(c, ActionPolicy); err != nil {
		return err
	}
	page, next, err := s.gate.Redecided(c.Request().Context(), c.Param("id"), q.last, q.n)
	if err != nil {
		return err
	}
	return respondPage(c, "artifacts", page, next)
}

// deleteRevocation lifts a revocation: what it is about counts again.
func (s *Server) deleteRevocation(c echo.Context) error {
	if err := s.allowAll(c, ActionPolicy); err != nil {
		return err
	}
	values, err := readValues(c, "reason")
	if err != nil {
		return err
	}
	r, err := s.gate.LiftRevocation(c.Request().Context(), principal(c), c.Param("id"), values["reason"])
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, s.redeciding(c, r))
}

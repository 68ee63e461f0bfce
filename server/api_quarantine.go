package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
)

// QuarantineRequest asks that a digest be put in quarantine.
type QuarantineRequest struct {
	Digest    digest.Digest `json:"digest"`
	Reason    string        `json:"reason"`
	ExpiresAt time.Time     `json:"expiresAt,omitzero"` // left out: never
}

// QuarantineView is a quarantine with what it touches.
type QuarantineView struct {
	tiers.Quarantine
	Affected []tiers.Affected `json:"affected"`
	// PulledBy says who has it, as far as pulls are recorded: the first.
	PulledBy  []pulls.Pull `json:"pulledBy"`
	Truncated bool         `json:"truncated,omitempty"` // there may be more of either, or it could not be found out
}

// maxPulledBy is how many pulls are told of with a quarantine; GET /pulls has all.
const maxPulledBy = 100

// allowQuarantine says whether the caller may do action to all there is: a digest is in
// quarantine in every repository of every tier.
func (s *Server) allowQuarantine(c echo.Context, action Action) error {
	if err := noQuery(c); err != nil {
		return err
	}
	return s.allowAll(c, action)
}

// postQuarantine puts a digest in quarantine. From the answer on nobody pulls it.
func (s *Server) postQuarantine(c echo.Context) error {
	if err := s.allowQuarantine(c, ActionQuarantine); err != nil {
		return err
	}
	var request QuarantineRequest
	if err := readJSON(c, &request); err != nil {
		return err
	}
	q, created, err := s.registry.Quarantine(c.Request().Context(), principal(c), request.Digest, request.Reason, request.ExpiresAt)
	if err != nil {
		if q.ID != "" { // that stands in the way
			err = withDetail(err, q)
		}
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.Response().Header().Set("Location", apiRoot+"/quarantines/"+q.Digest.String())
	return respond(c, status, s.viewQuarantine(c, q))
}

// viewQuarantine adds what a quarantine touches, and who has it. Where that cannot be found out it is in force
// all the same, and the answer says that something is missing.
func (s *Server) viewQuarantine(c echo.Context, q tiers.Quarantine) QuarantineView {
	ctx := c.Request().Context()
	v := QuarantineView{Quarantine: q, Affected: []tiers.Affected{}, PulledBy: []pulls.Pull{}}
	if err := s.touched(ctx, &v); err != nil {
		s.log.WarnContext(ctx, "what a quarantine touches could not be found out", "id", requestID(c), "digest", q.Digest, "error", err)
		v.Truncated = true
	}
	return v
}

// touched finds what holds a digest that is in quarantine, and who pulled that.
func (s *Server) touched(ctx context.Context, v *QuarantineView) error {
	affected, truncated, err := s.registry.Affected(ctx, v.Digest)
	if err != nil {
		return err
	}
	v.Affected, v.Truncated = affected, truncated
	if s.pulls == nil {
		return nil
	}
	q := pulls.Query{Digests: []digest.Digest{v.Digest}, N: maxPulledBy}
	for _, a := range affected {
		q.Digests = append(q.Digests, a.Digest)
	}
	slices.Sort(q.Digests)
	q.Digests = slices.Compact(q.Digests)
	page, next, err := s.pulls.Find(ctx, q)
	v.PulledBy, v.Truncated = append(v.PulledBy, page...), truncated || next != ""
	return err
}

// getQuarantines lists what is in quarantine, by digest.
func (s *Server) getQuarantines(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowAll(c, ActionQuarantine); err != nil {
		return err
	}
	page, next, err := s.registry.Quarantines(c.Request().Context(), q.last, q.n)
	if err != nil {
		return err
	}
	return respondPage(c, "quarantines", page, next)
}

// quarantinedDigest is the digest in the path.
func quarantinedDigest(c echo.Context) (digest.Digest, error) {
	d, err := oci.ParseDigest(c.Param("digest"))
	if err != nil {
		return "", fmt.Errorf("%w: %q is no digest", oci.ErrQuarantineUnknown, c.Param("digest"))
	}
	return d, nil
}

func (s *Server) getQuarantine(c echo.Context) error {
	if err := s.allowQuarantine(c, ActionQuarantine); err != nil {
		return err
	}
	d, err := quarantinedDigest(c)
	if err != nil {
		return err
	}
	q, err := s.registry.QuarantineOf(c.Request().Context(), d)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, s.viewQuarantine(c, q))
}

// deleteQuarantine lifts a quarantine, and answers with what it was.
func (s *Server) deleteQuarantine(c echo.Context) error {
	if err := s.allowAll(c, ActionQuarantine); err != nil {
		return err
	}
	values, err := readValues(c, "reason")
	if err != nil {
		return err
	}
	d, err := quarantinedDigest(c)
	if err != nil {
		return err
	}
	q, err := s.registry.LiftQuarantine(c.Request().Context(), principal(c), d, values["reason"])
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, q)
}

package server

import (
	"errors"
	"net/http"

	"sluice.dev/sluice/tiers"
)

// HeaderQuarantine says with the value Inspect that a client wants what is in quarantine, to
// look at it and not to run it.
const (
	HeaderQuarantine = "Sluice-Quarantine"
	Inspect          = "inspect"
)

// pull reads what a client pulls. What is in quarantine it gets only where it inspects it, and
// is warned then; anybody else is told why not, also in a header: an answer to HEAD has no
// body.
func pull[T any](s *Server, r v2Request, read func(repo *tiers.Repository) (T, error)) (T, error) {
	found, err := read(r.repo.ForPull())
	var q *tiers.QuarantinedError
	if !errors.As(err, &q) {
		return found, err
	}
	if !s.inspects(r) {
		if r.Request().Method == http.MethodHead {
			warn(r.Response().Header(), q.Quarantine.Holds(q.Digest))
		}
		return found, withDetail(err, q.Quarantine)
	}
	if found, err = read(r.repo); err == nil {
		warn(r.Response().Header(), q.Quarantine.Holds(q.Digest))
	}
	return found, err
}

// inspects says whether the caller may look at what is in quarantine, and means to. A
// scanner, who may by a grant of its own, sends no headers; whoever may push or approve here,
// and so attest to what they find, has to say that it is meant.
func (s *Server) inspects(r v2Request) bool {
	tier, name := r.repo.Tier.Name, r.repo.Name
	if s.config.Auth != nil && s.allow(r, ActionInspect, tier, name) == nil {
		return true
	}
	return r.Request().Header.Get(HeaderQuarantine) == Inspect &&
		(s.allow(r, ActionPush, tier, name) == nil || s.allow(r, ActionApprove, tier, name) == nil)
}

package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// Action is what a grant allows.
type Action string

// The actions. None includes another.
const (
	ActionPull    Action = "pull"
	ActionPush    Action = "push"
	ActionDelete  Action = "delete"
	ActionPromote Action = "promote"
	ActionApprove Action = "approve"
	ActionPolicy  Action = "policy"
	ActionAdmin   Action = "admin"
	// ActionQuarantine puts digests in quarantine and lifts that, ActionInspect pulls what is.
	ActionQuarantine Action = "quarantine"
	ActionInspect    Action = "inspect"
)

// Actions are all there are.
func Actions() []Action {
	return []Action{ActionPull, ActionPush, ActionDelete, ActionPromote, ActionApprove, ActionPolicy, ActionAdmin, ActionQuarantine, ActionInspect}
}

// Anonymous is who a request without credentials comes from.
const Anonymous = "anonymous"

type principalKey struct{}

// Principal is who the request of ctx comes from, for handlers outside this package.
func Principal(ctx context.Context) string {
	if user, ok := ctx.Value(principalKey{}).(string); ok {
		return user
	}
	return Anonymous
}

// principal is who the request comes from.
func principal(c echo.Context) string { return Principal(c.Request().Context()) }

// allow says whether the caller may do action to a repository of a tier; an empty
// repository stands for all of the tier. It looks at nothing but the grants. The error
// wraps oci.ErrUnauthorized for a caller who has not said who he is, else oci.ErrDenied.
func (s *Server) allow(c echo.Context, action Action, tier, repository string) error {
	return s.Allow(c.Request().Context(), action, tier, repository)
}

// Allow is what handlers outside this package ask; ctx is that of the request.
func (s *Server) Allow(ctx context.Context, action Action, tier, repository string) error {
	user := Principal(ctx)
	if s.config.Auth == nil || s.config.Auth.Allowed(user, action, tier, repository) {
		return nil
	}
	object := tier
	if repository != "" {
		object += "/" + repository
	}
	if user == Anonymous {
		return fmt.Errorf("%w: to %s %s", oci.ErrUnauthorized, action, object)
	}
	return fmt.Errorf("%w: %s may not %s %s", oci.ErrDenied, user, action, object)
}

// authenticate finds out who the request comes from. Wrong credentials are refused even
// where none are needed: a client that meant to be somebody must not go on as nobody.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.config.Auth == nil {
			return next(c)
		}
		r := c.Request()
		user, err := s.config.Auth.user(r)
		if err != nil {
			return err
		}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), principalKey{}, user)))
		return next(c)
	}
}

// checkOrigin keeps web pages of others from using a browser to reach the registry.
// Without authentication the address is the only protection, so a request must name a
// loopback host: a page whose own name was rebound to 127.0.0.1 still says that name.
func (s *Server) checkOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c echo.Context) error {
		r := c.Request()
		if s.config.Auth != nil {
			if err := protection.Check(r); err != nil {
				return fmt.Errorf("%w: %w", oci.ErrDenied, err)
			}
			return next(c)
		}
		if !isLoopback(r.Host) {
			return fmt.Errorf("%w: host %q: without authentication only loopback hosts are answered", oci.ErrDenied, r.Host)
		}
		for _, origin := range r.Header.Values("Origin") {
			if u, err := url.Parse(origin); err != nil || !isLoopback(u.Host) {
				return fmt.Errorf("%w: origin %q: without authentication only loopback origins are answered", oci.ErrDenied, origin)
			}
		}
		return next(c)
	}
}

// isLoopback says whether a host, with or without port, is this machine's own.
func isLoopback(host string) bool {
	name := hostname(host)
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// readyTimeout bounds how long the stores may take to answer: a load balancer asks again
// soon, and a store that is slower is of no use.
const readyTimeout = 3 * time.Second

// healthz says that the process answers. It asks nobody: a restart mends no store.
func (s *Server) healthz(c echo.Context) error {
	return respond(c, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says whether the stores answer.
func (s *Server) readyz(c echo.Context) error {
	if s.config.Ready != nil {
		ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
		defer cancel()
		if err := s.config.Ready(ctx); err != nil {
			// %v: whatever it is, a store is what is not there.
			return fmt.Errorf("%w: not ready: %v", oci.ErrUnavailable, err)
		}
	}
	return respond(c, http.StatusOK, map[string]string{"status": "ok"})
}

package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server/events"
)

// webhooks are what events are delivered to. Its methods have the meaning that events.Sender
// gives them.
type webhooks interface {
	Status(ctx context.Context) ([]events.Status, error)
	Replay(ctx context.Context, actor, name string, from int64) (events.Status, error)
	Attempts() []events.Attempts
}

var _ webhooks = (*events.Sender)(nil)

func (s *Server) webhookRoutes(l *layout) {
	l.lay(apiRoot+"/webhooks", route{get: s.getWebhooks})
	l.lay(apiRoot+"/webhooks/:name/replay", route{post: s.postReplay})
}

// getWebhooks says how the webhooks go, to auditors: they tell of every repository.
func (s *Server) getWebhooks(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowAudit(c); err != nil {
		return err
	}
	all, err := s.webhooks.Status(c.Request().Context())
	if err != nil {
		return err
	}
	page, next, err := paginate(all, q, func(w events.Status) string { return w.Name })
	if err != nil {
		return err
	}
	return respondPage(c, "webhooks", page, next)
}

// replayRequest says from which entry on a webhook delivers.
type replayRequest struct {
	From *int64 `json:"from"`
}

// postReplay has a webhook deliver from an entry on.
func (s *Server) postReplay(c echo.Context) error {
	if err := s.allowAudit(c); err != nil {
		return err
	}
	if err := noQuery(c); err != nil {
		return err
	}
	var request replayRequest
	if err := readJSON(c, &request); err != nil {
		return err
	}
	if request.From == nil {
		return fmt.Errorf("%w: from is missing: want the index of the first entry to deliver", oci.ErrRequestInvalid)
	}
	status, err := s.webhooks.Replay(c.Request().Context(), principal(c), c.Param("name"), *request.From)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, status)
}

package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/server/openapi"
)

// The description of the API is for everyone: it is the same for every registry.

func (s *Server) openapiYAML(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/yaml", openapi.YAML())
}

func (s *Server) openapiJSON(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	document, err := openapi.JSON()
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/json", document)
}

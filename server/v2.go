package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// v2Request is a request to a repository, with what its path says.
type v2Request struct {
	echo.Context
	route v2Route
	repo  *tiers.Repository
}

// path makes a path below the repository, under the name that the client used. Locations
// have no host: behind a proxy the server cannot know which one the client sees.
func (r v2Request) path(parts ...string) string {
	return "/v2/" + r.route.name + "/" + strings.Join(parts, "/")
}

// v2 answers everything under /v2. The path is taken apart here, not by the router: names
// have slashes in them, and nothing may be cleaned or decoded behind our back.
func (s *Server) v2(c echo.Context) error {
	c.Response().Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	route, err := parseV2(c.Request().URL.Path)
	if err != nil {
		return err
	}
	method := c.Request().Method
	if allowed := route.kind.methods(); !slices.Contains(allowed, method) {
		c.Response().Header().Set("Allow", strings.Join(allowed, ", "))
		return fmt.Errorf("%w: %s here, only %s", oci.ErrUnsupported, method, strings.Join(allowed, ", "))
	}
	switch route.kind {
	case kindProbe:
		return s.probe(c)
	case kindCatalog:
		return s.listCatalog(c)
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	repo, err := s.open(c, route.name)
	if err != nil {
		return err
	}
	if err := s.admit(c, route, repo); err != nil {
		return err
	}
	return s.dispatch(v2Request{Context: c, route: route, repo: repo})
}

func (s *Server) dispatch(r v2Request) error {
	switch method := r.Request().Method; r.route.kind {
	case kindTags:
		return s.listTags(r)
	case kindReferrers:
		return s.listReferrers(r)
	case kindManifest:
		switch method {
		case http.MethodPut:
			return s.putManifest(r)
		case http.MethodDelete:
			return s.deleteManifest(r)
		}
		return s.getManifest(r)
	case kindBlob:
		if method == http.MethodDelete {
			return s.deleteBlob(r)
		}
		return s.getBlob(r)
	case kindUploads:
		return s.startUpload(r)
	case kindUpload:
		switch method {
		case http.MethodPatch:
			return s.appendUpload(r)
		case http.MethodPut:
			return s.finishUpload(r)
		case http.MethodDelete:
			return s.cancelUpload(r)
		}
		return s.uploadStatus(r)
	}
	return errRouteUnknown
}

// probe answers "GET /v2/", by which clients find out whether they must log in. Whoever
// sends no credentials is asked for them even where anonymous may pull: docker, podman
// and skopeo decide by this one answer whether they ever send any.
func (s *Server) probe(c echo.Context) error {
	if s.config.Auth != nil && principal(c) == Anonymous {
		return fmt.Errorf("%w: log in", oci.ErrUnauthorized)
	}
	return c.JSON(http.StatusOK, struct{}{})
}

// splitName takes the name in a request apart. On a tier's own host the name is all
// repository.
func (s *Server) splitName(c echo.Context, name string) (tier, repository string, err error) {
	tier, onHost := s.hostTier(c.Request())
	if onHost {
		return tier, name, oci.CheckName(tier + "/" + name)
	}
	if err := oci.CheckName(name); err != nil {
		return "", "", err
	}
	tier, repository = oci.SplitTier(name)
	if _, err := s.registry.Tier(tier); err != nil {
		if first := s.registry.Tiers()[0]; oci.CheckName(first.Name+"/"+name) == nil {
			err = fmt.Errorf("%w; for %s that is HOST/%s/%s", err, name, first.Name, name)
		}
		return "", "", err
	}
	if repository == "" {
		return "", "", fmt.Errorf("%w: %s is a tier; a repository in it has a name of its own: %s/acme/app", oci.ErrNameUnknown, tier, tier)
	}
	return tier, repository, nil
}

func (s *Server) open(c echo.Context, name string) (*tiers.Repository, error) {
	tier, repository, err := s.splitName(c, name)
	if err != nil {
		return nil, err
	}
	return s.registry.Repository(tier, repository, principal(c))
}

// admit says whether the caller may do what the request asks, before anything of it is
// looked at. A tier that only promotion fills says so to everyone who may read there.
func (s *Server) admit(c echo.Context, route v2Route, repo *tiers.Repository) error {
	tier, name := repo.Tier.Name, repo.Name
	action := route.kind.action(c.Request().Method)
	if action == ActionPull {
		return s.allow(c, action, tier, name)
	}
	writable := repo.Writable(route.writeReference())
	if writable != nil && s.allow(c, ActionPull, tier, name) == nil {
		return writable
	}
	if err := s.allow(c, action, tier, name); err != nil {
		return err
	}
	if writable != nil {
		return writable
	}
	if action == ActionDelete {
		if err := repo.Deletable(route.writeReference()); err != nil {
			c.Response().Header().Set("Allow", "GET, HEAD")
			return err
		}
	}
	return nil
}

package server

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// Bounds of one catalog request: a caller who may see little of much gets short pages
// with a link rather than a scan of everything.
const (
	catalogDefault = 1000
	catalogScan    = 20_000 // names looked at
)

type catalogList struct {
	Repositories []string `json:"repositories"`
}

// listCatalog answers "GET /v2/_catalog": the repositories of all tiers that the caller
// may pull from, in byte order of the names that the client would use.
func (s *Server) listCatalog(c echo.Context) error {
	if err := s.allowKnown(c); err != nil {
		return err
	}
	n, last, err := pageParams(c, catalogDefault)
	if err != nil {
		return err
	}
	names, next, err := s.catalogPage(c, last, n)
	if err != nil {
		return err
	}
	if next != "" {
		linkNext(c, "/v2/_catalog", n, next)
	}
	return c.JSON(http.StatusOK, catalogList{Repositories: names})
}

// section is the part of the catalog that one tier fills.
type section struct{ tier, prefix string }

func (s *Server) sections(c echo.Context) []section {
	if tier, ok := s.hostTier(c.Request()); ok {
		return []section{{tier: tier}}
	}
	var all []section
	for _, t := range s.registry.Tiers() {
		all = append(all, section{tier: t.Name, prefix: t.Name + "/"})
	}
	slices.SortFunc(all, func(a, b section) int { return cmp.Compare(a.prefix, b.prefix) })
	return all
}

func (s *Server) catalogPage(c echo.Context, last string, n int) (names []string, next string, err error) {
	names = []string{}
	if n == 0 {
		return names, "", nil
	}
	scanned := 0
	for _, part := range s.sections(c) {
		after, within := strings.CutPrefix(last, part.prefix)
		if !within {
			if after = ""; last > part.prefix {
				continue // all of it stands before last
			}
		}
		for {
			page, more, err := s.registry.Repositories(c.Request().Context(), part.tier, after, n+1)
			if err != nil {
				return nil, "", err
			}
			for _, repository := range page {
				if s.allow(c, ActionPull, part.tier, repository) != nil {
					continue
				}
				if len(names) == n {
					return names, names[n-1], nil
				}
				names = append(names, part.prefix+repository)
			}
			if scanned += len(page); more == "" {
				break
			}
			if after = more; scanned >= catalogScan {
				return names, part.prefix + after, nil
			}
		}
	}
	return names, "", nil
}

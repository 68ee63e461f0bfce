package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers/pulls"
)

const (
	// maxHolders bounds how many manifests may hold a digest whose pulls are asked for.
	maxHolders = 5000
	maxClient  = 64 // bytes of the name of a client
)

// pullLog records who pulled what. Its methods have the meaning that pulls.Log gives them.
type pullLog interface {
	Record(p pulls.Pull)
	Find(ctx context.Context, q pulls.Query) (page []pulls.Pull, next string, err error)
	Stats() pulls.Stats
}

var _ pullLog = (*pulls.Log)(nil)

// recordPull records the pull of a manifest, if it was one: the manifest was sent, or a part
// of it. Whether the client took all of it nobody knows.
func (s *Server) recordPull(r v2Request, d digest.Digest) {
	status := r.Response().Status
	if s.pulls == nil || !r.Response().Committed || status != http.StatusOK && status != http.StatusPartialContent {
		return
	}
	p := pulls.Pull{Principal: principal(r), Tier: r.repo.Tier.Name, Repository: r.repo.Name, Digest: d, Client: product(r.Request().UserAgent())}
	if !oci.IsDigest(r.route.ref) {
		p.Tag = r.route.ref
	}
	s.pulls.Record(p)
}

// product is the first product that a User-Agent names, containerd/v2.1.4 say (RFC 9110,
// section 10.1.5); empty where it is not plain text.
func product(agent string) string {
	name, _, _ := strings.Cut(agent, " ")
	name = name[:min(len(name), maxClient)]
	if strings.ContainsFunc(name, func(c rune) bool { return c < '!' || c > '~' }) {
		return ""
	}
	return name
}

// getPulls says who pulled what, to auditors: it tells of every repository, and of who is
// there. Of a digest it says who pulled that, or anything that holds it now.
func (s *Server) getPulls(c echo.Context) error {
	q, err := readQuery(c, "digest", "tier", "repository", "principal", "since")
	if err != nil {
		return err
	}
	if err := s.allowAudit(c); err != nil {
		return err
	}
	find, err := s.pullQuery(c.Request().Context(), q)
	if err != nil {
		return err
	}
	page, next, err := s.pulls.Find(c.Request().Context(), find)
	if err != nil {
		return err
	}
	return respondPage(c, "pulls", page, next)
}

func (s *Server) pullQuery(ctx context.Context, q query) (find pulls.Query, err error) {
	find = pulls.Query{Tier: q.values["tier"], Repository: q.values["repository"], Principal: q.values["principal"], Last: q.last, N: q.n}
	if find.Tier != "" {
		if _, err := s.registry.Tier(find.Tier); err != nil {
			return find, err
		}
	}
	if find.Repository != "" {
		if err := oci.CheckName(find.Repository); err != nil {
			return find, err
		}
	}
	if raw, ok := q.values["since"]; ok {
		if find.Since, err = time.Parse(time.RFC3339, raw); err != nil {
			return find, fmt.Errorf("%w: since is %q: want a time of RFC 3339, 2026-11-25T10:00:00Z say", oci.ErrRequestInvalid, raw)
		}
	}
	if raw, ok := q.values["digest"]; ok {
		d, err := oci.ParseDigest(raw)
		if err != nil {
			return find, err
		}
		if find.Digests, err = s.registry.Holders(ctx, d, maxHolders); err != nil {
			return find, err
		}
	}
	return find, nil
}

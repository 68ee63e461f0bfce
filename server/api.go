package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// apiRoot is where the registry's own API begins.
const apiRoot = "/api/v1"

// promoter decides and carries out promotions, and knows those that there were. Its
// methods have the meaning that promote.Engine gives them.
type promoter interface {
	Promote(ctx context.Context, actor string, request promote.Request) (p promote.Promotion, created bool, err error)
	Approve(ctx context.Context, actor string, request promote.ApprovalRequest) (promote.ApprovalResult, error)
	Start(ctx context.Context, actor string, request promote.Request) (p promote.Promotion, created bool, err error)
	Cancel(ctx context.Context, actor, id string) error
	Evaluate(ctx context.Context, actor string, request promote.Request) (policy.Verdict, error)
	Promotion(ctx context.Context, id string) (promote.Promotion, error)
	Promotions(ctx context.Context, filter promote.Filter, last string, n int) (page []promote.Promotion, next string, err error)
}

// inspector says what is in a tier and what is attached to it.
type inspector interface {
	Artifacts(ctx context.Context, tier, repository, last string, n int) (page []promote.Artifact, next string, err error)
	Evidence(ctx context.Context, tier, repository string, d digest.Digest) ([]attest.Evidence, error)
}

// legislator holds the policies in force.
type legislator interface {
	Policies(ctx context.Context) ([]promote.PolicyInfo, error)
	Policy(ctx context.Context, name string) (promote.PolicyInfo, error)
	SetPolicy(ctx context.Context, actor, name string, document []byte, ifMatch digest.Digest) (promote.PolicyInfo, error)
}

// gate is what the API asks of promote.Engine.
type gate interface {
	promoter
	inspector
	legislator
	backtester
	revoker
	Keys() []promote.PublicKey
}

var _ gate = (*promote.Engine)(nil)

// api lays the routes of everything that is neither the distribution API nor a page.
// Without an engine there is nothing to promote, and only the server's own state is told.
func (s *Server) api(e *echo.Echo) {
	l := &layout{echo: e, allow: map[string]string{}}
	l.lay("/healthz", route{get: s.healthz})
	l.lay("/readyz", route{get: s.readyz})
	l.lay("/metrics", route{get: echo.WrapHandler(s.metrics.handler())})
	l.lay(apiRoot+"/openapi.yaml", route{get: s.openapiYAML})
	l.lay(apiRoot+"/openapi.json", route{get: s.openapiJSON})
	// Without these a page would answer for a call that does not exist.
	e.RouteNotFound("/api", l.none)
	e.RouteNotFound("/api/*", l.none)
	if s.ledger != nil {
		s.ledgerRoutes(l)
	}
	if s.webhooks != nil {
		s.webhookRoutes(l)
	}
	if s.pulls != nil {
		l.lay(apiRoot+"/pulls", route{get: s.getPulls})
	}
	if s.runs != nil {
		s.runRoutes(l)
	}
	l.lay(apiRoot+"/quarantines", route{get: s.getQuarantines, post: s.postQuarantine})
	l.lay(apiRoot+"/quarantines/:digest", route{get: s.getQuarantine, delete: s.deleteQuarantine})
	if s.gate == nil {
		return
	}
	l.lay(apiRoot+"/promotions", route{get: s.getPromotions, post: s.postPromotion})
	l.lay(apiRoot+"/promotions/:id", route{get: s.getPromotion, delete: s.deletePromotion})
	l.lay(apiRoot+"/approvals", route{post: s.postApproval})
	l.lay(apiRoot+"/evaluations", route{post: s.postEvaluation})
	l.lay(apiRoot+"/tiers", route{get: s.getTiers})
	l.lay(apiRoot+"/tiers/:tier/repositories", route{get: s.getRepositories})
	l.lay(apiRoot+"/tiers/:tier/artifacts", route{get: s.getArtifacts})
	l.lay(apiRoot+"/tiers/:tier/evidence", route{get: s.getEvidence})
	l.lay(apiRoot+"/policies", route{get: s.getPolicies})
	l.lay(apiRoot+"/policies/:name", route{get: s.getPolicy, put: s.putPolicy})
	l.lay(apiRoot+"/revocations", route{get: s.getRevocations, post: s.postRevocation})
	l.lay(apiRoot+"/revocations/:id", route{get: s.getRevocation, delete: s.deleteRevocation})
	l.lay(apiRoot+"/revocations/:id/artifacts", route{get: s.getRevoked})
	l.lay(apiRoot+"/backtests", route{post: s.postBacktest})
	l.lay(apiRoot+"/keys", route{get: s.getKeys})
}

// route is what a path answers to; GET implies HEAD.
type route struct{ get, post, put, delete echo.HandlerFunc }

// layout remembers the methods of the paths that were laid.
type layout struct {
	echo  *echo.Echo
	allow map[string]string // by path
}

func (l *layout) lay(path string, r route) {
	var methods []string
	add := func(method string, h echo.HandlerFunc) {
		if h != nil {
			l.echo.Add(method, path, h)
			methods = append(methods, method)
		}
	}
	add(http.MethodGet, r.get)
	add(http.MethodHead, r.get)
	add(http.MethodPost, r.post)
	add(http.MethodPut, r.put)
	add(http.MethodDelete, r.delete)
	l.allow[path] = strings.Join(methods, ", ")
}

// none answers what no route took. With a route for all that is unknown, echo asks that
// one too about methods that a path does not have, so the difference is found here.
func (l *layout) none(c echo.Context) error {
	asked := strings.Split(c.Request().URL.EscapedPath(), "/")
	for path, allow := range l.allow {
		if slices.EqualFunc(strings.Split(path, "/"), asked, func(want, got string) bool {
			return want == got || strings.HasPrefix(want, ":") && got != ""
		}) {
			c.Response().Header().Set("Allow", allow)
			return fmt.Errorf("%w: the methods here are %s", oci.ErrUnsupported, allow)
		}
	}
	return errRouteUnknown
}

// respond sends v. Nothing here may be kept by a cache: it is what is true now, for the
// one who asked.
func respond(c echo.Context, status int, v any) error {
	header := c.Response().Header()
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", "Authorization")
	return c.JSON(status, v)
}

// respondPage sends a page of a list under its plural.
func respondPage[T any](c echo.Context, plural string, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	body := map[string]any{plural: items}
	if next != "" {
		body["next"] = next
	}
	return respond(c, http.StatusOK, body)
}

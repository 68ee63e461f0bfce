package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// maxReference bounds what a client may name a manifest by, in bytes; digests are shorter.
const maxReference = 255

// readRequest reads what a promotion or an evaluation is asked about. It looks at the
// form alone, so that nothing is said about what exists before access is checked.
func (s *Server) readRequest(c echo.Context) (promote.Request, error) {
	var request promote.Request
	if err := noQuery(c); err != nil {
		return request, err
	}
	if err := readJSON(c, &request); err != nil {
		return request, err
	}
	return request, checkRequest(request)
}

// checkRequest looks at the names in a request.
func checkRequest(request promote.Request) error {
	for _, field := range []struct{ name, value string }{
		{"repository", request.Repository}, {"reference", request.Reference}, {"from", request.From}, {"to", request.To},
	} {
		if field.value == "" {
			return fmt.Errorf("%w: %s is missing", oci.ErrRequestInvalid, field.name)
		}
	}
	for _, tier := range []string{request.From, request.To} {
		if err := checkTierName(tier); err != nil {
			return err
		}
		if err := oci.CheckName(tier + "/" + request.Repository); err != nil {
			return err
		}
	}
	if len(request.Reference) > maxReference {
		return fmt.Errorf("%w: reference has %d bytes, at most %d are allowed", oci.ErrRequestInvalid, len(request.Reference), maxReference)
	}
	return checkTags(request.Tags)
}

func checkTags(tags []string) error {
	for i, tag := range tags {
		if err := oci.CheckTag(tag); err != nil {
			return fmt.Errorf("%w: tags: %v", oci.ErrRequestInvalid, err) // %v: it is no fault of a manifest
		}
		if slices.Contains(tags[:i], tag) {
			return fmt.Errorf("%w: tag %s stands twice", oci.ErrRequestInvalid, tag)
		}
	}
	return nil
}

func checkTierName(tier string) error {
	if err := oci.CheckName(tier); err != nil || strings.Contains(tier, "/") {
		return fmt.Errorf("%w: %q is no name of a tier", oci.ErrRequestInvalid, tier)
	}
	return nil
}

// postPromotion promotes, and answers when it is done or, where the client prefers, when
// it is begun.
func (s *Server) postPromotion(c echo.Context) error {
	request, err := s.readRequest(c)
	if err != nil {
		return err
	}
	if err := s.allow(c, ActionPull, request.From, request.Repository); err != nil {
		return err
	}
	if err := s.allow(c, ActionPromote, request.To, request.Repository); err != nil {
		return err
	}
	ctx, carryOut, async := c.Request().Context(), s.gate.Promote, prefersAsync(c.Request())
	if async {
		carryOut = s.gate.Start
	}
	p, created, err := carryOut(ctx, principal(c), request)
	if p.ID != "" {
		c.Response().Header().Set("Location", apiRoot+"/promotions/"+p.ID)
	}
	if err != nil {
		if p.ID == "" {
			return err
		}
		return withDetail(err, view(p))
	}
	switch {
	case !p.State.Terminal():
		// Asked for, or another replica is at it: asking again finds how it ended.
		if async {
			c.Response().Header().Set("Preference-Applied", "respond-async")
		}
		return respond(c, http.StatusAccepted, view(p))
	case p.State == promote.Failed:
		return withDetail(violation(p), view(p))
	case p.State == promote.Errored:
		return withDetail(fmt.Errorf("%w: %s", oci.ErrUndecidable, p.Error), view(p))
	case created:
		return respond(c, http.StatusCreated, view(p))
	}
	return respond(c, http.StatusOK, view(p))
}

// violation says in a line which rules refused and why.
func violation(p promote.Promotion) error {
	name := p.Repository + ":" + p.Reference
	if oci.IsDigest(p.Reference) {
		name = p.Repository + "@" + p.Reference
	}
	if p.Verdict == nil {
		return fmt.Errorf("%w: %s may not rise from %s to %s", oci.ErrPolicyViolation, name, p.From, p.To)
	}
	var reasons []string
	for _, rule := range p.Verdict.Rules {
		if rule.Mode == policy.Enforce && !rule.Allowed {
			reasons = append(reasons, rule.Name+": "+rule.Message)
		}
	}
	return fmt.Errorf("%w: policy %s does not let %s rise from %s to %s: %s",
		oci.ErrPolicyViolation, p.Verdict.Policy.Name, name, p.From, p.To, strings.Join(reasons, "; "))
}

// postEvaluation says what the policy would say.
func (s *Server) postEvaluation(c echo.Context) error {
	request, err := s.readRequest(c)
	if err != nil {
		return err
	}
	if err := s.allow(c, ActionPull, request.From, request.Repository); err != nil {
		return err
	}
	verdict, err := s.gate.Evaluate(c.Request().Context(), principal(c), request)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, viewVerdict(verdict))
}

// shown says whether the caller may see a promotion: it tells of evidence, which lies
// where the artifact came from, and where it went once it did.
func (s *Server) shown(c echo.Context, p promote.Promotion) bool {
	return s.allow(c, ActionPull, p.From, p.Repository) == nil ||
		p.State == promote.Succeeded && s.allow(c, ActionPull, p.To, p.Repository) == nil
}

// readPromotion finds the promotion of the path, for a caller who may see it. What he may
// not see is unknown to him: the id says nothing.
func (s *Server) readPromotion(c echo.Context) (promote.Promotion, error) {
	if err := noQuery(c); err != nil {
		return promote.Promotion{}, err
	}
	if err := s.allowKnown(c); err != nil {
		return promote.Promotion{}, err
	}
	id := c.Param("id")
	unknown := fmt.Errorf("%w: %q", oci.ErrPromotionUnknown, id)
	if !plainID.MatchString(id) {
		return promote.Promotion{}, unknown
	}
	p, err := s.gate.Promotion(c.Request().Context(), id)
	if err == nil && !s.shown(c, p) {
		err = unknown
	}
	return p, err
}

func (s *Server) getPromotion(c echo.Context) error {
	p, err := s.readPromotion(c)
	if err != nil {
		return err
	}
	shown, err := s.proved(c, view(p))
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, shown)
}

// deletePromotion cancels one that waits. It takes the rights that asking for it takes.
func (s *Server) deletePromotion(c echo.Context) error {
	p, err := s.readPromotion(c)
	if err != nil {
		return err
	}
	if err := s.allow(c, ActionPull, p.From, p.Repository); err != nil {
		return err
	}
	if err := s.allow(c, ActionPromote, p.To, p.Repository); err != nil {
		return err
	}
	if err := s.gate.Cancel(c.Request().Context(), principal(c), p.ID); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// getPromotions lists the newest first.
func (s *Server) getPromotions(c echo.Context) error {
	q, err := readQuery(c, "repository", "to", "state")
	if err != nil {
		return err
	}
	filter := promote.Filter{Repository: q.values["repository"], To: q.values["to"], State: promote.State(q.values["state"])}
	if filter.Repository != "" {
		if err := oci.CheckName(filter.Repository); err != nil {
			return err
		}
	}
	switch filter.State {
	case "", promote.Pending, promote.Running, promote.Succeeded, promote.Failed, promote.Errored:
	default:
		return fmt.Errorf("%w: state is %q: want Pending, Running, Succeeded, Failed or Errored", oci.ErrRequestInvalid, filter.State)
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	if filter.To != "" {
		if _, err := s.registry.Tier(filter.To); err != nil {
			return err
		}
	}
	read := func(ctx context.Context, last string, n int) ([]promote.Promotion, string, error) {
		return s.gate.Promotions(ctx, filter, last, n)
	}
	page, next, err := gather(c.Request().Context(), q, read, func(p promote.Promotion) bool { return s.shown(c, p) })
	if err != nil {
		return err
	}
	if err := s.recorded(c.Request().Context(), page); err != nil {
		return err
	}
	for i := range page {
		page[i] = view(page[i])
	}
	return respondPage(c, "promotions", page, next)
}

// view makes empty lists of absent ones: clients need not tell the two apart.
func view(p promote.Promotion) promote.Promotion {
	if p.Tags == nil {
		p.Tags = []string{}
	}
	if p.Verdict != nil {
		v := viewVerdict(*p.Verdict)
		p.Verdict = &v
	}
	return p
}

func viewVerdict(v policy.Verdict) policy.Verdict {
	rules := make([]policy.Rule, len(v.Rules))
	copy(rules, v.Rules)
	for i := range rules {
		if rules[i].Evidence == nil {
			rules[i].Evidence = []policy.Used{}
		}
	}
	v.Rules = rules
	return v
}

package server

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// errPrecondition is an If-Match that names another policy than the one in force.
var errPrecondition = errors.New("precondition failed")

// policyTypes are what a policy document may be announced as. JSON is YAML.
func policyTypes() []string {
	return []string{"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/json"}
}

// policyView is a policy in a list, without its document.
type policyView struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	From   string        `json:"from"`
	To     string        `json:"to"`
	SetBy  string        `json:"setBy"`
	SetAt  time.Time     `json:"setAt"`
}

// getPolicies lists the policies in force, by name.
func (s *Server) getPolicies(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	policies, err := s.gate.Policies(c.Request().Context())
	if err != nil {
		return err
	}
	page, next, err := paginate(policies, q, func(p promote.PolicyInfo) string { return p.Name })
	if err != nil {
		return err
	}
	views := make([]policyView, len(page))
	for i, p := range page {
		views[i] = policyView{Name: p.Name, Digest: p.Digest, From: p.From, To: p.To, SetBy: p.SetBy, SetAt: p.SetAt}
	}
	return respondPage(c, "policies", views, next)
}

// getPolicy answers with one policy, or with its document alone where that is preferred.
func (s *Server) getPolicy(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	p, err := s.gate.Policy(c.Request().Context(), c.Param("name"))
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("ETag", strconv.Quote(p.Digest.String()))
	header.Add("Vary", "Accept")
	if prefersYAML(c.Request()) {
		header.Set("Cache-Control", "no-store")
		return c.Blob(http.StatusOK, "application/yaml", []byte(p.Document))
	}
	return respond(c, http.StatusOK, p)
}

// prefersYAML says whether the first type that the client names and that there is, is YAML.
func prefersYAML(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		mediaType, params, err := mime.ParseMediaType(part)
		if err != nil || strings.Trim(params["q"], "0.") == "" && params["q"] != "" {
			continue
		}
		switch mediaType {
		case "application/json", "application/*", "*/*":
			return false
		case "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml":
			return true
		}
	}
	return false
}

// putPolicy puts a policy in force. The document is loaded here as well as by the engine:
// which tier it guards says who may set it.
func (s *Server) putPolicy(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	if c.Request().Header.Get("Content-Type") != "" {
		if err := checkMediaType(c, policyTypes()...); err != nil {
			return err
		}
	}
	document, err := readBody(c, maxPolicyBody)
	if err != nil {
		return err
	}
	name := c.Param("name")
	loaded, err := policy.Load(document, nil)
	if err != nil {
		return err
	}
	if err := s.allow(c, ActionPolicy, loaded.To(), ""); err != nil {
		return err
	}
	if loaded.Name() != name {
		return fmt.Errorf("%w: metadata.name is %q, the path says %q", oci.ErrPolicyInvalid, loaded.Name(), name)
	}
	old, err := s.gate.Policy(c.Request().Context(), name)
	known := err == nil
	if err != nil && !errors.Is(err, oci.ErrPolicyUnknown) {
		return err
	}
	if known && old.To != loaded.To() {
		if err := s.allow(c, ActionPolicy, old.To, ""); err != nil {
			return err
		}
	}
	replaced, err := ifMatch(c.Request(), old, known, loaded.Digest())
	if err != nil {
		return err
	}
	p, err := s.gate.SetPolicy(c.Request().Context(), principal(c), name, document, replaced)
	if err != nil {
		return err
	}
	c.Response().Header().Set("ETag", strconv.Quote(p.Digest.String()))
	if !known {
		return respond(c, http.StatusCreated, p)
	}
	return respond(c, http.StatusOK, p)
}

// ifMatch reads the digest that the policy in force has to have (RFC 9110, 13.1.1), or
// that there must be none (13.1.2); empty where anything may be replaced. Weak tags match
// nothing. Where what is put is in force already, the request was applied before and its
// answer was lost: it succeeds again, whatever it was to replace.
func ifMatch(r *http.Request, old promote.PolicyInfo, known bool, put digest.Digest) (digest.Digest, error) {
	header := strings.TrimSpace(strings.Join(r.Header.Values("If-Match"), ","))
	none := strings.TrimSpace(strings.Join(r.Header.Values("If-None-Match"), ","))
	switch {
	case none != "" && (none != "*" || header != ""):
		return "", fmt.Errorf("%w: If-None-Match can only be *, and without If-Match", oci.ErrRequestInvalid)
	case none != "" && known:
		return "", fmt.Errorf("%w: there is such a policy, %q", errPrecondition, old.Digest)
	case none != "":
		return promote.NoPolicy, nil
	case header == "":
		return "", nil
	case !known:
		return "", fmt.Errorf("%w: there is no such policy", errPrecondition)
	case header == "*" || old.Digest == put:
		return old.Digest, nil
	}
	for tag := range strings.SplitSeq(header, ",") {
		if strings.TrimSpace(tag) == strconv.Quote(old.Digest.String()) {
			return old.Digest, nil
		}
	}
	return "", fmt.Errorf("%w: in force is %q", errPrecondition, old.Digest)
}

// getKeys lists the public keys that sign for the registry. They are for everyone: who
// pulls from elsewhere has to check signatures too.
func (s *Server) getKeys(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	page, next, err := paginate(s.gate.Keys(), q, func(k promote.PublicKey) string { return k.Use + "." + k.KeyID })
	if err != nil {
		return err
	}
	return respondPage(c, "keys", page, next)
}

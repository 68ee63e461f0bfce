package server

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

// approvalBody is a signed approval as it comes from whoever has no OCI client: a web page,
// curl. What has one may as well push it as a referrer, where clients may push.
type approvalBody struct {
	Repository string         `json:"repository"`
	Reference  string         `json:"reference"`
	From       string         `json:"from"`
	To         string         `json:"to"`
	Bundle     jsontext.Value `json:"bundle"` // kept byte for byte: it is what is signed
}

// postApproval attaches an approval, if it could count.
func (s *Server) postApproval(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	var body approvalBody
	if err := readJSON(c, &body); err != nil {
		return err
	}
	request := promote.Request{Repository: body.Repository, Reference: body.Reference, From: body.From, To: body.To}
	if err := checkRequest(request); err != nil {
		return err
	}
	if body.Bundle.Kind() != '{' {
		return fmt.Errorf("%w: bundle is missing: want a Sigstore bundle, a JSON object", oci.ErrRequestInvalid)
	}
	if err := s.allow(c, ActionPull, body.From, body.Repository); err != nil {
		return err
	}
	if err := s.allow(c, ActionApprove, body.To, body.Repository); err != nil {
		return err
	}
	result, err := s.gate.Approve(c.Request().Context(), principal(c), promote.ApprovalRequest{
		Repository: body.Repository, Reference: body.Reference, From: body.From, To: body.To, Bundle: body.Bundle})
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, result)
}

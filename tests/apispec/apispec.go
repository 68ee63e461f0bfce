package apispec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"

	"sluice.dev/sluice/server/openapi"
)

// Validator knows the document. It may be used by many tests at once.
type Validator struct {
	doc    *openapi3.T
	errors *openapi3.Schema // of every error
}

// New loads the document that the server serves, and checks the document itself, its
// examples too.
func New(tb testing.TB) *Validator {
	tb.Helper()
	v, err := load(openapi.YAML())
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func load(document []byte) (*Validator, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("apispec: %w", err)
	}
	if err := doc.Validate(loader.Context, openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("apispec: %w", err)
	}
	if doc.Components == nil || doc.Components.Schemas["Errors"] == nil {
		return nil, errors.New("apispec: the document has no schema Errors")
	}
	return &Validator{doc: doc, errors: doc.Components.Schemas["Errors"].Value}, nil
}

// Wrap returns a transport that sends requests by rt, http.DefaultTransport where nil,
// and reports to tb every answer that is not described. What does not belong to the API
// passes.
func (v *Validator) Wrap(tb testing.TB, rt http.RoundTripper) http.RoundTripper {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return &transport{validator: v, tb: tb, next: rt}
}

type transport struct {
	validator *Validator
	tb        testing.TB
	next      http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil || !covered(request.URL.Path) {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err := t.validator.Check(request, response, body); err != nil {
		t.tb.Errorf("%s %s: %d is not as described: %v\n%s", request.Method, request.URL, response.StatusCode, err, body)
	}
	return response, nil
}

// covered says whether the document is about a path.
func covered(path string) bool {
	return path == "/api" || strings.HasPrefix(path, "/api/") || slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, path)
}

// Check says what in an answer is not as the document has it.
func (v *Validator) Check(request *http.Request, response *http.Response, body []byte) error {
	if request.Method == http.MethodHead && len(body) != 0 {
		return errors.New("an answer to HEAD has a body")
	}
	described, item := v.find(request.URL.EscapedPath())
	if !described {
		return v.checkError(request, response, body, http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden)
	}
	operation := item.GetOperation(request.Method)
	if request.Method == http.MethodHead {
		operation = item.Get
	}
	if operation == nil {
		return v.checkMethod(request, response, body, item)
	}
	ref := operation.Responses.Status(response.StatusCode)
	if ref == nil {
		return errors.New("the status is not described")
	}
	return checkResponse(ref.Value, request, response, body)
}

// CheckSchema says what in a document is not as the schema of that name has it: for what comes
// in parts of an answer.
func (v *Validator) CheckSchema(name string, document []byte) error {
	schema := v.doc.Components.Schemas[name]
	if schema == nil {
		return fmt.Errorf("there is no schema %s", name)
	}
	return checkJSON(schema.Value, document)
}

// find finds the path that a request is about; segments in braces match anything.
func (v *Validator) find(path string) (bool, *openapi3.PathItem) {
	segments := strings.Split(path, "/")
	for _, template := range v.doc.Paths.InMatchingOrder() {
		want := strings.Split(template, "/")
		if slices.EqualFunc(want, segments, func(w, s string) bool { return w == s || strings.HasPrefix(w, "{") && s != "" }) {
			return true, v.doc.Paths.Value(template)
		}
	}
	return false, nil
}

// checkMethod checks the answer to a method that a path does not have.
func (v *Validator) checkMethod(request *http.Request, response *http.Response, body []byte, item *openapi3.PathItem) error {
	if response.StatusCode == http.StatusMethodNotAllowed || request.Method == http.MethodOptions {
		allow := strings.Split(strings.ReplaceAll(response.Header.Get("Allow"), " ", ""), ",")
		for method := range item.Operations() {
			if !slices.Contains(allow, method) {
				return fmt.Errorf("the header Allow is %q, but there is %s", allow, method)
			}
		}
	}
	if request.Method == http.MethodOptions && response.StatusCode == http.StatusNoContent && len(body) == 0 {
		return nil
	}
	return v.checkError(request, response, body, http.StatusMethodNotAllowed, http.StatusUnauthorized, http.StatusForbidden)
}

// checkError checks an answer that has to be an error with one of the statuses.
func (v *Validator) checkError(request *http.Request, response *http.Response, body []byte, statuses ...int) error {
	if !slices.Contains(statuses, response.StatusCode) {
		return fmt.Errorf("the path or method is not described, so the status has to be one of %v", statuses)
	}
	if request.Method == http.MethodHead {
		return nil
	}
	if mediaType(response) != "application/json" {
		return fmt.Errorf("Content-Type is %q, want application/json", response.Header.Get("Content-Type"))
	}
	return checkJSON(v.errors, body)
}

// checkResponse checks headers, media type and body.
func checkResponse(want *openapi3.Response, request *http.Request, response *http.Response, body []byte) error {
	for name, header := range want.Headers {
		got := response.Header.Values(name)
		switch {
		case len(got) == 0 && header.Value.Required:
			return fmt.Errorf("header %s is missing", name)
		case len(got) > 1:
			return fmt.Errorf("header %s stands %d times", name, len(got))
		case len(got) == 1:
			if err := visit(header.Value.Schema.Value, got[0]); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		}
	}
	if request.Method == http.MethodHead {
		return nil
	}
	if len(want.Content) == 0 {
		if len(body) != 0 {
			return errors.New("no body is described")
		}
		return nil
	}
	content, ok := want.Content[mediaType(response)]
	if !ok {
		return fmt.Errorf("Content-Type %q is not described", response.Header.Get("Content-Type"))
	}
	if mediaType(response) == "application/json" {
		return checkJSON(content.Schema.Value, body)
	}
	return visit(content.Schema.Value, string(body))
}

func mediaType(response *http.Response) string {
	mediaType, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

// checkJSON parses strictly (no repeated members, nothing behind the document) and
// compares with the schema.
func checkJSON(schema *openapi3.Schema, body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	return visit(schema, value)
}

// visit compares a value with a schema of JSON Schema 2020-12, which OpenAPI 3.1 uses.
func visit(schema *openapi3.Schema, value any) error {
	return schema.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse(), openapi3.MultiErrors())
}

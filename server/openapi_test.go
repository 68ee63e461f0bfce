package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server/openapi"
)

// TestRoutesAreDescribed compares the routes with the document, both ways.
func TestRoutesAreDescribed(t *testing.T) {
	a := newAPI(t, withLedger(t))
	var document struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas struct{ Code struct{ Enum []string } }
		}
	}
	got := a.want(a.call("GET", "/api/v1/openapi.json", ""), 200, "")
	if err := json.Unmarshal(got.body, &document); err != nil {
		t.Fatal(err)
	}
	if yaml := a.want(a.call("GET", "/api/v1/openapi.yaml", ""), 200, ""); string(yaml.body) != string(openapi.YAML()) {
		t.Error("another document is served as YAML")
	}
	var described, routes []string
	for path, item := range document.Paths {
		for method := range item {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, route := range a.server.echo.Routes() {
		path := route.Path
		// The log is as its own specification says.
		if strings.HasPrefix(path, "/v2") || strings.HasPrefix(path, ledgerRoot) || route.Method == http.MethodHead || !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, route.Method) {
			continue
		}
		for _, name := range []string{"id", "tier", "name", "digest"} {
			path = strings.ReplaceAll(path, "/:"+name, "/{"+name+"}")
		}
		routes = append(routes, route.Method+" "+path)
	}
	slices.Sort(described)
	slices.Sort(routes)
	if !slices.Equal(described, routes) {
		t.Errorf("described are\n%s\nthere are\n%s", strings.Join(described, "\n"), strings.Join(routes, "\n"))
	}

	// What is about blobs alone is not for the API.
	blobs := []error{oci.ErrRangeInvalid, oci.ErrBlobUnknown, oci.ErrUploadUnknown, errRangeRefused}
	for _, row := range table() {
		if row.code != "" && !slices.Contains(blobs, row.err) && !slices.Contains(document.Components.Schemas.Code.Enum, row.code) {
			t.Errorf("code %s is not described", row.code)
		}
	}
}

// TestUnknownCalls sends what is no call of the API.
func TestUnknownCalls(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })
	for name, web := range map[string]http.Handler{"with pages": pages, "without": nil} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, func(c *Config) { c.Web = web })
			for _, call := range []string{
				"GET /api", "GET /api/", "GET /api/v1", "GET /api/v1/", "GET /api/v2/tiers", "GET /api/v1/nothing", "POST /api/v1/nothing",
				"DELETE /api/v1/nothing", "GET /api/v1/tiers/dev", "GET /api/v1/tiers/dev/nothing", "GET /api/v1/promotions/", "GET /api/v1/tiers/",
				"GET /api/v1//tiers", "HEAD /api/v1/nothing", "PROPFIND /api/v1/nothing",
			} {
				method, path, _ := strings.Cut(call, " ")
				code := "NOT_FOUND"
				if method == "HEAD" {
					code = ""
				}
				if got := a.call(method, path, ""); got.status != 404 || got.code() != code {
					t.Errorf("%s: got %d %s", call, got.status, got.body)
				}
			}
			for call, allow := range map[string]string{
				"DELETE /api/v1/promotions": "GET HEAD POST", "PUT /api/v1/tiers": "GET HEAD", "GET /api/v1/evaluations": "POST",
				"POST /api/v1/policies/p": "GET HEAD PUT", "PATCH /api/v1/promotions/x": "GET HEAD DELETE", "POST /healthz": "GET HEAD", "POST /metrics": "GET HEAD",
			} {
				method, path, _ := strings.Cut(call, " ")
				got := a.want(a.call(method, path, ""), 405, "UNSUPPORTED")
				for method := range strings.SplitSeq(allow, " ") {
					if !strings.Contains(got.header.Get("Allow"), method) {
						t.Errorf("%s: Allow is %q, want %s", call, got.header.Get("Allow"), allow)
					}
				}
			}
			if web != nil {
				a.want(a.call("GET", "/artifacts", ""), 200, "")
			}
		})
	}
}

package apispec

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	digest    = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	promotion = `{"id":"01KAS0Z6Y3T6Q2W8V4N5M7R9XB","state":"Failed","repository":"acme/app","reference":"1.0","digest":"` + digest + `",
		"from":"dev","to":"stable","tags":["1.0"],"requestedBy":"ci","createdAt":"2026-11-23T10:15:00Z","finishedAt":"2026-11-23T10:15:00.5Z",
		"verdict":{"allowed":false,"policy":{"name":"p","digest":"` + digest + `"},"evaluatedAt":"2026-11-23T10:15:00Z","rules":[]},
		"moved":{"manifests":0,"blobs":0,"bytes":0,"copied":0,"linked":0,"streamed":0}}`
	denied = `{"errors":[{"code":"DENIED","message":"denied"}]}`
	absent = `{"errors":[{"code":"NOT_FOUND","message":"no such endpoint"}]}`
)

func replaced(s string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			return "the case changes nothing"
		}
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// TestCheck sends answers through the transport as a server would give them.
func TestCheck(t *testing.T) {
	const jsonType = "application/json"
	violation := `{"errors":[{"code":"POLICY_VIOLATION","message":"no","detail":` + promotion + `}]}`
	location := http.Header{"Location": {"/api/v1/promotions/01KAS0Z6Y3T6Q2W8V4N5M7R9XB"}}
	tests := []struct {
		name         string
		method, path string
		status       int
		mediaType    string
		header       http.Header
		body         string
		ok           bool
	}{
		{"a tier", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[{"name":"dev","push":true,"movingTags":[]}]}`, true},
		{"with a charset", "GET", "/api/v1/tiers", 200, "application/json; charset=UTF-8", nil, `{"tiers":[]}`, true},
		{"an unknown member", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[{"name":"dev","push":true,"movingTags":[],"x":1}]}`, false},
		{"a missing member", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[{"name":"dev","push":true}]}`, false},
		{"a member of another type", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[{"name":"dev","push":"yes","movingTags":[]}]}`, false},
		{"null for a list", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":null}`, false},
		{"another status", "GET", "/api/v1/tiers", 202, jsonType, nil, `{"tiers":[]}`, false},
		{"another media type", "GET", "/api/v1/tiers", 200, "text/html", nil, `{"tiers":[]}`, false},
		{"a member twice", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[],"tiers":[]}`, false},
		{"something behind", "GET", "/api/v1/tiers", 200, jsonType, nil, `{"tiers":[]} {}`, false},
		{"HEAD", "HEAD", "/api/v1/tiers", 200, jsonType, nil, ``, true},
		{"an error", "GET", "/api/v1/tiers", 403, jsonType, nil, denied, true},
		{"an error with an unknown code", "GET", "/api/v1/tiers", 403, jsonType, nil, replaced(denied, "DENIED", "NOPE"), false},
		{"an empty envelope", "GET", "/api/v1/tiers", 403, jsonType, nil, `{"errors":[]}`, false},

		{"a promotion", "GET", "/api/v1/promotions/1", 200, jsonType, nil, promotion, true},
		{"state and verdict disagree", "GET", "/api/v1/promotions/1", 200, jsonType, nil, replaced(promotion, `"Failed"`, `"Succeeded"`), false},
		{"done and not finished", "GET", "/api/v1/promotions/1", 200, jsonType, nil, replaced(promotion, `"finishedAt":"2026-11-23T10:15:00.5Z",`, ""), false},
		{"a time in another zone", "GET", "/api/v1/promotions/1", 200, jsonType, nil, replaced(promotion, "00.5Z", "00+01:00"), false},
		{"no time", "GET", "/api/v1/promotions/1", 200, jsonType, nil, replaced(promotion, "2026-11-23T10:15:00.5Z", "Z"), false},
		{"a digest in upper case", "GET", "/api/v1/promotions/1", 200, jsonType, nil, replaced(promotion, "sha256:5891b", "sha256:5891B"), false},
		{"a refusal", "POST", "/api/v1/promotions", 422, jsonType, location, violation, true},
		{"a refusal without its promotion", "POST", "/api/v1/promotions", 422, jsonType, location, replaced(denied, "DENIED", "POLICY_VIOLATION"), false},
		{"a refusal that succeeded", "POST", "/api/v1/promotions", 422, jsonType, location, replaced(violation, `"Failed"`, `"Running"`, `"finishedAt":"2026-11-23T10:15:00.5Z",`, ""), false},
		{"no Location", "POST", "/api/v1/promotions", 422, jsonType, nil, violation, false},
		{"a wrong Location", "POST", "/api/v1/promotions", 422, jsonType, http.Header{"Location": {"promotions/1"}}, violation, false},

		{"an unknown path", "GET", "/api/v1/nothing", 404, jsonType, nil, absent, true},
		{"an unknown path answered", "GET", "/api/v1/nothing", 200, jsonType, nil, `{}`, false},
		{"an unknown path without envelope", "GET", "/api/v1/nothing", 404, jsonType, nil, `{"message":"Not Found"}`, false},
		{"an unknown method", "DELETE", "/api/v1/promotions", 405, jsonType, http.Header{"Allow": {"OPTIONS, GET, HEAD, POST"}}, replaced(denied, "DENIED", "UNSUPPORTED"), true},
		{"without Allow", "DELETE", "/api/v1/promotions", 405, jsonType, nil, replaced(denied, "DENIED", "UNSUPPORTED"), false},
		{"not of the API", "GET", "/v2/", 418, "text/plain", nil, "tea", true},
	}
	v := New(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := roundTripper(func(*http.Request) (*http.Response, error) {
				header := tt.header.Clone()
				if header == nil {
					header = http.Header{}
				}
				header.Set("Content-Type", tt.mediaType)
				return &http.Response{StatusCode: tt.status, Header: header, Body: io.NopCloser(strings.NewReader(tt.body))}, nil
			})
			r := &recorder{TB: t}
			request, err := http.NewRequestWithContext(t.Context(), tt.method, "http://127.0.0.1"+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := v.Wrap(r, answer).RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != tt.body {
				t.Errorf("the caller gets %q, %v", body, err)
			}
			if ok := r.failure == ""; ok != tt.ok {
				t.Errorf("accepted: %v, want %v: %s", ok, tt.ok, r.failure)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	for _, document := range []string{
		"", "{}", "openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths: {}\n",
		"openapi: 3.1.0\ninfo: {title: x, version: '1'}\npaths: {/a: {get: {responses: {'200': {$ref: '#/components/responses/None'}}}}}\n",
	} {
		if _, err := load([]byte(document)); err == nil {
			t.Errorf("%q was loaded", document)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// recorder is a test that remembers that it failed.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }

// TestCheckSchema holds parts of an answer against a schema.
func TestCheckSchema(t *testing.T) {
	const event = `{"specversion":"1.0","id":"7","source":"https://registry.example.com","type":"dev.sluice.tag.set","subject":"dev/acme/app:1.0","time":"2026-11-23T10:15:00Z",
		"datacontenttype":"application/json","data":{"id":"01KAS0Z6Y3T6Q2W8V4N5M7R9XB","type":"tag.set","time":"2026-11-23T10:15:00Z","actor":"ci"}}`
	v := New(t)
	for name, tc := range map[string]struct {
		schema, document string
		wrong            bool
	}{
		"a CloudEvent":        {"CloudEvent", event, false},
		"one of no version":   {"CloudEvent", replaced(event, `"specversion":"1.0",`, ""), true},
		"one without data":    {"CloudEvent", replaced(event, `"data"`, `"datum"`), true},
		"a schema of no name": {"Nothing", event, true},
	} {
		if err := v.CheckSchema(tc.schema, []byte(tc.document)); (err != nil) != tc.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

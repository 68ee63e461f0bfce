package server

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	var down error
	a := newAPI(t, func(c *Config) { c.Ready = func(context.Context) error { return down } })
	a.want(a.call("GET", "/healthz", ""), 200, "")
	a.want(a.call("GET", "/readyz", ""), 200, "")
	a.want(a.call("HEAD", "/readyz", ""), 200, "")
	down = errors.New("etcd at 10.0.0.1: connection refused")
	a.want(a.call("GET", "/healthz", ""), 200, "")
	got := a.want(a.call("GET", "/readyz", ""), 503, "UNAVAILABLE")
	if strings.Contains(string(got.body), "10.0.0.1") || got.header.Get("Retry-After") == "" {
		t.Errorf("%v %s", got.header, got.body)
	}
	// A name that was rebound to loopback by a web page gets nothing, this neither.
	a.want(a.call("GET", "/healthz", "", "Host", "evil.example.com"), 403, "DENIED")
	a.want(a.post("/api/v1/promotions", "{}", "Origin", "https://evil.example.com"), 403, "DENIED")
}

func TestMetrics(t *testing.T) {
	a := newAPI(t, nil)
	a.call("GET", "/api/v1/promotions/secret-name", "")
	a.call("GET", "/api/v1/tiers/secret-name/repositories", "")
	a.call("GET", "/secret-name", "")
	a.call("SECRET-METHOD", "/api/v1/tiers", "")
	a.do("GET", "/v2/dev/secret-name/tags/list", nil)
	a.call("GET", "/healthz", "", "Host", "evil.example.com")
	got := string(a.want(a.call("GET", "/metrics", ""), 200, "").body)
	for _, line := range []string{
		`sluice_http_requests_total{method="GET",route="/api/v1/promotions/:id",status="404"} 1`,
		`sluice_http_requests_total{method="GET",route="/healthz",status="403"} 1`,
		`sluice_http_requests_total{method="other",route="/api/*",status="405"} 1`,
		`sluice_http_request_duration_seconds_count{method="GET",route="/v2/*"} 1`,
		"sluice_http_requests_in_flight 1\n", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("there is no %s", line)
		}
	}
	if strings.Contains(strings.ToLower(got), "secret") {
		t.Errorf("what clients send is in the metrics:\n%s", got)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// docker is a client of host with the credentials of docker's configuration.
func docker(t *testing.T, host string) *client {
	t.Helper()
	store, err := dockerCredentials()
	if err != nil {
		t.Fatal(err)
	}
	return dial(host, true, false, store)
}

// answering is a client of a server that answers with handler.
func answering(t *testing.T, handler http.HandlerFunc) *client {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return docker(t, strings.TrimPrefix(server.URL, "http://"))
}

func TestAPIErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"envelope":     {403, `{"errors":[{"code":"DENIED","message":"ci may not promote stable"}]}`, "ci may not promote stable (DENIED, status 403)"},
		"unauthorized": {401, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, "docker login 127.0.0.1"},
		"escapes":      {400, `{"errors":[{"code":"X","message":"a\u001b[2Jb"}]}`, "a�[2Jb"},
		"no envelope":  {502, `<html>`, "Bad Gateway (UNKNOWN, status 502)"},
		"not JSON":     {200, `<html>`, "not sluice's JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			var into map[string]any
			if err := c.get(t.Context(), "/api/v1/tiers", nil, &into); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
		})
	}
}

func TestListPages(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("last") {
		case "":
			fmt.Fprint(w, `{"tiers":[{"name":"dev"}],"next":"dev"}`)
		case "dev":
			fmt.Fprint(w, `{"tiers":[{"name":"stable"}]}`)
		}
	})
	all, err := list[tierInfo](t.Context(), c, "/api/v1/tiers", "tiers", nil)
	if err != nil || len(all) != 2 || all[1].Name != "stable" {
		t.Errorf("the list is %v, %v", all, err)
	}
	stuck := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tiers":[],"next":"dev"}`) })
	if _, err := list[tierInfo](t.Context(), stuck, "/api/v1/tiers", "tiers", nil); err == nil || !strings.Contains(err.Error(), "does not get past") {
		t.Errorf("a listing without an end gives %v", err)
	}
}

func TestPromoteWaits(t *testing.T) {
	var asked atomic.Int32
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		p := promote.Promotion{ID: "01", State: promote.Running}
		switch {
		case r.Method == http.MethodPost:
			if r.Header.Get("Prefer") != "respond-async" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("the headers are %v", r.Header)
			}
			w.WriteHeader(http.StatusAccepted)
		case r.URL.Path != "/api/v1/promotions/01":
			t.Errorf("it asks for %s", r.URL)
		case asked.Add(1) == 2:
			p.State = promote.Succeeded
		}
		writeJSON(t, w, p)
	})
	shown := 0
	p, err := c.promote(t.Context(), promote.Request{Repository: "acme/app"}, func(promote.Promotion) { shown++ })
	if err != nil || p.State != promote.Succeeded || shown != 2 {
		t.Errorf("the promotion is %v, %v; shown %d times", p.State, err, shown)
	}
}

func writeJSON(t *testing.T, w http.ResponseWriter, v any) {
	t.Helper()
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Error(err)
	}
}

// A server may refuse at once.
func TestPromoteRefusedAtOnce(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		writeJSON(t, w, map[string]any{"errors": []any{map[string]any{
			"code": "POLICY_VIOLATION", "message": "no", "detail": promote.Promotion{ID: "01", State: promote.Failed, Verdict: &policy.Verdict{}},
		}}})
	})
	p, err := c.promote(t.Context(), promote.Request{}, func(promote.Promotion) {})
	if err != nil || p.State != promote.Failed {
		t.Errorf("the promotion is %v, %v", p.State, err)
	}
}

// What the server answers decides the exit code.
func TestPromoteExitCodes(t *testing.T) {
	for state, want := range map[promote.State]int{promote.Succeeded: exitDone, promote.Failed: exitRefused, promote.Errored: exitFailed} {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(t, w, promote.Promotion{ID: "01", State: state, Error: "why"})
		})
		if code, stdout, stderr := sluice(t, "promote", c.host+"/dev/acme/app:1", "--to", "stable", "-o", "json"); code != want || !strings.Contains(stdout, `"id": "01"`) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", state, code, want, stdout, stderr)
		}
	}
	for allowed, want := range map[bool]int{true: exitDone, false: exitRefused} {
		c := answering(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/evaluations" {
				t.Errorf("a dry run asks for %s", r.URL)
			}
			writeJSON(t, w, policy.Verdict{Allowed: allowed})
		})
		if code, _, stderr := sluice(t, "promote", c.host+"/dev/acme/app:1", "--to", "stable", "--dry-run"); code != want {
			t.Errorf("dry run, allowed %v: exit code %d, want %d\n%s", allowed, code, want, stderr)
		}
	}
}

// Credentials are docker's, and they go to the host they are for.
func TestCredentials(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "ci" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="sluice"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{}`)
	})
	if err := c.get(t.Context(), "/api/v1/tiers", nil, &map[string]any{}); err == nil || !strings.Contains(err.Error(), "docker login "+c.host) {
		t.Errorf("without credentials: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	write(t, dir, "config.json", `{"auths":{"`+c.host+`":{"auth":"Y2k6c2VjcmV0"}}}`)
	if err := docker(t, c.host).get(t.Context(), "/api/v1/tiers", nil, &map[string]any{}); err != nil {
		t.Errorf("with credentials: %v", err)
	}
}

func TestPlainHTTPIsForLoopback(t *testing.T) {
	for _, tc := range []struct {
		host  string
		flags []string
		want  string
	}{
		{"127.0.0.1:5000", nil, "http://127.0.0.1:5000"},
		{"localhost:5000", nil, "http://localhost:5000"},
		{"[::1]:5000", nil, "http://[::1]:5000"},
		{"registry.example.com", nil, "https://registry.example.com"},
		{"localhost.example.com", nil, "https://localhost.example.com"},
		{"registry.example.com", []string{"--plain-http"}, "http://registry.example.com"},
		{"127.0.0.1:5000", []string{"--plain-http=false"}, "https://127.0.0.1:5000"},
	} {
		var conn connection
		cmd := versionCommand()
		conn.flag(cmd)
		if err := cmd.ParseFlags(tc.flags); err != nil {
			t.Fatal(err)
		}
		c, err := newClient(cmd, conn, tc.host)
		if err != nil {
			t.Fatal(err)
		}
		if c.base() != tc.want {
			t.Errorf("%s %v: %s, want %s", tc.host, tc.flags, c.base(), tc.want)
		}
	}
}

package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// ask sends a request that must be answered.
func ask(t *testing.T, method, url, host string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// Profiles are on the admin address and nowhere else, and end with the server.
func TestAdmin(t *testing.T) {
	server := spawn(t, []string{"SLUICE_ADMIN_LISTEN=127.0.0.1:0"}, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	output := server.until(t, readyText)
	_, rest, _ := strings.Cut(output, "profiles and metrics are on ")
	admin, _, ok := strings.Cut(rest, "/debug/pprof/")
	if !ok {
		t.Fatalf("no admin address in %s", output)
	}
	registry := "http://" + hostIn(t, output)
	ask(t, "GET", registry+"/v2/", "") // something to count
	for _, tc := range []struct {
		method, path, host string
		status             int
		want               string
	}{
		{"GET", "/debug/pprof/", "", 200, "goroutine"},
		{"GET", "/debug/pprof/heap?debug=1", "", 200, "heap profile"},
		{"GET", "/debug/pprof/goroutine?debug=1", "localhost:6060", 200, "goroutine profile"},
		{"GET", "/debug/pprof/cmdline", "", 200, "serve"},
		{"GET", "/debug/pprof/symbol", "", 200, "num_symbols"},
		{"GET", "/metrics", "", 200, `sluice_http_requests_total{method="GET",route="/v2/*",status="200"}`},
		{"GET", "/debug/pprof/none", "", 404, ""},
		{"GET", "/v2/", "", 404, ""},
		{"GET", "/", "", 404, ""},
		{"POST", "/debug/pprof/heap", "", 405, ""},
		{"GET", "/debug/pprof/", "attacker.example.com", 403, "only loopback hosts are answered"},
		{"GET", "/metrics", "attacker.example.com:6060", 403, ""},
	} {
		if status, body := ask(t, tc.method, admin+tc.path, tc.host); status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("admin: %s %s of %q: got %d %.300s, want %d and %q", tc.method, tc.path, tc.host, status, body, tc.status, tc.want)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars"} {
		if status, body := ask(t, "GET", registry+path, ""); status != 404 {
			t.Errorf("registry: %s: got %d %.100s", path, status, body)
		}
	}
	// A profile of a minute does not hold the server up: the test's process would end it.
	r, err := http.NewRequestWithContext(t.Context(), "GET", admin+"/debug/pprof/trace?seconds=59", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r) // the head comes when the trace has begun
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
	if resp, err := http.Get(admin + "/debug/pprof/"); err == nil {
		resp.Body.Close()
		t.Errorf("it answers when the server has ended: %s", resp.Status)
	}
}

func TestAdminIsOff(t *testing.T) {
	cfg, err := loadConfig(configSource{data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := openAdmin(cfg.Admin); a != nil || err != nil {
		t.Errorf("it listens without being told to: %v, %v", a, err)
	}
}

package e2e_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
)

// pagesJob looks at the pages in a browser: what the jobs before have done is on them.
func pagesJob(t *testing.T, s *server, api *http.Client) {
	h := clients.New(t)
	digest := craneImage(t, h, s.host, "pages/app", "1.0")
	s.run(3, "promote", s.host+"/dev/pages/app:1.0", "--to", "stable")
	for path, words := range map[string][]string{
		"/":                            {"dev", "stable", "release", "pages/app", "refused"},
		"/tiers/dev":                   {"pages/app"},
		"/artifacts/dev/pages/app":     {"1.0", digest[:19]},
		"/artifacts/dev/pages/app:1.0": {digest, "linux/arm64"},
		"/promotions":                  {"pages/app"},
		"/policies/dev-to-stable":      {"dev-to-stable"},
	} {
		has(t, browse(t, s.url+path), words...)
	}
	for path, status := range map[string]int{"/none": 404, "/artifacts/dev/none/app": 404, "/promotions/none": 404, "/healthz": 200, "/readyz": 200, "/metrics": 200} {
		resp, err := api.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("GET %s: %s, want %d", path, resp.Status, status)
		}
	}
}

// browse renders a page in Chromium and returns the document as the browser has it.
func browse(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	cmd := exec.CommandContext(ctx, clients.Path(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+profile, "--dump-dom", url)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium %s: %v", url, err)
	}
	return string(out)
}

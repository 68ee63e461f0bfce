package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Who pulled what is shown, after the server was stopped and started again too.
func TestPulls(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := t.TempDir()
	write(t, data, configName, "data: .\npulls: {tiers: [dev], interval: 1h}\n")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	ref := host + "/dev/acme/app:1.0"
	pushSample(t, host)
	resp, err := http.Get("http://" + host + "/v2/dev/acme/app/manifests/1.0")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	digest := resp.Header.Get("Docker-Content-Digest")
	expect(t, exitDone, "Nobody has", "pulls", ref) // it is not written yet
	server.stop(t)
	server = spawn(t, nil, "serve", "--data", data, "--listen", host)
	server.until(t, readyText)
	for _, args := range [][]string{{ref}, {digest, "--registry", host}, {"--principal", "anonymous", "--registry", host}, {digest, "--since", "1h", "--tier", "dev", "--registry", host}} {
		expect(t, exitDone, "dev/acme/app", append([]string{"pulls"}, args...)...)
	}
	expect(t, exitDone, `"client": "Go-http-client/1.1"`, "pulls", ref, "-o", "json")
	expect(t, exitDone, "Nobody has", "pulls", ref, "--since", "2100-01-01T00:00:00Z")
	expect(t, exitUsage, "want a digest", "pulls", "sha256:x", "--registry", host)
	expect(t, exitUsage, "--since", "pulls", ref, "--since", "yesterday")
	expect(t, exitUsage, "names the registry already", "pulls", ref, "--registry", host)
	expect(t, exitUsage, "too many", "pulls", ref, ref)
	expect(t, exitFailed, "no such artifact", "pulls", host+"/dev/acme/none:1")
	expect(t, exitDone, "", "fsck", "--registry", host)
}

func TestConfigPulls(t *testing.T) {
	load := func(text string) (*Config, error) {
		return loadConfig(configSource{file: write(t, t.TempDir(), configName, text)})
	}
	cfg, err := load("pulls: {tiers: [dev, release], sample: 1/10, keep: 48h, interval: 1m}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(cfg.Pulls), fmt.Sprint(PullsConfig{[]string{"dev", "release"}, "1/10", 48 * time.Hour, time.Minute}); got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
	if cfg, err = load("listen: 127.0.0.1:0\n"); err != nil || fmt.Sprint(cfg.Pulls) != fmt.Sprint(PullsConfig{nil, "1", 90 * 24 * time.Hour, 10 * time.Second}) {
		t.Errorf("by default it is %+v, %v", cfg.Pulls, err)
	}
	for text, want := range map[string]string{
		"tiers: [other]":  `pulls.tiers[0]: "other" is no tier`,
		"sample: 2":       "want 1 for all",
		"sample: -0.1":    "want 1 for all",
		"sample: 1/0":     "want 1 for all",
		"sample: 0/0":     "want 1 for all",
		"sample: some":    "want 1 for all",
		"sample: 1/2/3":   "want 1 for all",
		"keep: 1h":        "want at least 24h",
		"keep: 0s":        "want at least 24h",
		"interval: 0s":    "want 1s to 1h",
		"interval: 2h":    "want 1s to 1h",
		"interval: 10":    "is no duration",
		"addresses: true": `unknown key "addresses"`,
	} {
		if _, err := load("pulls: {" + text + "}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[Share]float64{"1": 1, "0": 0, "1/10": 0.1, "0.25": 0.25, "3/4": 0.75} {
		if got, err := text.number(); err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
}

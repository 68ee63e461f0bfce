package main

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
)

func TestGCConfig(t *testing.T) {
	cfg, err := loadConfig(configSource{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (GCConfig{24 * time.Hour, 24 * time.Hour, 20 * time.Minute, 24 * time.Hour}); cfg.GC != want {
		t.Errorf("the default is %+v", cfg.GC)
	}
	src := configSource{file: write(t, t.TempDir(), configName, "gc: {interval: 0s, promise: 36h, drain: 5s}\n")}
	if cfg, err = loadConfig(src); err != nil {
		t.Fatal(err)
	}
	if want := (GCConfig{0, 36 * time.Hour, 5 * time.Second, 24 * time.Hour}); cfg.GC != want {
		t.Errorf("the file gives %+v", cfg.GC)
	}
	src.environ = map[string]string{"SLUICE_GC_INTERVAL": "1h", "SLUICE_GC_PROMISE": "2h", "SLUICE_GC_DRAIN": "3m", "SLUICE_GC_UPLOADS": "4h30m"}
	if cfg, err = loadConfig(src); err != nil {
		t.Fatal(err)
	}
	want := GCConfig{time.Hour, 2 * time.Hour, 3 * time.Minute, 4*time.Hour + 30*time.Minute}
	if cfg.GC != want {
		t.Errorf("the environment gives %+v", cfg.GC)
	}
	if got := cfg.GC.collection(); got != (tiers.CollectConfig{Promise: want.Promise, Drain: want.Drain, Upload: want.Uploads, Intent: want.Uploads, Stray: want.Uploads}) {
		t.Errorf("the registry is told %+v", got)
	}
}

func TestGCConfigRefuses(t *testing.T) {
	const redirects = "tiers: [{name: dev, push: true, redirect: true, s3: {endpoint: \"http://s3\", accessKeyFile: a, secretKeyFile: b}}]\n"
	for name, tc := range map[string]struct{ yaml, want string }{
		"unknown key":        {"gc: {every: 24h}", `unknown key "every"`},
		"a number":           {"gc: {interval: 24}", "line 1: `24` is no duration: want 24h, 90m or 30s"},
		"no duration":        {"gc: {interval: daily}", "line 1: `daily` is no duration"},
		"days":               {"gc: {interval: 1d}", "line 1: `1d` is no duration"},
		"negative":           {"gc: {interval: -1h}", "line 1: gc.interval: is -1h0m0s: want at least 1s, 24h say, or 0s for no collection"},
		"short interval":     {"gc: {interval: 10ms}", "gc.interval: is 10ms: want at least 1s"},
		"no promise":         {"gc:\n  promise: 0s", "line 2: gc.promise: is 0s: want at least 1s, 24h say"},
		"negative promise":   {"gc: {promise: -24h}", "gc.promise: is -24h0m0s"},
		"no drain":           {"gc: {drain: 0s}", "gc.drain: is 0s: want at least 1s, 20m say"},
		"no uploads":         {"gc: {uploads: 500ms}", "gc.uploads: is 500ms"},
		"drain of redirects": {redirects + "gc:\n  drain: 15m", "line 3: gc.drain: is 15m0s: tier dev redirects clients to the store, where they read for 15m0s after they asked: want more"},
		"empty":              {"gc: {drain: }", "line 1: gc.drain: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, tc.yaml)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
		})
	}
	if _, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, redirects+"gc: {drain: 16m}")}); err != nil {
		t.Errorf("a drain that is long enough: %v", err)
	}
	if _, err := loadConfig(configSource{environ: map[string]string{"SLUICE_GC_DRAIN": "soon"}}); err == nil || !strings.Contains(err.Error(), "environment") {
		t.Errorf("a variable that is no duration: %v", err)
	}
}

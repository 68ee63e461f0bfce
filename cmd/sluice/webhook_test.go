package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// secretText is the content of a file of secrets.
var secretText = "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"

// What happens comes to a receiver and to who listens, and the receiver is looked after by hand.
func TestEventsOut(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	var status atomic.Int64
	status.Store(503)
	got := make(chan string, 1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if status.Load() == 200 && r.Header.Get("Webhook-Signature") != "" {
			got <- string(body)
		}
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(receiver.Close)
	data := t.TempDir()
	write(t, data, "hook", secretText)
	write(t, data, configName, fmt.Sprintf("data: .\nwebhooks: [{name: deploy, url: %q, secretFile: hook, from: beginning, maxPause: 100ms, failAfter: 1s, events: [\"tag.*\", \"manifest.*\"]}]\n", receiver.URL+"/in?key=hidden"))
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	eventually(t, "Failing", "webhook", "list", "--registry", host)
	if out := expect(t, exitDone, "503 at", "webhook", "list", "--registry", host); strings.Contains(out, "hidden") {
		t.Errorf("the list tells what is secret:\n%s", out)
	}
	status.Store(200)
	var first struct{ ID, Type, Source string }
	if err := json.Unmarshal([]byte(<-got), &first); err != nil || first.Type != "dev.sluice.manifest.pushed" || first.Source != "http://"+host {
		t.Errorf("it got %+v, %v", first, err)
	}
	eventually(t, "Active", "webhook", "list", "--registry", host)

	expect(t, exitFailed, "WEBHOOK_UNKNOWN", "webhook", "replay", "nobody", "--from", "0", "--registry", host)
	expect(t, exitFailed, "want the index of an entry", "webhook", "replay", "deploy", "--from", "100000", "--registry", host)
	expect(t, exitDone, "deploy delivers from entry 0 on", "webhook", "replay", "deploy", "--from", "0", "--registry", host)
	var again struct{ ID string }
	for late := time.After(time.Minute); again.ID != first.ID; { // behind what was under way
		select {
		case body := <-got:
			if err := json.Unmarshal([]byte(body), &again); err != nil {
				t.Fatal(err)
			}
		case <-late:
			t.Fatalf("it does not get %s again", first.ID)
		}
	}

	expect(t, exitDone, "pushed dev/acme/app@sha256:", "events", "--registry", host, "--from", "0", "-n", "1", "--type", "manifest.*")
	var event map[string]any
	out := expect(t, exitDone, "", "events", "--registry", host, "--from", "0", "-n", "2", "-o", "json", "--repository", "acme/**", "--tier", "dev")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[0]), &event); err != nil || len(lines) != 2 || event["specversion"] != "1.0" || !strings.HasPrefix(event["subject"].(string), "dev/acme/app") {
		t.Errorf("events are %s, %v", out, err)
	}
	expect(t, exitFailed, "tier unknown", "events", "--registry", host, "--tier", "nowhere")
	expect(t, exitDone, "nothing is wrong", "fsck", "--registry", host)
	follower := spawn(t, nil, "events", "--registry", host, "--from", "0")
	follower.until(t, "pushed dev/acme/app@sha256:") // and it waits for more
	if code := server.stop(t); code != exitDone {
		t.Fatalf("it ends with %d\n%s", code, &server.stderr)
	}
	if strings.Contains(server.stderr.String(), "requests were cut off") {
		t.Errorf("a stream kept it from ending\n%s", &server.stderr)
	}
	if code := follower.stop(t); code != exitDone { // it tries to go on where it stood
		t.Errorf("who listens ends with %d\n%s", code, &follower.stderr)
	}
}

// eventually runs a verb until it prints what is wanted.
func eventually(t *testing.T, want string, args ...string) {
	t.Helper()
	var stdout string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if _, stdout, _ = sluice(t, args...); strings.Contains(stdout, want) {
			return
		}
	}
	t.Fatalf("a minute has passed, and %q is not in\n%s", want, stdout)
}

func TestWebhookConfig(t *testing.T) {
	dir := t.TempDir()
	src := configSource{file: write(t, dir, configName, "webhooks:\n  - {name: a, url: \"https://x/y\", secretFile: s, ca: c}\n  - {name: b, url: \"http://x\", secretFile: s, from: beginning, timeout: 1s, maxPause: 2s, failAfter: 3s, events: [tag.set], tiers: [dev], repositories: [\"**\"]}\n"),
		environ: map[string]string{"SLUICE_WEBHOOKS_0_MAX_PAUSE": "1m", "SLUICE_WEBHOOKS_0_EVENTS": "tag.*,policy.*"}}
	cfg, err := loadConfig(src)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(cfg.Webhooks), fmt.Sprint([]WebhookConfig{
		{Name: "a", URL: "https://x/y", SecretFile: filepath.Join(dir, "s"), Events: []string{"tag.*", "policy.*"}, From: "end", Timeout: 15 * time.Second, MaxPause: time.Minute, FailAfter: time.Hour, CA: filepath.Join(dir, "c")},
		{Name: "b", URL: "http://x", SecretFile: filepath.Join(dir, "s"), Events: []string{"tag.set"}, Tiers: []string{"dev"}, Repositories: []string{"**"}, From: "beginning", Timeout: time.Second, MaxPause: 2 * time.Second, FailAfter: 3 * time.Second},
	}); got != want {
		t.Errorf("it is\n%s, want\n%s", got, want)
	}
	if h := cfg.Webhooks[1].webhook(); !h.FromBeginning || h.Timeout != time.Second || h.MaxPause != 2*time.Second || h.FailAfter != 3*time.Second || len(h.Types)+len(h.Tiers)+len(h.Repositories) != 3 {
		t.Errorf("the second is %+v", h)
	}
}

func TestWebhookConfigRefuses(t *testing.T) {
	const good = `name: a, url: "https://x", secretFile: s`
	for name, tc := range map[string]struct{ yaml, want string }{
		"unknown key":    {good + ", retries: 3", `unknown key "retries"`},
		"no name":        {`url: "https://x", secretFile: s`, `webhooks[0].name: "": want lower-case`},
		"two of a name":  {good + "}, {" + good, `line 1: webhooks[1].name: "a" names two webhooks`},
		"no url":         {`name: a, secretFile: s`, "webhooks[0].url: want http://"},
		"a user":         {`name: a, url: "https://u:hidden@x", secretFile: s`, "webhooks[0].url: has a user name"},
		"no secret":      {`name: a, url: "https://x"`, "webhooks[0].secretFile: is missing"},
		"events":         {good + `, events: ["["]`, `webhooks[0].events[0]: "[" is no pattern of types`},
		"tiers":          {good + `, tiers: [dev, other]`, `webhooks[0].tiers[1]: "other" is no tier`},
		"repositories":   {good + `, repositories: ["/x"]`, `webhooks[0].repositories[0]: "/x" is no pattern`},
		"from":           {good + `, from: "0"`, `webhooks[0].from: "0": want beginning or end`},
		"no timeout":     {good + `, timeout: 0s`, "webhooks[0].timeout: is 0s"},
		"a long timeout": {good + `, timeout: 2m`, "webhooks[0].timeout: is 2m0s: want up to 1m0s"},
		"a long pause":   {good + `, maxPause: 25h`, "webhooks[0].maxPause: is 25h0m0s"},
		"negative":       {good + `, failAfter: -1s`, "webhooks[0].failAfter: is -1s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, "webhooks: [{"+tc.yaml+"}]\n")})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
		})
	}
	dir := t.TempDir()
	write(t, dir, "s", "not a secret")
	file := write(t, dir, configName, "data: .\nlisten: 127.0.0.1:0\nwebhooks: [{"+good+"}]\n")
	code, _, stderr := sluice(t, "serve", "--config", file)
	if code != exitFailed || !strings.Contains(stderr, "webhooks[0].secretFile: line 1: want whsec_") || strings.Contains(stderr, "not a secret") {
		t.Errorf("a file that holds no secret: %d %s", code, stderr)
	}
}

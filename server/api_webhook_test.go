package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/server/events"
)

// How the webhooks go is told without what is secret, in the list and in metrics, and one is
// replayed by its name.
func TestWebhooks(t *testing.T) {
	a := newAPI(t, withLedger(t))
	a.seal()
	shown := struct{ Webhooks []events.Status }{}
	list := func() events.Status {
		t.Helper()
		shown = get[struct{ Webhooks []events.Status }](a, "/api/v1/webhooks")
		if len(shown.Webhooks) != 1 {
			t.Fatalf("there are %+v", shown)
		}
		return shown.Webhooks[0]
	}
	if got := list(); got.Name != "hook" || got.State != events.Active || got.Cursor != nil || strings.Contains(got.URL, "hidden") || len(got.Events) != 1 {
		t.Errorf("before it begins it is %+v", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = a.server.config.Webhooks.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	a.eventually("it has begun", func() bool { return list().Cursor != nil })
	a.happen(tagSet("acme/app"))
	a.eventually("nobody takes it", func() bool { return list().State == events.Retrying })
	got := list()
	if *got.Cursor != 2 || *got.Behind != 1 || got.Answer.Status != 503 || got.Failures == 0 || got.NextTry == nil {
		t.Errorf("it is %+v", got)
	}
	metrics := string(a.want(a.call("GET", "/metrics", ""), 200, "").body)
	for _, line := range []string{`sluice_webhook_behind_entries{webhook="hook"} 1`, `sluice_webhook_failing{webhook="hook"} 0`, `sluice_webhook_disabled{webhook="hook"} 0`,
		`sluice_webhook_attempts_total{outcome="taken",webhook="hook"} 0`} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("%q is not in:\n%s", line, metrics)
		}
	}
	const replay = "/api/v1/webhooks/hook/replay"
	answer := decodeAnswer[events.Status](a, a.want(a.post(replay, `{"from":0}`), 200, ""))
	if *answer.Cursor != 0 || answer.State != events.Active || *answer.Behind != 3 {
		t.Errorf("replayed it is %+v", answer)
	}
	for body, code := range map[string]string{`{}`: "REQUEST_INVALID", `{"from":4}`: "REQUEST_INVALID", `{"from":-1}`: "REQUEST_INVALID", `{"from":"0"}`: "REQUEST_INVALID", `{"from":0,"to":1}`: "REQUEST_INVALID"} {
		a.want(a.post(replay, body), 400, code)
	}
	a.want(a.post("/api/v1/webhooks/nobody/replay", `{"from":0}`), 404, "WEBHOOK_UNKNOWN")
	a.want(a.post(replay+"?from=0", `{"from":0}`), 400, "REQUEST_INVALID")
	a.want(a.call("GET", replay, ""), 405, "UNSUPPORTED")
}

// deaf is a receiver that takes nothing.
func deaf(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(server.Close)
	return server.URL
}

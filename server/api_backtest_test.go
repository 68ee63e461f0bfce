package server

import (
	"context"
	"encoding/json"
	"testing"

	"sluice.dev/sluice/promote"
)

func TestBacktests(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"all"}, Actions: []Action{ActionPull, ActionPush, ActionPromote, ActionPolicy}},
		Grant{Users: []string{"beta"}, Repositories: []string{"beta/**"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"beta"}, Tiers: []string{"stable"}, Actions: []Action{ActionPolicy}},
		Grant{Users: []string{"reader"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"notary"}, Tiers: []string{"stable"}, Actions: []Action{ActionPolicy}},
		Grant{Users: []string{"lawyer"}, Tiers: []string{"release"}, Actions: []Action{ActionPolicy}},
	))
	a.user = "all:all"
	for _, repository := range []string{"acme/app", "beta/app"} {
		a.provenance(repository, a.pushImage("dev/"+repository, "1.0", "layer of "+repository, ""))
		a.want(a.post("/api/v1/promotions", ask(repository, "1.0", "dev", "stable")), 201, "")
	}
	document := a.policy("p", "dev", "stable")
	body := func(fields map[string]any) string {
		if _, ok := fields["policy"]; !ok {
			fields["policy"] = document
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	type page struct {
		Backtests []promote.Backtested
		Next      string
	}
	backtest := func(query string, fields map[string]any) page {
		t.Helper()
		return decodeAnswer[page](a, a.want(a.post("/api/v1/backtests"+query, body(fields)), 200, ""))
	}
	first := backtest("?n=1", map[string]any{})
	if len(first.Backtests) != 1 || first.Next == "" || first.Backtests[0].Repository != "acme/app" || !first.Backtests[0].Allowed {
		t.Errorf("first page %+v", first)
	}
	second := backtest("?n=1&last="+first.Next, map[string]any{})
	if len(second.Backtests) != 1 || second.Backtests[0].Repository != "beta/app" {
		t.Errorf("second page %+v", second)
	}
	if got := backtest("", map[string]any{"repository": "beta/*"}); len(got.Backtests) != 1 || got.Next != "" {
		t.Errorf("by glob %+v", got)
	}
	if got := backtest("", map[string]any{"at": "2020-01-01T00:00:00Z"}); len(got.Backtests) != 0 {
		t.Errorf("before all %+v", got)
	}
	for _, tt := range []struct {
		query, body string
		status      int
		code        string
	}{
		{"", `{}`, 400, "REQUEST_INVALID"},
		{"", `{"policy":""}`, 400, "REQUEST_INVALID"},
		{"", `{"policy":"x","other":1}`, 400, "REQUEST_INVALID"},
		{"", body(map[string]any{"policy": "kind: none"}), 400, "POLICY_INVALID"},
		{"", body(map[string]any{"at": "yesterday"}), 400, "REQUEST_INVALID"},
		{"", body(map[string]any{"repository": "["}), 400, "REQUEST_INVALID"},
		{"", body(map[string]any{"policy": a.policy("p", "dev", "nowhere")}), 404, "NAME_UNKNOWN"},
		{"?n=0", body(map[string]any{}), 400, "REQUEST_INVALID"},
		{"?tier=stable", body(map[string]any{}), 400, "REQUEST_INVALID"},
	} {
		a.want(a.post("/api/v1/backtests"+tt.query, tt.body), tt.status, tt.code)
	}

	a.user = "beta:beta"
	if got := backtest("", map[string]any{}); len(got.Backtests) != 1 || got.Backtests[0].Repository != "beta/app" {
		t.Errorf("beta sees %+v", got)
	}
	a.user = "lawyer:lawyer" // may set the policy of another tier
	a.want(a.post("/api/v1/backtests", body(map[string]any{})), 403, "DENIED")
	a.user = "notary:notary" // may pull nothing
	if got := backtest("", map[string]any{}); len(got.Backtests) != 0 {
		t.Errorf("lawyer sees %+v", got)
	}
	a.user = "reader:reader" // may pull all, and set no policy
	a.want(a.post("/api/v1/backtests", body(map[string]any{})), 403, "DENIED")
	a.user = "nobody:nobody"
	a.want(a.post("/api/v1/backtests", body(map[string]any{})), 403, "DENIED")
	a.user = ""
	a.want(a.post("/api/v1/backtests", body(map[string]any{})), 401, "UNAUTHORIZED")
}

// held is a gate whose backtests run until they are let go.
type held struct {
	gate
	begun, done chan struct{}
}

func (h *held) Backtest(context.Context, promote.Backtest, string, int) ([]promote.Backtested, string, error) {
	h.begun <- struct{}{}
	<-h.done
	return []promote.Backtested{}, "", nil
}

// Each may keep a processor busy for long, so few run at once.
func TestBacktestsAtOnce(t *testing.T) {
	a := newAPI(t, nil)
	stub := &held{a.server.gate, make(chan struct{}, maxBacktests), make(chan struct{})}
	a.server.gate = stub
	body, err := json.Marshal(map[string]any{"policy": a.policy("p", "dev", "stable")})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan reply, maxBacktests)
	for range maxBacktests {
		go func() { answers <- a.post("/api/v1/backtests", string(body)) }()
		<-stub.begun
	}
	if got := a.want(a.post("/api/v1/backtests", string(body)), 429, "TOOMANYREQUESTS"); got.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	close(stub.done)
	for range maxBacktests {
		a.want(<-answers, 200, "")
	}
	a.want(a.post("/api/v1/backtests", string(body)), 200, "")
}

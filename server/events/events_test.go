package events_test

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/runs"
)

// An entry that is no event is told as it is, to who asks for all.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	event := events.Read(ledger.Entry{Index: 7, Value: []byte("{\x00"), Event: []byte("{\x00")})
	data, err := event.CloudEvent(source)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got["id"] != "7" || got["type"] != "dev.sluice.ledger.unreadable" || got["data_base64"] != base64.StdEncoding.EncodeToString([]byte("{\x00")) || got["data"] != nil || got["time"] != nil {
		t.Errorf("it is %s", data)
	}
	if !(events.Filter{}).Selects(event) || (events.Filter{Types: []string{"*"}}).Selects(event) {
		t.Error("it is not for who asks for all alone")
	}
}

func TestFilterCheck(t *testing.T) {
	t.Parallel()
	for field, f := range map[string]events.Filter{
		"":                {Types: []string{"promotion.*"}, Tiers: []string{"dev"}, Repositories: []string{"acme/**", "*"}},
		"types[0]":        {Types: []string{"["}},
		"tiers[1]":        {Tiers: []string{"dev", "a/b"}},
		"repositories[0]": {Repositories: []string{"/acme"}},
		"types":           {Types: slices.Repeat([]string{"x"}, 101)},
	} {
		var got []string
		f.Check(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != field {
			t.Errorf("%+v: problems are of %q, want %q", f, got, field)
		}
	}
}

func TestParseSecrets(t *testing.T) {
	t.Parallel()
	line := "whsec_" + base64.StdEncoding.EncodeToString(secret)
	for content, n := range map[string]int{line + "\n": 1, line + "\r\n" + line: 2} {
		if got, err := events.ParseSecrets(content); err != nil || len(got) != n || string(got[0]) != string(secret) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	for _, content := range []string{"", "secret", strings.TrimPrefix(line, "whsec_"), "whsec_AAAA", "whsec_" + strings.Repeat("A", 88) + "AA==", line + "\nx", line + "\n" + line + "\n" + line} {
		if got, err := events.ParseSecrets(content); err == nil || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

// Two secrets make two signatures, so that a receiver may know either.
func TestTwoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	hook.Secrets = [][]byte{[]byte("the next secret, of at least 24 bytes"), secret}
	w.replica(hook)
	w.record("acme/app", 1)
	w.got(1)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for want, change := range map[string]func(h *events.Webhook){
		`name "A"`:                func(h *events.Webhook) { h.Name = "A" },
		"url want http://":        func(h *events.Webhook) { h.URL = "ftp://x" },
		"url has a user name":     func(h *events.Webhook) { h.URL = "http://user:hidden@x" },
		"url has a fragment":      func(h *events.Webhook) { h.URL = "http://x#y" },
		"timeout is 2m0s":         func(h *events.Webhook) { h.Timeout = 2 * time.Minute },
		"maxPause is 1ms":         func(h *events.Webhook) { h.MaxPause = time.Millisecond },
		"failAfter is -1ns":       func(h *events.Webhook) { h.FailAfter = -1 },
		"types[0]":                func(h *events.Webhook) { h.Types = []string{""} },
		"want one secret, or two": func(h *events.Webhook) { h.Secrets = nil },
	} {
		hook := w.webhook()
		change(&hook)
		_, err := events.New(events.Config{Registry: w.registry, Ledger: w.ledger, Webhooks: []events.Webhook{hook}, Source: source, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("want %q, it is: %v", want, err)
		}
	}
	hooks := []events.Webhook{w.webhook(), w.webhook()}
	if _, err := events.New(events.Config{Registry: w.registry, Ledger: w.ledger, Webhooks: hooks, Source: source, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "two webhooks are called hook") {
		t.Errorf("two of a name: %v", err)
	}
}

// A check knows the records of webhooks and finds those that cannot be right; such a webhook
// says so, delivers nothing, and goes on when it is replayed.
func TestCheckWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.record("acme/app", 2)
	r := w.replica(w.webhook())
	w.got(2)
	w.found("while it delivers")
	r.stop()
	for _, value := range []string{"{", `{"next":-1,"owner":"x","config":"y"}`, `{"next":99,"owner":"x","config":"y"}`} {
		w.plant("webhook/hook", value)
		w.found(value, "record-invalid webhook/hook")
		if status := w.status(r); status.State != events.Failing || status.Problem == "" {
			t.Errorf("%s: it is %s", value, text(t, status))
		}
	}
	w.plant("delivering/other", "{")
	w.found("a hold", "record-invalid delivering/other", "record-invalid webhook/hook")

	before := w.receiver.attempts()
	next := w.replica(w.webhook())
	w.record("acme/app", 1)
	if n := w.receiver.attempts(); n != before {
		t.Errorf("%d messages were sent", n-before)
	}
	if _, err := next.Replay(t.Context(), "admin", "hook", 2); err != nil {
		t.Fatal(err)
	}
	w.got(3)
	w.found("a hold is left", "record-invalid delivering/other")
}

func (w *world) plant(key, value string) {
	w.Helper()
	_, err := w.config.Catalog.Commit(w.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(value)}}})
	w.must(err)
}

// found has a check find what is wanted.
func (w *world) found(when string, want ...string) {
	w.Helper()
	var o tiers.CheckOptions
	runs.AddCheck(&o)
	ledger.AddCheck(&o)
	events.AddCheck(&o, w.ledger)
	checked, err := w.registry.Check(w.Context(), o, nil)
	w.must(err)
	var got []string
	for _, f := range checked.Findings {
		got = append(got, f.Kind+" "+f.Key)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		w.Errorf("%s: found %q, want %q", when, got, want)
	}
	if checked.Records["webhooks"] != 1 {
		w.Errorf("%s: counted %v", when, checked.Records)
	}
}

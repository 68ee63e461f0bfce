package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

const quarantinesPath = "/api/v1/quarantines"

func quarantineBody(d digest.Digest, reason string) string {
	return fmt.Sprintf(`{"digest":%q,"reason":%q}`, d, reason)
}

// TestQuarantine goes through what a client sees of a quarantine: every way to pull is refused
// with the reason, and who says that he inspects it gets it with a warning.
func TestQuarantine(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	layer := digest.FromString("layer")
	answer := decodeAnswer[QuarantineView](a, a.want(a.post(quarantinesPath, quarantineBody(layer, "ticket 4711")), 201, ""))
	if answer.Digest != layer || answer.Owner != Anonymous || answer.ID == "" || answer.Truncated ||
		len(answer.Affected) != 1 || answer.Affected[0].Digest != d || answer.Affected[0].Repository != "acme/app" || answer.Affected[0].Tags[0] != "1.0" {
		t.Errorf("got %+v", answer)
	}
	for path, range1 := range map[string]string{
		"/v2/dev/acme/app/manifests/1.0": "", "/v2/dev/acme/app/manifests/" + d.String(): "",
		"/v2/dev/acme/app/blobs/" + layer.String(): "bytes=1-2",
	} {
		headers := []string{"Range", range1}
		if range1 == "" {
			headers = nil
		}
		got := a.want(a.call("GET", path, "", headers...), 403, "DENIED")
		if text := string(got.body); !strings.Contains(text, "ticket 4711") || !strings.Contains(text, answer.ID) || !strings.Contains(text, Anonymous) {
			t.Errorf("%s: %s", path, text)
		}
		got = a.want(a.call("HEAD", path, "", headers...), 403, "")
		if !strings.Contains(got.header.Get("Warning"), "ticket 4711") {
			t.Errorf("HEAD %s: %v", path, got.header)
		}
		for _, method := range []string{"GET", "HEAD"} {
			got = a.call(method, path, "", HeaderQuarantine, Inspect)
			if got.status != 200 || !strings.Contains(got.header.Get("Warning"), "ticket 4711") {
				t.Errorf("%s %s, inspected: %d, %v", method, path, got.status, got.header)
			}
		}
		a.want(a.call("GET", path, "", HeaderQuarantine, "yes"), 403, "DENIED")
	}
	a.want(a.call("POST", "/v2/dev/acme/web/blobs/uploads/?mount="+layer.String()+"&from=dev/acme/app", ""), 403, "DENIED")
	a.want(a.call("POST", "/v2/dev/acme/web/blobs/uploads/?mount="+layer.String(), "", HeaderQuarantine, Inspect), 403, "DENIED")
	manifest := a.want(a.call("GET", "/v2/dev/acme/app/manifests/1.0", "", HeaderQuarantine, Inspect), 200, "")
	a.want(a.call("PUT", "/v2/dev/acme/app/manifests/2.0", string(manifest.body), "Content-Type", manifest.header.Get("Content-Type")), 403, "DENIED")

	a.provenance("acme/app", d) // evidence about it goes on
	referrers := a.want(a.call("GET", "/v2/dev/acme/app/referrers/"+d.String(), ""), 200, "")
	if !strings.Contains(string(referrers.body), testProvenance) {
		t.Errorf("referrers: %s", referrers.body)
	}
	p := violationOf(a, a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")))
	if p.Verdict.Rules[0].Name != "quarantine" || !strings.Contains(p.Verdict.Rules[0].Message, "ticket 4711") {
		t.Errorf("promoted: %+v", p)
	}
	artifacts := get[struct{ Artifacts []promote.Artifact }](a, "/api/v1/tiers/dev/artifacts?repository=acme/app").Artifacts
	for _, artifact := range artifacts {
		if (artifact.Quarantine != nil) != (artifact.Digest == d) || artifact.Quarantine != nil && artifact.Quarantine.Reason != "ticket 4711" {
			t.Errorf("listed %+v", artifact)
		}
	}
	if metrics := string(a.want(a.call("GET", "/metrics", ""), 200, "").body); !strings.Contains(metrics, "\nsluice_quarantines 1\n") {
		t.Errorf("metrics: %s", metrics)
	}
	a.want(a.call("DELETE", quarantinesPath+"/"+layer.String()+"?reason=fine", ""), 200, "")
	a.want(a.call("GET", "/v2/dev/acme/app/manifests/1.0", ""), 200, "")
	a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 201, "")
}

// TestQuarantineAPI holds the calls against their description.
func TestQuarantineAPI(t *testing.T) {
	a := newAPI(t, nil)
	d := digest.FromString("a")
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	body := fmt.Sprintf(`{"digest":%q,"reason":"x","expiresAt":%q}`, d, until)
	got := a.want(a.post(quarantinesPath, body), 201, "")
	if got.header.Get("Location") != quarantinesPath+"/"+d.String() {
		t.Errorf("got %v", got.header)
	}
	a.want(a.post(quarantinesPath, body), 200, "")
	if conflict := a.want(a.post(quarantinesPath, quarantineBody(d, "y")), 409, "CONFLICT"); !strings.Contains(string(conflict.body), `"detail":{"id":`) {
		t.Errorf("got %s", conflict.body)
	}
	a.want(a.post(quarantinesPath, quarantineBody(digest.SHA512.FromString("a"), "z")), 201, "")
	for body, code := range map[string]string{
		`{}`: "DIGEST_INVALID", quarantineBody("sha256:1", "x"): "DIGEST_INVALID", quarantineBody(d, ""): "REQUEST_INVALID",
		quarantineBody(d, strings.Repeat("x", 1001)):                                    "REQUEST_INVALID",
		fmt.Sprintf(`{"digest":%q,"reason":"x","expiresAt":"2020-01-01T00:00:00Z"}`, d): "REQUEST_INVALID",
		fmt.Sprintf(`{"digest":%q,"reason":"x","expiresAt":"tomorrow"}`, d):             "REQUEST_INVALID",
		fmt.Sprintf(`{"digest":%q,"reason":"x","owner":"me"}`, d):                       "REQUEST_INVALID",
	} {
		a.want(a.post(quarantinesPath, body), 400, code)
	}
	type list struct {
		Quarantines []tiers.Quarantine
		Next        string
	}
	page := get[list](a, quarantinesPath+"?n=1")
	if len(page.Quarantines) != 1 || page.Quarantines[0].Digest != d || page.Next == "" || page.Quarantines[0].ExpiresAt.Format(time.RFC3339) != until {
		t.Fatalf("got %+v", page)
	}
	if page = get[list](a, quarantinesPath+"?n=1&last="+page.Next); len(page.Quarantines) != 1 || page.Next != "" {
		t.Errorf("got %+v", page)
	}
	if one := get[QuarantineView](a, quarantinesPath+"/"+d.String()); one.Reason != "x" || one.Affected == nil {
		t.Errorf("got %+v", one)
	}
	a.want(a.call("GET", quarantinesPath+"?x=1", ""), 400, "REQUEST_INVALID")
	a.want(a.call("GET", quarantinesPath+"/"+zeros, ""), 404, "QUARANTINE_UNKNOWN")
	a.want(a.call("GET", quarantinesPath+"/latest", ""), 404, "QUARANTINE_UNKNOWN")
	a.want(a.call("DELETE", quarantinesPath+"/"+d.String()+"?why=x", ""), 400, "REQUEST_INVALID")
	a.want(a.call("DELETE", quarantinesPath+"/"+d.String()+"?reason="+strings.Repeat("x", 1001), ""), 400, "REQUEST_INVALID")
	a.want(a.call("DELETE", quarantinesPath+"/"+d.String(), ""), 200, "")
	a.want(a.call("DELETE", quarantinesPath+"/"+d.String(), ""), 404, "QUARANTINE_UNKNOWN")
	a.want(a.call("PUT", quarantinesPath, ""), 405, "UNSUPPORTED")
}

// TestQuarantineAccess asks as users who may do one thing or another.
func TestQuarantineAccess(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"ci"}, Tiers: []string{"dev"}, Actions: []Action{ActionPull, ActionPush}},
		Grant{Users: []string{"reader"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"approver"}, Actions: []Action{ActionPull, ActionApprove}},
		Grant{Users: []string{"scanner"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionPull, ActionInspect}},
		Grant{Users: []string{"blind"}, Actions: []Action{ActionInspect}},
		Grant{Users: []string{"security"}, Actions: []Action{ActionQuarantine}},
		Grant{Users: []string{"clerk"}, Tiers: []string{"dev"}, Actions: []Action{ActionQuarantine}},
		Grant{Users: []string{"admin"}, Actions: []Action{ActionAdmin}},
	))
	a.user = "ci:ci"
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.pushImage("dev/beta/app", "1.0", "layer", "")
	as := func(user string) { a.user = user + ":" + user }
	as("security")
	if q := decodeAnswer[QuarantineView](a, a.want(a.post(quarantinesPath, quarantineBody(d, "x")), 201, "")); q.Owner != "security" {
		t.Errorf("got %+v", q)
	}
	one := quarantinesPath + "/" + d.String()
	for _, user := range []string{"ci", "scanner", "clerk", "admin"} {
		as(user)
		a.want(a.post(quarantinesPath, quarantineBody(d, "x")), 403, "DENIED")
		a.want(a.call("GET", quarantinesPath, ""), 403, "DENIED")
		a.want(a.call("GET", one, ""), 403, "DENIED")
		a.want(a.call("DELETE", one, ""), 403, "DENIED")
	}
	for _, tt := range []struct {
		user, name       string
		plain, inspected int
	}{
		{"ci", "acme", 403, 200},
		{"reader", "acme", 403, 403},
		{"approver", "acme", 403, 200},
		{"scanner", "acme", 200, 200},
		{"scanner", "beta", 403, 403}, // may not even pull
		{"blind", "acme", 403, 403},
		{"security", "acme", 403, 403},
	} {
		as(tt.user)
		path := "/v2/dev/" + tt.name + "/app/manifests/1.0"
		if got := a.call("GET", path, ""); got.status != tt.plain || got.status == 200 && got.header.Get("Warning") == "" {
			t.Errorf("%s, %s: %d, %v", tt.user, path, got.status, got.header)
		}
		if got := a.call("GET", path, "", HeaderQuarantine, Inspect); got.status != tt.inspected {
			t.Errorf("%s, %s, inspected: %d", tt.user, path, got.status)
		}
	}
	as("security")
	a.want(a.call("DELETE", one, ""), 200, "")
	as("reader")
	a.want(a.call("GET", "/v2/dev/acme/app/manifests/1.0", ""), 200, "")
}

// A quarantine names who pulled what holds it.
func TestQuarantinePulledBy(t *testing.T) {
	a := newAPI(t, nil)
	d := a.promoted("release", "acme/app", "1.0", "layer")
	a.promoted("release", "acme/web", "1.0", "other")
	for _, repository := range []string{"acme/app", "acme/web"} {
		a.want(a.call("GET", "/v2/release/"+repository+"/manifests/1.0", ""), 200, "")
	}
	if err := a.server.config.Pulls.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	layer := digest.FromString("layer")
	a.want(a.post(quarantinesPath, quarantineBody(layer, "ticket 4711")), 201, "")
	got := get[QuarantineView](a, quarantinesPath+"/"+layer.String())
	if len(got.PulledBy) != 1 || got.PulledBy[0].Digest != d || got.PulledBy[0].Principal != Anonymous || got.PulledBy[0].Tag != "1.0" {
		t.Errorf("who has it: %+v", got)
	}
}

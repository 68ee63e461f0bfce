package server

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

type promotionList struct {
	Promotions []promote.Promotion
	Next       string
}

// TestPromotion walks an artifact up: refused, attested, promoted, asked again, and on.
func TestPromotion(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	request := ask("acme/app", "1.0", "dev", "stable")

	verdict := decodeAnswer[policy.Verdict](a, a.want(a.post("/api/v1/evaluations", request), 200, ""))
	if verdict.Allowed || len(verdict.Rules) != 1 || verdict.Rules[0].Remedy == "" {
		t.Errorf("evaluated %+v, want a refusal with a remedy", verdict)
	}
	if list := get[promotionList](a, "/api/v1/promotions"); len(list.Promotions) != 0 {
		t.Errorf("an evaluation was recorded: %v", list.Promotions)
	}
	refused := violationOf(a, a.post("/api/v1/promotions", request))
	if refused.State != promote.Failed || refused.Digest != d || refused.Verdict.Allowed {
		t.Errorf("refused %+v", refused)
	}
	a.want(a.do("GET", "/v2/stable/acme/app/manifests/1.0", nil), 404, "MANIFEST_UNKNOWN")

	a.provenance("acme/app", d)
	if v := decodeAnswer[policy.Verdict](a, a.want(a.post("/api/v1/evaluations", request), 200, "")); !v.Allowed {
		t.Errorf("evaluated %+v, want it allowed", v)
	}
	got := a.want(a.post("/api/v1/promotions", request), 201, "")
	p := decodeAnswer[promote.Promotion](a, got)
	if p.State != promote.Succeeded || p.Digest != d || p.Summary == "" || p.Moved.Manifests == 0 {
		t.Errorf("promoted %+v", p)
	}
	if location := got.header.Get("Location"); location != "/api/v1/promotions/"+p.ID {
		t.Errorf("Location is %q", location)
	} else if found := get[promote.Promotion](a, location); found.ID != p.ID || found.State != promote.Succeeded {
		t.Errorf("found %+v", found)
	}
	a.want(a.do("GET", "/v2/stable/acme/app/manifests/1.0", nil), 200, "")
	again := decodeAnswer[promote.Promotion](a, a.want(a.post("/api/v1/promotions", request), 200, ""))
	if again.ID != p.ID {
		t.Errorf("asked again: %s, want %s", again.ID, p.ID)
	}
	a.want(a.post("/api/v1/promotions", ask("acme/app", d.String(), "stable", "release")), 201, "")
}

// TestPromotionAsync asks without waiting, and then looks until it is done.
func TestPromotionAsync(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.provenance("acme/app", d)
	request := ask("acme/app", "1.0", "dev", "stable")
	got := a.post("/api/v1/promotions", request, "Prefer", "wait=10, Respond-Async")
	location := a.want(got, 202, "").header.Get("Location")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		p := get[promote.Promotion](a, location)
		if p.State == promote.Succeeded {
			break
		}
		if p.State.Terminal() || time.Now().After(deadline) {
			t.Fatalf("got %+v", p)
		}
	}
	a.want(a.post("/api/v1/promotions", request, "Prefer", "respond-async"), 200, "")
	a.want(a.post("/api/v1/promotions", request, "Prefer", "respond-asynchronously"), 200, "")
}

func TestPromotionRefusals(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.provenance("acme/app", d)
	a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 201, "")
	other := a.pushImage("dev/acme/app", "2.0", "other layer", "")
	a.provenance("acme/app", other)

	tests := []struct {
		name, body string
		status     int
		code       string
		says       string
	}{
		{"not JSON", `{`, 400, "REQUEST_INVALID", ""},
		{"empty", ``, 400, "REQUEST_INVALID", ""},
		{"a list", `[]`, 400, "REQUEST_INVALID", ""},
		{"null", `null`, 400, "REQUEST_INVALID", "repository is missing"},
		{"an unknown member", `{"repo":"acme/app"}`, 400, "REQUEST_INVALID", "repo"},
		{"a member in another case", `{"Repository":"acme/app"}`, 400, "REQUEST_INVALID", "Repository"},
		{"a member twice", `{"to":"stable","to":"release"}`, 400, "REQUEST_INVALID", "duplicate"},
		{"something behind", ask("acme/app", "1.0", "dev", "stable") + `{}`, 400, "REQUEST_INVALID", ""},
		{"not UTF-8", "{\"reason\":\"\xff\"}", 400, "REQUEST_INVALID", "UTF-8"},
		{"a number for a name", `{"repository":1}`, 400, "REQUEST_INVALID", ""},
		{"deep", strings.Repeat("[", 20_000), 400, "REQUEST_INVALID", ""},
		{"too large", `{"reason":"` + strings.Repeat("x", maxRequestBody) + `"}`, 413, "SIZE_INVALID", "65536"},
		{"no reference", ask("acme/app", "", "dev", "stable"), 400, "REQUEST_INVALID", "reference is missing"},
		{"no from", ask("acme/app", "1.0", "", "stable"), 400, "REQUEST_INVALID", "from is missing"},
		{"a wrong name", ask("../app", "1.0", "dev", "stable"), 400, "NAME_INVALID", ""},
		{"a long name", ask(strings.Repeat("a", 253), "1.0", "dev", "stable"), 400, "NAME_INVALID", ""},
		{"a tier of two parts", ask("app", "1.0", "dev/acme", "stable"), 400, "REQUEST_INVALID", ""},
		{"a wrong tag", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"tags":["-"],`, 1), 400, "REQUEST_INVALID", "tags"},
		{"a tag twice", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"tags":["a","a"],`, 1), 400, "REQUEST_INVALID", "twice"},
		{"a tag of evidence", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"tags":["sha256-`+d.Encoded()+`.att"],`, 1), 400, "REQUEST_INVALID", "evidence"},
		{"a long reason", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"reason":"`+strings.Repeat("x", 1025)+`",`, 1), 400, "REQUEST_INVALID", "1024"},
		{"a long reference", ask("acme/app", strings.Repeat("a", 256), "dev", "stable"), 400, "REQUEST_INVALID", "255"},
		{"a wrong digest", ask("acme/app", "sha256:ABC", "dev", "stable"), 400, "DIGEST_INVALID", ""},
		{"a skipped tier", ask("acme/app", "1.0", "dev", "release"), 400, "REQUEST_INVALID", "no tier is skipped"},
		{"into a pushed tier", ask("acme/app", "1.0", "stable", "dev"), 400, "REQUEST_INVALID", ""},
		{"an unknown tier", ask("acme/app", "1.0", "dev", "prod"), 404, "NAME_UNKNOWN", "dev, stable, release"},
		{"an unknown repository", ask("acme/none", "1.0", "dev", "stable"), 404, "MANIFEST_UNKNOWN", ""},
		{"an unknown tag", ask("acme/app", "3.0", "dev", "stable"), 404, "MANIFEST_UNKNOWN", ""},
		{"a rollback of no tag", strings.Replace(ask("acme/app", d.String(), "dev", "stable"), "{", `{"rollback":true,`, 1), 400, "REQUEST_INVALID", "tags is missing"},
		{"replaces of no rollback", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"replaces":"`+d.String()+`",`, 1), 400, "REQUEST_INVALID", "goes with rollback"},
		{"a rollback from no digest", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"rollback":true,"replaces":"1.0",`, 1), 400, "REQUEST_INVALID", "replaces"},
		{"a rollback to what never was", strings.Replace(ask("acme/app", "2.0", "dev", "stable"), "{", `{"tags":["1.0"],"rollback":true,`, 1), 409, "TAG_IMMUTABLE", "was never"},
		{"a rollback from what is not", strings.Replace(ask("acme/app", "2.0", "dev", "stable"), "{", `{"tags":["1.0"],"rollback":true,"replaces":"`+other.String()+`",`, 1), 409, "CONFLICT", "look at what it became"},
		{"an immutable tag", strings.Replace(ask("acme/app", "2.0", "dev", "stable"), "{", `{"tags":["1.0"],`, 1), 409, "TAG_IMMUTABLE", "1.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/api/v1/promotions", "/api/v1/evaluations"} {
				if tt.status == 409 && strings.HasSuffix(path, "evaluations") {
					continue // a policy knows no tags
				}
				got := a.want(a.post(path, tt.body), tt.status, tt.code)
				if !strings.Contains(string(got.body), tt.says) {
					t.Errorf("%s does not say %q: %s", path, tt.says, got.body)
				}
			}
		})
	}
	for _, mediaType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1", "application/jsonp"} {
		a.want(a.call("POST", "/api/v1/promotions", ask("acme/app", "2.0", "dev", "stable"), "Content-Type", mediaType), 415, "UNSUPPORTED")
	}
	if list := get[promotionList](a, "/api/v1/promotions"); len(list.Promotions) != 1 {
		t.Errorf("%d promotions are recorded, want the one that was done", len(list.Promotions))
	}
	a.want(a.call("POST", "/api/v1/evaluations", ask("acme/app", "2.0", "dev", "stable"), "Content-Type", "Application/JSON; charset=UTF-8"), 200, "")
}

func TestPromotionsList(t *testing.T) {
	a := newAPI(t, nil)
	for _, name := range []string{"acme/app", "acme/web", "beta/app"} {
		d := a.pushImage("dev/"+name, "1.0", "layer of "+name, "")
		a.want(a.post("/api/v1/promotions", ask(name, "1.0", "dev", "stable")), 422, "POLICY_VIOLATION")
		if name != "acme/web" {
			a.provenance(name, d)
			a.want(a.post("/api/v1/promotions", ask(name, "1.0", "dev", "stable")), 201, "")
		}
	}
	for query, want := range map[string]string{
		"":                                  "beta/app Succeeded, beta/app Failed, acme/web Failed, acme/app Succeeded, acme/app Failed",
		"?repository=acme/app":              "acme/app Succeeded, acme/app Failed",
		"?state=Succeeded":                  "beta/app Succeeded, acme/app Succeeded",
		"?to=release":                       "",
		"?to=stable&state=Failed&n=1":       "beta/app Failed",
		"?repository=acme/web&state=Failed": "acme/web Failed",
		"?n=1000":                           "beta/app Succeeded, beta/app Failed, acme/web Failed, acme/app Succeeded, acme/app Failed",
		"?last=0":                           "",
	} {
		var got []string
		for _, p := range get[promotionList](a, "/api/v1/promotions"+query).Promotions {
			got = append(got, p.Repository+" "+string(p.State))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: got %s, want %s", query, s, want)
		}
	}
	var walked []string
	for last := ""; ; {
		page := get[promotionList](a, "/api/v1/promotions?n=2&last="+last)
		for _, p := range page.Promotions {
			walked = append(walked, p.ID)
		}
		if last = page.Next; last == "" {
			break
		}
	}
	if len(walked) != 5 {
		t.Errorf("walked over %d, want 5", len(walked))
	}
	a.want(a.call("GET", "/api/v1/promotions?state=Done", ""), 400, "REQUEST_INVALID")
	a.want(a.call("GET", "/api/v1/promotions?to=prod", ""), 404, "NAME_UNKNOWN")
	a.want(a.call("GET", "/api/v1/promotions?repository=..", ""), 400, "NAME_INVALID")
	for _, id := range []string{"01KAS0Z6Y3T6Q2W8V4N5M7R9XB", "x", "%00", "a%2Fb", strings.Repeat("a", 300)} {
		a.want(a.call("GET", "/api/v1/promotions/"+id, ""), 404, "PROMOTION_UNKNOWN")
	}
}

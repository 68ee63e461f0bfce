package server

import (
	"strings"
	"testing"

	"sluice.dev/sluice/promote"
)

const aPolicy = "/api/v1/policies/dev-to-stable"

func TestPolicies(t *testing.T) {
	a := newAPI(t, nil)
	list := get[struct {
		Policies []policyView
		Next     string
	}](a, "/api/v1/policies?n=1")
	if len(list.Policies) != 1 || list.Policies[0].Name != "dev-to-stable" || list.Next != "dev-to-stable" {
		t.Errorf("policies %+v", list)
	}
	got := a.want(a.call("GET", aPolicy, ""), 200, "")
	p := decodeAnswer[promote.PolicyInfo](a, got)
	tag := got.header.Get("ETag")
	if tag != `"`+p.Digest.String()+`"` || p.Digest != list.Policies[0].Digest || p.SetBy != "setup" || p.To != "stable" {
		t.Errorf("ETag %s of %+v", tag, p)
	}

	// The document can be taken, edited and put back.
	document := a.want(a.call("GET", aPolicy, "", "Accept", "application/yaml"), 200, "")
	if document.header.Get("Content-Type") != "application/yaml" || string(document.body) != p.Document || document.header.Get("ETag") != tag {
		t.Errorf("document %s %s", document.header, document.body)
	}
	yaml := []string{"Content-Type", "application/yaml", "If-Match"}
	same := a.want(a.call("PUT", aPolicy, p.Document, append(yaml, tag)...), 200, "")
	if same.header.Get("ETag") != tag {
		t.Errorf("the same document has another digest: %s", same.header)
	}
	edited := strings.Replace(a.policy("dev-to-stable", "dev", "stable"), "spec:", "spec:\n  repositories: [\"acme/**\"]", 1)
	changed := a.want(a.call("PUT", aPolicy, edited, append(yaml, `"sha256:0", `+tag)...), 200, "")
	now := changed.header.Get("ETag")
	if now == tag || decodeAnswer[promote.PolicyInfo](a, changed).SetBy != Anonymous {
		t.Errorf("changed: %s %s", changed.header, changed.body)
	}
	// Whose answer was lost asks again, and gets it.
	again := a.want(a.call("PUT", aPolicy, edited, append(yaml, tag)...), 200, "")
	if again.header.Get("ETag") != now {
		t.Errorf("asked again: %s", again.header)
	}
	for _, stale := range []string{tag, "W/" + now, strings.Trim(now, `"`), `"x"`} {
		refused := a.want(a.call("PUT", aPolicy, p.Document, append(yaml, stale)...), 412, "PRECONDITION_FAILED")
		if refused.header.Get("ETag") != "" {
			t.Errorf("a refusal has an ETag: %s", refused.header)
		}
	}
	a.want(a.call("PUT", aPolicy, p.Document, append(yaml, "*")...), 200, "")
	a.want(a.call("PUT", aPolicy, edited), 200, "")
	a.want(a.call("PUT", "/api/v1/policies/new", a.policy("new", "dev", "stable"), append(yaml, "*")...), 412, "PRECONDITION_FAILED")
	a.want(a.call("PUT", "/api/v1/policies/new", a.policy("new", "dev", "stable")), 409, "CONFLICT")
	unless := []string{"Content-Type", "application/yaml", "If-None-Match"}
	a.want(a.call("PUT", aPolicy, p.Document, append(unless, "*")...), 412, "PRECONDITION_FAILED")
	a.want(a.call("PUT", aPolicy, p.Document, append(unless, tag)...), 400, "REQUEST_INVALID")
	a.want(a.call("PUT", aPolicy, p.Document, append(unless, "*", "If-Match", "*")...), 400, "REQUEST_INVALID")
}

func TestPolicyRefusals(t *testing.T) {
	a := newAPI(t, nil)
	before := a.call("GET", aPolicy, "").header.Get("ETag")
	good := a.policy("dev-to-stable", "dev", "stable")
	for _, tt := range []struct {
		name, body string
		status     int
		code, says string
	}{
		{"empty", "", 400, "POLICY_INVALID", ""},
		{"no YAML", "{", 400, "POLICY_INVALID", ""},
		{"an unknown key", good + "  extra: 1\n", 400, "POLICY_INVALID", "extra"},
		{"another name", a.policy("other", "dev", "stable"), 400, "POLICY_INVALID", "metadata.name"},
		{"an unknown tier", a.policy("dev-to-stable", "dev", "prod"), 400, "POLICY_INVALID", "prod"},
		{"a skipped tier", a.policy("dev-to-stable", "dev", "release"), 400, "POLICY_INVALID", "stable"},
		{"a key file", strings.Replace(good, "pem: ", "file: ", 1), 400, "POLICY_INVALID", "files cannot be read"},
		{"too large", "#" + strings.Repeat("x", maxPolicyBody), 413, "SIZE_INVALID", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.want(a.call("PUT", aPolicy, tt.body, "Content-Type", "application/yaml"), tt.status, tt.code)
			if !strings.Contains(string(got.body), tt.says) {
				t.Errorf("does not say %q: %s", tt.says, got.body)
			}
		})
	}
	a.want(a.call("PUT", aPolicy, good, "Content-Type", "application/x-www-form-urlencoded"), 415, "UNSUPPORTED")
	a.want(a.call("PUT", aPolicy+"?force=1", good), 400, "REQUEST_INVALID")
	if after := a.call("GET", aPolicy, "").header.Get("ETag"); after != before {
		t.Errorf("a refused policy is in force: %s", after)
	}
	for _, name := range []string{"none", "%2e%2e", "a%2Fb", strings.Repeat("a", 2000)} {
		a.want(a.call("GET", "/api/v1/policies/"+name, ""), 404, "POLICY_UNKNOWN")
	}
}

func TestKeys(t *testing.T) {
	a := newAPI(t, nil)
	type keyList struct {
		Keys []promote.PublicKey
		Next string
	}
	all := get[keyList](a, "/api/v1/keys")
	if len(all.Keys) != 2 || all.Keys[0].KeyID == all.Keys[1].KeyID || all.Keys[0].VerifierID != "https://registry.example.com/tiers/stable" {
		t.Errorf("keys %+v", all.Keys)
	}
	first := get[keyList](a, "/api/v1/keys?n=1")
	second := get[keyList](a, "/api/v1/keys?n=1&last="+first.Next)
	if len(first.Keys) != 1 || len(second.Keys) != 1 || second.Keys[0] != all.Keys[1] || second.Next != "" {
		t.Errorf("pages %+v and %+v", first, second)
	}
}

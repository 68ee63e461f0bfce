package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// approverPolicy puts a policy in force that asks for provenance by ci and for an approval
// by alice, whose public key is approver.
func (a *apiFixture) approverPolicy(approver string) {
	a.Helper()
	var pems [2][]byte
	var err error
	for i, pem := range []string{a.ciPEM, approver} {
		if pems[i], err = json.Marshal(pem); err != nil {
			a.Fatal(err)
		}
	}
	document := fmt.Sprintf(`apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities: [{name: ci, key: {pem: %s}}, {name: alice, key: {pem: %s}}]
  require:
    - {name: built-by-ci, predicateTypes: ["%s"], from: {authorities: [ci]}}
    - {name: approved, approval: {}, from: {authorities: [alice]}}
`, pems[0], pems[1], testProvenance)
	if _, err := a.engine.SetPolicy(a.Context(), "setup", "dev-to-stable", []byte(document), ""); err != nil {
		a.Fatal(err)
	}
}

// approval is the body of a call that approves, after edit.
func (a *apiFixture) approval(signer func([]byte) ([]byte, error), subject digest.Digest, decision string, edit ...func(*policy.Approval)) string {
	a.Helper()
	info, err := a.engine.Policy(a.Context(), "dev-to-stable")
	if err != nil {
		a.Fatal(err)
	}
	approval := policy.Approval{Repository: "acme/app", From: "dev", To: "stable", Policy: policy.PolicyDigest(info.Digest), Decision: decision, Timestamp: time.Now().UTC()}
	for _, f := range edit {
		f(&approval)
	}
	predicate, err := json.Marshal(approval)
	if err != nil {
		a.Fatal(err)
	}
	statement, err := attest.NewStatement(policy.ApprovalType, predicate, "app", subject)
	if err != nil {
		a.Fatal(err)
	}
	bundle, err := signer(statement)
	if err != nil {
		a.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"repository": "acme/app", "reference": "1.0", "from": "dev", "to": "stable", "bundle": json.RawMessage(bundle)})
	if err != nil {
		a.Fatal(err)
	}
	return string(body)
}

func TestApproval(t *testing.T) {
	a := newAPI(t, nil)
	key, pem := newSigner(t)
	outsider, _ := newSigner(t)
	alice := func(s []byte) ([]byte, error) { return attest.Sign(t.Context(), s, key) }
	ci := func(s []byte) ([]byte, error) { return attest.Sign(t.Context(), s, a.ci) }
	nobody := func(s []byte) ([]byte, error) { return attest.Sign(t.Context(), s, outsider) }
	a.approverPolicy(pem)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.provenance("acme/app", d)
	good := a.approval(alice, d, policy.Approved)

	for _, tt := range []struct {
		name, body string
		status     int
		code, says string
	}{
		{"not JSON", `{`, 400, "REQUEST_INVALID", ""},
		{"no bundle", ask("acme/app", "1.0", "dev", "stable"), 400, "REQUEST_INVALID", "bundle is missing"},
		{"null", strings.Replace(good, `"bundle":{`, `"bundle":null,"x":{`, 1), 400, "REQUEST_INVALID", "x"},
		{"a bundle that is text", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"bundle":"x",`, 1), 400, "REQUEST_INVALID", "bundle is missing"},
		{"an empty bundle", strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"bundle":{},`, 1), 400, "REQUEST_INVALID", "bundle"},
		{"a member twice in it", strings.Replace(good, `"bundle":{`, `"bundle":{"mediaType":"x",`, 1), 400, "REQUEST_INVALID", "duplicate"},
		{"no repository", strings.Replace(good, `"repository":"acme/app",`, "", 1), 400, "REQUEST_INVALID", "repository is missing"},
		{"a wrong name", strings.Replace(good, `"repository":"acme/app",`, `"repository":"../app",`, 1), 400, "NAME_INVALID", ""},
		{"an unknown artifact", strings.Replace(good, `"reference":"1.0"`, `"reference":"2.0"`, 1), 404, "MANIFEST_UNKNOWN", ""},
		{"an unknown tier", strings.Replace(good, `"to":"stable"`, `"to":"prod"`, 1), 404, "NAME_UNKNOWN", ""},
		{"too large", strings.Replace(good, `"bundle":{`, `"bundle":{"x":"`+strings.Repeat("x", maxRequestBody)+`",`, 1), 413, "SIZE_INVALID", ""},
		{"signed by nobody known", a.approval(nobody, d, policy.Approved), 400, "REQUEST_INVALID", "no authority signed it"},
		{"signed by who is not asked", a.approval(ci, d, policy.Approved), 403, "DENIED", "asks alice"},
		{"about another artifact", a.approval(alice, digest.FromString("x"), policy.Approved), 400, "REQUEST_INVALID", "the statement is about"},
		{"for another tier", a.approval(alice, d, policy.Approved, func(p *policy.Approval) { p.To = "release" }), 400, "REQUEST_INVALID", "for the tier"},
		{"under another policy", a.approval(alice, d, policy.Approved, func(p *policy.Approval) { p.Policy = policy.PolicyDigest(d) }), 409, "CONFLICT", "in force is"},
		{"a word that is none", a.approval(alice, d, "ok"), 400, "REQUEST_INVALID", "predicate.decision"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.want(a.post("/api/v1/approvals", tt.body), tt.status, tt.code)
			if !strings.Contains(string(got.body), tt.says) {
				t.Errorf("does not say %q: %s", tt.says, got.body)
			}
		})
	}
	a.want(a.call("POST", "/api/v1/approvals", good, "Content-Type", "text/plain"), 415, "UNSUPPORTED")
	a.want(a.call("GET", "/api/v1/approvals", ""), 405, "UNSUPPORTED")
	a.want(a.post("/api/v1/approvals?x=1", good), 400, "REQUEST_INVALID")
	evidence := "/api/v1/tiers/dev/evidence?repository=acme/app&digest=" + d.String()
	if n := strings.Count(string(a.call("GET", evidence, "").body), "keyId"); n != 1 {
		t.Errorf("%d signatures are attached, want the provenance's", n)
	}

	done := decodeAnswer[promote.ApprovalResult](a, a.want(a.post("/api/v1/approvals", good), 201, ""))
	if done.Subject != d || done.Decision != policy.Approved || done.Signers[0].Authority != "alice" {
		t.Errorf("got %+v", done)
	}
	if again := decodeAnswer[promote.ApprovalResult](a, a.want(a.post("/api/v1/approvals", good), 201, "")); again.Digest != done.Digest {
		t.Errorf("again: %+v", again)
	}
	a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 201, "")
}

// TestPromotionWaits asks for one that waits, looks at it, and approves it.
func TestPromotionWaits(t *testing.T) {
	a := newAPI(t, nil)
	key, pem := newSigner(t)
	alice := func(s []byte) ([]byte, error) { return attest.Sign(t.Context(), s, key) }
	a.approverPolicy(pem)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.provenance("acme/app", d)
	waits := strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"wait":true,`, 1)

	if v := decodeAnswer[policy.Verdict](a, a.want(a.post("/api/v1/evaluations", waits), 200, "")); v.Allowed || v.Rules[1].Awaits != policy.AwaitsApproval {
		t.Errorf("evaluated %+v", v)
	}
	a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 422, "POLICY_VIOLATION")
	for _, text := range []string{"0s", "721h", "1d", "-1h"} {
		a.want(a.post("/api/v1/promotions", strings.Replace(waits, "{", `{"waitFor":"`+text+`",`, 1)), 400, "REQUEST_INVALID")
	}
	got := a.want(a.post("/api/v1/promotions", waits), 202, "")
	p := decodeAnswer[promote.Promotion](a, got)
	location := got.header.Get("Location")
	if p.State != promote.Pending || p.WaitUntil == nil || p.Verdict == nil || location != "/api/v1/promotions/"+p.ID {
		t.Fatalf("got %+v at %s", p, location)
	}
	if again := decodeAnswer[promote.Promotion](a, a.want(a.post("/api/v1/promotions", waits, "Prefer", "respond-async"), 202, "")); again.ID != p.ID {
		t.Errorf("asked again: %s, want %s", again.ID, p.ID)
	}
	if list := get[promotionList](a, "/api/v1/promotions?state=Pending"); len(list.Promotions) != 1 || list.Promotions[0].Verdict == nil {
		t.Errorf("waiting are %+v", list.Promotions)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.engine.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	a.want(a.post("/api/v1/approvals", a.approval(alice, d, policy.Approved)), 201, "")
	if p := a.ends(location); p.State != promote.Succeeded {
		t.Errorf("ended as %s: %s", p.State, p.Error)
	}
	a.want(a.post("/api/v1/promotions", waits), 200, "")

	// One that is rejected has failed.
	d = a.pushImage("dev/acme/app", "1.1", "another layer", "")
	a.provenance("acme/app", d)
	location = a.want(a.post("/api/v1/promotions", strings.NewReplacer(`"wait":true`, `"waitFor":"1h"`, "1.0", "1.1").Replace(waits)), 202, "").header.Get("Location")
	a.want(a.post("/api/v1/approvals", strings.Replace(a.approval(alice, d, policy.Rejected), `"reference":"1.0"`, `"reference":"1.1"`, 1)), 201, "")
	if p := a.ends(location); p.State != promote.Failed || !strings.Contains(p.Error, "waits no longer") {
		t.Errorf("ended as %s: %s", p.State, p.Error)
	}
}

// TestPromotionCancelled: who may promote there cancels what waits, nobody else does.
func TestPromotionCancelled(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"ci"}, Tiers: []string{"dev"}, Actions: []Action{ActionPull, ActionPush, ActionDelete}},
		Grant{Users: []string{"manager", "colleague"}, Repositories: []string{"acme/*"}, Actions: []Action{ActionPull, ActionPromote}},
		Grant{Users: []string{"elsewhere"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"elsewhere"}, Tiers: []string{"release"}, Actions: []Action{ActionPromote, ActionDelete, ActionApprove}},
		Grant{Users: []string{"blind"}, Tiers: []string{"stable"}, Actions: []Action{ActionPull, ActionPromote}},
	))
	_, pem := newSigner(t)
	a.approverPolicy(pem)
	a.user = "ci:ci"
	a.provenance("acme/app", a.pushImage("dev/acme/app", "1.0", "layer", ""))
	waits := strings.Replace(ask("acme/app", "1.0", "dev", "stable"), "{", `{"wait":true,`, 1)
	a.user = "manager:manager"
	location := a.want(a.post("/api/v1/promotions", waits), 202, "").header.Get("Location")
	for _, tt := range []struct {
		user, path string
		status     int
		code       string
	}{
		{"", location, 401, "UNAUTHORIZED"},
		{"nobody", location, 403, "DENIED"},
		{"ci", location, 403, "DENIED"},
		{"elsewhere", location, 403, "DENIED"},
		{"blind", location, 404, "PROMOTION_UNKNOWN"}, // not even that it waits
		{"colleague", location + "x", 404, "PROMOTION_UNKNOWN"},
		{"colleague", "/api/v1/promotions/..", 404, ""},
		{"colleague", location + "?force=1", 400, "REQUEST_INVALID"},
		{"colleague", location, 204, ""},
		{"colleague", location, 409, "CONFLICT"},
	} {
		a.user = ""
		if tt.user != "" {
			a.user = tt.user + ":" + tt.user
		}
		got := a.call("DELETE", tt.path, "")
		if got.status != tt.status || tt.code != "" && got.code() != tt.code {
			t.Errorf("%s, %s: got %d %s, want %d %s", tt.user, tt.path, got.status, got.body, tt.status, tt.code)
		}
		a.user = "manager:manager"
		if p := get[promote.Promotion](a, location); (p.State == promote.Pending) != (tt.status != 204 && tt.status != 409) {
			t.Errorf("after %s it is %s", tt.user, p.State)
		}
	}
	if p := get[promote.Promotion](a, location); p.State != promote.Failed || p.Error != "it waits no longer: colleague cancelled it" {
		t.Errorf("got %s, %q", p.State, p.Error)
	}
	again := a.want(a.post("/api/v1/promotions", waits), 202, "").header.Get("Location")
	if again == location {
		t.Error("asked again, the one that was cancelled is answered")
	}
}

// ends waits for the end of a promotion.
func (a *apiFixture) ends(location string) promote.Promotion {
	a.Helper()
	for range 500 {
		if p := get[promote.Promotion](a, location); p.State.Terminal() {
			return p
		}
		time.Sleep(20 * time.Millisecond)
	}
	a.Fatalf("%s does not end", location)
	return promote.Promotion{}
}

// TestApprovalAccess: to approve is an action of its own.
func TestApprovalAccess(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"ci"}, Tiers: []string{"dev"}, Actions: []Action{ActionPull, ActionPush}},
		Grant{Users: []string{"manager"}, Actions: []Action{ActionPull, ActionPromote, ActionPush, ActionPolicy, ActionDelete}},
		Grant{Users: []string{"alice"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"alice"}, Tiers: []string{"stable"}, Repositories: []string{"acme/*"}, Actions: []Action{ActionApprove}},
		Grant{Users: []string{"bob"}, Tiers: []string{"stable"}, Actions: []Action{ActionApprove}},
		Grant{Users: []string{"carol"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"carol"}, Tiers: []string{"dev"}, Actions: []Action{ActionApprove}},
	))
	key, pem := newSigner(t)
	a.approverPolicy(pem)
	a.user = "ci:ci"
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	body := a.approval(func(s []byte) ([]byte, error) { return attest.Sign(t.Context(), s, key) }, d, policy.Approved)
	for _, tt := range []struct {
		user   string
		status int
		code   string
	}{
		{"", 401, "UNAUTHORIZED"}, {"ci", 403, "DENIED"}, {"manager", 403, "DENIED"}, {"bob", 403, "DENIED"}, {"carol", 403, "DENIED"}, {"alice", 201, ""},
	} {
		a.user = ""
		if tt.user != "" {
			a.user = tt.user + ":" + tt.user
		}
		a.want(a.post("/api/v1/approvals", body), tt.status, tt.code)
		if tt.status != 201 {
			a.want(a.post("/api/v1/approvals", strings.Replace(body, `"reference":"1.0"`, `"reference":"none"`, 1)), tt.status, tt.code)
		}
	}
	a.user = "alice:alice"
	a.want(a.post("/api/v1/approvals", strings.Replace(body, "acme/app", "beta/app", 1)), 403, "DENIED")
}

package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers/runs"
)

const revocationsPath = "/api/v1/revocations"

// decidedAnew waits until what rested on a revocation is.
func (a *apiFixture) decidedAnew(id string) promote.Revocation {
	a.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if r := get[promote.Revocation](a, revocationsPath+"/"+id); r.Redecision.State == promote.RedecisionDone {
			return r
		}
	}
	a.Fatal("it is not decided anew")
	return promote.Revocation{}
}

type revokedPage struct {
	Artifacts []promote.Redecided
	Next      string
}

// TestRevocation goes through what a client sees of a revocation: what would change, what
// counts no more, what changed, and that it is lifted.
func TestRevocation(t *testing.T) {
	a := newAPI(t, nil)
	for _, tag := range []string{"1.0", "2.0"} {
		a.provenance("acme/app", a.pushImage("dev/acme/app", tag, "layer "+tag, ""))
		a.want(a.post("/api/v1/promotions", ask("acme/app", tag, "dev", "stable")), 201, "")
	}
	d := get[struct{ Artifacts []promote.Artifact }](a, "/api/v1/tiers/stable/artifacts?repository=acme/app").Artifacts
	var subject string
	for _, artifact := range d {
		if len(artifact.Tags) > 0 {
			subject = artifact.Digest.String()
		}
	}
	evidencePath := "/api/v1/tiers/stable/evidence?repository=acme/app&digest=" + subject
	type evidence struct {
		Evidence []struct {
			PredicateType string
			Verified      bool
			Problem       string
			Revoked       []string
			Signers       []struct{ KeyID string }
		}
	}
	provenance := func() int { // beside it stands the registry's own summary
		for i, ev := range get[evidence](a, evidencePath).Evidence {
			if ev.PredicateType == testProvenance {
				return i
			}
		}
		t.Fatal("there is no provenance")
		return 0
	}()
	key := get[evidence](a, evidencePath).Evidence[provenance].Signers[0].KeyID
	body := fmt.Sprintf(`{"kind":"key","value":%q,"reason":"ticket 4711"}`, key)
	dry := decodeAnswer[RevokingView](a, a.want(a.post(revocationsPath+"?dryRun=true", body), 200, ""))
	if len(dry.Artifacts) != 2 || dry.Redecision.Changed != 2 || dry.Artifacts[0].Outcome != promote.OutcomeReported || dry.Next == "" {
		t.Errorf("dry: %+v", dry)
	}
	if rest := decodeAnswer[RevokingView](a, a.want(a.post(revocationsPath+"?dryRun=1&last="+dry.Next, body), 200, "")); len(rest.Artifacts) != 0 || rest.Next != "" {
		t.Errorf("dry, the rest: %+v", rest)
	}
	if all := get[struct{ Revocations []promote.Revocation }](a, revocationsPath).Revocations; len(all) != 0 {
		t.Errorf("a dry run left %+v", all)
	}
	got := a.want(a.post(revocationsPath, body), 201, "")
	r := decodeAnswer[RevocationView](a, got)
	if r.By != Anonymous || r.Value != key || r.Run == nil || r.Run.Kind != runs.Redecision || got.header.Get("Location") != revocationsPath+"/"+r.ID {
		t.Errorf("revoked %+v", r)
	}
	if again := decodeAnswer[RevocationView](a, a.want(a.post(revocationsPath, body), 200, "")); again.ID != r.ID {
		t.Errorf("again %+v", again)
	}
	if now := a.decidedAnew(r.ID).Redecision; now.Decided != 2 || now.Rested != 2 || now.Changed != 2 || now.Reported != 2 {
		t.Errorf("decided anew: %+v", now)
	}
	if ev := get[evidence](a, evidencePath).Evidence[provenance]; ev.Verified || !strings.Contains(ev.Problem, "ticket 4711") || len(ev.Revoked) != 1 || ev.Revoked[0] != r.ID {
		t.Errorf("evidence %+v", ev)
	}
	p := violationOf(a, a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")))
	if !strings.Contains(p.Verdict.Rules[0].Message, "ticket 4711") {
		t.Errorf("promoted: %+v", p.Verdict)
	}
	first := get[revokedPage](a, revocationsPath+"/"+r.ID+"/artifacts?n=1")
	second := get[revokedPage](a, revocationsPath+"/"+r.ID+"/artifacts?n=1&last="+first.Next)
	if len(first.Artifacts) != 1 || len(second.Artifacts) != 1 || second.Next != "" || first.Artifacts[0].Digest == second.Artifacts[0].Digest {
		t.Errorf("by one: %+v, %+v", first, second)
	}
	lifted := decodeAnswer[RevocationView](a, a.want(a.call("DELETE", revocationsPath+"/"+r.ID+"?reason=fine", ""), 200, ""))
	if lifted.Lifted == nil || lifted.Lifted.Reason != "fine" {
		t.Errorf("lifted %+v", lifted)
	}
	if now := a.decidedAnew(r.ID).Redecision; now.Restored != 2 {
		t.Errorf("lifted: %+v", now)
	}
	if ev := get[evidence](a, evidencePath).Evidence[provenance]; !ev.Verified || len(ev.Revoked) != 0 {
		t.Errorf("lifted: %+v", ev)
	}
	if all := get[struct{ Revocations []promote.Revocation }](a, revocationsPath).Revocations; len(all) != 1 || all[0].Lifted == nil {
		t.Errorf("listed %+v", all)
	}
	run := decodeAnswer[runs.Run](a, a.want(a.post("/api/v1/redecisions", "{}"), 201, ""))
	if run.State != runs.Succeeded {
		t.Errorf("begun by hand: %+v", run)
	}
	if page := get[struct{ Redecisions []runs.Run }](a, "/api/v1/redecisions").Redecisions; len(page) < 2 {
		t.Errorf("runs: %+v", page)
	}
}

// TestRevocationRequests holds what is refused against the description.
func TestRevocationRequests(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"root"}, Actions: []Action{ActionPolicy, ActionAdmin}},
		Grant{Users: []string{"devs"}, Tiers: []string{"dev"}, Actions: []Action{ActionPolicy}},
		Grant{Users: []string{"all"}, Actions: []Action{ActionPull, ActionPush, ActionDelete, ActionPromote, ActionApprove, ActionQuarantine}},
	))
	a.user = "root:root"
	key := strings.Repeat("a", 64)
	good := fmt.Sprintf(`{"kind":"key","value":%q,"reason":"x"}`, key)
	r := decodeAnswer[RevocationView](a, a.want(a.post(revocationsPath, good), 201, ""))
	for _, body := range []string{
		`{}`, `{"kind":"key","value":"` + key + `"}`, `{"kind":"key","value":"` + strings.ToUpper(key) + `","reason":"x"}`, `{"kind":"key","value":"x","reason":"x"}`,
		`{"kind":"other","value":"x","reason":"x"}`, `{"kind":"builder","value":"","reason":"x"}`, `{"kind":"builder","value":"x","issuer":"y","reason":"x"}`,
		`{"kind":"identity","value":"x","reason":"x"}`, `{"kind":"builder","value":"x\ny","reason":"x"}`, `{"kind":"builder","value":"x","reason":"x\ny"}`,
		`{"kind":"builder","value":"x","reason":"` + strings.Repeat("x", 501) + `"}`, `{"kind":"builder","value":"` + strings.Repeat("x", 1025) + `","reason":"x"}`,
		`{"kind":"builder","value":"x","reason":"x","from":"2026-01-02T00:00:00Z","until":"2026-01-02T00:00:00Z"}`, `{"kind":"builder","value":"x","reason":"x","more":1}`,
	} {
		a.want(a.post(revocationsPath, body), 400, "REQUEST_INVALID")
	}
	a.want(a.post(revocationsPath, `{"kind":"attestation","value":"x","reason":"x"}`), 400, "DIGEST_INVALID")
	for _, query := range []string{"?dryRun=maybe", "?x=1", "?last=stable/", "?dryRun=1&dryRun=1"} {
		a.want(a.post(revocationsPath+query, good), 400, "REQUEST_INVALID")
	}
	for _, path := range []string{"/01KAS0Z6Y3T6Q2W8V4N5M7R9XB", "/none", "/01KAS0Z6Y3T6Q2W8V4N5M7R9XB/artifacts"} {
		a.want(a.call("GET", revocationsPath+path, ""), 404, "REVOCATION_UNKNOWN")
	}
	a.want(a.call("DELETE", revocationsPath+"/none", ""), 404, "REVOCATION_UNKNOWN")
	for _, user := range []string{"devs", "all"} {
		a.user = user + ":" + user
		a.want(a.post(revocationsPath, good), 403, "DENIED")
		a.want(a.post(revocationsPath+"?dryRun=true", good), 403, "DENIED")
		a.want(a.call("GET", revocationsPath, ""), 403, "DENIED")
		a.want(a.call("GET", revocationsPath+"/"+r.ID, ""), 403, "DENIED")
		a.want(a.call("GET", revocationsPath+"/"+r.ID+"/artifacts", ""), 403, "DENIED")
		a.want(a.call("DELETE", revocationsPath+"/"+r.ID, ""), 403, "DENIED")
	}
}

package promote_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// approvers are alice and bob, whom the policies of a gate ask for approval.
type approvers struct {
	*gate
	keys map[string]crypto.Signer
	pems map[string]string
}

// newApprovers makes a gate whose policies ask for provenance by ci and for so many
// approvals, by alice, bob or ci.
func newApprovers(t *testing.T, threshold int, edit func(*tiers.Config)) *approvers {
	t.Helper()
	a := &approvers{gate: bareGate(t, edit), keys: map[string]crypto.Signer{}, pems: map[string]string{}}
	a.keys["ci"], a.pems["ci"] = a.ci, a.ciPEM
	for _, name := range []string{"alice", "bob"} {
		a.keys[name], a.pems[name] = newKey(t)
	}
	a.require("dev-to-stable", "dev", "stable", a.rules(threshold))
	a.require("stable-to-release", "stable", "release", a.rules(threshold))
	return a
}

func (a *approvers) rules(threshold int) string {
	return fmt.Sprintf(`
    - {name: built-by-ci, predicateTypes: ["%s"], from: {authorities: [ci]}}
    - {name: approved, approval: {}, from: {authorities: [alice, bob, ci], threshold: %d}}
`, provenanceType, threshold)
}

// require puts a policy with other rules in force.
func (a *approvers) require(name, from, to, rules string) {
	a.Helper()
	var authorities strings.Builder
	for _, name := range []string{"ci", "alice", "bob"} {
		pem, err := json.Marshal(a.pems[name])
		a.must(err)
		fmt.Fprintf(&authorities, "    - {name: %s, key: {pem: %s}}\n", name, pem)
	}
	document := fmt.Sprintf("apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: %s}\nspec:\n  from: %s\n  to: %s\n  authorities:\n%s  require:%s",
		name, from, to, authorities.String(), rules)
	_, err := a.engine.SetPolicy(a.Context(), "admin", name, []byte(document), "")
	a.must(err)
}

// statement is an approval of subject by the policy in force, after edit.
func (a *approvers) statement(who, name, decision string, subject digest.Digest, edit ...func(*policy.Approval)) []byte {
	a.Helper()
	info, err := a.engine.Policy(a.Context(), name)
	a.must(err)
	approval := policy.Approval{Repository: repository, From: info.From, To: info.To, Policy: policy.PolicyDigest(info.Digest),
		Decision: decision, Timestamp: time.Now().UTC()}
	for _, f := range edit {
		f(&approval)
	}
	predicate, err := json.Marshal(approval)
	a.must(err)
	statement, err := attest.NewStatement(policy.ApprovalType, predicate, "app", subject)
	a.must(err)
	bundle, err := attest.Sign(a.Context(), statement, a.keys[who])
	a.must(err)
	return bundle
}

// push attaches an approval to an artifact in dev, as any client may.
func (a *approvers) push(who, decision string, subject ocispec.Descriptor, edit ...func(*policy.Approval)) {
	a.Helper()
	_, err := attest.Attach(a.Context(), a.repo("dev"), a.statement(who, "dev-to-stable", decision, subject.Digest, edit...), policy.ApprovalType, subject, time.Now())
	a.must(err)
}

// approve has the registry attach an approval.
func (a *approvers) approve(who string, subject ocispec.Descriptor) {
	a.Helper()
	_, err := a.engine.Approve(a.Context(), who, promote.ApprovalRequest{Repository: repository, Reference: subject.Digest.String(), From: "dev", To: "stable",
		Bundle: a.statement(who, "dev-to-stable", policy.Approved, subject.Digest)})
	a.must(err)
}

// The registry attaches approvals in any tier, and refuses what could not count.
func TestApprove(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	other := a.image("2.0", "two", nil)
	a.provenance(image)
	outsider, _ := newKey(t)
	a.keys["mallory"] = outsider
	statement := func(predicateType, predicate string) []byte {
		s, err := attest.NewStatement(predicateType, []byte(predicate), "app", image.Digest)
		a.must(err)
		bundle, err := attest.Sign(t.Context(), s, a.keys["alice"])
		a.must(err)
		return bundle
	}
	mine := func(edit ...func(*policy.Approval)) []byte {
		return a.statement("alice", "dev-to-stable", policy.Approved, image.Digest, edit...)
	}
	for name, c := range map[string]struct {
		request promote.ApprovalRequest
		want    error
		says    string
	}{
		"no bundle":              {promote.ApprovalRequest{Bundle: []byte(`{}`)}, oci.ErrRequestInvalid, "bundle"},
		"no JSON":                {promote.ApprovalRequest{Bundle: []byte(`hello`)}, oci.ErrRequestInvalid, "not strict JSON"},
		"a key twice":            {promote.ApprovalRequest{Bundle: bytes.Replace(mine(), []byte("{"), []byte(`{"mediaType":"x",`), 1)}, oci.ErrRequestInvalid, "not strict JSON"},
		"signed by nobody known": {promote.ApprovalRequest{Bundle: a.statement("mallory", "dev-to-stable", policy.Approved, image.Digest)}, oci.ErrRequestInvalid, "no authority signed it"},
		"of another artifact":    {promote.ApprovalRequest{Bundle: a.statement("alice", "dev-to-stable", policy.Approved, other.Digest)}, oci.ErrRequestInvalid, "the statement is about"},
		"not an approval":        {promote.ApprovalRequest{Bundle: statement(testType, `{"result":"PASSED"}`)}, oci.ErrRequestInvalid, "want " + policy.ApprovalType},
		"an empty approval":      {promote.ApprovalRequest{Bundle: statement(policy.ApprovalType, `{}`)}, oci.ErrRequestInvalid, "predicate.repository is missing"},
		"another repository":     {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Repository = "acme/web" })}, oci.ErrRequestInvalid, `"acme/web"`},
		"another tier":           {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.To = "release" })}, oci.ErrRequestInvalid, `"release"`},
		"another policy":         {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Policy = policy.PolicyDigest(image.Digest) })}, oci.ErrConflict, "in force is"},
		"from the future":        {promote.ApprovalRequest{Bundle: mine(func(p *policy.Approval) { p.Timestamp = time.Now().Add(time.Hour) })}, oci.ErrRequestInvalid, "in the future"},
		"an unknown artifact":    {promote.ApprovalRequest{Reference: "3.0", Bundle: mine()}, oci.ErrManifestUnknown, "3.0"},
		"a skipped tier":         {promote.ApprovalRequest{To: "release", Bundle: mine()}, oci.ErrRequestInvalid, "no tier is skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.request
			r.Repository, r.From = repository, "dev"
			if r.Reference == "" {
				r.Reference = "1.0"
			}
			if r.To == "" {
				r.To = "stable"
			}
			before := len(a.events(""))
			if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.says)
			}
			if n := len(a.events("")); n != before {
				t.Errorf("%d events of what was refused", n-before)
			}
		})
	}
	good := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "dev", To: "stable", Bundle: mine()}
	got, err := a.engine.Approve(t.Context(), "web", good)
	if err != nil || got.Subject != image.Digest || got.Decision != policy.Approved || len(got.Signers) != 1 || got.Signers[0].Authority != "alice" {
		t.Fatalf("got %+v, %v", got, err)
	}
	events := a.events("manifest.pushed")
	if last := events[len(events)-1]; last.Digest != got.Digest || last.Subject != image.Digest || last.Actor != "web" || last.Tier != "dev" {
		t.Errorf("event %+v", last)
	}
	n := len(a.events(""))
	if again, err := a.engine.Approve(t.Context(), "web", good); err != nil || again.Digest != got.Digest || len(a.events("")) != n {
		t.Errorf("the same again: got %+v, %v, %d events", again, err, len(a.events(""))-n)
	}
	a.promoteOK(request("1.0", "stable"))

	// To stable nobody pushes, but approvals for release are attached there.
	release := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "stable", To: "release",
		Bundle: a.statement("bob", "stable-to-release", policy.Approved, image.Digest)}
	waits := a.wait(request("1.0", "release"))
	if got, err = a.engine.Approve(t.Context(), "web", release); err != nil {
		t.Fatal(err)
	}
	defer a.running()()
	a.ends(waits.ID, promote.Succeeded)
	a.complete("release", "1.0", image.Digest)
	a.complete("stable", "1.0", image.Digest)
	a.tidied()
	if _, err := a.repo("stable").PutManifest(t.Context(), "2.0", "", image.MediaType, []byte("{}")); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("push to stable: %v", err)
	}
	if err := a.repo("stable").AsRegistry().DeleteManifest(t.Context(), got.Digest); !errors.Is(err, oci.ErrDenied) {
		t.Errorf("delete in stable: %v", err)
	}
}

// A policy that asks nobody takes no approvals.
func TestApproveNobodyAsked(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	bundle := a.statement("alice", "dev-to-stable", policy.Approved, image.Digest)
	r := promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "dev", To: "stable", Bundle: bundle}
	a.require("dev-to-stable", "dev", "stable", strings.Replace(a.rules(1), "alice, bob, ci", "bob", 1))
	r.Bundle = a.statement("alice", "dev-to-stable", policy.Approved, image.Digest)
	if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, oci.ErrDenied) || !strings.Contains(err.Error(), "asks bob") {
		t.Errorf("signed by an authority that is not asked: %v", err)
	}
	a.require("dev-to-stable", "dev", "stable", fmt.Sprintf("\n    - {name: built, predicateTypes: [%q], from: {authorities: [ci]}}\n", provenanceType))
	if _, err := a.engine.Approve(t.Context(), "web", r); !errors.Is(err, oci.ErrRequestInvalid) || !strings.Contains(err.Error(), "asks nobody") {
		t.Errorf("nobody is asked: %v", err)
	}
}

// Approvals that come at once through two replicas are all there.
func TestApproveAtOnce(t *testing.T) {
	a := newApprovers(t, 2, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	p := a.wait(request("1.0", "stable"))
	other, _ := a.process(false)
	defer other.running()()
	var all sync.WaitGroup
	for _, who := range []string{"alice", "bob", "alice", "bob"} {
		all.Go(func() { a.approve(who, image) })
	}
	all.Wait()
	a.ends(p.ID, promote.Succeeded)
}

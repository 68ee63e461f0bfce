package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// ApprovalType is the predicate type of an approval. schemas/approval.v1.json
// describes it.
const ApprovalType = "https://sluice.dev/approval/v1"

// What an approval decides.
const (
	Approved = "approved"
	Rejected = "rejected"
)

// AwaitsApproval is what Rule.Awaits says of a rule that approvals alone would satisfy.
const AwaitsApproval = "approval"

const maxApprovalReason = 1024 // bytes

// Approval is the predicate of an approval: somebody's word on whether one artifact, the
// statement's subject, may rise to a tier, under the policy that he has read. It is worth
// nothing for another repository, tier or policy.
type Approval struct {
	Repository string         `json:"repository"` // without the tier
	From       string         `json:"from"`
	To         string         `json:"to"`
	Policy     ApprovedPolicy `json:"policy"`
	Decision   string         `json:"decision"`         // approved or rejected
	Reason     string         `json:"reason,omitempty"` // at most 1024 bytes
	Timestamp  time.Time      `json:"timestamp"`
}

// ApprovedPolicy names a policy by content, as in-toto names a resource.
type ApprovedPolicy struct {
	Digest map[string]string `json:"digest"` // sha256: lower-case hex
}

// PolicyDigest is how an approval names a policy.
func PolicyDigest(d digest.Digest) ApprovedPolicy {
	return ApprovedPolicy{Digest: map[string]string{d.Algorithm().String(): d.Encoded()}}
}

// ParseApproval reads the predicate of an approval out of the one parse of its statement.
// What has a member that is not known says more than is understood, and is none.
func ParseApproval(predicate map[string]any) (Approval, error) {
	var a Approval
	for _, name := range slices.Sorted(maps.Keys(predicate)) {
		if !slices.Contains([]string{"repository", "from", "to", "policy", "decision", "reason", "timestamp"}, name) {
			return a, fmt.Errorf("predicate.%s is not known: an approval says nothing else", shortText(name))
		}
	}
	texts := map[string]*string{"repository": &a.Repository, "from": &a.From, "to": &a.To, "decision": &a.Decision}
	for _, name := range []string{"repository", "from", "to", "decision"} {
		text, ok := predicate[name].(string)
		if !ok || text == "" {
			return a, fmt.Errorf("predicate.%s is missing", name)
		}
		*texts[name] = text
	}
	if a.Decision != Approved && a.Decision != Rejected {
		return a, fmt.Errorf("predicate.decision is %q: want %s or %s", shortText(a.Decision), Approved, Rejected)
	}
	if reason, there := predicate["reason"]; there {
		text, ok := reason.(string)
		if !ok || len(text) > maxApprovalReason {
			return a, fmt.Errorf("predicate.reason is no text of at most %d bytes", maxApprovalReason)
		}
		a.Reason = text
	}
	stated, ok := predicate["timestamp"].(string)
	when, err := time.Parse(time.RFC3339, stated)
	if !ok || err != nil || when.IsZero() {
		return a, errors.New("predicate.timestamp is no time as 2026-01-31T00:00:00Z is")
	}
	a.Timestamp = when
	resource, _ := predicate["policy"].(map[string]any)
	digests, _ := resource["digest"].(map[string]any)
	hex, ok := digests["sha256"].(string)
	if !ok {
		return a, errors.New("predicate.policy.digest.sha256 is missing")
	}
	a.Policy.Digest = map[string]string{"sha256": hex}
	return a, nil
}

// CheckApproval says why an approval could not count for a decision of this policy about a
// repository; nil where it could. Who signed it is not looked at.
func (p *Policy) CheckApproval(a Approval, repository string) error {
	switch {
	case a.Repository != repository:
		return fmt.Errorf("it is about the repository %q, not %s", shortText(a.Repository), repository)
	case a.To != p.To():
		return fmt.Errorf("it is for the tier %q, not %s", shortText(a.To), p.To())
	case a.From != p.From():
		return fmt.Errorf("it is for what comes from %q, not from %s", shortText(a.From), p.From())
	case a.Policy.Digest["sha256"] != p.digest.Encoded():
		return fmt.Errorf("it was given under the policy sha256:%s, in force is %s", shortText(a.Policy.Digest["sha256"]), short(p.digest))
	}
	return nil
}

// Approvers are the authorities whose approval some requirement asks for, each once.
func (p *Policy) Approvers() []string {
	var names []string
	for _, r := range p.rules {
		if r.Approval != nil && r.Mode != Off {
			names = append(names, r.From.Authorities...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ApprovalSpec has a requirement accept approvals of this very decision, by whoever did not
// build the artifact.
type ApprovalSpec struct{}

// approval compiles the check. It is never added to evidence of another kind, which has
// none of what it compares.
func (l *loader) approval(path string, r *Requirement) []check {
	if r.Approval == nil {
		return nil
	}
	l.implied(path, r, ApprovalType)
	if slices.ContainsFunc(r.PredicateTypes, func(t string) bool { return t != ApprovalType }) {
		l.add(path+".predicateTypes", "are %v: with approval it can only be %s", r.PredicateTypes, ApprovalType)
	}
	return []check{approvalCheck{to: l.doc.Spec.To}}
}

// approvalCheck is the typed check of approvals.
type approvalCheck struct{ to string }

// elsewhere leaves out what is well-formed and for another repository or tier: the word of
// an authority on another gate must not replace its word on this one. The policy's digest
// is not looked at: a rejection under a former policy replaces an earlier approval.
func (approvalCheck) elsewhere(t *trial, c claim) string {
	a, err := ParseApproval(c.Predicate())
	if err != nil || a.Repository == t.Repository && a.To == t.policy.To() {
		return ""
	}
	return t.policy.CheckApproval(a, t.Repository).Error()
}

func (approvalCheck) holds(t *trial, c claim) string {
	a, err := ParseApproval(c.Predicate())
	if err != nil {
		return err.Error()
	}
	if err := t.policy.CheckApproval(a, t.Repository); err != nil {
		return err.Error()
	}
	if a.Decision != Approved {
		return "rejected" + because(a.Reason)
	}
	return t.built(c.signer)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(": %q", shortText(reason))
}

// built says that a signer made the artifact: he, or his key, signed what makers are told
// by. Nobody approves his own work.
func (t *trial) built(s attest.Signer) string {
	for _, m := range t.makers() {
		switch {
		case m.signer.Principal == s.Principal:
			return fmt.Sprintf("%s %s the artifact, %s is signed by the same principal: somebody else has to approve", s.Principal, m.did, m.evidence)
		case m.signer.KeyID == s.KeyID && s.KeyID != "":
			return fmt.Sprintf("the key signed %s of the artifact too: somebody else has to approve", m.evidence)
		}
	}
	return ""
}

func isProvenance(predicateType string) bool {
	const provenance = "https://slsa.dev/provenance"
	return predicateType == provenance || strings.HasPrefix(predicateType, provenance+"/")
}

func (c approvalCheck) remedy(ref, authority string) string {
	return fmt.Sprintf("sluice approve %s --to %s --key %s.key", quote(ref), c.to, authority)
}

// awaits says whether approvals that are still to come would be enough for a rule that says
// no: nobody whom it asks has rejected, and enough of them did not build the artifact.
func (t *trial) awaits(findings []finding) string {
	if !slices.ContainsFunc(t.checks, func(c check) bool { _, ok := c.(approvalCheck); return ok }) {
		return ""
	}
	able := map[string]bool{} // principals
	for _, a := range t.policy.authorities {
		if slices.Contains(t.From.Authorities, a.Name) && t.able(a) {
			able[a.Principal] = true
		}
	}
	if len(able) < t.From.Threshold {
		return ""
	}
	for _, found := range findings {
		if found.satisfied(t.rule) {
			continue
		}
		if found.together != "" {
			return ""
		}
		for _, c := range found.refused {
			a, err := ParseApproval(c.Predicate())
			if err != nil || a.Decision != Approved {
				return ""
			}
		}
	}
	return AwaitsApproval
}

// able says whether an authority can still approve what it has not built.
func (t *trial) able(a attest.Authority) bool {
	for _, key := range a.Keys {
		if t.built(attest.Signer{Principal: a.Principal, KeyID: key.ID}) == "" {
			return true
		}
	}
	return len(a.Keys) == 0 && t.built(attest.Signer{Principal: a.Principal}) == ""
}

// Awaits says whether a verdict says no and approvals alone would make it a yes.
func (v Verdict) Awaits() bool {
	refused := false
	for _, r := range v.Rules {
		if r.Mode != Enforce || r.Allowed {
			continue
		}
		if r.Awaits != AwaitsApproval {
			return false
		}
		refused = true
	}
	return refused && !v.Allowed
}

// shortText keeps what a stranger wrote from filling a message.
func shortText(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

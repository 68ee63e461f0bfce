package promote

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Auditor follows the events of a registry in the order of its ledger, from the first on, and
// finds what nothing that went before accounts for: a decision by a policy that was not in
// force, on evidence that nobody pushed, or another than its own rules make it. The zero
// value is ready.
//
// It believes the entries: that they are what was sealed is for ledger.Verify to say.
type Auditor struct {
	// Promotions counts the decisions that were looked at.
	Promotions int64

	inForce map[string]policy.Identity // by tier
	set     map[string]bool            // tier and digest of every policy that ever was
	pushed  map[[16]byte]bool          // hashes of the digests of manifests that there ever were
}

// Event takes the next event and says what is wrong with it, a sentence each.
func (a *Auditor) Event(e tiers.Event) (problems []string) {
	if a.set == nil {
		a.inForce, a.set, a.pushed = map[string]policy.Identity{}, map[string]bool{}, map[[16]byte]bool{}
	}
	switch e.Type {
	case tiers.EventPolicySet:
		return a.policySet(e)
	case tiers.EventManifestPushed:
		a.push(e.Digest)
	case tiers.EventPromoted, tiers.EventRefused:
		return a.decided(e)
	}
	return nil
}

func (a *Auditor) policySet(e tiers.Event) (problems []string) {
	if got := digest.FromBytes(e.Body); got != e.Digest {
		problems = append(problems, fmt.Sprintf("policy %s was set as %s, the document is %s", e.Policy, e.Digest, got))
	}
	if before := a.inForce[e.Tier]; before.Digest != e.Previous {
		problems = append(problems, fmt.Sprintf("policy %s of tier %s replaced %q, in force was %q", e.Policy, e.Tier, e.Previous, before.Digest))
	}
	a.inForce[e.Tier] = policy.Identity{Name: e.Policy, Digest: e.Digest}
	a.set[e.Tier+" "+e.Digest.String()] = true
	return problems
}

// decided looks at what became of a promotion.
func (a *Auditor) decided(e tiers.Event) []string {
	a.Promotions++
	var p Promotion
	if err := json.Unmarshal(e.Body, &p); err != nil {
		return []string{fmt.Sprintf("promotion %s cannot be read: %v", e.Cause, err)}
	}
	if p.Verdict == nil || p.ID != e.Cause || p.To != e.Tier || p.Repository != e.Repository || p.Digest != e.Digest ||
		(p.State == Succeeded) != (e.Type == tiers.EventPromoted) || p.Verdict.Policy.Name+"@"+p.Verdict.Policy.Digest.String() != e.Policy {
		return []string{fmt.Sprintf("promotion %s is not the one that the event is about", e.Cause)}
	}
	problems := append(a.byPolicy(p), a.onEvidence(p)...)
	if p.Summary != "" {
		a.push(p.Summary)
	}
	return problems
}

// byPolicy compares the verdict with the policies that there were, and with its own rules.
func (a *Auditor) byPolicy(p Promotion) (problems []string) {
	v := p.Verdict
	allowed := len(refusedBy(*v)) == 0
	if v.Allowed != allowed || v.Allowed != (p.State == Succeeded) {
		problems = append(problems, fmt.Sprintf("promotion %s ended as %s by a verdict that allows it: %v, by its rules: %v", p.ID, p.State, v.Allowed, allowed))
	}
	switch {
	// What rises compares the policy in force; a refusal may be overtaken by the next policy.
	case p.State == Succeeded && a.inForce[p.To] != v.Policy:
		problems = append(problems, fmt.Sprintf("promotion %s was decided by %s@%s, in force for %s was %s@%s", p.ID, v.Policy.Name, v.Policy.Digest, p.To, a.inForce[p.To].Name, a.inForce[p.To].Digest))
	case !a.set[p.To+" "+v.Policy.Digest.String()]:
		problems = append(problems, fmt.Sprintf("promotion %s was decided by %s@%s, which never was in force for %s", p.ID, v.Policy.Name, v.Policy.Digest, p.To))
	}
	return problems
}

// onEvidence finds what was counted, and decided about, and never came to the registry.
func (a *Auditor) onEvidence(p Promotion) (problems []string) {
	if !a.known(p.Digest) {
		problems = append(problems, fmt.Sprintf("promotion %s is about %s, which was never pushed", p.ID, p.Digest))
	}
	told := map[digest.Digest]bool{}
	for _, rule := range p.Verdict.Rules {
		for _, used := range rule.Evidence {
			if !a.known(used.Digest) && !told[used.Digest] {
				told[used.Digest] = true
				problems = append(problems, fmt.Sprintf("promotion %s counted %s for rule %s, which was never pushed", p.ID, used.Digest, rule.Name))
			}
		}
	}
	return problems
}

func (a *Auditor) push(d digest.Digest)       { a.pushed[short16(d)] = true }
func (a *Auditor) known(d digest.Digest) bool { return a.pushed[short16(d)] }

// short16 keeps a log of millions of manifests in memory.
func short16(d digest.Digest) [16]byte {
	sum := sha256.Sum256([]byte(d))
	return [16]byte(sum[:16])
}

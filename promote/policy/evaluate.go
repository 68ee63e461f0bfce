package policy

import (
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// skew is how far the clock of a signer may be ahead.
const skew = 5 * time.Minute

// Evaluate says whether the facts satisfy the policy, rule by rule.
func (p *Policy) Evaluate(f Facts) Verdict {
	v := Verdict{
		Policy:      Identity{Name: p.Name(), Digest: p.digest},
		EvaluatedAt: f.Now,
		Rules:       make([]Rule, 0, len(p.rules)),
	}
	enforced, refused := 0, 0
	for i := range p.rules {
		out := p.rules[i].evaluate(f)
		v.Rules = append(v.Rules, out)
		if out.Mode == Enforce {
			enforced++
			if !out.Allowed {
				refused++
			}
		}
	}
	// Load refuses a policy that enforces nothing; a zero Policy gets here.
	v.Allowed = enforced > 0 && refused == 0
	return v
}

// evaluate decides one rule. A panic, in a library on input that it did not foresee, is a
// no like any other error.
func (r *rule) evaluate(f Facts) (out Rule) {
	out = Rule{Name: r.Name, Mode: r.Mode, Evidence: []Used{}}
	if r.Mode == Off {
		out.Allowed, out.Message = true, "not evaluated: the rule is off"
		return out
	}
	defer func() {
		if cause := recover(); cause != nil {
			out.Allowed, out.Evidence = false, []Used{}
			out.Message = fmt.Sprintf("the rule could not be evaluated: %v", cause)
		}
	}()
	targets := r.targets(f)
	if len(targets) == 0 {
		out.Message = "the index has no platform that evidence could be about"
		return out
	}
	out.Allowed = true
	var findings []finding
	for _, target := range targets {
		found := r.examine(f, target)
		findings = append(findings, found)
		out.Allowed = out.Allowed && found.satisfied(r)
		out.Evidence = append(out.Evidence, found.used()...)
	}
	out.Message = r.message(findings)
	if !out.Allowed {
		out.Evidence = []Used{}
		out.Remedy = r.remedy(f, findings)
	}
	return out
}

// targets are what the evidence has to be about, each of them on its own.
func (r *rule) targets(f Facts) []Platform {
	if r.Scope == ScopeEach && (oci.IsIndex(f.MediaType) || len(f.Platforms) > 0) {
		return f.Platforms
	}
	return []Platform{{Digest: f.Digest}}
}

// claim is an attestation as one of its signers makes it.
type claim struct {
	attest.Evidence
	signer attest.Signer
	when   time.Time // proven, else stated; zero where there is neither
	undone error     // why there is no time, or why it is none that counts
}

// finding is what a rule found about one target.
type finding struct {
	target   Platform
	claims   int     // of the right type, by the right authorities
	accepted []claim // those that hold
	reasons  []string
}

func (f finding) signers() []attest.Signer {
	var signers []attest.Signer
	for _, c := range f.accepted {
		signers = append(signers, c.signer)
	}
	return signers
}

func (f finding) satisfied(r *rule) bool { return distinct(f.signers()) >= max(r.From.Threshold, 1) }

func (f finding) used() []Used {
	var used []Used
	for _, c := range f.accepted {
		u := Used{Digest: c.Manifest, Subject: c.Subject, PredicateType: c.PredicateType, Authority: c.signer.Authority, Signer: c.signer.KeyID}
		if !slices.Contains(used, u) {
			used = append(used, u)
		}
	}
	return used
}

// examine finds the claims about a target and tries each one that counts.
func (r *rule) examine(f Facts, target Platform) finding {
	out := finding{target: target}
	var claims []claim
	var near, elsewhere []string
	for _, e := range f.Evidence {
		if !slices.Contains(r.PredicateTypes, e.PredicateType) {
			continue
		}
		if e.Subject != target.Digest {
			elsewhere = append(elsewhere, fmt.Sprintf("%s is about %s", short(e.Manifest), describe(f, e.Subject)))
			continue
		}
		mine, reason := r.claimsOf(f, e)
		claims = append(claims, mine...)
		if reason != "" {
			near = append(near, reason)
		}
	}
	out.claims = len(claims)
	for _, group := range r.groups(claims) {
		accepted := true
		for _, c := range group.current {
			if reason := r.try(f, c, group.newest); reason != "" {
				out.reasons = append(out.reasons, reason)
				accepted = false
			}
		}
		if accepted {
			out.accepted = append(out.accepted, group.current...)
		}
	}
	out.reasons = slices.Concat(out.reasons, near, elsewhere) // the likeliest cause first
	return out
}

// claimsOf takes an attestation apart by the authorities of the rule that signed it. The
// text names a near miss: an attestation that somebody probably meant for this rule.
func (r *rule) claimsOf(f Facts, e attest.Evidence) ([]claim, string) {
	switch {
	case e.Problem != "":
		return nil, fmt.Sprintf("%s does not count: %s", short(e.Manifest), e.Problem)
	case !e.Verified():
		return nil, fmt.Sprintf("%s is signed by nobody whom the policy knows", short(e.Manifest))
	}
	predicate, _ := e.Statement["predicate"].(map[string]any)
	when, undone := e.SignedAt, error(nil)
	if when.IsZero() {
		when, undone = statedTime(kindOf(e.PredicateType), predicate)
	}
	if ahead := when.Sub(f.Now); undone == nil && ahead > skew {
		undone = fmt.Errorf("it is dated %s, which is in the future", when.UTC().Format(time.RFC3339))
	}
	var claims []claim
	for _, s := range e.Signers {
		if slices.Contains(r.From.Authorities, s.Authority) {
			claims = append(claims, claim{Evidence: e, signer: s, when: when, undone: undone})
		}
	}
	if len(claims) == 0 {
		return nil, fmt.Sprintf("%s is signed by %s, who is not asked here", short(e.Manifest), e.Signers[0].Authority)
	}
	return claims, ""
}

// try says why a claim does not hold; empty where it does.
func (r *rule) try(f Facts, c claim, newest bool) string {
	who := fmt.Sprintf("%s by %s", short(c.Manifest), c.signer.Authority)
	switch {
	case c.undone != nil && r.maxAge > 0:
		return fmt.Sprintf("%s: maxAge %s cannot be decided: %v", who, r.MaxAge, c.undone)
	case c.undone != nil && newest && !c.when.IsZero():
		return fmt.Sprintf("%s: %v", who, c.undone)
	case r.maxAge > 0 && f.Now.Sub(c.when) > r.maxAge:
		return fmt.Sprintf("%s: it is %s old, maxAge is %s", who, f.Now.Sub(c.when).Round(time.Second), r.MaxAge)
	}
	vars := variables(f, c.Evidence, c.signer)
	for _, condition := range r.conditions {
		if reason := condition.holds(vars); reason != "" {
			if newest && c.undone != nil {
				reason += fmt.Sprintf(" (%v, so a newer one does not replace it)", c.undone)
			}
			return fmt.Sprintf("%s: %s", who, reason)
		}
	}
	return ""
}

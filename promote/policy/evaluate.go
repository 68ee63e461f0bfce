package policy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// skew is how far the clock of a signer may be ahead.
const skew = 5 * time.Minute

// MaxDecision is how long one evaluation may take. What takes longer cannot be decided.
const MaxDecision = 30 * time.Second

// evaluation is one policy over one set of facts, and what its rules share.
type evaluation struct {
	Facts
	ctx    context.Context // that of the one call that it serves
	policy *Policy
	// holding are the exceptions that hold; rejected says of others why they do not, by
	// rule; unreadable why none of them counts.
	holding    []*exception
	rejected   map[string][]string
	unreadable string
	made       *[]maker                   // of the artifact; nil until they are asked for
	bills      map[uintptr]readBillResult // the SBOMs that were read
	image      map[string]any             // what all conditions see; nil until it is asked for
}

// Evaluate is EvaluateContext for callers who would not end it. Where that has no verdict,
// the verdict is a no that says why.
func (p *Policy) Evaluate(f Facts) Verdict {
	v, err := p.EvaluateContext(context.Background(), f)
	if err != nil {
		return Verdict{Policy: Identity{Name: p.Name(), Digest: p.digest}, EvaluatedAt: f.Now,
			Rules: []Rule{{Name: "decided", Mode: Enforce, Evidence: []Used{}, Message: err.Error()}}}
	}
	return v
}

// EvaluateContext says whether the facts satisfy the policy, rule by rule. It ends with
// ctx, whose error it returns; where it takes longer than MaxDecision the error wraps
// oci.ErrUndecidable. A verdict never hangs on the time that it took.
func (p *Policy) EvaluateContext(ctx context.Context, f Facts) (Verdict, error) {
	return p.decide(ctx, f, MaxDecision)
}

func (p *Policy) decide(ctx context.Context, f Facts, limit time.Duration) (Verdict, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v := p.evaluate(bounded, f)
	switch {
	case ctx.Err() != nil:
		return Verdict{}, ctx.Err()
	case bounded.Err() != nil:
		return Verdict{}, fmt.Errorf("%w: policy %s takes longer than %s: attach less evidence, or ask for less in conditions", oci.ErrUndecidable, p.Name(), limit)
	}
	return v, nil
}

// evaluate gives a verdict that counts only if ctx has not ended: from then on it is cut
// short.
func (p *Policy) evaluate(ctx context.Context, f Facts) Verdict {
	v := Verdict{
		Policy:      Identity{Name: p.Name(), Digest: p.digest},
		EvaluatedAt: f.Now,
		Rules:       make([]Rule, 0, len(p.rules)),
	}
	f.Evidence = withoutCopies(f.Evidence)
	e := &evaluation{Facts: f, ctx: ctx, policy: p}
	e.gatherExceptions()
	for i := range p.freezes {
		v.Rules = append(v.Rules, e.frozen(&p.freezes[i]))
	}
	asked := false // for somebody's signature
	for i := range p.rules {
		if e.over() {
			return v
		}
		out := (&trial{evaluation: e, rule: &p.rules[i]}).evaluate()
		v.Rules = append(v.Rules, out)
		asked = asked || out.Mode == Enforce && !p.rules[i].overAll
	}
	if !asked {
		// Load refuses a policy that enforces nothing, but a time may come at which none of
		// its requirements is in force.
		v.Rules = append(v.Rules, Rule{Name: "enforced", Mode: Enforce, Evidence: []Used{},
			Message: "no requirement of the policy is enforced at this time: see effectiveOn and effectiveUntil"})
	}
	v.Allowed = !slices.ContainsFunc(v.Rules, func(r Rule) bool { return r.Mode == Enforce && !r.Allowed })
	return v
}

// over says whether nobody waits for the verdict any more, so that it can be cut short.
func (e *evaluation) over() bool { return e.ctx.Err() != nil }

// trial is one rule being tried on the facts.
type trial struct {
	*evaluation
	*rule
	target Platform     // what the rule is being tried on
	used   []*exception // of those that hold, by this rule
	beside []Used       // attestations that checks counted beside the claims, VEX say
	sorted *sorted      // the evidence of the rule's types; nil until it is asked for
}

// evaluate decides the rule. A panic, in a library on input that it did not foresee, is a
// no like any other error.
func (t *trial) evaluate() (out Rule) {
	out = Rule{Name: t.Name, Evidence: []Used{}}
	var when string
	if out.Mode, when = t.effective(t.Now); out.Mode == Off {
		out.Allowed, out.Message = true, "not evaluated: "+when
		return out
	}
	defer func() {
		if cause := recover(); cause != nil {
			out.Allowed, out.Evidence, out.Exceptions = false, []Used{}, nil
			out.Message = fmt.Sprintf("the rule could not be evaluated: %v", cause)
		}
	}()
	targets := t.targets(t.Facts)
	if len(targets) == 0 {
		out.Message = "the index has no platform that evidence could be about"
		return out
	}
	out.Allowed = true
	var findings []finding
	for _, target := range targets {
		if t.over() {
			return out
		}
		t.target = target
		found := t.examine(target)
		if !found.satisfied(t.rule) {
			found.waiver = t.waived(target)
		}
		findings = append(findings, found)
		out.Allowed = out.Allowed && found.satisfied(t.rule)
		out.Evidence = append(out.Evidence, found.used()...)
	}
	out.Message = t.message(t.Facts, findings)
	if when != "" {
		out.Message += " (" + when + ")"
	}
	out.Evidence = append(out.Evidence, t.beside...)
	out.Exceptions = t.usedExceptions()
	out.Message += t.usage()
	if !out.Allowed {
		out.Evidence = []Used{}
		out.Remedy = t.remedy(t.Facts, findings)
		out.Message += t.misfits()
		out.Awaits = t.awaits(findings)
		return out
	}
	out.BuildLevel = t.buildLevel(findings)
	return out
}

// effective is how a no of the rule is taken at a time, and why not as it is written.
func (r *rule) effective(now time.Time) (Mode, string) {
	switch {
	case r.Mode == Off:
		return Off, "the rule is off"
	case !r.until.IsZero() && !now.Before(r.until):
		return Off, "the rule was in force until " + r.EffectiveUntil
	case now.Before(r.from) && r.Mode == Enforce:
		return Warn, "the rule is enforced from " + r.EffectiveOn + " on"
	}
	return r.Mode, ""
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

// identity tells the statements of one evaluation apart, whatever is said about them.
func (c claim) identity() uintptr { return reflect.ValueOf(c.Statement).Pointer() }

// finding is what a rule found about one target.
type finding struct {
	target   Platform
	claims   int     // of the right type, by the right authorities
	accepted []claim // those that hold
	refused  []claim // those that count and do not
	reasons  []string
	others   strays
	// together says why the accepted claims do not suffice as a set; empty where they do.
	together string
	vetoed   bool       // together is about one claim, which no other takes back
	waiver   *exception // that lets the target pass all the same
	steps    []string   // of a layout, that lack a link
	notes    []string   // what a person should know though it satisfies
}

func (f finding) signers() []attest.Signer {
	var signers []attest.Signer
	for _, c := range f.accepted {
		signers = append(signers, c.signer)
	}
	return signers
}

func (f finding) satisfied(r *rule) bool {
	if f.waiver != nil {
		return true
	}
	if r.overAll {
		return f.together == "" && len(f.accepted) > 0
	}
	return f.together == "" && distinct(f.signers()) >= max(r.From.Threshold, 1)
}

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
func (t *trial) examine(target Platform) finding {
	if t.sole != nil {
		return t.sole.examine(t, target)
	}
	out := finding{target: target}
	var claims []claim
	var near, elsewhere []string
	if t.overAll {
		out.accepted = t.verifiedAbout(target)
		out.claims = len(out.accepted)
	}
	for _, e := range t.about(target.Digest) {
		mine, reason := t.claimsOf(t.Facts, e)
		mine, other := t.concerned(mine)
		elsewhere = append(elsewhere, other...)
		claims = append(claims, mine...)
		if reason != "" {
			near = append(near, reason)
		}
	}
	out.claims += len(claims)
	for _, group := range t.groups(claims) {
		accepted := true
		for _, c := range group.current {
			if t.over() {
				return out
			}
			if reason := t.try(c, group.newest); reason != "" {
				out.reasons = append(out.reasons, reason)
				out.refused = append(out.refused, c)
				accepted = false
			}
		}
		if accepted {
			out.accepted = append(out.accepted, group.current...)
		}
	}
	for _, check := range t.checks {
		if every, ok := check.(everyCheck); ok && out.together == "" {
			out.together = t.vetoed(every, claims)
			out.vetoed = out.together != ""
		}
	}
	for _, check := range t.checks {
		if joint, ok := check.(jointCheck); ok && out.together == "" && len(out.accepted) > 0 {
			out.together = joint.jointly(t, target, out.accepted)
		}
	}
	out.reasons = slices.Concat(out.reasons, near, elsewhere) // the likeliest cause first
	if !out.satisfied(t.rule) {
		out.others = t.aboutOthers(target.Digest)
	}
	return out
}

// vetoed is why one of the claims keeps the others from sufficing; empty where none does.
func (t *trial) vetoed(check everyCheck, claims []claim) string {
	var reasons []string
	for i, c := range claims {
		if t.over() {
			break
		}
		if i > 0 && claims[i-1].identity() == c.identity() {
			continue // the same, as another of its signers makes it
		}
		if reason := check.vetoes(t, c); reason != "" {
			reasons = append(reasons, fmt.Sprintf("%s by %s: %s", short(c.Manifest), c.signer.Authority, reason))
		}
	}
	return limited(reasons, "; ")
}

// concerned leaves out the claims that a check finds to be about another decision.
func (t *trial) concerned(claims []claim) (mine []claim, elsewhere []string) {
	for _, c := range claims {
		reason := ""
		for _, check := range t.checks {
			if scoped, ok := check.(scopedCheck); ok && reason == "" {
				reason = scoped.elsewhere(t, c)
			}
		}
		if reason != "" {
			elsewhere = append(elsewhere, fmt.Sprintf("%s by %s: %s", short(c.Manifest), c.signer.Authority, reason))
			continue
		}
		mine = append(mine, c)
	}
	return mine, elsewhere
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
	when, undone := dated(f, e)
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

// dated is when an attestation was made: proven, or stated, whichever is earlier. Anybody
// can have an old signature stamped anew: a proven time says that it was there by then, not
// that it is no older. The error says why there is no time, or why it is none that counts.
func dated(f Facts, e attest.Evidence) (time.Time, error) {
	when, undone := e.SignedAt, error(nil)
	if stated, err := statedTime(kindOf(e.PredicateType), e.Predicate()); when.IsZero() || err == nil && stated.Before(when) {
		when, undone = stated, err
	}
	for _, t := range []time.Time{when, e.SignedAt} {
		if undone == nil && t.Sub(f.Now) > skew {
			undone = inFuture(t)
		}
	}
	return when, undone
}

func inFuture(when time.Time) error {
	return fmt.Errorf("it is dated %s, which is in the future", when.UTC().Format(time.RFC3339))
}

// try says why a claim does not hold; empty where it does.
func (t *trial) try(c claim, newest bool) string {
	who := fmt.Sprintf("%s by %s", short(c.Manifest), c.signer.Authority)
	if reason := t.wrongAge(c, newest); reason != "" {
		return who + ": " + reason
	}
	reason := t.unmet(c)
	if reason == "" {
		return ""
	}
	if newest && c.undone != nil {
		reason += fmt.Sprintf(" (%v, so a newer one does not replace it)", c.undone)
	}
	return who + ": " + reason
}

// wrongAge compares when a claim was made with the limits of the rule.
func (t *trial) wrongAge(c claim, newest bool) string {
	age := t.Now.Sub(c.when)
	switch {
	case c.undone != nil && t.maxAge > 0:
		return fmt.Sprintf("maxAge %s cannot be decided: %v", t.MaxAge, c.undone)
	case c.undone != nil && t.minAge > 0:
		return fmt.Sprintf("minAge %s cannot be decided: %v", t.MinAge, c.undone)
	case c.undone != nil && newest && !c.when.IsZero():
		return c.undone.Error()
	case t.maxAge > 0 && age > t.maxAge:
		return fmt.Sprintf("it is %s old, maxAge is %s", age.Round(time.Second), t.MaxAge)
	}
	since := c.when
	if !c.SignedAt.IsZero() { // a signer cannot make it older than is proven
		since = c.SignedAt
	}
	if age := t.Now.Sub(since); t.minAge > 0 && age < t.minAge {
		return fmt.Sprintf("it is %s old, minAge is %s: it is old enough at %s", age.Round(time.Second), t.MinAge, since.Add(t.minAge).UTC().Format(time.RFC3339))
	}
	return ""
}

// unmet is the first typed check or condition that a claim does not satisfy.
func (t *trial) unmet(c claim) string {
	for _, check := range t.checks {
		if reason := check.holds(t, c); reason != "" {
			return reason
		}
	}
	vars := t.variables(c.Evidence, c.signer)
	for _, condition := range t.conditions {
		if reason := condition.holds(t.ctx, vars); reason != "" {
			return reason
		}
	}
	return ""
}

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"sluice.dev/sluice/promote/attest"
)

// ExceptionType is the predicate type of an exception: a document that lets something pass
// which a rule would refuse. schemas/exception.v1.json describes it.
const ExceptionType = "https://sluice.dev/exception/v1"

// maxExceptions bounds the exceptions of one decision; each is compared with each finding.
const maxExceptions = 1000

// ExceptionsSpec says whose exceptions a policy accepts, and from what. Without it there
// are none.
type ExceptionsSpec struct {
	From Quorum `json:"from" yaml:"from"` // who signs them, and how many of them
	// Rules are the requirements and freezes that exceptions may be made from.
	Rules []string `json:"rules" yaml:"rules"`
	// MaxDuration is how long an exception may hold from the time that it is dated, as a
	// Go duration; empty for no limit.
	MaxDuration string `json:"maxDuration,omitempty" yaml:"maxDuration"`
}

// UsedException is an exception that a rule made use of.
type UsedException struct {
	Attestations  []digest.Digest `json:"attestations"` // that state it, one for each signer
	Authorities   []string        `json:"authorities"`  // who signed them
	Subject       digest.Digest   `json:"subject"`      // what they are attached to
	Digest        digest.Digest   `json:"digest,omitempty"`
	PURL          string          `json:"purl,omitempty"`
	Vulnerability string          `json:"vulnerability,omitempty"`
	Reason        string          `json:"reason"`
	Owner         string          `json:"owner"`
	Expires       time.Time       `json:"expires"`
}

// exceptions is the compiled part of the document.
type exceptions struct {
	ExceptionsSpec
	maxDuration time.Duration
}

// exceptions checks and compiles spec.exceptions; rules are what they may be made from.
func (l *loader) exceptions(authorities []attest.Authority, rules []string) *exceptions {
	const path = "spec.exceptions"
	spec := l.doc.Spec.Exceptions
	if spec == nil {
		return nil
	}
	l.quorum(path+".from", &spec.From, authorities)
	if len(spec.Rules) == 0 {
		l.add(path+".rules", "is missing: name the rules that exceptions may be made from")
	}
	for i, name := range spec.Rules {
		switch at := fmt.Sprintf("%s.rules[%d]", path, i); {
		case !slices.Contains(rules, name):
			l.add(at, "%q is no requirement or freeze of this policy", name)
		case slices.Contains(spec.Rules[:i], name):
			l.add(at, "%q stands there twice", name)
		}
	}
	return &exceptions{ExceptionsSpec: *spec, maxDuration: l.age(path+".maxDuration", &spec.MaxDuration)}
}

// exception is a document that was found, and who signed it.
type exception struct {
	UsedException
	rule    string
	purl    *packageurl.PackageURL
	when    time.Time
	signers []attest.Signer
}

// scope is what an exception is about. Of one authority's exceptions of one scope the
// newest counts, so that one can be withdrawn by another that has expired.
type scope struct {
	rule, purl, vulnerability string
	digest, subject           digest.Digest
}

func (x *exception) scope() scope {
	return scope{x.rule, x.PURL, x.Vulnerability, x.Digest, x.Subject}
}

// gatherExceptions reads the exceptions among the evidence: those that hold now, and why
// others do not, by rule.
func (e *evaluation) gatherExceptions() {
	e.rejected = map[string][]string{}
	accepts := e.policy.exceptions
	if accepts == nil {
		return
	}
	type owner struct {
		scope
		authority string
	}
	newest := map[owner]*exception{}
	seen := 0
	for _, ev := range e.Evidence {
		if ev.PredicateType != ExceptionType || !ev.Verified() {
			continue
		}
		if seen++; seen > maxExceptions {
			e.unreadable = fmt.Sprintf("more than %d exceptions are attached: none of them counts", maxExceptions)
			return
		}
		x, err := e.readException(ev)
		if err != nil {
			e.rejected[x.rule] = append(e.rejected[x.rule], fmt.Sprintf("exception %s does not count: %v", short(ev.Manifest), err))
			continue
		}
		for _, s := range ev.Signers {
			if !slices.Contains(accepts.From.Authorities, s.Authority) {
				e.rejected[x.rule] = append(e.rejected[x.rule], fmt.Sprintf("exception %s does not count: it is signed by %s, who is not asked for exceptions", short(ev.Manifest), s.Authority))
				continue
			}
			one := *x
			one.signers = []attest.Signer{s}
			key := owner{x.scope(), s.Authority}
			// Of two of one time the stricter counts.
			if old := newest[key]; old == nil || one.when.After(old.when) || one.when.Equal(old.when) && one.Expires.Before(old.Expires) {
				newest[key] = &one
			}
		}
	}
	byScope := map[scope]*exception{}
	for _, key := range slices.SortedFunc(maps.Keys(newest), func(a, b owner) int { return cmp.Compare(a.authority, b.authority) }) {
		one := newest[key]
		if !one.Expires.After(e.Now) {
			e.rejected[one.rule] = append(e.rejected[one.rule], fmt.Sprintf("exception %s expired at %s", short(one.Attestations[0]), one.Expires.Format(time.RFC3339)))
			continue
		}
		if together := byScope[key.scope]; together != nil {
			together.join(one)
			continue
		}
		one.Authorities = []string{key.authority}
		byScope[key.scope] = one
	}
	for _, x := range byScope {
		if have := distinct(x.signers); have < accepts.From.Threshold {
			e.rejected[x.rule] = append(e.rejected[x.rule], fmt.Sprintf("exception %s is signed by %d of %d distinct signers", short(x.Attestations[0]), have, accepts.From.Threshold))
			continue
		}
		e.holding = append(e.holding, x)
	}
	slices.SortFunc(e.holding, func(a, b *exception) int { return cmp.Compare(a.Attestations[0], b.Attestations[0]) })
}

// join counts another signer's exception of the same scope; together they end when the
// first of them does.
func (x *exception) join(other *exception) {
	x.signers = append(x.signers, other.signers...)
	x.Authorities = append(x.Authorities, other.signers[0].Authority)
	if !slices.Contains(x.Attestations, other.Attestations[0]) {
		x.Attestations = append(x.Attestations, other.Attestations[0])
	}
	if other.Expires.Before(x.Expires) {
		x.Expires = other.Expires
	}
}

// readException reads the predicate. The exception is never nil, so that an error can be
// told to the rule that it is about.
func (e *evaluation) readException(ev attest.Evidence) (*exception, error) {
	x := &exception{UsedException: UsedException{Attestations: []digest.Digest{ev.Manifest}, Subject: ev.Subject}}
	fields := map[string]string{}
	for name, value := range ev.Predicate() {
		text, ok := value.(string)
		if !ok || text == "" {
			return x, fmt.Errorf("its %s is no text", quote(name))
		}
		fields[name] = text
	}
	x.rule = fields["rule"]
	for name := range fields {
		if !slices.Contains([]string{"rule", "digest", "purl", "vulnerability", "reason", "owner", "timestamp", "expires"}, name) {
			// It could narrow the exception down in a way that is not understood here.
			return x, fmt.Errorf("it has a field %s, which is unknown", quote(name))
		}
	}
	for _, name := range []string{"rule", "reason", "owner", "expires"} {
		if fields[name] == "" {
			return x, fmt.Errorf("it has no %s", name)
		}
	}
	x.Digest, x.PURL, x.Vulnerability = digest.Digest(fields["digest"]), fields["purl"], fields["vulnerability"]
	x.Reason, x.Owner = fields["reason"], fields["owner"]
	return x, errors.Join(e.checkExceptionTime(x, ev, fields["expires"]), x.checkScope(e))
}

// checkScope sees that the exception is about one thing, and one that it can be about.
func (x *exception) checkScope(e *evaluation) error {
	switch {
	case !slices.Contains(e.policy.exceptions.Rules, x.rule):
		return fmt.Errorf("no exception may be made from the rule %s", quote(x.rule))
	case (x.Digest != "") == (x.PURL != "" || x.Vulnerability != ""):
		return errors.New("it has to be about a digest, or about a purl, a vulnerability or both")
	case x.Digest != "" && x.Digest != x.Subject:
		return fmt.Errorf("it is about %s and attached to %s", short(x.Digest), short(x.Subject))
	case x.PURL == "":
		return nil
	}
	purl, err := packageurl.FromString(x.PURL)
	if err != nil {
		return fmt.Errorf("its purl cannot be read: %w", err)
	}
	x.purl = &purl
	return nil
}

func (e *evaluation) checkExceptionTime(x *exception, ev attest.Evidence, expires string) error {
	var err error
	if x.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
		return errors.New("its expires is no time")
	}
	x.Expires = x.Expires.UTC()
	if x.when, err = dated(e.Facts, ev); err != nil {
		return err
	}
	if limit := e.policy.exceptions.maxDuration; limit > 0 && x.Expires.Sub(x.when) > limit {
		return fmt.Errorf("it would hold for %s, at most %s are allowed", x.Expires.Sub(x.when).Round(time.Second), limit)
	}
	return nil
}

// excepted says whether an exception from the rule being tried covers a finding, and notes
// its use: a vulnerability in a package, or a package alone (vulnerability empty), which
// may be known by several purls. An exception for a purl covers what is found about the
// package, one for a vulnerability wherever it is found, one for both only both.
func (t *trial) excepted(vulnerability string, purls ...string) bool {
	var known []packageurl.PackageURL
	if len(t.holding) > 0 {
		known = readablePURLs(purls)
	}
	for _, x := range t.holding {
		if t.over() {
			return false
		}
		if x.rule != t.Name || x.Digest != "" || x.Subject != t.target.Digest && x.Subject != t.Digest {
			continue
		}
		if x.Vulnerability != "" && x.Vulnerability != vulnerability {
			continue
		}
		if x.purl != nil && !slices.ContainsFunc(known, func(p packageurl.PackageURL) bool { return covers(*x.purl, p) }) {
			continue
		}
		t.use(x)
		return true
	}
	return false
}

// waived says whether an exception from the rule covers a target as a whole, or the
// artifact that it is part of.
func (t *trial) waived(target Platform) *exception {
	for _, x := range t.holding {
		if x.rule == t.Name && x.Digest != "" && (x.Digest == target.Digest || x.Digest == t.Digest) {
			t.use(x)
			return x
		}
	}
	return nil
}

// misfits says why exceptions from the rule do not count, where somebody meant them to.
func (t *trial) misfits() string {
	reasons := t.rejected[t.Name]
	if t.unreadable != "" {
		reasons = []string{t.unreadable}
	}
	if len(reasons) == 0 {
		return ""
	}
	return "; " + limited(reasons, "; ")
}

// usage tells which findings exceptions covered.
func (t *trial) usage() string {
	var texts []string
	for _, x := range t.used {
		if x.Digest == "" {
			texts = append(texts, strings.TrimSpace(x.Vulnerability+" "+x.PURL)+" "+x.describe())
		}
	}
	if len(texts) == 0 {
		return ""
	}
	return "; " + limited(texts, "; ")
}

// usedExceptions are the exceptions that the rule made use of, for the verdict.
func (t *trial) usedExceptions() []UsedException {
	var used []UsedException
	for _, x := range t.used {
		used = append(used, x.UsedException)
	}
	return used
}

func (t *trial) use(x *exception) {
	if !slices.Contains(t.used, x) {
		t.used = append(t.used, x)
	}
}

// readablePURLs are those purls that can be read: one that cannot names no package.
func readablePURLs(texts []string) []packageurl.PackageURL {
	var purls []packageurl.PackageURL
	for _, text := range texts {
		if purl, err := packageurl.FromString(text); err == nil {
			purls = append(purls, purl)
		}
	}
	return purls
}

// covers says whether a package is the one that a purl names: of every version where the
// purl has none, and whatever its qualifiers where the purl has none.
func covers(pattern, p packageurl.PackageURL) bool {
	if pattern.Type != p.Type || pattern.Namespace != p.Namespace || pattern.Name != p.Name {
		return false
	}
	if pattern.Version != "" && pattern.Version != p.Version {
		return false
	}
	has := p.Qualifiers.Map()
	for key, value := range pattern.Qualifiers.Map() {
		if has[key] != value {
			return false
		}
	}
	return pattern.Subpath == "" || pattern.Subpath == p.Subpath
}

// describe tells of an exception where a rule's outcome is told.
func (x *exception) describe() string {
	return fmt.Sprintf("excepted until %s by %s, owner %s: %s", x.Expires.Format(time.RFC3339), strings.Join(x.Authorities, " and "), x.Owner, x.Reason)
}

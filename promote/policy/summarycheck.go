package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/oci"
)

// SummarySpec asks for the summary (VSA) of another verification, that of the tier below
// say: signed by an authority that holds that tier's key, about this repository in that
// tier, with the result PASSED. Of an authority's summaries about it the newest counts.
type SummarySpec struct {
	// Tier is where the artifact was verified for; the policy's from where left out.
	Tier string `json:"tier" yaml:"tier"`
	// Verifier is the id of whoever verified, letter for letter: for a tier of a Sluice
	// registry its URL with /tiers/ and the tier.
	Verifier string `json:"verifier" yaml:"verifier"`
	// Policies are those under which it may have been verified, by digest (sha256:…), by
	// URI, or by the name of a Sluice policy; any where left out.
	Policies []string `json:"policies,omitempty" yaml:"policies"`
	// NotBefore is, in RFC 3339, when it must have been verified at the earliest.
	NotBefore string `json:"notBefore,omitempty" yaml:"notBefore"`
	// Levels were all verified. Of SLSA's own levels a higher one is as good.
	Levels []string `json:"levels,omitempty" yaml:"levels"`
}

// summaryCheck is a SummarySpec, compiled.
type summaryCheck struct {
	spec      SummarySpec
	notBefore time.Time
}

func (l *loader) summary(path string, spec *SummarySpec) check {
	if !l.has(path + ".tier") {
		spec.Tier = l.doc.Spec.From
	}
	l.tier(path+".tier", spec.Tier)
	if spec.Verifier == "" {
		l.add(path+".verifier", "is missing: give the verifier's id, https://registry.example.com/tiers/%s say", spec.Tier)
	}
	l.choice(path+".policies", spec.Policies)
	for i, p := range spec.Policies {
		at := fmt.Sprintf("%s.policies[%d]", path, i)
		if strings.Contains(p, "://") {
			continue
		}
		if strings.Contains(p, ":") {
			if _, err := oci.ParseDigest(p); err != nil || !strings.HasPrefix(p, "sha256:") {
				l.add(at, "is %q, want a digest as sha256:… in lower-case hex", p)
			}
			continue
		}
		l.name(at, p)
	}
	l.choice(path+".levels", spec.Levels)
	for i, level := range spec.Levels {
		if !regexp.MustCompile(`^[A-Z0-9][A-Z0-9_.-]*$`).MatchString(level) {
			l.add(fmt.Sprintf("%s.levels[%d]", path, i), "is %q, want a level as SLSA_BUILD_LEVEL_2 is", level)
		}
	}
	k := &summaryCheck{notBefore: l.time(path+".notBefore", &spec.NotBefore)}
	k.spec = *spec
	return k
}

// elsewhere implements scopedCheck.
func (k *summaryCheck) elsewhere(t *trial, c claim) string {
	s, name := ReadSummary(c.Predicate()), k.spec.Tier+"/"+t.Repository
	if s.Verifier != k.spec.Verifier {
		return fmt.Sprintf("it is of the verifier %q, want %s", brief(s.Verifier), k.spec.Verifier)
	}
	// The verifier of a tier of Sluice speaks of its own registry, whatever its key signs.
	if registry, ok := strings.CutSuffix(k.spec.Verifier, "/tiers/"+k.spec.Tier); ok && s.Resource() != registry+"/"+name || !s.Names(name) {
		return fmt.Sprintf("it is about %q, want %s", brief(s.ResourceURI), name)
	}
	return ""
}

// holds implements check.
func (k *summaryCheck) holds(_ *trial, c claim) string {
	s := ReadSummary(c.Predicate())
	when := s.When()
	switch {
	case s.Result != "PASSED":
		return fmt.Sprintf("its verificationResult is %q, want PASSED", brief(s.Result))
	case when.IsZero():
		return fmt.Sprintf("its timeVerified %q is no time", brief(s.TimeVerified))
	case when.Before(k.notBefore):
		return fmt.Sprintf("it was verified at %s, want %s or later", when.UTC().Format(time.RFC3339), k.spec.NotBefore)
	case len(k.spec.Policies) > 0 && !slices.ContainsFunc(k.spec.Policies, s.under):
		return fmt.Sprintf("it was verified under policy %q (%s), want %s", brief(s.PolicyURI), brief(s.PolicyDigest), strings.Join(k.spec.Policies, " or "))
	}
	for _, level := range k.spec.Levels {
		if !s.HasLevel(level) {
			return fmt.Sprintf("it verified the levels %s, want %s", brief(strings.Join(s.Levels, ", ")), level)
		}
	}
	return ""
}

// under says whether the summary names a policy, by digest, URI or name.
func (s Summary) under(policy string) bool {
	switch {
	case strings.Contains(policy, "://"):
		return s.PolicyURI == policy
	case strings.Contains(policy, ":"):
		return s.PolicyDigest == policy
	}
	return strings.HasSuffix(s.PolicyURI, "/policies/"+policy)
}

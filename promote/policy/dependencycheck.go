package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// DependenciesSpec asks that whatever a build used of this registry has earned a tier:
// release builds use stable artifacts only.
type DependenciesSpec struct {
	// Tier is the lowest tier that counts.
	Tier string `json:"tier" yaml:"tier"`
	// Hosts are further names of this registry, those under which builds reach it. Its own
	// URL's is always one.
	Hosts []string `json:"hosts,omitempty" yaml:"hosts"`
}

// maxStanding bounds the manifests that one evaluation is told the tiers of.
const maxStanding = 1000

// dependencyCheck is a DependenciesSpec, checked.
type dependencyCheck struct{ spec DependenciesSpec }

func (l *loader) dependencies(path string, spec *DependenciesSpec) *dependencyCheck {
	l.tier(path+".tier", spec.Tier)
	l.choice(path+".hosts", spec.Hosts)
	for i, host := range spec.Hosts {
		if _, err := cleanHost("", host); err != nil || strings.ToLower(host) != host {
			l.add(fmt.Sprintf("%s.hosts[%d]", path, i), "is %q, want a host as references begin with it, registry.internal:5000 say", host)
		}
	}
	return &dependencyCheck{spec: *spec}
}

func (k *dependencyCheck) registry(r Registry) Registry {
	r.Hosts = slices.Concat(r.Hosts, k.spec.Hosts)
	return r
}

// holds says why a dependency of the build does not stand where it has to.
func (k *dependencyCheck) holds(t *trial, p *provenance) string {
	r := k.registry(t.Registry)
	switch _, known := r.Tiers[k.spec.Tier]; {
	case len(t.Registry.Hosts) == 0 || len(r.Tiers) == 0:
		return "where its dependencies stand cannot be decided: the registry was not asked"
	case !known:
		return fmt.Sprintf("where its dependencies stand cannot be decided: this registry has no tier %s", k.spec.Tier)
	case len(p.dependencies) == 0:
		return "it lists no resolved dependency, so nothing shows what the build used"
	}
	var bad []string
	for _, d := range p.dependencies {
		asks, err := r.asks(d)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		for _, a := range asks {
			if err := k.stands(t, r, a); err != nil {
				bad = append(bad, fmt.Sprintf("dependency %s: %v", d, err))
				break
			}
		}
	}
	return limited(bad, "; ")
}

// stands says why a manifest of the registry is not where it has to be.
func (k *dependencyCheck) stands(t *trial, r Registry, a asked) error {
	tiers, looked := t.Standing[a.Dependency]
	name := a.Repository + "@" + short(a.Digest)
	switch {
	case !looked:
		return fmt.Errorf("in which tiers %s stands was not looked up: at most %d are", name, maxStanding)
	case len(tiers) == 0 && a.ours:
		return fmt.Errorf("%s stands in no tier of this registry, want %s or above", name, k.spec.Tier)
	case len(tiers) == 0:
		return nil // another registry's, and not here
	case slices.ContainsFunc(tiers, func(tier string) bool { return r.reaches(tier, k.spec.Tier) }):
		return nil
	}
	return fmt.Errorf("%s stands in %s only, want %s or above: promote it first", name, strings.Join(tiers, " and "), k.spec.Tier)
}

// Dependencies lists the manifests of which an evaluation has to know in which tiers they
// stand (Facts.Standing), each once. It is empty where no rule asks.
func (p *Policy) Dependencies(evidence []attest.Evidence, registry Registry) []Dependency {
	var all []Dependency
	seen := map[Dependency]bool{}
	for i := range p.rules {
		k := p.rules[i].dependencies()
		if k == nil {
			continue
		}
		r := k.registry(registry)
		for _, e := range evidence {
			if !e.Verified() || !slices.Contains(p.rules[i].PredicateTypes, e.PredicateType) {
				continue
			}
			for _, d := range usedBy(e) {
				asks, err := r.asks(d)
				if err != nil {
					continue // the evaluation says so
				}
				for _, a := range asks {
					if !seen[a.Dependency] && len(all) < maxStanding {
						seen[a.Dependency] = true
						all = append(all, a.Dependency)
					}
				}
			}
		}
	}
	return all
}

// usedBy are the dependencies of a provenance that can be read; the evaluation says why one
// cannot.
func usedBy(e attest.Evidence) []dependency {
	p, reason := provenanceOf(claim{Evidence: e})
	if reason != "" {
		return nil
	}
	return p.dependencies
}

// AsksDependencies says whether a rule asks where dependencies stand.
func (p *Policy) AsksDependencies() bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool { return r.dependencies() != nil })
}

// CheckTiers says what is wrong with the tiers that rules ask for, given those there are.
func (p *Policy) CheckTiers(registry Registry) error {
	var errs []error
	for i := range p.rules {
		k := p.rules[i].dependencies()
		if k == nil {
			continue
		}
		switch from, ok := registry.Tiers[k.spec.Tier]; {
		case !ok:
			errs = append(errs, fmt.Errorf("spec.require[%d].provenance.dependencies.tier: there is no tier %s", i, k.spec.Tier))
		case from == "":
			errs = append(errs, fmt.Errorf("spec.require[%d].provenance.dependencies.tier: tier %s is pushed to: that something stands there proves nothing", i, k.spec.Tier))
		}
	}
	return errors.Join(errs...)
}

func (r *rule) dependencies() *dependencyCheck {
	for _, c := range r.checks {
		if k, ok := c.(*provenanceCheck); ok {
			return k.dependencies
		}
	}
	return nil
}

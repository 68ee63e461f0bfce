package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// surroundings are what a policy is told of the registry: its name and how its tiers stand.
func (e *Engine) surroundings() policy.Registry {
	r := policy.Registry{Hosts: []string{e.hostname()}, Tiers: map[string]string{}}
	for _, t := range e.registry.Tiers() {
		r.Tiers[t.Name] = t.From
	}
	return r
}

// hostname is the registry's host, without a path that its URL may have.
func (e *Engine) hostname() string {
	host, _, _ := strings.Cut(e.host(), "/")
	return host
}

// standing finds in which tiers the manifests stand that the policy asks about, those that
// builds used. Above a tier that is pushed to no manifest goes away again, so the commit
// need not compare what it finds.
func (e *Engine) standing(ctx context.Context, pol *policy.Policy, evidence []attest.Evidence) (map[policy.Dependency][]string, error) {
	if pol == nil || !pol.AsksDependencies() {
		return nil, nil
	}
	standing := map[policy.Dependency][]string{}
	for _, d := range pol.Dependencies(evidence, e.surroundings()) {
		tiers := []string{}
		for _, t := range e.registry.Tiers() {
			repository, err := e.registry.Repository(t.Name, d.Repository, "")
			if errors.Is(err, oci.ErrNameInvalid) { // too long behind the tier: nothing can stand there
				continue
			}
			if err != nil {
				return nil, err
			}
			switch _, err := repository.Resolve(ctx, d.Digest.String()); {
			case err == nil:
				tiers = append(tiers, t.Name)
			case !errors.Is(err, oci.ErrManifestUnknown):
				return nil, fmt.Errorf("dependency %s@%s: %w", repository.FullName(), d.Digest, err)
			}
		}
		standing[d] = tiers
	}
	return standing, nil
}

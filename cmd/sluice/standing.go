package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
)

// surroundings adds to the facts what the gate knows of its own registry, where the policy
// asks: its names, its tiers, and in which of them the manifests stand that builds used.
func (c *client) surroundings(ctx context.Context, pol *policy.Policy, facts *policy.Facts) error {
	if !pol.AsksDependencies() {
		return nil
	}
	infos, err := list[tierInfo](ctx, c, "/api/v1/tiers", "tiers", nil)
	if err != nil {
		return fmt.Errorf("the policy asks where dependencies stand, and the registry's tiers cannot be listed: %w", err)
	}
	keys, err := c.publicKeys(ctx)
	if err != nil {
		return fmt.Errorf("the policy asks where dependencies stand, and the registry's own name cannot be found out: %w", err)
	}
	facts.Registry = policy.Registry{Hosts: []string{c.host}, Tiers: map[string]string{}}
	for _, key := range keys { // by its configured URL builds may know it, too
		if u, err := url.Parse(key.VerifierID); err == nil && u.Host != "" {
			facts.Registry.Hosts = append(facts.Registry.Hosts, u.Host)
		}
	}
	for _, t := range infos {
		facts.Registry.Tiers[t.Name] = t.From
	}
	facts.Standing = map[policy.Dependency][]string{}
	for _, d := range pol.Dependencies(facts.Evidence, facts.Registry) {
		if facts.Standing[d], err = c.standing(ctx, d, infos); err != nil {
			return err
		}
	}
	return nil
}

// standing asks over the registry protocol in which tiers a manifest is.
func (c *client) standing(ctx context.Context, d policy.Dependency, infos []tierInfo) ([]string, error) {
	found := []string{}
	for _, t := range infos {
		if oci.CheckName(t.Name+"/"+d.Repository) != nil { // too long behind the tier: nothing can stand there
			continue
		}
		repo, err := c.repository(t.Name + "/" + d.Repository)
		if err != nil {
			return nil, err
		}
		switch _, err := (&source{repo: repo}).Resolve(ctx, d.Digest.String()); {
		case err == nil:
			found = append(found, t.Name)
		case !errors.Is(err, oci.ErrManifestUnknown):
			return nil, fmt.Errorf("dependency %s/%s@%s: %w", t.Name, d.Repository, d.Digest, c.denied(err))
		}
	}
	return found, nil
}

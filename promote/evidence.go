package promote

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Evidence is what is attached to a manifest and to the platforms of an index, verified
// against the authorities of the policy that decides what rises from that tier, or of the
// one that let it in where nothing rises further, and against the registry's own keys.
func (e *Engine) Evidence(ctx context.Context, tier, repository string, d digest.Digest) ([]attest.Evidence, error) {
	source, err := e.registry.Repository(tier, repository, "")
	if err != nil {
		return nil, err
	}
	pol, err := e.policyFor(ctx, source.Tier)
	if err != nil {
		return nil, err
	}
	basis, err := source.Basis(ctx, d.String())
	if err != nil {
		return nil, err
	}
	quarantined, err := e.registry.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	revoked, err := e.revocations(ctx)
	if err != nil {
		return nil, err
	}
	_, evidence, err := facts(ctx, source, e.verify(revoked), basis.Root, append(authorities(pol), e.own()...), e.registry.Now())
	if err != nil {
		return nil, err
	}
	for i, ev := range evidence {
		held, err := quarantined.Among(ctx, ev.Manifest, ev.Layer)
		if err != nil {
			return nil, err
		}
		if held != nil {
			evidence[i] = without(ev, held.Holds(ev.Manifest))
		}
	}
	return evidence, nil
}

// own are the registry's keys as authorities, so that its summaries show as verified.
func (e *Engine) own() []attest.Authority {
	var own []attest.Authority
	for _, t := range e.registry.Tiers() {
		if s, ok := e.signers[t.Name]; ok {
			own = append(own, attest.Authority{Name: e.verifierID(t.Name), Principal: e.verifierID(t.Name), Keys: []attest.Key{s.key}})
		}
	}
	return own
}

// policyFor is the policy whose authorities matter in a tier; nil where there is none.
func (e *Engine) policyFor(ctx context.Context, tier *tiers.Tier) (*policy.Policy, error) {
	governed := tier.Name
	for _, t := range e.registry.Tiers() {
		if t.From == tier.Name {
			governed = t.Name
		}
	}
	pol, err := e.policyOf(ctx, governed)
	if errors.Is(err, oci.ErrUndecidable) {
		return nil, nil // shown unverified
	}
	if err != nil {
		return nil, err
	}
	return pol.Policy, nil
}

// Artifacts lists at most n manifests of a repository with their tags, by digest.
func (e *Engine) Artifacts(ctx context.Context, tier, repository, last string, n int) (page []Artifact, next string, err error) {
	source, err := e.registry.Repository(tier, repository, "")
	if err != nil {
		return nil, "", err
	}
	listed, next, err := source.Manifests(ctx, last, n)
	if err != nil {
		return nil, "", err
	}
	descs := make([]ocispec.Descriptor, len(listed))
	for i, m := range listed {
		descs[i] = m.Descriptor
	}
	held, err := source.Quarantines(ctx, descs...)
	if err != nil {
		return nil, "", err
	}
	page = make([]Artifact, len(listed))
	for i, m := range listed {
		tags, err := source.TagsOf(ctx, m.Digest)
		if err != nil {
			return nil, "", err
		}
		page[i] = Artifact{Descriptor: m.Descriptor, Subject: m.Record.Subject, Tags: tags, CreatedAt: m.Record.CreatedAt, By: m.Record.By,
			Quarantine: held[i]}
	}
	return page, next, nil
}

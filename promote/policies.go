package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Policies are kept in the catalog, whole: policy/<name> holds the canonical document,
// tier-policy/<tier> the name of the one that governs what rises to a tier.
const (
	prefixPolicy     = "policy/"
	prefixTierPolicy = "tier-policy/"
)

// inForce is a policy with the records that a commit under it compares.
type inForce struct {
	*policy.Policy
	info    PolicyInfo
	records []tiers.Record // the generation of the revocations too: what counts is part of it
	revoked *revocations
}

// policyOf finds the policy that governs what rises to a tier. Without one nothing can be
// decided: the error wraps oci.ErrUndecidable.
func (e *Engine) policyOf(ctx context.Context, tier string) (*inForce, error) {
	records, err := e.registry.Catalog().Get(ctx, prefixTierPolicy+tier, revokedKey)
	if err != nil {
		return nil, err
	}
	pointer := records[0]
	if pointer.Revision == 0 {
		return nil, fmt.Errorf("%w: no policy says what may rise to %s: put one with PUT /api/v1/policies/{name}", oci.ErrUndecidable, tier)
	}
	record, info, err := e.policyRecord(ctx, string(pointer.Value))
	if err != nil {
		return nil, err
	}
	p, err := e.compile(info)
	if err != nil {
		return nil, fmt.Errorf("%w: policy %s: %w", oci.ErrUndecidable, info.Name, err)
	}
	revoked, err := e.revocationsAt(ctx, records[1])
	if err != nil {
		return nil, err
	}
	return &inForce{Policy: p, info: info, records: []tiers.Record{pointer, record, revoked.head}, revoked: revoked}, nil
}

// compile loads a stored policy; the result is kept by digest, which covers its trust.
func (e *Engine) compile(info PolicyInfo) (*policy.Policy, error) {
	if p, ok := e.policies.Get(info.Digest); ok {
		return p, nil
	}
	p, err := policy.Load([]byte(info.Document), nil)
	if err != nil {
		return nil, err
	}
	if p.Digest() != info.Digest {
		return nil, fmt.Errorf("%w: the stored document is %s, recorded as %s", oci.ErrCorrupt, p.Digest(), info.Digest)
	}
	e.policies.Add(info.Digest, p)
	return p, nil
}

func (e *Engine) policyRecord(ctx context.Context, name string) (tiers.Record, PolicyInfo, error) {
	record, err := e.get(ctx, prefixPolicy+name)
	if err != nil {
		return record, PolicyInfo{}, err
	}
	if record.Revision == 0 {
		return record, PolicyInfo{}, fmt.Errorf("%w: %s", oci.ErrPolicyUnknown, name)
	}
	info, err := tiers.Decode[PolicyInfo](record)
	return record, info, err
}

// Policies lists the policies in force, by name. There is at most one for a tier.
func (e *Engine) Policies(ctx context.Context) ([]PolicyInfo, error) {
	records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixPolicy, Limit: tiers.MaxPage})
	if err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	infos := make([]PolicyInfo, len(records))
	for i, record := range records {
		if infos[i], err = tiers.Decode[PolicyInfo](record); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// Policy finds one. The error wraps oci.ErrPolicyUnknown.
func (e *Engine) Policy(ctx context.Context, name string) (PolicyInfo, error) {
	_, info, err := e.policyRecord(ctx, name)
	return info, err
}

// NoPolicy in place of the digest of a policy says that there must be none.
const NoPolicy digest.Digest = "none"

// SetPolicy puts a policy in force. ifMatch is the digest of the policy it replaces, or
// NoPolicy; empty replaces whatever there is. One that is in force already replaces nothing,
// whatever ifMatch names. A document that does not load wraps oci.ErrPolicyInvalid
// and changes nothing. Promotions that were decided under the former policy and are not
// committed are decided again.
func (e *Engine) SetPolicy(ctx context.Context, actor, name string, document []byte, ifMatch digest.Digest) (PolicyInfo, error) {
	p, err := policy.Load(document, nil)
	if err != nil {
		return PolicyInfo{}, err
	}
	if err := e.checkPolicy(p, name); err != nil {
		return PolicyInfo{}, err
	}
	info := PolicyInfo{Name: name, Digest: p.Digest(), From: p.From(), To: p.To(), SetBy: actor, SetAt: e.registry.Now(), Document: string(p.Canonical())}
	record, old, err := e.policyRecord(ctx, name)
	if err != nil && !errors.Is(err, oci.ErrPolicyUnknown) {
		return PolicyInfo{}, err
	}
	switch {
	case old.Digest == info.Digest && ifMatch != NoPolicy:
		// The very same is in force: also for who asks again because no answer came.
		return old, nil
	case ifMatch == NoPolicy && old.Digest != "":
		return PolicyInfo{}, fmt.Errorf("%w: there is a policy %s already, %s", oci.ErrConflict, name, old.Digest)
	case ifMatch != "" && ifMatch != NoPolicy && old.Digest != ifMatch:
		return PolicyInfo{}, fmt.Errorf("%w: policy %s is %q now, not %s", oci.ErrConflict, name, old.Digest, ifMatch)
	case old.To != "" && old.To != info.To:
		return PolicyInfo{}, fmt.Errorf("%w: policy %s governs what rises to %s; a policy for %s needs a name of its own", oci.ErrConflict, name, old.To, info.To)
	}
	pointer, err := e.get(ctx, prefixTierPolicy+info.To)
	if err != nil {
		return PolicyInfo{}, err
	}
	// Where the record or the pointer was damaged, the same policy is written again.
	if old.Digest == info.Digest && old.Document == info.Document && pointer.Revision != 0 && string(pointer.Value) == name {
		return old, nil
	}
	if pointer.Revision != 0 && string(pointer.Value) != name {
		return PolicyInfo{}, fmt.Errorf("%w: policy %s governs what rises to %s: replace that one", oci.ErrConflict, pointer.Value, info.To)
	}
	_, err = e.registry.Catalog().Commit(ctx, tiers.Change{
		If: []tiers.Condition{tiers.Unchanged(record), tiers.Unchanged(pointer)},
		Put: []tiers.Put{
			{Key: prefixPolicy + name, Value: tiers.Encode(info)},
			{Key: pointer.Key, Value: []byte(name)},
			e.registry.EventPut(tiers.Event{Type: tiers.EventPolicySet, Time: info.SetAt, Actor: actor, Tier: info.To, From: info.From,
				Policy: name, Digest: info.Digest, Previous: old.Digest, Body: p.Canonical()}),
		},
	})
	if err != nil {
		return PolicyInfo{}, fmt.Errorf("set policy %s: %w", name, err)
	}
	return info, nil
}

// checkPolicy checks a policy against the tiers there are: it may neither skip one nor
// lead from anywhere but the tier below, nor ask for one that proves nothing.
func (e *Engine) checkPolicy(p *policy.Policy, name string) error {
	if p.Name() != name || strings.Contains(name, "/") {
		return fmt.Errorf("%w: the document's metadata.name is %q, the policy is put as %q", oci.ErrPolicyInvalid, p.Name(), name)
	}
	to, err := e.registry.Tier(p.To())
	if err != nil {
		return fmt.Errorf("%w: spec.to: %w", oci.ErrPolicyInvalid, err)
	}
	if to.From == "" {
		return fmt.Errorf("%w: spec.to: tier %s is pushed to, nothing rises to it", oci.ErrPolicyInvalid, to.Name)
	}
	if to.From != p.From() {
		return fmt.Errorf("%w: spec.from: tier %s rises from %s, not from %q", oci.ErrPolicyInvalid, to.Name, to.From, p.From())
	}
	if err := p.CheckTiers(e.surroundings()); err != nil {
		return fmt.Errorf("%w: %w", oci.ErrPolicyInvalid, err)
	}
	return nil
}

// get reads one record of the catalog.
func (e *Engine) get(ctx context.Context, key string) (tiers.Record, error) {
	records, err := e.registry.Catalog().Get(ctx, key)
	if err != nil {
		return tiers.Record{}, err
	}
	return records[0], nil
}

package promote

import (
	"context"
	"fmt"
	"strings"

	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// policies looks whether every policy loads and is the one that was set, and whether it and
// the tier that it governs name each other. While one is wrong nothing rises to the tier.
func (c *checking) policies(ctx context.Context) error {
	err := c.Records(ctx, "policies", prefixPolicy, func(page []tiers.Record) error {
		for _, record := range page {
			if err := c.policy(ctx, record, strings.TrimPrefix(record.Key, prefixPolicy)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.Records(ctx, "tiers with policies", prefixTierPolicy, func(page []tiers.Record) error {
		for _, record := range page {
			if err := c.policyPointer(ctx, record, strings.TrimPrefix(record.Key, prefixTierPolicy)); err != nil {
				return err
			}
		}
		return nil
	})
}

const remedyPolicy = "sluice policy apply FILE   # puts the policy in force again, from the document as it was approved"

func (c *checking) policy(ctx context.Context, record tiers.Record, name string) error {
	f := tiers.Finding{Remedy: remedyPolicy}
	info, ok, err := tiers.CheckRecord[PolicyInfo](ctx, c.Checking, record, f, nil)
	if err != nil || !ok {
		return err
	}
	f.Kind, f.Severity, f.Key, f.Digest, f.Tier = KindPolicyCorrupt, tiers.Fault, record.Key, info.Digest, info.To
	p, err := policy.Load([]byte(info.Document), nil)
	switch {
	case err != nil:
		f.Message = fmt.Sprintf("policy %s does not load: nothing can be decided by it: %v", name, err)
	case p.Digest() != info.Digest || p.Name() != name || p.To() != info.To || p.From() != info.From:
		f.Message = fmt.Sprintf("policy %s is recorded as %s, from %s to %s, and its document is policy %s, %s, from %s to %s: nothing can be decided by it",
			name, info.Digest, info.From, info.To, p.Name(), p.Digest(), p.From(), p.To())
	default:
		return c.pointed(ctx, record, info)
	}
	now, err := c.Get(ctx, record.Key)
	if err != nil || now[0].Revision != record.Revision {
		return err
	}
	if len(f.Message) > 1000 {
		f.Message = f.Message[:1000] + "…"
	}
	return c.Found(ctx, f, nil)
}

// pointed looks whether the tier that a policy is for is governed by it.
func (c *checking) pointed(ctx context.Context, record tiers.Record, info PolicyInfo) error {
	records, err := c.Get(ctx, record.Key, prefixTierPolicy+info.To)
	if err != nil || records[0].Revision != record.Revision || records[1].Revision != 0 {
		return err // that another one governs it is reported below
	}
	f := tiers.Finding{Kind: KindPolicyPointer, Severity: tiers.Fault, Key: records[1].Key, Tier: info.To, Digest: info.Digest,
		Message: fmt.Sprintf("policy %s is for what rises to %s, and nothing says that it governs that: nothing rises", info.Name, info.To), Remedy: remedyPolicy}
	return c.Found(ctx, f, nil)
}

func (c *checking) policyPointer(ctx context.Context, record tiers.Record, tier string) error {
	records, err := c.Get(ctx, record.Key, prefixPolicy+string(record.Value))
	if err != nil || records[0].Revision != record.Revision {
		return err
	}
	f := tiers.Finding{Kind: KindPolicyPointer, Severity: tiers.Fault, Key: record.Key, Tier: tier, Remedy: remedyPolicy}
	if records[1].Revision == 0 {
		f.Message = fmt.Sprintf("%s is governed by policy %q, which does not exist: nothing rises to it", tier, record.Value)
		return c.Found(ctx, f, nil)
	}
	info, err := tiers.Decode[PolicyInfo](records[1])
	if err != nil || info.To == tier {
		return nil // right, or reported with the policies
	}
	f.Message = fmt.Sprintf("%s is governed by policy %q, which is for what rises to %s", tier, record.Value, info.To)
	return c.Found(ctx, f, nil)
}

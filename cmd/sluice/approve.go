package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// approved is what the verb prints.
type approved struct {
	promote.ApprovalResult
	Reference string        `json:"reference"`
	Policy    digest.Digest `json:"policy"` // under which it was decided
	Reason    string        `json:"reason,omitempty"`
}

func approveCommand() *cobra.Command {
	var out output
	var conn connection
	var to, key, reason string
	var reject bool
	cmd := &cobra.Command{
		Use:   "approve REF --to TIER --key FILE",
		Short: "Sign that an artifact may, or may not, rise to a tier",
		Long: `Sign an approval of an artifact, or a rejection, and attach it in the tier that it rises
from. A tag is resolved to a digest first. The approval is bound to that digest, the
repository, the tier and the policy in force for it, and is worth nothing for another; the
newest of an authority counts. A promotion that waits for it goes on by itself.

The registry refuses what could not count, because the policy does not ask whoever has the
key, say. The key's password is read from SLUICE_KEY_PASSWORD or COSIGN_PASSWORD.`,
		Example: "  sluice approve 127.0.0.1:5000/stable/acme/app:1.0 --to release --key alice.key --reason 'ticket 4711'",
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "to", "key")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			if err := checkPromotion(cmd, ref, to, nil); err != nil {
				return err
			}
			signer, err := loadSigningKey(key, cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			c, err := newInspector(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			approval := policy.Approval{Repository: ref.Repository, From: ref.Tier, To: to, Decision: policy.Approved, Reason: reason}
			if reject {
				approval.Decision = policy.Rejected
			}
			done, err := c.approve(cmd.Context(), ref, approval, signer)
			if err != nil {
				return err
			}
			return out.print(cmd, done, func(p *printer) { p.approved(done) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the tier that the artifact may rise to (required)")
	cmd.Flags().StringVar(&key, "key", "", "file with the private key (required)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever reads the verdict; at most 1024 bytes")
	cmd.Flags().BoolVar(&reject, "reject", false, "say that it may not; this replaces an earlier approval")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// approve signs an approval of what ref names now, under the policy that is in force now,
// and has the registry attach it: clients cannot push to every tier.
func (c *client) approve(ctx context.Context, ref oci.Reference, approval policy.Approval, signer crypto.Signer) (approved, error) {
	subject, err := c.resolve(ctx, ref)
	if err != nil {
		return approved{}, err
	}
	inForce, err := c.policyOf(ctx, approval.From, approval.To)
	if err != nil {
		return approved{}, err
	}
	approval.Policy, approval.Timestamp = policy.PolicyDigest(inForce.Digest), time.Now().UTC()
	predicate, err := json.Marshal(approval)
	if err != nil {
		return approved{}, err
	}
	statement, err := attest.NewStatement(policy.ApprovalType, predicate, ref.Host+"/"+ref.Name(), subject.Digest)
	if err != nil {
		return approved{}, err
	}
	bundle, err := attest.Sign(ctx, statement, signer)
	if err != nil {
		return approved{}, err
	}
	body := map[string]any{"repository": approval.Repository, "reference": subject.Digest, "from": approval.From, "to": approval.To, "bundle": json.RawMessage(bundle)}
	done := approved{Reference: ref.String(), Policy: inForce.Digest, Reason: approval.Reason}
	_, err = c.post(ctx, "/api/v1/approvals", nil, body, &done.ApprovalResult)
	return done, err
}

// policyOf finds the policy that says what rises from one tier to another.
func (c *client) policyOf(ctx context.Context, from, to string) (promote.PolicyInfo, error) {
	policies, err := list[promote.PolicyInfo](ctx, c, "/api/v1/policies", "policies", nil)
	if err != nil {
		return promote.PolicyInfo{}, err
	}
	for _, p := range policies {
		if p.From == from && p.To == to {
			return p, nil
		}
	}
	return promote.PolicyInfo{}, fmt.Errorf("%s: no policy says what rises from %s to %s", c.host, from, to)
}

func (p *printer) approved(a approved) {
	mark, may := p.style(green, "✓"), "may"
	if a.Decision != policy.Approved {
		mark, may = p.style(red, "✗"), "may not"
	}
	p.line("%s %s says that %s %s rise to %s", mark, printable(a.Signers[0].Authority), a.Reference, may, a.To)
	p.line("%s", p.style(dim, "  about    "+a.Subject.String()))
	p.line("%s", p.style(dim, "  policy   "+a.Policy.String()))
	p.line("%s", p.style(dim, "  attached "+a.Digest.String()))
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// approvalSkew is how far the clock of an approver may be ahead.
const approvalSkew = 5 * time.Minute

// ApprovalRequest asks that a signed approval be attached to an artifact.
type ApprovalRequest struct {
	Repository string // without the tier
	Reference  string // tag or digest in the tier it rises from
	From       string
	To         string
	Bundle     []byte // a Sigstore bundle whose statement is an approval of exactly this
}

// ApprovalResult is an approval that was attached.
type ApprovalResult struct {
	Digest     digest.Digest `json:"digest"`  // of the referrer that carries it
	Subject    digest.Digest `json:"subject"` // what it is about
	Repository string        `json:"repository"`
	From       string        `json:"from"`
	To         string        `json:"to"`
	Decision   string        `json:"decision"` // approved or rejected
	// Signers are the approvers of the policy who signed it.
	Signers []attest.Signer `json:"signers"`
}

// Approve verifies an approval and attaches it in the tier that the artifact rises from,
// whether clients may push there or not: an authority of the policy has signed it, and it
// is of this very decision. Nothing is stored of one that could not count. The error wraps
// oci.ErrRequestInvalid where the bundle is not such an approval, oci.ErrConflict where it
// was given under another policy than the one in force, oci.ErrDenied where nobody signed
// it whom the policy asks. The same approval again changes nothing.
func (e *Engine) Approve(ctx context.Context, actor string, r ApprovalRequest) (ApprovalResult, error) {
	var result ApprovalResult
	source, err := e.check(&Request{Repository: r.Repository, Reference: r.Reference, From: r.From, To: r.To}, actor)
	if err != nil {
		return result, err
	}
	pol, err := e.policyOf(ctx, r.To)
	if err != nil {
		return result, err
	}
	basis, err := source.Basis(ctx, r.Reference)
	if err != nil {
		return result, err
	}
	approval, signers, err := e.checkApproval(pol, r, basis.Root.Digest)
	if err != nil {
		return result, err
	}
	carrier, err := keepApproval(ctx, source.AsRegistry(), r.Bundle, basis.Root, approval.Timestamp)
	if err != nil {
		return result, fmt.Errorf("attach approval of %s@%s: %w", source.FullName(), basis.Root.Digest, err)
	}
	return ApprovalResult{Digest: carrier, Subject: basis.Root.Digest, Repository: r.Repository, From: source.Tier.Name, To: r.To,
		Decision: approval.Decision, Signers: signers}, nil
}

// keepApproval attaches an approval, unless it is there. The manifest is dated by the
// approval itself, so that the same approval is the same manifest.
func keepApproval(ctx context.Context, repo *tiers.Repository, bundle []byte, subject ocispec.Descriptor, stated time.Time) (digest.Digest, error) {
	manifest, _, err := attest.BundleManifest(bundle, policy.ApprovalType, subject, stated)
	if err != nil {
		return "", err
	}
	there := digest.FromBytes(manifest)
	if _, err := repo.Resolve(ctx, there.String()); !errors.Is(err, oci.ErrManifestUnknown) {
		return there, err
	}
	desc, err := attest.Attach(ctx, repo, bundle, policy.ApprovalType, subject, stated)
	return desc.Digest, err
}

// checkApproval says what a bundle approves, and who of the policy's approvers signed it.
func (e *Engine) checkApproval(pol *inForce, r ApprovalRequest, subject digest.Digest) (policy.Approval, []attest.Signer, error) {
	var none policy.Approval
	approvers := pol.Approvers()
	if len(approvers) == 0 || !pol.Matches(r.Repository) {
		return none, nil, fmt.Errorf("%w: policy %s asks nobody for approval of %s", oci.ErrRequestInvalid, pol.Name(), r.Repository)
	}
	now := e.registry.Now()
	attachment := attest.Attachment{Format: attest.FormatBundle, Content: r.Bundle,
		Layer: ocispec.Descriptor{MediaType: attest.MediaTypeBundle, Digest: digest.FromBytes(r.Bundle), Size: int64(len(r.Bundle))}}
	ev := e.verify(pol.revoked)(attachment, subject, pol.Authorities(), now)
	switch {
	case ev.Problem != "":
		return none, nil, fmt.Errorf("%w: the approval does not count: %s", oci.ErrRequestInvalid, ev.Problem)
	case ev.PredicateType != policy.ApprovalType:
		return none, nil, fmt.Errorf("%w: the statement is a %s, want %s", oci.ErrRequestInvalid, ev.PredicateType, policy.ApprovalType)
	}
	approval, err := policy.ParseApproval(ev.Predicate())
	if err != nil {
		return none, nil, fmt.Errorf("%w: the approval: %v", oci.ErrRequestInvalid, err)
	}
	if ahead := approval.Timestamp.Sub(now); ahead > approvalSkew {
		return none, nil, fmt.Errorf("%w: the approval is dated %s, which is in the future", oci.ErrRequestInvalid, approval.Timestamp.UTC().Format(time.RFC3339))
	}
	if err := pol.CheckApproval(approval, r.Repository); err != nil {
		kind := oci.ErrRequestInvalid
		if approval.Policy.Digest["sha256"] != pol.Digest().Encoded() {
			kind = oci.ErrConflict // read the policy that is in force now, and decide again
		}
		return none, nil, fmt.Errorf("%w: the approval does not count: %v", kind, err)
	}
	signers := slices.DeleteFunc(slices.Clone(ev.Signers), func(s attest.Signer) bool { return !slices.Contains(approvers, s.Authority) })
	if len(signers) == 0 {
		return none, nil, fmt.Errorf("%w: the approval is signed by %s, and policy %s asks %s", oci.ErrDenied,
			ev.Signers[0].Authority, pol.Name(), strings.Join(approvers, ", "))
	}
	return approval, signers, nil
}
